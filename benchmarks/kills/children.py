"""Children that are killed, and what came of it."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Report = Callable[[int], None]

PATIENCE = 300  # seconds until a child begins


@dataclass
class Outcome:
    """
    What came of a number of kills.

    :param what: was killed
    :param n_kills: number of kills
    :param n_midway: how many of them left a partial file, so that a file was being written
    :param n_read: number of files that were loaded afterwards
    :param faults: what was wrong
    """

    what: str
    n_kills: int = 0
    n_midway: int = 0
    n_read: int = 0
    faults: list[str] = field(default_factory=list)

    def row(self) -> str:
        """As a row of a Markdown table."""
        return f"| {self.what} | {self.n_kills} | {self.n_midway} | {self.n_read} | {len(self.faults)} |"


def run_child(work: Callable[[Report], None], seconds: float | None) -> tuple[list[int], bool]:
    """
    Run something in a child, and kill it.

    :param work: gets a function that reports a number; reports once when it begins
    :param seconds: to wait from its first report to the kill; without, it is left alone
    :return: what it reported, and whether it was killed; else it ended by itself, without an error
    :raises RuntimeError: if it failed
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            work(lambda number: os.write(writer, b"%d\n" % number))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb", buffering=0) as reports:
        began = bool(select.select([reports], [], [], PATIENCE)[0])
        lines = reports.read(100) if began else b""  # ends with the first report, or where the child does
        if seconds is not None:
            select.select([], [], [], seconds)
            os.kill(pid, signal.SIGKILL)
        lines += reports.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not began or status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the child ended with status {status}")
    return [int(line) for line in lines.split()], status != 0


def partial_files(folder: Path) -> list[str]:
    """Names of the files that are not complete, in a folder and those within."""
    return sorted(path.name for path in folder.rglob("*.partial"))
