"""Training that is killed loses nothing, in a short run of the script that anyone runs; and the script finds what is wrong."""

import json
import os
import random
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import make_vec, tiny_model
from probe_envs import TwoArms

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are not installed

from benchmarks.kills import checkpoints, children, results, saves  # noqa: E402


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_there_twice():
    command = [sys.executable, "-m", "benchmarks.kills", "--saves", "10", "--checkpoints", "5", "--benchmarks", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in done.stdout.splitlines()[2:]]
    assert [(int(row[0]), int(row[-1])) for row in rows] == [(10, 0), (5, 0), (2, 0)]
    assert all(int(row[2]) > 0 for row in rows), "nothing was read"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_children_are_killed_and_those_that_fail_are_noticed(capfd):
    def forever(report):
        number = 0
        while True:
            report(number)
            number += 1

    reported, killed = children.run_child(lambda report: forever(lambda number: number < 100 and report(number)), 0.2)
    assert killed and reported == list(range(100))
    assert children.run_child(lambda report: report(7), None) == ([7], False)
    with pytest.raises(RuntimeError, match="ended with status 1"):
        children.run_child(lambda report: report(1 // 0), 0)
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.fixture
def saved(tmp_path):
    """A model and its folder, with files of number 3."""
    model = saves.numbered_model()
    saves.advance(model, 3)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    return model, tmp_path


def faults_of_saves(folder, reported):
    return list(saves.faults_of_saves(folder, reported, saves.numbered_model()))


def test_complete_saves_have_no_faults(saved):
    model, folder = saved
    assert faults_of_saves(folder, 3) == faults_of_saves(folder, 2) == []
    saves.advance(model, 4)
    model.save(folder / "model")  # killed before the buffer
    assert faults_of_saves(folder, 3) == []


def test_saves_that_are_lost_are_found(saved):
    _, folder = saved
    (fault,) = faults_of_saves(folder, 4)
    assert fault == "after number 4: there are model 3 and buffer 3"
    (folder / "buffer.pkl").unlink()
    assert "No such file" in faults_of_saves(folder, 3)[0]


@pytest.mark.parametrize("name", ["model.zip", "buffer.pkl"])
def test_saves_that_are_cut_off_are_found(saved, name):
    _, folder = saved
    (folder / name).write_bytes((folder / name).read_bytes()[:-50])
    assert "that UDRL can load" in faults_of_saves(folder, 3)[0]


def test_saves_that_mix_two_numbers_are_found(saved):
    model, folder = saved
    model.num_timesteps = 4  # the weights and the buffer are those of 3
    model.save(folder / "model")
    assert "says 4, its weights say [3.0]" in faults_of_saves(folder, 3)[0]
    model.num_timesteps = 3
    model.save(folder / "model")
    model.replay_buffer.add(saves.numbered_episode(5))
    model.save_replay_buffer(folder / "buffer")
    assert "episode 4 is another one" in faults_of_saves(folder, 3)[0]


def whole_episodes(process, n_episodes, first=0):
    steps = [(episode, step) for episode in range(first, first + n_episodes) for step in range(checkpoints.LENGTH)]
    return np.array([(process, *each) for each in steps], np.float32)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([(1, 2), (2, 3)], None),
        ([(1, 2)], None),
        ([(1, 1), (2, 3)], "the file before"),
        ([(1, 2), (2, 2), (2, 2)], "missing, or there twice"),
        ([(1, 2), (2, 1, 1)], "missing, or there twice"),
        ([(1, 2), (2, 1), (2, 1, 2)], "missing, or there twice"),
        ([(1, 2), (3, 1), (2, 1)], "missing, or there twice"),
    ],
)
def test_episodes_that_are_missing_or_there_twice_are_found(parts, fault):
    faults = list(
        checkpoints.faults_of_observations(np.concatenate([whole_episodes(*part) for part in parts]), whole_episodes(1, 2))
    )
    assert faults == [] if fault is None else fault in faults[0]


def test_episodes_that_are_half_done_are_found():
    before = whole_episodes(1, 2)
    assert "not whole" in next(checkpoints.faults_of_observations(np.delete(whole_episodes(1, 3), 25, axis=0), before))


def test_checkpoints_that_are_alone_or_left_over_are_found(tmp_path):
    model = tiny_model(make_vec(TwoArms))

    def faults():
        return list(checkpoints.faults_of_checkpoints(tmp_path, 1, 0, np.zeros((0, 3)), saves.numbered_model()))

    for steps in (45, 90):
        model.num_timesteps = steps
        model.save(tmp_path / f"rl_model_{steps}_steps")
    assert faults() == ["process 1: alone are [45, 90]"]
    (tmp_path / "rl_model_45_steps.zip").rename(tmp_path / "rl_model_100_steps.zip")
    assert "rl_model_100_steps.zip has 45 steps" in faults()
    reader = saves.numbered_model()
    reader.save_replay_buffer(tmp_path / "rl_model_replay_buffer_90_steps.pkl")
    (tmp_path / "rl_model_90_steps.zip.0123.partial").touch()
    (tmp_path / "rl_model_135_steps.zip.0123.partial").touch()
    found = faults()
    assert "rl_model_90_steps.zip.0123.partial is there after the next save" in found
    assert not any("135" in fault for fault in found)
    assert "rl_model_replay_buffer_90_steps.pkl: 0 episodes in 90 steps" in found


def test_runs_that_are_run_again_or_differ_are_found(tmp_path):
    record = {"status": "complete", "evaluations": [{"step": 3, "wall_seconds": 1, "greedy": {"returns": [1]}}]}
    for folder in ("ours", "theirs"):
        (tmp_path / folder / "runs").mkdir(parents=True)
        (tmp_path / folder / "runs" / "a.json").write_text(json.dumps(record))
    ours, path = tmp_path / "ours", tmp_path / "ours" / "runs" / "a.json"
    before = {"a.json": path.read_bytes()}

    def faults():
        return list(results.faults_of_runs(ours, tmp_path / "theirs", before))

    assert faults() == []
    path.write_text(json.dumps(record).replace('"wall_seconds": 1', '"wall_seconds": 2'))
    assert faults() == ["a.json is lost, or was run again"]
    path.write_text(json.dumps(record).replace("[1]", "[2]"))
    assert re.search("other results", faults()[1])
    path.write_text(json.dumps(record)[:-5])
    assert re.search("JSONDecodeError", faults()[1])
    path.unlink()
    (ours / "tiny.csv.gz").write_bytes(b"\x1f\x8b")
    assert [fault.partition(":")[0] for fault in faults()] == ["a.json is lost, or was run again", "tiny.csv.gz"]


def test_an_outcome_is_a_row_of_a_table():
    assert children.Outcome("saving", 3, 2, 6, ["lost"]).row() == "| saving | 3 | 2 | 6 | 1 |"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_writer_that_is_not_careful_is_found(tmp_path, monkeypatch):
    """Without complete files, kills leave broken ones."""

    @contextmanager
    def written_in_place(path, suffix=""):
        yield Path(path).with_suffix(suffix)

    monkeypatch.setattr("sb3_udrl.common.saved_algorithm.written_at_once", written_in_place)
    assert saves.kill_saves(5, random.Random(0), tmp_path).faults
