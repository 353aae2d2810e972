"""The page on command parts of one's own: its code runs as printed, and the new part is obeyed."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "own_part.md"


def test_the_page_runs_as_printed_and_energy_is_obeyed(capsys):
    example, loop = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(example.splitlines()) < 40
    page = {"__name__": "page"}
    exec(compile(example, PAGE.name, "exec"), page)
    printed = capsys.readouterr().out
    pairs = re.findall(r"asked for an energy of (\d+), spent ([\d.]+)", printed)
    asked, spent = np.array(pairs, dtype=float).T
    np.testing.assert_array_equal(asked, [4, 12, 20, 28, 36])
    assert np.abs(spent - asked).mean() < 4
    assert (np.diff(spent) > 0).all()

    exec(compile(loop, PAGE.name, "exec"), page)
    left = page["state"][0][:, 1]  # of the energy, before the last step
    assert (left < 12).all()
