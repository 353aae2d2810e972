"""The micro-benchmarks still run, and their table says what was measured. No time is asserted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are not installed

from benchmarks import device  # noqa: E402
from benchmarks.__main__ import Mark, marks  # noqa: E402


@pytest.mark.slow
def test_every_benchmark_runs():
    command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "--benchmark-disable", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_marks_are_ratios_of_one_run():
    figures = {
        **{"random_actions[cartpole]": 2, "random_actions[lunarlander]": 6},
        **{"collecting[cartpole-30000]": 4, "collecting[cartpole-3000]": 8, "collecting[lunarlander-10000]": 8},
        **{"bare_steps[256]": 2, "bare_steps[512]": 4, "fit[256]": 3, "fit[512]": 5},
        **{f"sampling[10000-{n}-{sampling}]": 1 for n in (1, 64) for sampling in ("transitions", "return")},
        **{f"sampling[10000000-{n}-{sampling}]": n for n in (1, 64) for sampling in ("transitions", "return")},
        **{"memory": 1, "import[sb3_udrl.udrl]": 1, "import[stable_baselines3]": 1},
    }
    extra_info = {
        **{f"collecting[{which}]": {"mean_episode_length": 99.7} for which in ("cartpole-30000", "cartpole-3000")},
        "collecting[lunarlander-10000]": {"mean_episode_length": 1},
        "memory": {"bytes": 33, "raw_bytes": 30},
        "import[sb3_udrl.udrl]": {"cpu_seconds": 1.5},
        "import[stable_baselines3]": {"cpu_seconds": 1.2},
    }
    runs = [
        {"name": f"test_{name}", "stats": {"median": median}, "extra_info": extra_info.get(name, {})}
        for name, median in figures.items()
    ]
    found = marks({"benchmarks": runs})
    assert [mark.ratio for mark in found] == pytest.approx([0.5, 0.25, 0.75, 1.5, 1.25, 1, 64, 1, 64, 1.1, 1.25])
    assert "cartpole, episodes of 100 steps" in found[0].what


@pytest.mark.parametrize(
    ("mark", "row"),
    [
        (Mark("a", 0.456), "| a | 0.46 | | |"),
        (Mark("a", 1.2, 1.2), "| a | 1.20 | at most 1.2 | yes |"),
        (Mark("a", 1.3, 1.2), "| a | 1.30 | at most 1.2 | no |"),
        (Mark("a", 0.5, 0.4, at_least=True), "| a | 0.50 | at least 0.4 | yes |"),
        (Mark("a", 0.3, 0.4, at_least=True), "| a | 0.30 | at least 0.4 | no |"),
    ],
)
def test_a_row_says_whether_the_mark_is_met(mark, row):
    assert mark.row() == row


def test_devices_are_compared_row_by_row(monkeypatch, capsys):
    monkeypatch.setattr(device, "NETWORKS", [("small", device.CARTPOLE, [4], 8)])
    monkeypatch.setattr(device, "N_STORED", 100)
    monkeypatch.setattr(device, "N_LEARNED", 500)  # nothing is learned before step 1,000
    monkeypatch.setattr(sys, "argv", ["device", "--device", "cpu"])
    device.main()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines() if "|" in row]
    assert [len(row) for row in rows] == [4] * 6
    assert [row[0].split(":")[0] for row in rows[2:4]] == ["gradient step", "actions of 8 environments"]
    assert all(float(cell.split()[0]) > 0 for cell in rows[2][1:])
