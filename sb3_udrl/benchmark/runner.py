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
from sb3_udrl.benchmark.execution import execute
from sb3_udrl.benchmark.suite import Run, Suite

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
    with BACKENDS[backend](n_jobs, address), Journal(folder, selected, command) as journal:
        collected = time.monotonic()
        try:
            while journal.pending:
                for _ in attempt_all(journal):
                    if time.monotonic() - collected > SECONDS_BETWEEN_COLLECTIONS:
                        collect(suite, folder, selected)
                        collected = time.monotonic()
        finally:
            collect(suite, folder, selected)
    return [f"{journal.names[run_id]}: {error}" for run_id, error in journal.errors.items()]


def collect(suite: Suite, folder: ResultFolder, selected: Mapping[Key, Run]) -> None:
    """
    Write the files of a suite, with what other commands have put into the folder meanwhile.

    :param suite: the suite
    :param folder: where results are kept
    :param selected: runs that belong to it, whatever their seeds
    """
    folder.collect(suite, {**all_runs(suite, sorted(folder.seeds().union(suite.seeds))), **selected})


class Journal:
    """
    What has ended, what failed and what is still to be done; a progress bar shows it.

    :param folder: where results are kept
    :param selected: the runs to execute; those whose results are complete are done already
    :param command: the command line, for the record
    """

    def __init__(self, folder: ResultFolder, selected: Mapping[Key, Run], command: str) -> None:
        self.folder, self.command = folder, command
        self.names: dict[str, str] = {}  # several names may stand for one and the same run
        for key, run in selected.items():
            self.names.setdefault(run.run_id, " ".join(map(str, key)))
        self.pending = {run.run_id: run for run in selected.values() if complete_record(folder, run) is None}
        self.failures: Counter[str] = Counter()
        self.errors: dict[str, str] = {}
        done = len(self.names) - len(self.pending)
        self._progress = tqdm(total=len(self.names), initial=done, unit="run", smoothing=0, disable=None)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.close()

    def ended(self, record: Mapping[str, Any]) -> None:
        """
        Note the end of a run.

        :param record: what :func:`~sb3_udrl.benchmark.execution.execute` returned
        """
        run_id = record["run"]
        self.folder.write({**record, "command": self.command, "attempt": self.failures[run_id] + 1})
        if record["error"] is None:
            del self.pending[run_id]
            self.errors.pop(run_id, None)
            self._progress.update()
            done = len(self.names) - len(self.pending)
            say(f"[{done}/{len(self.names)}] {self.names[run_id]}: {summary(record)}")
        else:
            self._failed(run_id, record["error"].strip().splitlines()[-1])
            say(f"{self.names[run_id]}: failed, {self.errors[run_id]}")

    def none_ended(self, error: Exception) -> None:
        """
        Note that processes were killed before any run had ended, so each may be the reason.

        :param error: what is known of it
        """
        for run_id, run in list(self.pending.items()):
            ended = {"status": "failed", "error": str(error), "evaluations": [], "commands": []}
            lost = {"run": run_id, **asdict(run), **ended}
            self.folder.write({**lost, "command": self.command, "attempt": self.failures[run_id] + 1})
            self._failed(run_id, str(error))

    def _failed(self, run_id: str, error: str) -> None:
        self.failures[run_id] += 1
        self.errors[run_id] = error

    def give_up(self) -> None:
        """Drop the runs that have been tried often enough."""
        self.pending = {run_id: run for run_id, run in self.pending.items() if self.failures[run_id] < N_ATTEMPTS}


def attempt_all(journal: Journal) -> Iterator[str]:
    """
    Execute all pending runs once; stops early if processes were killed.

    :param journal: what is pending, and where to note what comes of it
    :return: identifiers of runs, as they end
    """
    n_ended = 0
    try:
        for record in in_parallel(sorted(journal.pending.values(), key=lambda run: -run.cost)):
            n_ended += 1
            journal.ended(record)
            yield record["run"]
    except WorkersLost as error:
        say(f"{error}; what had not ended starts again")
        if n_ended == 0:  # else the same again, until those that cannot be computed are among themselves
            journal.none_ended(error)
    journal.give_up()


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
    :return: every run of these seeds, but for seeds that the environment or the algorithm leaves out
    """
    return {(*pair, seed): suite.run(*pair, seed) for pair in suite.pairs() for seed in suite.seeds_of(*pair, seeds)}


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
