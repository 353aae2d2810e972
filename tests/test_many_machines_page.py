"""The page on collectors: its code runs as printed, as the script of a user, with processes and on Ray."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guide" / "many_machines.md"


@pytest.mark.slow
def test_the_page_runs_as_printed(tmp_path):
    processes, ray = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "script.py").write_text(processes + ray + "    print(model.num_timesteps)\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    steps, episodes = map(int, first.split())
    assert steps == 10_000 and episodes > 50 and second == "5000"
