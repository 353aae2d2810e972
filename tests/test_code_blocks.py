"""The code in README and documentation runs as printed, page by page, and commands have the options that it names."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pages import ROOT, Page, all_pages
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL
from sb3_udrl.benchmark.suite import load_suite

PAGES = {page.name: page for page in all_pages()}
WITH_PYTHON = [page for page in PAGES.values() if page.blocks("python")]
FAST = {"docs/modules/commands.md", "docs/modules/buffers.md", "docs/modules/labels.md", "docs/modules/obedience.md"}
Names = dict[str, Any]


def a_trained_model() -> None:
    """What the Zoo's training left before."""
    env = make_vec_env("CartPole-v1", n_envs=2)
    UDRL("CommandPolicy", env, commands="relative", seed=1).learn(500).save("logs/udrl/CartPole-v1_1/CartPole-v1.zip")


def results_of_a_benchmark() -> None:
    """What a benchmark wrote before."""
    Path("results").mkdir()
    shutil.copy(ROOT / "docs" / "results" / "data" / "classic.csv.gz", "results/smoke.csv.gz")


def energy_is_obeyed(names: Names, printed: str) -> None:
    asked, spent = np.array(re.findall(r"asked for an energy of (\d+), spent ([\d.]+)", printed), dtype=float).T
    np.testing.assert_array_equal(asked, [4, 12, 20, 28, 36])
    assert np.abs(spent - asked).mean() < 4
    assert (np.diff(spent) > 0).all()
    assert (names["state"][0][:, 1] < 12).all()  # of the energy, before the last step


def what_is_given_again_is_taken(names: Names, printed: str) -> None:
    assert "the file names __main__.<lambda> (learning_rate)" in printed
    assert names["model"].lr_schedule(0.5) == 5e-4


def recordings_are_obeyed(names: Names, printed: str) -> None:
    got = [float(number) for number in re.findall(r"asked for \d+, got (\d+)", printed)]
    assert len(got) == 3 and got == sorted(got)
    assert abs(got[0] - 30) < 15 and got[2] > 60
    assert names["model"].num_timesteps == 2_000


def the_notebook_obeys(names: Names, printed: str) -> None:
    got = [float(number) for number in re.findall(r"asked for \d+, got (\d+)", printed)]
    assert len(got) == 6 and names["following"].rank_correlation > 0.9
    assert Path("asked_and_got.png").stat().st_size > 10_000
    assert names["model"].num_timesteps == 2_000


def apples_are_picked(names: Names, printed: str) -> None:
    picked = dict(re.findall(r"asked for (\S+), picked ([\d.]+)", printed))
    assert abs(float(picked["5"]) - 5) < 1 and abs(float(picked["12"]) - 12) < 3 and float(picked["None"]) > 18


def the_exported_agent_obeys(names: Names, printed: str) -> None:
    assert abs(int(re.search(r"asked for 50 steps, got (\d+)", printed)[1]) - 50) < 25
    assert "'rule': 'less one'" in printed
    assert {path.name for path in Path.cwd().iterdir()} == {"agent.onnx", "agent.pt"}


def collectors_play(names: Names, printed: str) -> None:
    steps, episodes = map(int, printed.split())
    assert steps == 4_000 and episodes > 50


BEFORE: dict[str, Callable[[], None]] = {
    "docs/guide/zoo.md": a_trained_model,
    "docs/guide/benchmark.md": results_of_a_benchmark,
}
AFTERWARDS: dict[str, Callable[[Names, str], None]] = {
    "docs/guide/own_part.md": energy_is_obeyed,
    "docs/guide/files.md": what_is_given_again_is_taken,
    "docs/guide/recordings.md": recordings_are_obeyed,
    "docs/notebooks/recordings.ipynb": the_notebook_obeys,
    "docs/guide/tutorial.md": apples_are_picked,
    "docs/guide/many_machines.md": collectors_play,
    "docs/guide/deploy.md": the_exported_agent_obeys,
}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=() if page.name in FAST else pytest.mark.slow) for page in WITH_PYTHON],
)
def test_python_runs_as_printed(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    BEFORE.get(page.name, lambda: None)()
    if any('if __name__ == "__main__":' in block.content for block in page.blocks("python")):
        names, printed = run_as_script(page)
    else:
        names = run_here(page)
        printed = capsys.readouterr().out
    AFTERWARDS.get(page.name, lambda names, printed: None)(names, printed)


def run_here(page: Page) -> Names:
    """Run the blocks of a page one after another; return what they define."""
    names: Names = {"__name__": "__main__"}
    for block in page.blocks("python"):
        lines_above = "\n" * block.line  # so that a traceback names the line of the page
        exec(compile(lines_above + block.content, page.path, "exec"), names)
    return names


def run_as_script(page: Page) -> tuple[Names, str]:
    """Run the blocks of a page as one script, as processes of its own need it; return what it prints."""
    Path("script.py").write_text("\n".join(block.content for block in page.blocks("python")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([sys.executable, "script.py"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {}, done.stdout


def commands_of(page: Page) -> list[list[str]]:
    """The words of every ``python -m MODULE ...`` on a page."""
    text = "\n".join(block.content for block in page.blocks("bash")).replace("\\\n", " ")
    lines = [line.split("  #")[0] for line in text.splitlines()]
    return [found.group(1).split() for line in lines if (found := re.search(r"python -m (.*?)&?$", line))]


@pytest.mark.parametrize("page", [page for page in PAGES.values() if commands_of(page)], ids=lambda page: page.name)
def test_commands_exist_and_have_these_options(
    page: Page, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, *words in commands_of(page):
        assert importlib.util.find_spec(module), f"{page.name}: no module {module}"
        options = {word.split("=")[0] for word in words if re.match("--?[a-z]", word)}
        if not module.startswith("sb3_udrl") or module == "sb3_udrl.zoo" or not options:
            continue
        first = [word for word in words[:1] if not word.startswith("-")]  # it may be a command of its own
        monkeypatch.setattr(sys, "argv", [module, *first, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", capsys.readouterr().out))
        assert options <= known, f"{page.name}: {module} has no {', '.join(sorted(options - known))}"


@pytest.mark.parametrize("page", [page for page in PAGES.values() if page.blocks("yaml")], ids=lambda page: page.name)
def test_yaml_is_yaml_and_suites_are_suites(page: Page, tmp_path: Path) -> None:
    for block in page.blocks("yaml"):
        content = yaml.safe_load(block.content)
        if "description" in content:
            path = tmp_path / "suite.yml"
            path.write_text(block.content)
            assert load_suite(str(path)).algorithms


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_blocks_say_their_language(page: Page) -> None:
    known = {"python", "bash", "yaml", "text", "bibtex"}  # what runs, or is looked at here, and what is only to be read
    unknown = {block.language for block in page.blocks() if block.language not in known and not block.language.startswith("{")}
    assert not unknown, f"{page.name}: unknown languages of blocks: {sorted(unknown)}"
