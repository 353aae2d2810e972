"""Mistakes in suites and options are one line, found before anything is trained; environments are those that suites name."""

import gzip
import json

import gymnasium as gym
import pytest
import yaml
from stable_baselines3 import PPO

from sb3_udrl import UDRL
from sb3_udrl.benchmark.__main__ import main
from sb3_udrl.benchmark.checks import check_hyperparams, is_plain
from sb3_udrl.benchmark.data import COLUMNS
from sb3_udrl.benchmark.hyperparams import merge
from sb3_udrl.benchmark.report import file_name
from sb3_udrl.benchmark.report import main as report
from sb3_udrl.benchmark.suite import load_suite
from sb3_udrl.benchmark.training import train

GOOD = {
    "seeds": [1],
    "environments": {"CartPole-v1": {"n_timesteps": 100, "eval_freq": 50}},
    "algorithms": {"UDRL": {"algo": "udrl"}},
}
PWNED = "__import__('pathlib').Path('pwned').touch() or dict()"


def changed(key, **changes):
    name = {"environments": "CartPole-v1", "algorithms": "UDRL"}[key]
    return merge(GOOD, {key: {name: changes}})


def of_hyperparams(**hyperparams):
    return changed("algorithms", hyperparams=hyperparams)


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (None, "is neither one of"),
        ("seeds: [1\n", "mine.yml, line 2, column 1"),
        ("- a\n- b\n", "mine.yml: must hold sections"),
        (b"\xff\xfe\x00\x01", "mine.yml: "),
        ("!!python/object/apply:os.system ['touch pwned']", "is a Python object"),
        ({"seeds": [1]}, "mine.yml: "),
        ({**GOOD, "seed": [1]}, "unknown ['seed']"),
        ({**GOOD, "seeds": []}, "at least one environment, algorithm and seed"),
        ({**GOOD, "seeds": "all"}, "seeds='all': must be list[int]"),
        ({**GOOD, "seeds": [-1]}, "no seed below 0"),
        ({**GOOD, "seeds": [True]}, "seeds=[True]"),
        ({**GOOD, "n_eval_episodes": 0}, "n_eval_episodes=0: must be at least 1"),
        ({**GOOD, "environments": ["CartPole-v1"]}, "environments=['CartPole-v1']"),
        ({**GOOD, "algorithms": None}, "algorithms=None"),
        ({**GOOD, "environments": {"CartPole-v1": None}}, "CartPole-v1: None must be a section"),
        ({**GOOD, "environments": {"Missing-v0": GOOD["environments"]["CartPole-v1"]}}, "Missing-v0: "),
        ({**GOOD, "environments": {"no_module:A-v0": GOOD["environments"]["CartPole-v1"]}}, "No module named 'no_module'"),
        (changed("environments", n_timesteps="many"), "CartPole-v1: n_timesteps='many'"),
        (changed("environments", eval_freq=0), "CartPole-v1: eval_freq=0: must be at least 1"),
        (changed("environments", n_timesteps=10.5), "CartPole-v1: n_timesteps=10.5: must be <class 'int'>"),
        (changed("environments", hyperparams=[1]), "CartPole-v1: hyperparams=[1]"),
        (changed("environments", commands={"grid": {"return": ["high"]}}), "CartPole-v1: commands="),
        (changed("algorithms", algo="udrll"), "algo='udrll' is no algorithm of the Zoo"),
        (changed("algorithms", section="missing"), "section 'missing' is not in udrl.yml"),
        (of_hyperparams(batchsize=3), "UDRL: UDRL has no hyperparameters ['batchsize']"),
        (of_hyperparams(policy_kwargs=PWNED), "would be run as code"),
        (of_hyperparams(normalize=PWNED), "would be run as code"),
    ],
)
def test_mistakes_in_suites(suite, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if suite is not None:
        content = suite if isinstance(suite, str | bytes) else yaml.safe_dump(suite)
        (tmp_path / "mine.yml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as ended:
        main(["mine.yml"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "mine.yml"], "mine.yml"),
        (["--n-jobs", "0"], "--n-jobs 0"),
        (["--seeds", "-1"], "seed"),
        (["--environments", "Acrobot-v1"], "the suite has CartPole-v1"),
        (["--published", "missing"], "is missing"),
        (["--address", "here"], "only the backends ray and dask"),
    ],
)
def test_mistakes_in_options(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(GOOD))
    with pytest.raises(SystemExit) as ended:
        main(["mine.yml", *options])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1


def test_mistakes_in_the_data_of_a_report(tmp_path, capsys):
    for content in (None, b"", b"no gzip"):
        if content is not None:
            (tmp_path / "mine.csv.gz").write_bytes(content)
            (tmp_path / "mine.yml").write_text(yaml.safe_dump(GOOD))
        with pytest.raises(SystemExit) as ended:
            report([str(tmp_path), "--output", str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and said.count("\n") == 1


@pytest.mark.parametrize("suffix", ["csv.gz", "commands.csv.gz", "runs.jsonl.gz"])
def test_a_changed_bit_in_the_data_of_a_report_is_said_in_a_line(suffix, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(GOOD))
    rows = "\n".join([",".join(COLUMNS), *(f"mine,CartPole-v1,udrl,{i},x,1,1,1,greedy,0,{i},1" for i in range(99))])
    facts = {"status": "complete", "run": "x", "algorithm": "udrl"}
    for name, text in (("csv.gz", rows), ("commands.csv.gz", rows), ("runs.jsonl.gz", json.dumps(facts) + "\n")):
        (tmp_path / f"mine.{name}").write_bytes(gzip.compress(text.encode()))
    content = bytearray((tmp_path / f"mine.{suffix}").read_bytes())
    content[10] |= 6  # a kind of block that there is not
    (tmp_path / f"mine.{suffix}").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for program in (
        lambda: report([str(tmp_path), "--output", "out"]),
        lambda: main(["mine.yml", "--output", "results", "--published", str(tmp_path)]),
    ):
        with pytest.raises(SystemExit) as ended:
            program()
        said = capsys.readouterr().err
        assert ended.value.code == 2 and f"mine.{suffix} is damaged" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "code",
    [
        "dict(net_arch=[64, 64], activation_fn=nn.ReLU, log_std_init=-2.0)",
        "dict(features_extractor_class=get_class_by_name('sb3_udrl.policies.SmallCNN'))",
        "{'norm_obs': True, 'norm_reward': False}",
        "HerReplayBuffer",
    ],
)
def test_values_are_no_code(code):
    assert is_plain(code)


@pytest.mark.parametrize(
    "code",
    [
        PWNED,
        "dict(a=open('x', 'w'))",
        "[f() for f in ()]",
        "nn.Module.__subclasses__",
        "get_class_by_name(name)",
        "os.system('x')",
        "(lambda: 1)",
        "dict(a=9**9)",
        "dict(",
        "a = 1",
        "get_class_by_name('os.system')('x')",
    ],
)
def test_calls_are_code(code):
    assert not is_plain(code)
    with pytest.raises(ValueError, match=r"UDRL: policy_kwargs=.* would be run as code"):
        check_hyperparams("UDRL", {"policy_kwargs": code}, UDRL)


def test_hyperparameters_of_the_zoo_and_of_all_base_classes_are_known():
    check_hyperparams("x", {"n_envs": 2, "frame_stack": 2, "batch_size": 1, "seed": 1, "commands": "any", "patience": 1}, UDRL)
    check_hyperparams("x", {"normalize": True, "n_steps": 3, "use_sde": True}, PPO)
    with pytest.raises(ValueError, match="PPO has no hyperparameters \\['commands'\\]"):
        check_hyperparams("x", {"commands": "any"}, PPO)


PACKAGE = """
import gymnasium as gym
import numpy as np

class Plain(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 99, (1,)), gym.spaces.Discrete(2)
    def __init__(self, pays=1.0): self.pays = pays  # takes no render_mode
    def reset(self, *, seed=None, options=None): super().reset(seed=seed); return np.zeros(1, np.float32), {}
    def step(self, action): return np.zeros(1, np.float32), self.pays, False, False, {}  # never ends

gym.register("BenchmarkPlain-v0", entry_point=Plain)
"""


def test_a_suite_names_modules_arguments_and_wrappers(tmp_path, monkeypatch):
    (tmp_path / "benchmark_package.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    name = "benchmark_package:BenchmarkPlain-v0"
    limit = [{"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 3}}]
    own = {"policy": "CommandPolicy", "policy_kwargs": {"net_arch": [8]}, "learning_starts": 40, "train_freq": 40}
    for_all = {"env_kwargs": {"pays": 5.0}, "env_wrapper": limit}
    values = {
        **GOOD,
        "n_final_episodes": 4,
        "n_eval_episodes": 2,
        "n_eval_envs": 2,
        "environments": {name: {"n_timesteps": 100, "eval_freq": 50, "hyperparams": for_all}},
        "algorithms": {"UDRL": {"algo": "udrl", "hyperparams": own}},
    }
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(values))
    try:
        run = load_suite(tmp_path / "mine.yml").run(name, "UDRL", 1)
        with pytest.warns(UserWarning, match="end above the ``Monitor``"):
            last = train(run)["evaluations"][-1]
    finally:
        gym.registry.pop("BenchmarkPlain-v0", None)
    assert last["greedy"] == last["sampled"] == {"returns": [15.0] * 4, "lengths": [3] * 4}
    assert run.run_id.startswith("benchmark_package_BenchmarkPlain_v0-udrl-1-")
    assert file_name(name) == "benchmark_package_BenchmarkPlain-v0"
