"""Suites: from YAML to runs."""

from dataclasses import replace

import gymnasium as gym
import pytest
import yaml
from rl_zoo3 import ALGOS

import sb3_udrl.envs  # noqa: F401
from sb3_udrl import UDRL
from sb3_udrl.benchmark.runner import all_runs
from sb3_udrl.benchmark.suite import SUITES, Run, defaults_of, load_suite, merge, read_hyperparams

SUITE = {
    "seeds": [1, 2],
    "environments": {
        "CartPole-v1": {"n_timesteps": 1_000, "eval_freq": 500, "threshold": 475},
        "CartPoleNoVel-v1": {"n_timesteps": 2_000, "eval_freq": 500, "hyperparams_of": "CartPole-v1"},
    },
    "algorithms": {
        "UDRL": {"algo": "udrl"},
        "UDRL default": {"algo": "udrl", "section": "default"},
        "PPO": {"algo": "ppo", "n_timesteps": {"CartPoleNoVel-v1": 3_000}},
        "DQN": {"algo": "dqn", "environments": ["CartPole-v1"], "n_timesteps": 700},
    },
}


@pytest.fixture
def write(tmp_path):
    def write_suite(values):
        path = tmp_path / "mine.yml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write_suite


@pytest.fixture
def suite(write):
    return load_suite(write(SUITE))


def test_suite_expands_to_environments_times_algorithms_times_seeds(suite):
    assert suite.name == "mine"
    assert suite.pairs() == [
        *(("CartPole-v1", name) for name in ("UDRL", "UDRL default", "PPO", "DQN")),
        *(("CartPoleNoVel-v1", name) for name in ("UDRL", "UDRL default", "PPO")),
    ]
    assert len(all_runs(suite, [1, 2, 3])) == 7 * 3


def test_budgets(suite):
    budgets = {pair: suite.run(*pair, 1).n_timesteps for pair in suite.pairs()}
    assert budgets["CartPole-v1", "PPO"] == 1_000
    assert budgets["CartPoleNoVel-v1", "PPO"] == 3_000
    assert budgets["CartPoleNoVel-v1", "UDRL"] == 2_000
    assert budgets["CartPole-v1", "DQN"] == 700


def test_hyperparameters_are_those_of_the_zoo(suite):
    ppo = suite.run("CartPole-v1", "PPO", 1)
    assert (ppo.section, ppo.hyperparams["n_epochs"], ppo.hyperparams["learning_rate"]) == ("CartPole-v1", 20, "lin_0.001")
    assert "n_timesteps" not in ppo.hyperparams
    assert suite.run("CartPole-v1", "UDRL", 1).section == "CartPole-v1"
    assert suite.run("CartPole-v1", "UDRL default", 1).section == "default"
    assert suite.run("CartPoleNoVel-v1", "PPO", 1).section == "CartPole-v1"  # hyperparams_of


def test_environments_without_a_section_take_the_default():
    assert read_hyperparams("ppo", ["FrozenLake-v1", None], "FrozenLake-v1")[0] == "default"


def test_sections_must_exist():
    with pytest.raises(ValueError, match=r"section 'CartPole-v9' is not in ppo\.yml, which has"):
        read_hyperparams("ppo", ["CartPole-v9"], "CartPole-v1")
    with pytest.raises(ValueError, match=r"algo='ppoo' is no algorithm of the Zoo: choose one of .*udrl"):
        read_hyperparams("ppoo", [None], "CartPole-v1")


def test_changes_are_merged_and_those_of_the_algorithm_come_last(write):
    changed = {
        "seeds": [1],
        "environments": {"CartPole-v1": {"n_timesteps": 1, "eval_freq": 1, "hyperparams": {"batch_size": 7}}},
        "algorithms": {"UDRL": {"algo": "udrl", "hyperparams": {"batch_size": 5, "gradient_steps": 3}}},
    }
    hyperparams = load_suite(write(changed)).run("CartPole-v1", "UDRL", 1).hyperparams
    assert (hyperparams["batch_size"], hyperparams["gradient_steps"]) == (5, 3)


def test_merge():
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": {"f": 4}}
    assert merge(old, {"b": {"d": 5}, "e": None, "g": {"h": 6}}) == {"a": 1, "b": {"c": 2, "d": 5}, "e": None, "g": {"h": 6}}
    assert old == {"a": 1, "b": {"c": 2, "d": 3}, "e": {"f": 4}}


def test_null_leaves_an_argument_at_its_default(write):
    changed = {
        "seeds": [1],
        "environments": {"LunarLander-v3": {"n_timesteps": 1, "eval_freq": 1}},
        "algorithms": {
            "one": {"algo": "udrl", "hyperparams": {"replay_buffer_kwargs": {"gamma": None, "n_neighbors": 5}}},
            "all": {"algo": "udrl", "hyperparams": {"replay_buffer_kwargs": None}},
        },
    }
    suite = load_suite(write(changed))
    assert suite.run("LunarLander-v3", "one", 1).hyperparams["replay_buffer_kwargs"] == {"n_neighbors": 5}
    assert "replay_buffer_kwargs" not in suite.run("LunarLander-v3", "all", 1).hyperparams


RUN = Run("CartPole-v1", "udrl", 1, 1_000, 100, 20, 100, 20, "default", {"policy": "CommandPolicy"})


@pytest.mark.parametrize(
    "change",
    [
        {"environment": "Acrobot-v1"},
        {"algo": "ppo"},
        {"seed": 2},
        {"n_timesteps": 2_000},
        {"eval_freq": 200},
        {"n_eval_episodes": 10},
        {"n_final_episodes": 10},
        {"n_eval_envs": 10},
        {"hyperparams": {"policy": "CommandPolicy", "batch_size": 3}},
        {"hyperparams": {"policy": "CommandPolicy", "policy_kwargs": {"conditioning": "masked"}}},
    ],
)
def test_another_definition_is_another_run(change):
    assert replace(RUN, **change).run_id != RUN.run_id


@pytest.mark.parametrize(
    "spelled_out", [{"command_sampler": "adaptive"}, {"policy_kwargs": {"conditioning": "gating"}}, {"buffer_size": 100_000}]
)
def test_a_default_that_is_spelled_out_is_the_same_run(spelled_out):
    assert replace(RUN, section="mine", hyperparams={**RUN.hyperparams, **spelled_out}).run_id == RUN.run_id


def test_another_default_of_the_code_is_another_run(monkeypatch):
    before = RUN.run_id
    monkeypatch.setattr(
        "sb3_udrl.benchmark.suite.default_arguments", lambda algo, policy: {"batch_size": 1, "policy_kwargs": {}}
    )
    assert RUN.run_id != before


def test_off_policy_algorithms_start_early():
    assert replace(RUN, algo="dqn").cost == 10 * replace(RUN, algo="ppo").cost == 10 * RUN.cost


@pytest.mark.parametrize(
    "part, values, message",
    [
        (
            "environments",
            {"CartPole-v1": {"n_timesteps": 1, "eval_frequency": 1}},
            r"CartPole-v1: unknown \['eval_frequency'\]",
        ),
        ("environments", {"CartPole-v1": {"n_timesteps": 1}}, r"CartPole-v1: .*missing .*'eval_freq'"),
        ("algorithms", {"PPO": "ppo"}, r"PPO: 'ppo' must be a section with keys \['algo'"),
        (
            "algorithms",
            {"PPO": {"algo": "ppo", "environments": ["Pong"]}},
            r"PPO: environments \['Pong'\] are not in the suite",
        ),
        ("algorithms", {"PPO": {"algo": "ppo", "n_timesteps": {"Pong": 1}}}, r"PPO: environments \['Pong'\] are not"),
        ("sedes", [1], r"mine\.yml: unknown \['sedes'\]"),
    ],
)
def test_mistakes_are_named(write, part, values, message):
    with pytest.raises(ValueError, match=message):
        load_suite(write({**SUITE, part: values}))


def test_unknown_suite():
    with pytest.raises(ValueError, match=r"suite 'clasic' is neither one of \[.*'classic'.*\] nor a YAML file"):
        load_suite("clasic")


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yml")), ids=lambda path: path.stem)
def test_suites_that_come_with_the_package(path):
    suite = load_suite(path.stem)
    assert suite.baseline in suite.algorithms
    assert len(set(suite.seeds)) == len(suite.seeds) > 1
    for environment, conditions in suite.environments.items():
        assert environment in gym.registry
        assert conditions.n_timesteps % conditions.eval_freq == 0
        assert all(step % conditions.eval_freq == 0 for step in conditions.report_at)
    for run in all_runs(suite, suite.seeds).values():
        assert run.algo in ALGOS and run.run_id and run.n_timesteps >= run.eval_freq


@pytest.mark.parametrize("pair", load_suite("ablation").pairs(), ids=" on ".join)
def test_ablations_are_what_their_names_say_and_can_be_built(pair):
    environment, name = pair
    hyperparams = load_suite("ablation").run(*pair, 1).hyperparams
    arguments = {argument: value for argument, value in hyperparams.items() if argument in defaults_of(UDRL.__init__)}
    model = UDRL(hyperparams["policy"], gym.make(environment), **arguments)
    assert model.commands == ("absolute" if name.startswith("absolute") else "relative")
    for named in ("adaptive", "joint"):
        assert named not in name or model.command_sampler == named
