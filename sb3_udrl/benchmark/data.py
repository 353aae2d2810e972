"""
What a benchmark leaves behind.

``runs/RUN.json`` is written at once when a run has ended. From these, three files per suite are made, which are all that
the report needs: ``SUITE.csv.gz`` with one row per evaluated episode, ``SUITE.runs.jsonl.gz`` with one line per run, and
the suite itself, ``SUITE.yml``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sb3_udrl.benchmark.suite import Run, Suite, load_suite
from sb3_udrl.benchmark.training import MODES
from sb3_udrl.common.files import written_at_once

Key = tuple[str, str, int]  # environment, name of algorithm, seed

COLUMNS = [
    "suite",
    "environment",
    "algorithm",
    "seed",
    "run",
    "step",
    "cpu_seconds",
    "wall_seconds",
    "mode",
    "episode",
    "return",
    "length",
]


class ResultFolder:
    """
    A folder of results.

    :param path: the folder; it may hold several suites, which share the runs that they have in common
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self, run: Run) -> dict[str, Any] | None:
        """
        :param run: the run
        :return: its record, None if it has not ended yet
        """
        path = self.path / "runs" / f"{run.run_id}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, record: Mapping[str, Any]) -> None:
        """
        :param record: what :func:`~sb3_udrl.benchmark.training.execute` returned
        """
        _write(self.path / "runs" / f"{record['run']}.json", json.dumps(record).encode())

    def collect(self, suite: Suite, runs: Mapping[Key, Run]) -> None:
        """
        Write the three files of a suite.

        :param suite: the suite
        :param runs: its runs; those that have not ended yet are left out
        """
        records = {key: self.read(run) for key, run in runs.items()}
        ended = {key: record for key, record in records.items() if record is not None}
        rows = (row for key, record in ended.items() for row in episode_rows(suite.name, key, record))
        episodes = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.7g")
        facts = (run_facts(suite.name, key, runs[key], record) for key, record in ended.items())
        lines = (json.dumps(fact) + "\n" for fact in facts)
        # No time stamps in the archives: the same results are the same bytes
        _write(self.path / f"{suite.name}.csv.gz", gzip.compress(episodes.encode(), mtime=0))
        _write(self.path / f"{suite.name}.runs.jsonl.gz", gzip.compress("".join(lines).encode(), mtime=0))
        _write(self.path / f"{suite.name}.yml", yaml.safe_dump(asdict(suite), sort_keys=False).encode())


def _write(path: Path, content: bytes) -> None:
    with written_at_once(path) as partial:
        partial.write_bytes(content)


def run_facts(suite: str, key: Key, run: Run, record: Mapping[str, Any]) -> dict[str, Any]:
    """
    :param suite: name of the suite
    :param key: environment, name of algorithm and seed
    :param run: the run as the suite defines it; that of the record may have found the same settings elsewhere
    :param record: record of the run
    :return: all but its evaluations
    """
    facts = {name: value for name, value in record.items() if name != "evaluations"}
    return {"suite": suite, "algorithm": key[1], **facts, **asdict(run)}


def episode_rows(suite: str, key: Key, record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """
    :param suite: name of the suite
    :param key: environment, name of algorithm and seed
    :param record: record of the run
    :return: a row per episode, in the order of ``COLUMNS``
    """
    for evaluation in record["evaluations"]:
        times = (evaluation["step"], evaluation["cpu_seconds"], evaluation["wall_seconds"])
        for mode in MODES:
            episodes = zip(evaluation[mode]["returns"], evaluation[mode]["lengths"], strict=True)
            for episode, (value, length) in enumerate(episodes):
                yield (suite, *key, record["run"], *times, mode, episode, value, length)


def read_data(path: str | Path, suite: str) -> tuple[Suite, pd.DataFrame, pd.DataFrame]:
    """
    Read the three files of a suite.

    :param path: their folder
    :param suite: name of the suite
    :return: the suite, one row per episode, one row per run
    """
    folder = Path(path)
    episodes = pd.read_csv(folder / f"{suite}.csv.gz")
    with gzip.open(folder / f"{suite}.runs.jsonl.gz", "rt") as lines:
        runs = pd.DataFrame([json.loads(line) for line in lines])
    return load_suite(folder / f"{suite}.yml"), episodes, runs
