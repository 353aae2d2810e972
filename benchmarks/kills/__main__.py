"""
Training that is killed: ``python -m benchmarks.kills`` (needs ``os.fork``).

Children save models and buffers, train with checkpoints, or run a benchmark, and get a SIGKILL at random moments. After each
kill, everything that is there is loaded and compared with what must be there: nothing is lost, nothing is there twice,
nothing is half-done, and the next save leaves no partial file behind.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

import torch as th

from benchmarks.kills.checkpoints import kill_checkpoints
from benchmarks.kills.results import kill_benchmarks
from benchmarks.kills.saves import kill_saves


def import_for_children() -> None:
    """What each child would have to import itself."""
    import rl_zoo3.exp_manager  # noqa: F401

    parameter = th.nn.Parameter(th.zeros(1))
    parameter.grad = th.zeros(1)
    th.optim.Adam([parameter]).step()  # imports much of PyTorch


def main(arguments: list[str] | None = None) -> None:
    """
    Kill, look, and print a table; exit with status 1 if anything was wrong.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description="Kill training, look at what is left.")
    parser.add_argument("--saves", type=int, default=300, help="kills while files are saved (default: %(default)s)")
    parser.add_argument("--checkpoints", type=int, default=100, help="of trainings with checkpoints (default: %(default)s)")
    parser.add_argument("--benchmarks", type=int, default=30, help="of a benchmark (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    args = parser.parse_args(arguments)
    if not hasattr(os, "fork"):
        parser.error("this system has no os.fork")
    th.set_num_threads(1)  # a child has no other threads than the one that forked
    import_for_children()

    print("| killed | kills | in the middle of a file | files read | faults |\n|---|---|---|---|---|", flush=True)
    faults = []
    for kill, n_kills in ((kill_saves, args.saves), (kill_checkpoints, args.checkpoints), (kill_benchmarks, args.benchmarks)):
        with tempfile.TemporaryDirectory() as name:
            tempfile.tempdir = name  # what killed children leave there goes as well
            (Path(name) / "files").mkdir()
            outcome = kill(n_kills, random.Random(args.seed), Path(name) / "files")
            tempfile.tempdir = None
        print(outcome.row(), flush=True)
        faults += [f"{outcome.what}: {fault}" for fault in outcome.faults]
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
