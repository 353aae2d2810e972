"""Offline suites: recordings are made by commands, and learned from by ours and by another program."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from sb3_udrl.benchmark.__main__ import main
from sb3_udrl.benchmark.data import read_data
from sb3_udrl.benchmark.execution import execute
from sb3_udrl.benchmark.offline import recording as recordings
from sb3_udrl.benchmark.offline.recording import FOLDER, Recording, commands_of, facts_of, make_recordings
from sb3_udrl.benchmark.offline.training import PYTHON
from sb3_udrl.benchmark.report import main as report
from sb3_udrl.benchmark.report import recordings_table
from sb3_udrl.benchmark.suite import load_suite
from sb3_udrl.recordings.command_line import main as record

RECORDING = {"env_id": "CartPole-v1", "kind": "mixed", "algo": "dqn", "n_timesteps": 1000, "n_steps": 60, "seed": 5}
SUITE = {
    "seeds": [1],
    "n_final_episodes": 2,
    "n_eval_envs": 2,
    "n_command_episodes": 2,
    "environments": {
        "CartPole-v1 mixed": {
            "n_timesteps": 10,
            "eval_freq": 10,
            "recording": RECORDING,
            "commands": {"return": {"return": [20, 50]}},
        }
    },
    "algorithms": {
        "UDRL": {"algo": "udrl", "hyperparams": {"policy_kwargs": {"net_arch": [8]}}},
        "best": {"algo": "udrl", "hyperparams": {"policy_kwargs": {"net_arch": [8]}}, "learn_from": {"best": 0.5}},
        "DT": {"algo": "d3rlpy.DecisionTransformer", "hyperparams": {"batch_size": 3}},
    },
}
# Stands for the Python of an environment with d3rlpy
PROGRAM = """#!{python}
import json, sys
task = json.load(open(sys.argv[2]))
episodes = dict(returns=[float(task["n_steps"])], lengths=[task["hyperparams"]["batch_size"]])
assert open(task["data"], "rb").read(2) == b"PK" and task["env_id"] == "CartPole-v1" and task["seed"] == 1
result = dict(cpu_seconds=7.0, wall_seconds=8.0, greedy=episodes, sampled=episodes, versions=dict(d3rlpy="0"))
json.dump(result, open(sys.argv[3], "w"))
"""


@pytest.fixture
def suite_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER, str(tmp_path / "recordings"))
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
    return tmp_path / "mine.yml"


@pytest.fixture
def made(suite_path):
    """A recording that is there."""
    recording = Recording(**RECORDING)
    record(f"record --env CartPole-v1 --steps 60 --output {recording.path}".split())
    (recording.path.parent / "commands.json").write_text('["python -m something"]')
    return recording


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "python"
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    return path


def test_ours_learn_from_recordings(made, suite_path):
    runs = {name: load_suite(suite_path).run("CartPole-v1 mixed", name, 1) for name in ("UDRL", "best")}
    assert len({run.run_id for run in runs.values()}) == 2
    record = execute(runs["best"])
    assert record["error"] is None
    (evaluation,) = record["evaluations"]
    assert evaluation["step"] == 10 and len(evaluation["greedy"]["returns"]) == len(evaluation["sampled"]["lengths"]) == 2
    assert [entry["mode"] for entry in record["commands"]] == ["greedy", "sampled"]
    assert record["recording_facts"]["commands"] == ["python -m something"]
    assert len(record["recording_facts"]["sha256"]) == 64


def test_another_program_is_called_and_its_file_is_read(made, suite_path, program, monkeypatch):
    run = load_suite(suite_path).run("CartPole-v1 mixed", "DT", 1)
    monkeypatch.delenv(PYTHON, raising=False)
    assert "--d3rlpy PYTHON is missing" in execute(run)["error"]
    monkeypatch.setenv(PYTHON, str(program))
    record = execute(run)
    assert record["error"] is None and record["versions"] == {"d3rlpy": "0"}
    (evaluation,) = record["evaluations"]
    assert evaluation["greedy"] == {"returns": [10.0], "lengths": [3]} and evaluation["cpu_seconds"] == 7
    program.write_text(f"#!{sys.executable}\nraise SystemExit('no such algorithm')")
    assert "no such algorithm" in execute(run)["error"]


@pytest.mark.slow
def test_a_suite_from_its_recordings_to_its_data(made, suite_path, program):
    main([str(suite_path), "--output", "out", "--recordings", "recordings", "--n-jobs", "1", "--d3rlpy", str(program)])
    _, episodes, runs = read_data("out", "mine")
    assert set(episodes["algorithm"]) == {"UDRL", "best", "DT"} and set(runs["status"]) == {"complete"}
    table = recordings_table(runs)
    assert table[1][0] == "CartPole-v1 mixed" and table[1][2] == "`python -m something`"
    report(["out", "--output", "report"])
    page = (suite_path.parent / "report" / "mine.md").read_text()
    assert "Learning curves" not in page and "(mine/CartPole-v1_mixed-return.png)" in page
    assert (suite_path.parent / "report" / "mine" / "CartPole-v1_mixed-return.png").is_file()


def test_d3rlpy_must_be_named(suite_path, capsys):
    with pytest.raises(SystemExit):
        main([str(suite_path), "--output", "out"])
    assert "--d3rlpy PYTHON is missing" in capsys.readouterr().err


def test_without_recordings_the_report_has_no_table_of_them():
    assert recordings_table(pd.DataFrame({"environment": ["x"]})) == []


def test_the_commands(suite_path):
    kinds = [Recording(**{**RECORDING, "kind": kind}) for kind in ("replay", "medium", "mixed")]
    training, medium, random, expert = (" ".join(command) for command in commands_of(kinds, "F"))
    assert training.startswith("-m sb3_udrl.zoo train --algo dqn --env CartPole-v1 -n 1000 --seed 5 -f F/logs")
    assert "--save-freq 500" in training and "'path': 'F/replay-60.npz'" in training
    assert "F/logs/dqn/CartPole-v1_1/HALF --algo dqn --steps 60 --output F/medium-60.npz" in medium
    assert random.endswith("--steps 30 --output F/mixed-60.npz") and "--algo" not in random
    assert expert.endswith("CartPole-v1_1/CartPole-v1.zip --algo dqn --steps 30 --output F/mixed-60.npz --append")


def test_what_is_made_is_taken_over_when_it_is_complete(suite_path, monkeypatch, capsys):
    """In place of the commands, a program that writes what they would."""
    recording = Recording(**{**RECORDING, "kind": "replay"})

    def commands(each, folder):
        save = f"import numpy as np; np.savez('{folder}/{recording.path.name}', rewards=np.arange(3))"
        return [["-c", save], ["-c", "raise SystemExit(fails)".replace("fails", str(fails))]]

    monkeypatch.setattr(recordings, "commands_of", commands)
    fails = 1
    with pytest.raises(recordings.subprocess.CalledProcessError):
        make_recordings([recording])
    assert not recording.path.exists()
    fails = 0
    make_recordings([recording, recording])
    assert np.load(recording.path)["rewards"].tolist() == [0, 1, 2]
    assert len(json.loads((recording.path.parent / "commands.json").read_text())) == 2
    facts, before = facts_of(recording), recording.path.stat().st_mtime_ns
    make_recordings([recording])
    assert recording.path.stat().st_mtime_ns == before
    np.savez(recording.path, rewards=np.arange(4))
    assert facts_of(recording)["sha256"] != facts["sha256"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "good"}, "kind='good': choose one of replay, medium, mixed"),
        ({"nothing": 1}, "nothing"),
        ({"seed": None}, "seed"),
    ],
)
def test_recordings_that_are_wrong_are_named(suite_path, change, message):
    values = {name: value for name, value in {**RECORDING, **change}.items() if value is not None}
    wrong = {**SUITE, "environments": {"mine": {"n_timesteps": 1, "eval_freq": 1, "recording": values}}}
    suite_path.write_text(yaml.safe_dump(wrong))
    with pytest.raises(ValueError, match=f"mine: recording=.*{message}"):
        load_suite(suite_path)


def test_algorithms_of_others_do_not_learn_from_recordings(suite_path):
    suite_path.write_text(yaml.safe_dump({**SUITE, "algorithms": {"UDRL": {"algo": "ppo"}}}))
    with pytest.raises(ValueError, match=r"UDRL: algo='ppo': on recordings, choose one of udrl or d3rlpy\.NAME"):
        load_suite(suite_path).run("CartPole-v1 mixed", "UDRL", 1)


def test_two_commands_that_make_the_same_recording_both_succeed(suite_path, monkeypatch):
    """While one is at it, the other one starts and ends."""
    recording = Recording(**{**RECORDING, "kind": "replay"})
    called = []

    def commands(each, folder):
        called.append(folder)
        if len(called) == 1:
            make_recordings(each)
        save = f"import numpy as np; np.savez('{folder}/{recording.path.name}', rewards=np.arange(3))"
        return [["-c", save]]

    monkeypatch.setattr(recordings, "commands_of", commands)
    make_recordings([recording])
    assert len(set(called)) == 2
    assert np.load(recording.path)["rewards"].tolist() == [0, 1, 2]
    assert not list(recording.path.parent.parent.glob("*.partial"))
