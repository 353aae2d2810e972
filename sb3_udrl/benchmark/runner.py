"""All runs of a suite: what is there is kept, what fails is tried again, what is missing is named."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from sb3_udrl.benchmark.backends import BACKENDS
from sb3_udrl.benchmark.data import Key, ResultFolder
from sb3_udrl.benchmark.suite import Run, Suite
from sb3_udrl.benchmark.training import execute

N_ATTEMPTS = 2
SECONDS_BETWEEN_COLLECTIONS = 120.0


class WorkersLost(RuntimeError):
    """The processes that computed runs are gone, and which of the runs was the reason is not known."""


def run_suite(
    suite: Suite,
    folder: ResultFolder,
    selected: Mapping[Key, Run],
    n_jobs: int = -1,
    backend: str = "loky",
    address: str | None = None,
    command: str = "",
) -> list[str]:
    """
    Execute the runs of a suite that are not complete, and collect the results of all that are.

    :param suite: the suite
    :param folder: where results are kept
    :param selected: the runs to execute, a part of the suite's
    :param n_jobs: number of runs at a time, -1 for all cores
    :param backend: ``"loky"``, ``"ray"`` or ``"dask"``
    :param address: of a running cluster
    :param command: the command line, for the record
    :return: names of runs that failed or were killed, with the last line of their error
    """
    names: dict[str, str] = {}  # several names may stand for one and the same run
    for key, run in selected.items():
        names.setdefault(run.run_id, " ".join(map(str, key)))
    everything = {**all_runs(suite, suite.seeds), **selected}
    pending = {run.run_id: run for run in selected.values() if complete_record(folder, run) is None}
    failures: Counter[str] = Counter()
    errors: dict[str, str] = {}
    collected = time.monotonic()
    with (
        BACKENDS[backend](n_jobs, address),
        tqdm(total=len(names), initial=len(names) - len(pending), unit="run", smoothing=0, disable=None) as progress,
    ):
        try:
            while pending:
                n_ended = 0
                try:
                    for record in in_parallel(sorted(pending.values(), key=lambda run: -run.cost)):
                        run_id, n_ended = record["run"], n_ended + 1
                        folder.write({**record, "command": command, "attempt": failures[run_id] + 1})
                        if record["error"] is None:
                            del pending[run_id]
                            errors.pop(run_id, None)
                            progress.update()
                            say(f"[{len(names) - len(pending)}/{len(names)}] {names[run_id]}: {summary(record)}")
                        else:
                            failures[run_id] += 1
                            errors[run_id] = record["error"].strip().splitlines()[-1]
                            say(f"{names[run_id]}: failed, {errors[run_id]}")
                        if time.monotonic() - collected > SECONDS_BETWEEN_COLLECTIONS:
                            folder.collect(suite, everything)
                            collected = time.monotonic()
                except WorkersLost as error:
                    say(f"{error}; what had not ended starts again")
                    if n_ended == 0:  # else the same again, until those that cannot be computed are among themselves
                        failures.update(pending.keys())
                        errors.update(dict.fromkeys(pending, str(error)))
                        for run_id, run in pending.items():
                            lost = {"run": run_id, **asdict(run), "status": "failed", "error": str(error), "evaluations": []}
                            folder.write({**lost, "command": command, "attempt": failures[run_id]})
                pending = {run_id: run for run_id, run in pending.items() if failures[run_id] < N_ATTEMPTS}
        finally:
            folder.collect(suite, everything)
    return [f"{names[run_id]}: {error}" for run_id, error in errors.items()]


def in_parallel(runs: list[Run]) -> Iterator[dict[str, Any]]:
    """
    :param runs: runs, in the order in which they are started
    :return: their records, in the order in which they end
    :raises WorkersLost: if a process was killed
    """
    try:
        yield from Parallel(batch_size=1, return_as="generator_unordered")(delayed(execute)(run) for run in runs)
    except Exception as error:  # runs do not raise: it is a matter of the backend
        raise WorkersLost(f"A process was killed, out of memory perhaps ({type(error).__name__})") from error


def all_runs(suite: Suite, seeds: list[int]) -> dict[Key, Run]:
    """
    :param suite: the suite
    :param seeds: seeds of the trainings
    :return: every run of these seeds
    """
    return {(*pair, seed): suite.run(*pair, seed) for pair in suite.pairs() for seed in seeds}


def complete_record(folder: ResultFolder, run: Run) -> dict[str, Any] | None:
    """
    :param folder: where results are kept
    :param run: the run
    :return: its record, None if it has not ended or failed
    """
    record = folder.read(run)
    return record if record is not None and record["status"] == "complete" else None


def say(line: str) -> None:
    """
    Print above the progress bar, and at once, for those who read a log.

    :param line: what to print
    """
    tqdm.write(line)
    sys.stdout.flush()


def summary(record: Mapping[str, Any]) -> str:
    """
    :param record: record of a complete run
    :return: its score and time, for the reader of the progress
    """
    last = record["evaluations"][-1]
    greedy, sampled = (sum(last[mode]["returns"]) / len(last[mode]["returns"]) for mode in ("greedy", "sampled"))
    return f"{greedy:.1f} greedy, {sampled:.1f} sampled, {last['cpu_seconds']:.0f} CPU seconds"
