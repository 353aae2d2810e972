"""
What models and buffers take, in memory and on disk: ``python benchmarks/files.py [--beside FOLDER]``.

Needs Linux. ``--beside`` names a clone of another revision, which is measured by the same script, in turn with this one. Each
round is a process of its own; the table holds medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
N_TRANSITIONS = 100_000  # in the buffer that is saved
STORED = (10_000, 5_000_000)  # transitions that batches are drawn from, and that memory is measured with
EPISODE_LENGTH = 500
BATCH_SIZE = 256


def seconds(function: Callable[[], Any], rounds: int) -> float:
    """
    Seconds of the processor that a call takes, the median of some after one that is not counted.

    :param function: what to measure
    :param rounds: number of calls that are measured
    """
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return median(times[1:])


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fill(buffer: Any, n_transitions: int) -> None:
    """
    Add random episodes of CartPole's kind.

    :param buffer: an empty replay buffer
    :param n_transitions: number of transitions, a multiple of the length of an episode
    """
    from sb3_udrl.buffers import Episode

    rng = np.random.default_rng(0)
    observations = rng.normal(size=(n_transitions, 4)).astype(np.float32)
    actions, rewards = rng.integers(2, size=n_transitions), rng.random(n_transitions, np.float32)
    for start in range(0, n_transitions, EPISODE_LENGTH):
        part = slice(start, start + EPISODE_LENGTH)
        buffer.add(Episode(observations[part], actions[part], rewards[part]))


def measure_files(rounds: int) -> dict[str, float]:
    """
    Save and load a model of CartPole-v1 and its buffer.

    :param rounds: number of calls that are measured
    :return: figures by what they say, with their unit
    """
    from stable_baselines3.common.env_util import make_vec_env

    from sb3_udrl import UDRL

    env = make_vec_env("CartPole-v1", env_kwargs={"render_mode": None})
    model = UDRL("CommandPolicy", env, commands="absolute", buffer_size=N_TRANSITIONS, seed=0, device="cpu").learn(2_000)
    model.replay_buffer.reset()
    fill(model.replay_buffer, N_TRANSITIONS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "save a model, ms": 1e3 * seconds(lambda: model.save(folder / "model"), rounds),
            "load a model, ms": 1e3 * seconds(lambda: UDRL.load(folder / "model", device="cpu"), rounds),
            "save a policy, ms": 1e3 * seconds(lambda: model.policy.save(folder / "policy"), rounds),
            "load a policy, ms": 1e3 * seconds(lambda: type(model.policy).load(folder / "policy", "cpu"), rounds),
            "save a buffer, ms": 1e3 * seconds(lambda: model.save_replay_buffer(folder / "buffer"), rounds),
            "load a buffer, ms": 1e3 * seconds(lambda: model.load_replay_buffer(folder / "buffer"), rounds),
        }
        sizes = {name: (folder / name).stat().st_size for name in ("model.zip", "policy", "buffer.pkl")}
    return {
        **figures,
        "a model, kB": sizes["model.zip"] / 1e3,
        "a policy, kB": sizes["policy"] / 1e3,
        "a buffer, bytes per transition": sizes["buffer.pkl"] / N_TRANSITIONS,
    }


def measure_memory(rounds: int) -> dict[str, float]:
    """
    Fill buffers, and draw from them.

    :param rounds: number of batches that are measured
    :return: figures by what they say, with their unit
    """
    from sb3_udrl import UDRL

    figures = {}
    for n_stored in STORED:
        model = UDRL("CommandPolicy", "CartPole-v1", commands="absolute", buffer_size=n_stored, seed=0, device="cpu")
        before = resident_bytes()
        for start in range(0, n_stored, STORED[0]):
            fill(model.replay_buffer, min(STORED[0], n_stored - start))
        sample = partial(model.hindsight.sample, BATCH_SIZE)
        figures[f"sample({BATCH_SIZE}) from {n_stored:,}, us"] = 1e6 * seconds(sample, rounds)
        memory = (resident_bytes() - before) / n_stored  # that of the many counts
    return {"memory of a transition, bytes": memory, **figures}


def measured(sources: Path) -> dict[str, float]:
    """
    Figures of a revision, by a process of its own.

    :param sources: its clone
    """
    environment = {**os.environ, "PYTHONPATH": str(sources), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, "--measure"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure the revisions in turn, and print a table."""
    parser = argparse.ArgumentParser(description="Measure files and buffers.")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="clone of another revision")
    parser.add_argument("--rounds", type=int, default=5, help="processes per revision (default: %(default)s)")
    parser.add_argument("--measure", action="store_true", help="measure once, and print JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps({**measure_files(rounds=5), **measure_memory(rounds=200)}))
        return
    revisions = [ROOT] if args.beside is None else [args.beside.resolve(), ROOT]
    rounds = [[measured(revision) for revision in revisions] for _ in range(args.rounds)]
    print(f"| | {' | '.join(revision.name for revision in revisions)} |\n|---{'|---' * len(revisions)}|")
    for name in rounds[0][0]:
        medians = [median(each[i][name] for each in rounds) for i in range(len(revisions))]
        print(f"| {name} | {' | '.join(f'{value:,.1f}' for value in medians)} |")


if __name__ == "__main__":
    main()
