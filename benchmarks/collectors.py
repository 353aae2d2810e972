"""
Collectors that are killed, and how much of their time is used: ``python -m benchmarks.collectors``.

- *kills*: random actors on a local Ray cluster of two nodes get a SIGKILL while a model trains. Afterwards each step and each
  episode must have counted once.
- *shares*: steps per second of several collectors, as a share of as many times the environment alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from functools import partial

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL


class Numbered(gym.Env):
    """
    Episodes of 20 to 60 steps. Every observation says of which environment, episode and step it is.

    :param seconds: that each step takes
    """

    observation_space = spaces.Box(0, 2**24, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.number = seconds, -1
        self.me = int.from_bytes(os.urandom(3), "little")  # whatever seeds say

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.t = self.number + 1, 0
        self.length = int(self.np_random.integers(20, 61))
        return self._observation(), {}

    def step(self, action):
        if self.seconds:
            time.sleep(self.seconds)
        place = (self.me, self.number, self.t)
        self.t += 1
        return self._observation(), float(action), self.t == self.length, False, {"place": place, "pid": os.getpid()}

    def _observation(self):
        return np.array([self.me, self.number, self.t], np.float32)


class KillSometimes(BaseCallback):
    """Kills the process of the step at hand, at even distances, and notes all steps."""

    def __init__(self, n_kills: int, total_timesteps: int) -> None:
        super().__init__()
        self.kill_at = [(1 + kill) * total_timesteps // (n_kills + 1) for kill in range(n_kills)]
        self.places: list[tuple[int, int, int]] = []
        self.n_ended, self.killed = 0, []

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self.places += [info["place"] for info in infos]
        self.n_ended += int(self.locals["dones"].sum())
        if self.kill_at and self.num_timesteps >= self.kill_at[0] and infos[0]["pid"] not in self.killed:
            os.kill(infos[0]["pid"], signal.SIGKILL)  # the one who came last is as random as who finishes when
            self.killed.append(infos[0]["pid"])
            self.kill_at.pop(0)
        return True


def model_of(collectors: int, seconds: float, n_envs: int, **kwargs) -> UDRL:
    """A small model of :class:`Numbered`, whose episodes all go to one buffer."""
    make = partial(make_vec_env, partial(Numbered, seconds), n_envs)
    settings = {"learning_starts": 500, "policy_kwargs": {"net_arch": [32]}, "device": "cpu", "buffer_size": 10**6, **kwargs}
    return UDRL("CommandPolicy", make, commands="absolute", collectors=collectors, seed=0, **settings)


@contextmanager
def two_nodes():
    """A Ray cluster of two nodes on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def faults_of_kills(model: UDRL, seen: KillSometimes, total_timesteps: int) -> list[str]:
    """
    What is not as it must be after a training with kills.

    :param model: the model that was trained
    :param seen: the steps that it counted
    :param total_timesteps: that were asked for
    """
    faults = []
    if not model.num_timesteps == total_timesteps == len(seen.places):
        faults.append(f"{model.num_timesteps} steps counted, {len(seen.places)} seen, {total_timesteps} asked for")
    twice = [place for place, count in Counter(seen.places).items() if count > 1]
    if twice:
        faults.append(f"steps {twice[:3]} were seen twice")
    buffer, stored = model.replay_buffer, set()
    for index in range(buffer.n_episodes):
        observations = buffer.episode(index).observations
        me, number = observations[0, :2].astype(int)
        if (observations[:, :2] != observations[0, :2]).any() or (observations[:, 2] != np.arange(len(observations))).any():
            faults.append(f"episode {index} is not whole")
        if (me, number) in stored:
            faults.append(f"episode {number} of {me} is there twice")
        stored.add((me, number))
    if not len(stored) == buffer.n_episodes_added == seen.n_ended:
        faults.append(f"{seen.n_ended} episodes ended, {buffer.n_episodes_added} were stored, {len(stored)} are there")
    return faults


def kill(n_kills: int, collectors: int = 4, steps_per_kill: int = 2_000) -> tuple[str, list[str]]:
    """
    Train on a cluster while actors are killed.

    :param n_kills: how many kills
    :param collectors: number of actors
    :param steps_per_kill: steps from one kill to the next
    :return: a row of the table, and what was wrong
    """
    total = steps_per_kill * (n_kills + 1)
    with two_nodes(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = model_of(collectors, 0.001, 2, collector_kwargs={"backend": "ray"})
        seen = KillSometimes(n_kills, total)
        model.learn(total, callback=seen, log_interval=None)
    losses = sum("was lost" in str(warning.message) for warning in caught)
    faults = faults_of_kills(model, seen, total)
    if len(seen.killed) != n_kills or losses < n_kills - 1:  # the last one may not have been missed
        faults.append(f"{len(seen.killed)} were killed and {losses} missed, of {n_kills}")
    row = f"| {len(seen.killed)} | {losses} | {total:,} | {model.replay_buffer.n_episodes_added:,} | {len(faults)} |"
    return row, faults


def share(collectors: int, n_envs: int, seconds: float, n_timesteps: int, backend: str) -> str:
    """
    How much of the ideal some collectors reach, while the model learns.

    :param collectors: how many
    :param n_envs: environments of each, which step one after the other
    :param seconds: that a step of the environment takes
    :param n_timesteps: that are measured
    :param backend: as for ``collector_kwargs``
    :return: a row of the table
    """
    env = Numbered(seconds)
    env.reset()
    started = time.perf_counter()
    for _ in range(200):
        env.step(0)
        env.t = 0
    alone = 200 / (time.perf_counter() - started)
    model = model_of(collectors, seconds, n_envs, collector_kwargs={"backend": backend}, gradient_steps=0.05)
    model.learn(1_000, log_interval=None)
    started = time.perf_counter()
    model.learn(n_timesteps, reset_num_timesteps=False, log_interval=None)
    rate = n_timesteps / (time.perf_counter() - started)
    model._collectors.close()
    return f"| {collectors} | {n_envs} | {seconds * 1000:g} ms | {rate:,.0f} | {rate / alone / collectors:.0%} |"


def main(arguments: list[str] | None = None) -> None:
    """
    Print tables; exit with status 1 if anything was wrong.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collectors", description=__doc__.split("\n")[1])
    parser.add_argument("--kills", type=int, default=50, help="of random actors (default: %(default)s)")
    parser.add_argument("--collectors", type=int, nargs="*", default=[2, 8, 32], help="whose shares are measured")
    parser.add_argument("--n-envs", type=int, default=8, help="environments of each (default: %(default)s)")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="that a step of the environment takes")
    parser.add_argument("--seconds", type=float, default=20.0, help="that are measured (default: %(default)s)")
    parser.add_argument("--backend", default="processes", help='"processes" or "ray" (default: %(default)s)')
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    faults: list[str] = []
    if args.kills:
        row, faults = kill(args.kills)
        print(f"| kills | missed | steps | episodes | faults |\n|---|---|---|---|---|\n{row}\n", flush=True)
    if args.collectors:
        print(
            "| collectors | environments of each | a step takes | steps per second | of the ideal |\n|---|---|---|---|---|",
            flush=True,
        )
    for collectors in args.collectors:
        wanted = int(args.seconds * collectors / max(args.milliseconds / 1000, 0.0005))
        print(share(collectors, args.n_envs, args.milliseconds / 1000, wanted, args.backend), flush=True)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
