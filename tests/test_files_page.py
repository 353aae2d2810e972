"""The page on files: its code runs as printed, and its limits are those of the package."""

import re
from pathlib import Path

from sb3_udrl.saving import archive, limits

PAGE = (Path(__file__).parents[1] / "docs" / "guide" / "files.md").read_text()


def test_the_page_runs_as_printed_and_what_is_given_again_is_taken(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    page = {"__name__": "page"}
    exec(compile(example, "files.md", "exec"), page)
    assert "the file names page.<lambda> (learning_rate)" in capsys.readouterr().out
    assert page["model"].lr_schedule(0.5) == 5e-4


def test_the_limits_are_those_of_the_page():
    assert f"more than {archive._MAX_RATIO} times its size" in PAGE
    assert f"more than {limits.MAX_UNITS:,} units and `n_envs` above {limits.MAX_ENVS:,}" in PAGE
