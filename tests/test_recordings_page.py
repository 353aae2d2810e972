"""The page on recordings: its code runs as printed, and what it trains obeys."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "recordings.md"


def test_the_page_runs_as_printed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    page = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), page)
    got = [float(number) for number in re.findall(r"asked for \d+, got (\d+)", capsys.readouterr().out)]
    assert len(got) == 3 and got == sorted(got)
    assert abs(got[0] - 30) < 15 and got[2] > 60
    assert page["model"].num_timesteps == 5_000
