"""
The same work on the CPU and on a GPU, in wall time: ``python -m benchmarks.device [--device cuda]``.

Both in one run, one after the other. The CPU may use as many threads as PyTorch takes, or ``OMP_NUM_THREADS``.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import stable_baselines3
import torch as th
from gymnasium import spaces

import sb3_udrl
from benchmarks.buffers import CARTPOLE, filled_buffer
from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.commands import COMMAND_SPACES, make_command
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies import FitOptions

LONG_VECTOR = spaces.Box(-5, 5, (376,))
PICTURES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
# what, observations, hidden layers, batch size
NETWORKS = [
    ("vectors of 4, two layers of 128, batches of 256", CARTPOLE, [128, 128], 256),
    ("vectors of 376, two layers of 1024, batches of 4096", LONG_VECTOR, [1024, 1024], 4096),
    ("4 pictures of 84 by 84, NatureCNN, batches of 256", PICTURES, [512], 256),
]
N_STORED = 10_000
N_LEARNED = 4_000


def median_time(function: Callable[[], Any], device: str, rounds: int = 5) -> float:
    """
    Seconds that a call takes until the device is done, the median of some after two that are not counted.

    :param function: what to measure
    :param device: where it computes
    :param rounds: number of calls that are measured
    """
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        function()
        if device.startswith("cuda"):
            th.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def gradient_step(space: spaces.Box, net_arch: list[int], batch_size: int, device: str, buffer_device: str | None) -> float:
    """
    Milliseconds of a gradient step, with sampling and moving the batch.

    :param space: space of the observations
    :param net_arch: hidden layers
    :param batch_size: transitions in a batch
    :param device: of the network
    :param buffer_device: of a copy of the observations, if there is one
    """
    buffer = filled_buffer(N_STORED, space, device=buffer_device)
    hindsight = Hindsight(buffer, COMMAND_SPACES["absolute"])
    policy = CommandPolicy(space, buffer.action_space, lambda _: 1e-3, net_arch=net_arch).to(device)
    n_steps = 8 if device == "cpu" and space is not CARTPOLE else 128  # large networks are slow there
    return 1000 / n_steps * median_time(lambda: policy.fit(hindsight, FitOptions(n_steps, batch_size, 1e-3)), device)


def action(space: spaces.Box, net_arch: list[int], device: str) -> float:
    """
    Milliseconds that drawing the actions of eight environments takes in ``learn``.

    :param space: space of the observations
    :param net_arch: hidden layers
    :param device: of the network
    """
    policy = CommandPolicy(space, spaces.Discrete(2), lambda _: 1e-3, net_arch=net_arch).to(device)
    draw = policy.actor(np.random.default_rng(0))
    observations = np.stack([space.sample() for _ in range(8)])
    command, temperature = make_command(50, 60, 8), np.ones((8, 1), np.float32)
    return 1000 * median_time(lambda: draw(observations, command, temperature), device, rounds=200)


def learning(env_id: str, device: str) -> float:
    """
    Seconds that ``learn`` takes for ``N_LEARNED`` steps, the first 1,000 of them without training.

    :param env_id: a registered environment
    :param device: of the network
    """
    model = UDRL("CommandPolicy", env_id, commands="relative", learning_starts=1_000, train_freq=500, seed=0, device=device)
    start = time.perf_counter()
    model.learn(N_LEARNED)
    return time.perf_counter() - start


def main() -> None:
    """Measure everything, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description="Compare a GPU with the CPU.")
    parser.add_argument("--device", default="cuda", help="what to compare the CPU with (default: cuda)")
    device = str(parser.parse_args().device)
    name = th.cuda.get_device_name(device) if device.startswith("cuda") else device
    print(
        f"sb3-udrl {sb3_udrl.__version__}, SB3 {stable_baselines3.__version__}, torch {th.__version__}, "
        f"Python {platform.python_version()}, {name}, CPU with {th.get_num_threads()} threads\n"
    )
    print(f"| | CPU | {device} | {device}, buffer there |\n|---|---|---|---|", flush=True)
    for what, space, net_arch, batch_size in NETWORKS:
        places = (("cpu", None), (device, None), (device, device))
        times = [gradient_step(space, net_arch, batch_size, *place) for place in places]
        print(f"| gradient step: {what} | " + " | ".join(f"{t:.2f} ms" for t in times) + " |", flush=True)
    for what, space, net_arch, _ in NETWORKS:
        times = [action(space, net_arch, place) for place in ("cpu", device)]
        print(f"| actions of 8 environments: {what} | " + " | ".join(f"{t:.3f} ms" for t in times) + " | |", flush=True)
    for env_id in ("CartPole-v1", "sb3_udrl.envs:Catch-v0"):
        times = [learning(env_id, place) for place in ("cpu", device)]
        print(f"| `learn`, {N_LEARNED:,} steps of {env_id} | " + " | ".join(f"{t:.1f} s" for t in times) + " | |", flush=True)


if __name__ == "__main__":
    main()
