"""
Memory that learning from a long recording takes, beside the pages of its file.

``python -m benchmarks.streaming [N_TRANSITIONS]``. The recording is made in a temporary folder, with random observations of
eight numbers. The system takes the pages of a file back whenever it needs to; counted is the rest (Linux only).
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from gymnasium import spaces

from sb3_udrl import UDRL

EPISODE = 200  # steps


def make_recording(path: Path, n: int) -> None:
    """
    Write random episodes, whose rewards depend on the actions.

    :param path: of the ``.npz`` file
    :param n: number of transitions
    """
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(n, 8)).astype(np.float32)
    actions = rng.integers(0, 4, n)
    rewards = (observations[:, 0] * (actions - 1.5)).astype(np.float32)
    terminals = np.arange(1, n + 1) % EPISODE == 0
    np.savez(
        path,
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminals=terminals,
        timeouts=np.zeros(n, dtype=np.bool_),
    )


def own_memory() -> float:
    """Memory of this process that no file backs, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Peak(threading.Thread):
    """Watches :func:`own_memory` until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.most = own_memory()
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            self.most = max(self.most, own_memory())

    def stop(self) -> float:
        """How much more it was than at the start, in MiB."""
        self._stopped.set()
        self.join()
        return self.most - self.before


def main(n: int) -> None:
    """
    Print how much memory it takes.

    :param n: number of transitions
    """
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.npz"
        make_recording(path, n)
        for commands in ("absolute", "any"):
            observation_space = spaces.Box(-np.inf, np.inf, (8,), np.float32)
            model = UDRL(
                "CommandPolicy",
                None,
                observation_space=observation_space,
                action_space=spaces.Discrete(4),
                commands=commands,
                seed=1,
                device="cpu",
            )
            started, peak = time.process_time(), Peak()
            model.learn_from(path, 500, log_interval=None)
            print(
                f"{commands}: {n} transitions in a file of {path.stat().st_size >> 20} MiB, {peak.stop():.0f} MiB besides, "
                f"{time.process_time() - started:.0f} CPU seconds with 500 gradient steps",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
