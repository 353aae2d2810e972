"""
Run all micro-benchmarks and print the ratios that are meant to hold.

``python -m benchmarks [--output FILE] [PYTEST_ARGUMENT ...]``. Processor time is measured, not wall time, and both sides of
a ratio in the same run, so that a machine that does other things as well spoils little. The file can be compared with that
of another revision by ``pytest-benchmark compare``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Mark(NamedTuple):
    """
    A ratio of two figures of one run.

    :param what: in words
    :param ratio: the ratio
    :param bound: what it is held against, if anything
    :param at_least: whether the bound is a lower one
    """

    what: str
    ratio: float
    bound: float | None = None
    at_least: bool = False

    def row(self) -> str:
        """As a row of a Markdown table."""
        row = f"| {self.what} | {self.ratio:.2f} |"
        if self.bound is None:
            return f"{row} | |"
        met = self.ratio >= self.bound if self.at_least else self.ratio <= self.bound
        return f"{row} {'at least' if self.at_least else 'at most'} {self.bound} | {'yes' if met else 'no'} |"


def marks(results: dict[str, Any]) -> list[Mark]:
    """
    The ratios of a run.

    :param results: what pytest-benchmark wrote, read from its file
    """
    runs = {run["name"]: run for run in results["benchmarks"]}

    def time(name: str) -> float:
        return float(runs[name]["stats"]["median"])

    def info(name: str, key: str) -> float:
        return float(runs[name]["extra_info"][key])

    found = []
    for name, n_timesteps, bound in (("cartpole", 30_000, 0.4), ("cartpole", 3_000, None), ("lunarlander", 10_000, None)):
        test = f"test_collecting[{name}-{n_timesteps}]"
        what = (
            f"collecting / random actions, {name}, episodes of {info(test, 'mean_episode_length'):.0f} steps: steps per second"
        )
        found.append(Mark(what, time(f"test_random_actions[{name}]") / time(test), bound, at_least=True))
    for n in (256, 512):
        found.append(
            Mark(f"gradient step / bare, batches of {n}", time(f"test_fit[{n}]") / time(f"test_bare_steps[{n}]"), 1.3)
        )
    for sampling in ("transitions", "return"):
        for n, batches in ((1, "a batch"), (64, "64 batches at once")):
            many, few = (time(f"test_sampling[{n_stored}-{n}-{sampling}]") for n_stored in (10_000_000, 10_000))
            bound = 2 if n == 1 and sampling == "transitions" else None
            found.append(Mark(f"sampling {batches} by {sampling}, from 10,000,000 / 10,000 transitions", many / few, bound))
    found.append(Mark("memory of a transition / raw", info("test_memory", "bytes") / info("test_memory", "raw_bytes"), 1.2))
    ours, theirs = (info(f"test_import[{module}]", "cpu_seconds") for module in ("sb3_udrl.udrl", "stable_baselines3"))
    return [*found, Mark("from sb3_udrl import UDRL / import stable_baselines3", ours / theirs, 1.1)]


def main() -> None:
    """Run pytest on this folder, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the micro-benchmarks, print the ratios.")
    parser.add_argument("--output", type=Path, help="keep the measured figures in this file")
    args, pytest_arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        output = args.output or Path(folder) / "benchmarks.json"
        code = pytest.main([str(Path(__file__).parent), f"--benchmark-json={output}", *pytest_arguments])
        if code != pytest.ExitCode.OK:
            sys.exit(int(code))
        results = json.loads(output.read_text())
    print("\n| | ratio | mark | met |\n|---|---|---|---|")
    print(*(mark.row() for mark in marks(results)), sep="\n")


if __name__ == "__main__":
    main()
