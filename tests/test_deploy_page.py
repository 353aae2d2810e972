"""The page on deploying: its code runs as printed, and the exported agent does what it is asked."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "deploy.md"


@pytest.mark.slow
def test_the_page_runs_as_printed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), page)
    printed = capsys.readouterr().out
    assert abs(int(re.search(r"asked for 50 steps, got (\d+)", printed)[1]) - 50) < 25
    assert "'rule': 'less one'" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"agent.onnx", "agent.pt"}
