"""
What a benchmark leaves behind.

``runs/RUN.json`` is written at once when a run has ended. From these, three files per suite are made, which are all that
the report needs: ``SUITE.csv.gz`` with one row per evaluated episode, ``SUITE.runs.jsonl.gz`` with one line per run, and
the suite itself, ``SUITE.yml``. Where models were asked for commands, there is a fourth: ``SUITE.commands.csv.gz``, with one
row per episode and part of the command.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sb3_udrl.benchmark.obedience import following_of
from sb3_udrl.benchmark.suite import Run, Suite, load_suite
from sb3_udrl.benchmark.training import MODES
from sb3_udrl.saving.files import written_at_once

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
COMMAND_COLUMNS = [
    "suite",
    "environment",
    "algorithm",
    "seed",
    "run",
    "commands",
    "mode",
    "episode",
    "part",
    "asked",
    "achieved",
]
COMMANDS = ".commands.csv.gz"
# Names are texts, whatever they look like: an algorithm may be called 64, or None
_AS_WRITTEN: dict[str, Any] = {
    "dtype": dict.fromkeys(("suite", "environment", "algorithm", "run", "mode", "commands", "part"), str),
    "keep_default_na": False,
    "na_values": [""],
}


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
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def seeds(self) -> set[int]:
        """Seeds of all runs that have ended, of any suite."""
        return {json.loads(path.read_text(encoding="utf-8"))["seed"] for path in (self.path / "runs").glob("*.json")}

    def write(self, record: Mapping[str, Any]) -> None:
        """
        :param record: what :func:`~sb3_udrl.benchmark.execution.execute` returned
        """
        _write(self.path / "runs" / f"{record['run']}.json", json.dumps(record).encode())

    def take_over(self, published: str | Path, suite: str) -> None:
        """
        Keep the runs of a report's data as if they had been made here; runs that have ended here stay as they are.

        :param published: folder with the files of the suite
        :param suite: name of the suite
        :raises FileNotFoundError: if that of its episodes or that of its runs is not there
        :raises ValueError: if a run has a name that is no file's
        """
        episodes = read_episodes(published, suite)
        commands = read_commands(published, suite)
        rows_of_run = dict(iter(episodes.groupby(["run", "algorithm"])))
        commands_of_run = dict(iter(commands.groupby(["run", "algorithm"])))
        for facts in read_facts(published, suite):
            if not re.fullmatch(r"[\w.-]+", str(facts.get("run") or "")):
                raise ValueError(f"{published}: {suite}.runs.jsonl.gz: run={facts.get('run')!r} is no name of a run")
            if not (self.path / "runs" / f"{facts['run']}.json").is_file():
                key = (facts["run"], facts["algorithm"])
                of_run = {name: value for name, value in facts.items() if name not in ("suite", "algorithm")}
                evaluations = evaluations_of(rows_of_run.get(key, episodes[:0]))
                entries = commands_of(commands_of_run.get(key, commands[:0]), facts.get("n_command_episodes", 1))
                self.write({**of_run, "evaluations": evaluations, "commands": entries})

    def collect(self, suite: Suite, runs: Mapping[Key, Run]) -> None:
        """
        Write the files of a suite.

        :param suite: the suite
        :param runs: its runs; those that have not ended yet are left out
        """
        records = {key: self.read(run) for key, run in runs.items()}
        ended = {key: record for key, record in records.items() if record is not None}
        rows = (row for key, record in ended.items() for row in episode_rows(suite.name, key, record))
        episodes = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.7g")
        facts = (run_facts(suite.name, key, runs[key], record) for key, record in ended.items())
        lines = (json.dumps(fact) + "\n" for fact in facts)
        asked = [row for key, record in ended.items() for row in command_rows(suite.name, key, record)]
        # No time stamps in the archives: the same results are the same bytes
        _write(self.path / f"{suite.name}.csv.gz", gzip.compress(episodes.encode(), mtime=0))
        _write(self.path / f"{suite.name}.runs.jsonl.gz", gzip.compress("".join(lines).encode(), mtime=0))
        if asked:
            table = pd.DataFrame(asked, columns=COMMAND_COLUMNS).to_csv(index=False, float_format="%.7g")
            _write(self.path / f"{suite.name}{COMMANDS}", gzip.compress(table.encode(), mtime=0))
        else:
            (self.path / f"{suite.name}{COMMANDS}").unlink(missing_ok=True)
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
    :return: all but its evaluations; ``commands`` are the grids, not what was done
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


def command_rows(suite: str, key: Key, record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """
    :param suite: name of the suite
    :param key: environment, name of algorithm and seed
    :param record: record of the run
    :return: a row per episode and part of its command, in the order of ``COMMAND_COLUMNS``; episodes are numbered through
        each grid, command by command
    """
    for entry in record.get("commands", []):
        for part, asked in entry["asked"].items():
            episodes = ((value, got) for value, row in zip(asked, entry["achieved"][part], strict=True) for got in row)
            for episode, (value, achieved) in enumerate(episodes):
                yield (suite, *key, record["run"], entry["name"], entry["mode"], episode, part, value, achieved)


def commands_of(rows: pd.DataFrame, n_episodes: int) -> list[dict[str, Any]]:
    """
    The inverse of :func:`command_rows`.

    :param rows: rows of one run under one name
    :param n_episodes: episodes per command
    :return: what was asked and what was done, in the order in which it was
    """
    entries = []
    for (name, mode), of_grid in rows.groupby(["commands", "mode"], sort=False):
        entry: dict[str, Any] = {"name": name, "mode": mode, "asked": {}, "achieved": {}}
        for part, of_part in of_grid.groupby("part", sort=False):
            following = following_of(of_part, n_episodes)
            entry["asked"][part] = following.desired.tolist()
            entry["achieved"][part] = following.achieved.tolist()
        entries.append(entry)
    return entries


def evaluations_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """
    The inverse of :func:`episode_rows`.

    :param rows: rows of one run under one name
    :return: its evaluations, in the order in which they were made
    """
    evaluations = []
    for _, of_step in rows.groupby("step"):
        first = of_step.iloc[0]
        times = {"cpu_seconds": float(first["cpu_seconds"]), "wall_seconds": float(first["wall_seconds"])}
        modes = {
            str(mode): {"returns": episodes["return"].tolist(), "lengths": episodes["length"].tolist()}
            for mode, episodes in of_step.groupby("mode")
        }
        evaluations.append({"step": int(first["step"]), **times, **modes})
    return evaluations


def read_data(path: str | Path, suite: str) -> tuple[Suite, pd.DataFrame, pd.DataFrame]:
    """
    Read the three files that every suite has; see :func:`read_commands` for the fourth.

    :param path: their folder
    :param suite: name of the suite
    :return: the suite, one row per episode, one row per run
    """
    return load_suite(Path(path) / f"{suite}.yml"), read_episodes(path, suite), pd.DataFrame(read_facts(path, suite))


def read_episodes(path: str | Path, suite: str) -> pd.DataFrame:
    """
    :param path: folder with the files of a suite
    :param suite: name of the suite
    :return: one row per episode, with the columns ``COLUMNS``
    """
    return _table(Path(path) / f"{suite}.csv.gz")


def read_commands(path: str | Path, suite: str) -> pd.DataFrame:
    """
    :param path: folder with the files of a suite
    :param suite: name of the suite
    :return: one row per episode and part of its command, with the columns ``COMMAND_COLUMNS``; none if there is no such file
    """
    file = Path(path) / f"{suite}{COMMANDS}"
    return _table(file) if file.is_file() else pd.DataFrame(columns=COMMAND_COLUMNS)


def read_facts(path: str | Path, suite: str) -> list[dict[str, Any]]:
    """
    :param path: folder with the files of a suite
    :param suite: name of the suite
    :return: what is known of each run but its evaluations; see :func:`run_facts`
    """
    return [json.loads(line) for line in _unpacked(Path(path) / f"{suite}.runs.jsonl.gz").splitlines()]


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(_unpacked(path)), **_AS_WRITTEN)


def _unpacked(path: Path) -> bytes:
    """What is in an archive; a damaged one is a ``ValueError``."""
    packed = path.read_bytes()
    try:
        return gzip.decompress(packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
