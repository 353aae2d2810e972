"""``python -m sb3_udrl.evaluation.report``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_model

from sb3_udrl import UDRLPG
from sb3_udrl.evaluation import report

pytest.importorskip("matplotlib")

PICTURES = {"command_following.png", "command_following_sampled.png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a training run leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    model = tiny_model("CartPole-v1").learn(500)
    model.set_command(20, 20)
    model.save(folder / "CartPole-v1")
    return folder


def run(folder, *arguments):
    report.main([str(folder / "CartPole-v1.zip"), "--env", "CartPole-v1", "--episodes", "2", *arguments])


def test_it_prints_returns_and_draws_command_following(folder, capsys, tmp_path):
    run(folder, "--output", str(tmp_path / "pictures"))
    printed = capsys.readouterr().out
    assert "asked for a return of 20.0 in 20 steps" in printed
    for part in ("greedy", "sampled", "asked for returns from", "rank correlation"):
        assert part in printed
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == PICTURES


def test_it_films_three_commands(folder, capsys, tmp_path):
    run(folder, "--film", "--output", str(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {*PICTURES, "three_commands.gif"}
    assert len([line for line in capsys.readouterr().out.splitlines() if line.count("+-") == 2]) == 9


def test_where_nothing_can_be_drawn_all_else_is_written(folder, capsys, tmp_path, monkeypatch):
    def without_a_screen(*args):
        raise OSError("no display")

    monkeypatch.setattr(report, "film_commands", without_a_screen)
    run(folder, "--film", "--output", str(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == PICTURES
    assert "cannot be shown on this machine: no display" in capsys.readouterr().out


def test_it_draws_the_evaluations_of_the_zoo(folder, tmp_path, capsys):
    np.savez(folder / "evaluations.npz", timesteps=np.array([10, 20]), results=np.ones((2, 3)))
    run(folder, "--returns", "10", "30", "--horizons", "10", "30", "--output", str(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {*PICTURES, "learning_curve.png"}
    assert "asked for returns from 10 to 30" in capsys.readouterr().out


def test_evaluations_that_are_cut_off_cost_the_learning_curve_alone(folder, tmp_path, capsys):
    np.savez(folder / "evaluations.npz", timesteps=np.array([10, 20]), results=np.ones((2, 3)))
    whole = (folder / "evaluations.npz").read_bytes()
    (folder / "evaluations.npz").write_bytes(whole[: len(whole) // 2])
    run(folder, "--output", str(tmp_path))
    (folder / "evaluations.npz").unlink()
    assert {file.name for file in tmp_path.iterdir()} == PICTURES
    printed = capsys.readouterr().out
    assert "no learning curve" in printed and "evaluations.npz" in printed and f"pictures are in {tmp_path}" in printed


def test_pictures_lie_beside_the_model_unless_told_otherwise(folder):
    run(folder)
    assert (folder / "command_following.png").exists()


def test_default_commands_lie_within_what_episodes_achieved(folder, capsys):
    """Also where returns are negative: a share of the own return would be out of reach."""
    model = tiny_model("CartPole-v1").learn(500)
    lengths = model.replay_buffer.lengths
    run(folder)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "greedy" in line and "asked for" in line]
    low, high = (float(word.rstrip(":")) for word in (line.split()[5], line.split()[7]))
    assert lengths.min() <= low < high <= lengths.max() + 1


def test_models_with_relative_commands(tmp_path, capsys):
    model = tiny_model("CartPole-v1", commands="relative").learn(500)
    model.set_command({"advantage": 2})
    model.save(tmp_path / "CartPole-v1")
    run(tmp_path)
    printed = capsys.readouterr().out
    assert "asked for 2.0 standard deviations above the usual" in printed
    (line,) = [line for line in printed.splitlines() if "commands from -3.0 to 3.0 deviations: mean returns" in line]
    assert len(line.split(":")[1].split(",")) == 9
    run(tmp_path, "--returns", "0", "1")
    assert "commands from 0.0 to 1.0 deviations" in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"CartPole-v1.zip", "relative_commands.png"}


@pytest.mark.parametrize(
    ("commands", "arguments", "message"),
    [
        ("any", ["--episodes", "0"], "--episodes 0: must be at least 1"),
        ("any", ["--returns", "nan", "100"], "--returns nan 100.0: must be finite"),
        ("any", ["--horizons", "1", "inf"], "--horizons 1.0 inf: must be finite"),
        ("any", ["--horizons", "0", "5"], "horizon=0.0: must be at least 1"),
        ("relative", ["--horizons", "10", "20"], "--horizons: this model, which takes advantage,"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_played(commands, arguments, message, tmp_path, capsys):
    tiny_model("CartPole-v1", commands=commands).learn(100).save(tmp_path / "CartPole-v1")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, *arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 2 and message in printed.err.splitlines()[-1] and "greedy" not in printed.out
    assert [file.name for file in tmp_path.iterdir()] == ["CartPole-v1.zip"]


def test_it_repeats(folder, capsys):
    outputs = []
    for _ in range(2):
        run(folder)
        outputs.append([line for line in capsys.readouterr().out.splitlines() if "sampled" not in line])
    assert outputs[0] == outputs[1]


def test_as_a_command(folder):
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "sb3_udrl.evaluation.report", str(folder / "CartPole-v1.zip"), "--env", "CartPole-v1"]
    done = subprocess.run([*command, "--episodes", "1"], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "greedy" in done.stdout


def test_policies_that_draw_nothing_are_looked_at_once(tmp_path, capsys):
    UDRLPG("MlpPolicy", "CartPole-v1", initial_policies=5, seed=0, device="cpu").learn(400).save(tmp_path / "CartPole-v1")
    run(tmp_path, "--algo", "udrlpg")
    assert "sampled" not in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"CartPole-v1.zip", "command_following.png"}
