"""What a stranger types in a fresh clone: ``make train``, then ``make demo``. The third, ``make test``, runs this."""

import subprocess
import sys
from pathlib import Path

import pytest
from app_browser import a_browser, opened, serving
from playwright.sync_api import expect

ROOT = Path(__file__).parents[1]


def make(target, *variables):
    """The command, with the virtual environment of this process, since to install another takes minutes."""
    stamp = f"{sys.prefix}/.{target}"
    return ["make", target, f"VENV={sys.prefix}", "--old-file", stamp, *variables]


@pytest.mark.slow
def test_a_model_is_trained_obeys_and_is_watched(tmp_path, monkeypatch):
    subprocess.run(["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), "clone"], cwd=tmp_path, check=True)
    clone = tmp_path / "clone"
    monkeypatch.setenv("PYTHONPATH", str(clone))
    short = "TRAIN_ARGS=-n 3000 -params learning_starts:500"
    done = subprocess.run(make("train", short), cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "got, greedy" in done.stdout and "make demo MODELS=results" in done.stdout
    pictures = {path.name for path in (clone / "results" / "CartPole-v1").iterdir()}
    assert {"command_following.png", "three_commands.gif"} <= pictures

    demo = lambda port: make("demo", "MODELS=results", f"DEMO_ARGS=--no-browser --port {port}")  # noqa: E731
    with a_browser() as browser, serving(demo, tmp_path / "log", cwd=clone) as address:
        page = opened(browser, address, 1280, 900)
        expect(page.get_by_role("heading", name="CartPole-v1")).to_be_visible()
        page.get_by_role("button", name="Start", exact=True).click()
        expect(page.get_by_text("The episode has ended")).to_be_visible()
