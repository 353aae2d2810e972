"""Many seeds, one after the other: each once, failed ones again, a report for each."""

import itertools
from pathlib import Path

import pytest

from sb3_udrl.zoo import runs


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that would have run; training makes a model, but for seed 2 at first."""
    given: list[list[str]] = []

    def call(command: list[str], **kwargs: object) -> int:
        given.append(command)
        kwargs["stdout"].write("asked and achieved")  # type: ignore[attr-defined]
        if "train" not in command:
            return 0
        values = dict(itertools.pairwise(command))
        if values["--seed"] == "2" and len(given) < 5:
            return 1
        folder = Path(values["-f"]) / values["--algo"] / f"{values['--env']}_1"
        folder.mkdir(parents=True)
        (folder / f"{values['--env']}.zip").touch()
        return 0

    monkeypatch.setattr(runs.subprocess, "call", call)
    return given


def test_all_seeds_run_once_and_failed_ones_again(commands: list[list[str]], tmp_path: Path) -> None:
    arguments = ["--runs", "3", "-f", str(tmp_path), "--save-freq", "10"]
    with pytest.raises(SystemExit, match="seeds that failed: 2"):
        runs.main(arguments)
    trained = [command for command in commands if "train" in command]
    assert [command[command.index("--seed") + 1] for command in trained] == ["1", "2", "3"]
    assert all(command[-2:] == ["--save-freq", "10"] for command in trained) and len(commands) == 5
    runs.main(arguments)
    assert len(commands) == 7  # seed 2 and its report
    for seed in (1, 2, 3):
        folder = tmp_path / "udrl" / "CartPole-v1" / f"seed_{seed}"
        assert (folder / "score_card.txt").read_text() == "asked and achieved"
    runs.main(arguments)
    assert len(commands) == 7


def test_the_report_trusts_what_its_training_imported(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(command: list[str], **kwargs: object) -> int:
        if "train" in command:
            beside = Path(command[command.index("-f") + 1]) / "udrl" / "CartPole-v1_1" / "CartPole-v1"
            beside.mkdir(parents=True)
            beside.with_suffix(".zip").touch()
            (beside / "config.yml").write_text("env_wrapper: [gymnasium.wrappers.FlattenObservation, mine.Wrapper]")
            (beside / "args.yml").write_text("env: CartPole-v1\ngym_packages: [other]")
        commands.append(command)
        return 0

    monkeypatch.setattr(runs.subprocess, "call", call)
    runs.main(["--runs", "1", "-f", str(tmp_path), "--gym-packages", "other"])
    assert commands[1][-3:] == ["--trust", "other", "mine.Wrapper"]


def test_algorithms_without_commands_get_no_report(commands: list[list[str]], tmp_path: Path) -> None:
    runs.main(["--runs", "1", "--algo", "ppo", "-f", str(tmp_path)])
    assert len(commands) == 1
    assert "takes no commands" in (tmp_path / "ppo" / "CartPole-v1" / "seed_1" / "score_card.txt").read_text()


def test_at_least_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runs.main(["--runs", "0", "-f", str(tmp_path)])
    assert "--runs 0" in capsys.readouterr().err
