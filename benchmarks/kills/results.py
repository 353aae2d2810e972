"""A benchmark, which goes on where it was killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from benchmarks.kills.children import Outcome, Report, partial_files, run_child
from sb3_udrl.benchmark import __main__ as command_line
from sb3_udrl.benchmark.data import read_data, read_episodes, read_facts

SUITE = {
    "seeds": [1, 2],
    "n_eval_episodes": 2,
    "n_final_episodes": 2,
    "n_eval_envs": 2,
    "environments": {"CartPole-v1": {"n_timesteps": 150, "eval_freq": 50}},
    "algorithms": {
        "UDRL": {"algo": "udrl", "hyperparams": {"learning_starts": 50, "train_freq": 50, "gradient_steps": 2}},
        "PPO": {"algo": "ppo", "hyperparams": {"n_steps": 50, "batch_size": 50, "n_epochs": 1}},
    },
}


def run_benchmark(suite: Path, output: Path, report: Report) -> None:
    """
    The child: ``python -m sb3_udrl.benchmark SUITE --output OUTPUT --n-jobs 1``.

    :param suite: the suite
    :param output: the folder of results
    :param report: gets a zero at the beginning
    """
    report(0)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        command_line.main([str(suite), "--output", str(output), "--n-jobs", "1"])


def without_times(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was measured but for the clocks."""
    return [{name: value for name, value in each.items() if not name.endswith("_seconds")} for each in evaluations]


def faults_of_runs(output: Path, reference: Path, before: dict[str, bytes]) -> Iterator[str]:
    """
    Look at the results that a killed benchmark left.

    :param output: the folder of results
    :param reference: that of a benchmark that was not killed
    :param before: contents of the runs that had ended before, by name
    :return: what is wrong
    """
    for name, content in before.items():
        path = output / "runs" / name
        if not path.exists() or path.read_bytes() != content:
            yield f"{name} is lost, or was run again"
    for path in output.glob("runs/*.json"):
        try:
            ours, theirs = (json.loads((folder / "runs" / path.name).read_text()) for folder in (output, reference))
        except (OSError, ValueError) as error:
            yield f"{path.name}: {error!r}"
            continue
        if without_times(ours["evaluations"]) != without_times(theirs["evaluations"]) or ours["status"] != "complete":
            yield f"{path.name} has other results than one that was not killed"
    for name, read in (("csv.gz", read_episodes), ("runs.jsonl.gz", read_facts)):
        try:
            if (output / f"tiny.{name}").exists():
                read(output, "tiny")
        except (OSError, EOFError, ValueError) as error:
            yield f"tiny.{name}: {error!r}"


def faults_of_results(output: Path, reference: Path) -> Iterator[str]:
    """
    Look at the results of a benchmark that was killed and has now ended.

    :param output: the folder of results
    :param reference: that of a benchmark that was not killed
    :return: what is wrong
    """
    names = {folder: sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (output, reference)}
    if names[output] != names[reference]:
        yield f"{output.name} holds {', '.join(map(str, names[output]))}"
    (_, ours, our_runs), (_, theirs, their_runs) = (read_data(folder, "tiny") for folder in (output, reference))
    clocks = ["cpu_seconds", "wall_seconds"]
    if not ours.drop(columns=clocks).equals(theirs.drop(columns=clocks)):
        yield f"{output.name}: the episodes are not those of a benchmark that was not killed"
    if our_runs["run"].tolist() != their_runs["run"].tolist() or our_runs["run"].duplicated().any():
        yield f"{output.name}: the runs are not those of a benchmark that was not killed"


def kill_benchmarks(n_kills: int, rng: random.Random, folder: Path) -> Outcome:
    """
    Kill :func:`run_benchmark`; where it has ended, the next one begins in another folder.

    :param n_kills: how often
    :param rng: draws the moments
    :param folder: an empty folder
    """
    outcome, suite, reference = Outcome("a benchmark"), folder / "tiny.yml", folder / "reference"
    suite.write_text(yaml.safe_dump(SUITE))
    there = list(Path(tempfile.gettempdir()).iterdir())
    began = time.monotonic()
    run_child(lambda report: run_benchmark(suite, reference, report), None)
    span = time.monotonic() - began  # that a whole benchmark takes
    for number in count(1):
        output, ended, before = folder / f"results_{number}", False, dict[str, bytes]()
        while not ended:
            last = outcome.n_kills == n_kills
            seconds = None if last else rng.uniform(0, span)
            _, killed = run_child(lambda report, output=output: run_benchmark(suite, output, report), seconds)
            outcome.n_kills, ended = outcome.n_kills + killed, not killed
            outcome.n_midway += bool(partial_files(output))
            outcome.faults += faults_of_runs(output, reference, before)
            before = {path.name: path.read_bytes() for path in output.glob("runs/*.json")}
            outcome.n_read += len(before)
        outcome.faults += faults_of_results(output, reference)
        if last:
            left = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir() if path not in (folder, *there))
            outcome.faults += [f"{name} is left among the temporary files" for name in left]
            return outcome
    raise AssertionError("there is no last number")
