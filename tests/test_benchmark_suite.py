"""Suites: from YAML to runs."""

from dataclasses import replace

import gymnasium as gym
import pytest
import yaml
from rl_zoo3 import ALGOS

import sb3_udrl.envs  # noqa: F401
from sb3_udrl import UDRL
from sb3_udrl.benchmark.data import read_commands, read_data
from sb3_udrl.benchmark.hyperparams import defaults_of, merge, read_hyperparams
from sb3_udrl.benchmark.runner import all_runs
from sb3_udrl.benchmark.suite import SUITES, Run, load_suite
from sb3_udrl.benchmark.training import build, takes

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


BUDGET = {"n_timesteps": 1_000, "eval_freq": 500}
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
        ("algorithms", {"PPO": {"algo": "ppo", "n_timesteps": {"CartPole-v1": 0}}}, r"PPO: n_timesteps=.*at least 1"),
        ("algorithms", {"PPO": {"algo": "ppo", "hyperparams": {"n_timesteps": 5}}}, "PPO: n_timesteps is among hyperparams"),
        ("algorithms", {"PPO": {"algo": "ppo", "learn_from": {"best": 0.1}}}, "PPO: learn_from=.*has a recording"),
        ("baseline", "PP0", "baseline='PP0': is none of"),
        ("sedes", [1], r"mine\.yml: unknown \['sedes'\]"),
        ("environments", {"CartPole-v1": {**BUDGET, "seeds": [1, 7]}}, r"CartPole-v1: seeds \[7\] are not in the suite"),
        ("algorithms", {"PPO": {"algo": "ppo", "seeds": [8]}}, r"PPO: seeds \[8\] are not in the suite"),
        *(
            ("environments", {"CartPole-v1": {**BUDGET, "commands": {"some": grid}}}, r"CartPole-v1, some: .* same length")
            for grid in ({}, {"return": []}, {"return": [1, 2], "horizon": [1]})
        ),
        *(
            (
                "environments",
                {"CartPole-v1": {**BUDGET, "commands": {"some": grid}}},
                r"CartPole-v1: commands=.*: must be dict",
            )
            for grid in ({"return": 5}, [5])
        ),
    ],
)
def test_mistakes_are_named(write, part, values, message):
    with pytest.raises(ValueError, match=message):
        load_suite(write({**SUITE, part: values}))


def test_what_the_zoo_writes_as_a_text_is_not_replaced_by_a_part_of_it(write):
    wide = {"PPO": {"algo": "ppo", "hyperparams": {"policy_kwargs": {"net_arch": [32]}}}}
    suite = load_suite(
        write({**SUITE, "environments": {"Hopper-v5": {**BUDGET, "hyperparams_of": "Hopper-v4"}}, "algorithms": wide})
    )
    with pytest.raises(ValueError, match=r"PPO: policy_kwargs=.*the section says .*log_std_init=-2.*as a text"):
        suite.run("Hopper-v5", "PPO", 1)


def test_unknown_suite():
    with pytest.raises(ValueError, match=r"suite 'clasic' is neither one of \[.*'classic'.*\] nor a YAML file"):
        load_suite("clasic")


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yml")), ids=lambda path: path.stem)
def test_suites_that_come_with_the_package(path):
    suite = load_suite(path.stem)
    assert suite.baseline in suite.algorithms
    assert len(set(suite.seeds)) == len(suite.seeds) > 1
    for environment, conditions in suite.environments.items():
        assert (conditions.recording or {"env_id": environment})["env_id"] in gym.registry
        assert conditions.n_timesteps % conditions.eval_freq == 0
        assert all(step % conditions.eval_freq == 0 for step in conditions.report_at)
    for run in all_runs(suite, suite.seeds).values():
        assert (run.algo in ALGOS or run.algo.startswith("d3rlpy.")) and run.run_id and run.n_timesteps >= run.eval_freq


@pytest.mark.parametrize("pair", load_suite("ablation").pairs(), ids=" on ".join)
def test_ablations_are_what_their_names_say_and_can_be_built(pair):
    environment, name = pair
    hyperparams = load_suite("ablation").run(*pair, 1).hyperparams
    arguments = {argument: value for argument, value in hyperparams.items() if argument in defaults_of(UDRL.__init__)}
    model = UDRL(hyperparams["policy"], gym.make(environment), **arguments)
    assert model.commands == ("absolute" if name.startswith("absolute") else "relative")
    for named in ("adaptive", "joint"):
        assert named not in name or model.command_sampler == named


GRIDS = {"return": {"return": [5, 9]}, "both": {"return": [5, 9], "horizon": [5, 9]}}


def test_commands_of_the_environment_are_those_of_the_run(write):
    values = {**SUITE, "n_command_episodes": 3, "environments": {"CartPole-v1": {**BUDGET, "commands": GRIDS}}}
    values["algorithms"] = {"PPO": {"algo": "ppo"}}
    run = load_suite(write(values)).run("CartPole-v1", "PPO", 1)
    assert (run.commands, run.n_command_episodes) == (GRIDS, 3)


def test_runs_without_commands_are_called_as_before_there_were_any(monkeypatch):
    monkeypatch.setattr(
        "sb3_udrl.benchmark.suite.default_arguments", lambda algo, policy: {"batch_size": 1, "policy_kwargs": {}}
    )
    assert RUN.run_id == "CartPole_v1-udrl-1-2d8623b92c"  # of revision 0e7374f
    assert replace(RUN, n_command_episodes=3).run_id == RUN.run_id
    asked = replace(RUN, commands=GRIDS)
    ids = {run.run_id for run in (RUN, asked, replace(asked, n_command_episodes=3), replace(RUN, commands={"a": {"b": [1]}}))}
    assert len(ids) == 4


def test_environments_and_algorithms_limit_the_seeds(write):
    values = {**SUITE, "seeds": [1, 2, 3], "environments": {**SUITE["environments"]}, "algorithms": {**SUITE["algorithms"]}}
    values["environments"]["CartPole-v1"] = {**BUDGET, "seeds": [1, 2]}
    values["algorithms"]["PPO"] = {"algo": "ppo", "seeds": [2, 3]}
    suite = load_suite(write(values))
    seeds = {}
    for environment, name, seed in all_runs(suite, suite.seeds):
        seeds.setdefault((environment, name), []).append(seed)
    assert seeds == {
        ("CartPole-v1", "UDRL"): [1, 2],
        ("CartPole-v1", "UDRL default"): [1, 2],
        ("CartPole-v1", "PPO"): [2],
        ("CartPole-v1", "DQN"): [1, 2],
        ("CartPoleNoVel-v1", "UDRL"): [1, 2, 3],
        ("CartPoleNoVel-v1", "UDRL default"): [1, 2, 3],
        ("CartPoleNoVel-v1", "PPO"): [2, 3],
    }
    assert [key[-1] for key in all_runs(suite, [3]) if key[0] == "CartPole-v1"] == []


@pytest.mark.parametrize("name", ["classic", "forests"])
def test_data_that_were_published_before_there_were_commands_can_be_read(name):
    suite, episodes, runs = read_data(SUITES.parents[2] / "docs" / "results" / "data", name)
    assert len(episodes) and len(runs) and len(read_commands(SUITES.parents[2] / "docs" / "results" / "data", name)) == 0
    assert all(conditions.commands == {} and conditions.seeds is None for conditions in suite.environments.values())


def test_obedience_has_the_seeds_and_budgets_that_it_names():
    suite = load_suite("obedience")
    runs = all_runs(suite, suite.seeds)
    n_seeds = {pair: sum(key[:2] == pair for key in runs) for pair in suite.pairs()}
    for (environment, name), n in n_seeds.items():
        assert n == (2 if name == "SAC" else 10 if environment in ("CartPole-v1", "Acrobot-v1") else 5)
    assert len(runs) == 40 + 40 + 20 + 20 + 22 + 22
    assert {run.n_timesteps for (_, name, _), run in runs.items() if name == "SAC"} == {300_000}
    assert all(run.commands and run.n_command_episodes == 20 for run in runs.values())


@pytest.mark.parametrize("pair", load_suite("obedience").pairs(), ids=" on ".join)
def test_models_of_obedience_can_be_built_and_take_the_commands_that_they_can_take(pair, tmp_path):
    environment, name = pair
    if environment in ("HalfCheetah-v5", "Hopper-v5"):
        pytest.importorskip("mujoco")
    run = replace(load_suite("obedience").run(*pair, 501), n_eval_envs=1)
    model, eval_env, _ = build(run, tmp_path)
    taken = {grid for grid, values in run.commands.items() if takes(model, values)}
    assert taken == {"UDRL": set(run.commands), "UDRL absolute": set(run.commands)}.get(name, set())
    for grid in taken:
        n_commands = len(next(iter(run.commands[grid].values())))
        model.command_space.make(run.commands[grid], n_commands, gaps=True)
    if name == "UDRL absolute":
        assert (model.buffer_size, model.train_freq, model.n_envs) == (100_000, 250, 8)
    eval_env.close()
    model.env.close()


AS_TUNED = {"practice": (0.1, 0.5), "archive": 200_000, "guidance": 1.0}
TWO_NETWORKS = {
    "UDRL": {},
    "no practice": {"practice": (0, 0.5)},
    "twice the practice": {"practice": (0.2, 0.5)},
    "practice from the start": {"practice": (0.1, 0)},
    "a tenth of the archive": {"archive": 20_000},
    "guidance 1.5": {"guidance": 1.5},
    "guidance 2": {"guidance": 2.0},
}
ONE_NETWORK = {  # what it takes, its buffer, and the grids of CartPole that it can be asked for
    "one network, archive": (("return", "horizon"), "bands", "bands", 200_000, 3),
    "one network, recent episodes": (("return", "horizon"), "recent", "transitions", 30_000, 3),
    "one network, advantages": (("advantage",), "recent", "transitions", 30_000, 0),
}


@pytest.mark.parametrize("name", load_suite("obedience_ablation").algorithms)
def test_one_thing_that_makes_models_obey_is_changed_at_a_time(name, tmp_path):
    run = replace(load_suite("obedience_ablation").run("CartPole-v1", name, 1), n_eval_envs=1)
    model, eval_env, _ = build(run, tmp_path)
    n_grids = sum(takes(model, grid) for grid in run.commands.values())
    if name in TWO_NETWORKS:
        obedience = model.obedience
        practice, archive = (obedience.practice_share, obedience.practice_start), obedience.hindsight.buffer
        facts = {"practice": practice, "archive": archive.buffer_size, "guidance": model.policy.guidance}
        assert facts == {**AS_TUNED, **TWO_NETWORKS[name]} and n_grids == 3
    else:
        buffer = model.replay_buffer
        facts = (model.command_space.names, buffer.retention, buffer.sampling, buffer.buffer_size, n_grids)
        assert model.obedience is None and facts == ONE_NETWORK[name]
    eval_env.close()
    model.env.close()
