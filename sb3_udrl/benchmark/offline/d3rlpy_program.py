"""
Trains an algorithm of d3rlpy on a recording, and evaluates it. Run by the benchmark under the Python of an environment of its
own, since d3rlpy pins other versions: ``python d3rlpy_program.py TASK.json RESULT.json``. It imports nothing of this package.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium as gym
import numpy as np
import torch

DISCRETE = {"DecisionTransformer": "DiscreteDecisionTransformer", "CQL": "DiscreteCQL"}


def main(task_path: str, result_path: str) -> None:
    """
    :param task_path: JSON: ``env_id``, ``algorithm``, ``hyperparams``, ``data``, ``n_steps``, ``n_episodes``, ``seed``
    :param result_path: JSON: ``cpu_seconds`` and ``wall_seconds`` of training, ``greedy``, ``sampled`` and ``versions``
    """
    task = json.loads(Path(task_path).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    d3rlpy.seed(task["seed"])
    env: Any = gym.make(task["env_id"])
    env.action_space.seed(task["seed"])
    discrete = isinstance(env.action_space, gym.spaces.Discrete)
    with np.load(task["data"]) as data:
        arrays = {name: data[name] for name in ("observations", "actions", "rewards", "terminals", "timeouts")}
    lasts = np.flatnonzero(arrays["terminals"] | arrays["timeouts"])
    returns = np.add.reduceat(arrays["rewards"], np.append(0, lasts[:-1] + 1))
    arrays["actions"] = arrays["actions"].astype(np.int32)[:, None] if discrete else arrays["actions"]
    dataset = d3rlpy.dataset.MDPDataset(
        **{name: arrays[name] for name in ("observations", "actions", "rewards")},
        terminals=arrays["terminals"].astype(np.float32),
        timeouts=arrays["timeouts"].astype(np.float32),
        action_space=d3rlpy.ActionSpace.DISCRETE if discrete else d3rlpy.ActionSpace.CONTINUOUS,
        action_size=int(env.action_space.n) if discrete else env.action_space.shape[0],
    )
    name = DISCRETE.get(task["algorithm"], task["algorithm"]) if discrete else task["algorithm"]
    algorithm = getattr(d3rlpy.algos, f"{name}Config")(**task["hyperparams"]).create(device="cpu:0")
    clocks = time.process_time(), time.perf_counter()
    algorithm.fit(
        dataset,
        n_steps=task["n_steps"],
        n_steps_per_epoch=task["n_steps"],
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    result: dict[str, Any] = {
        "cpu_seconds": time.process_time() - clocks[0],
        "wall_seconds": time.perf_counter() - clocks[1],
        "versions": {package: metadata.version(package) for package in ("d3rlpy", "torch", "gymnasium", "numpy")},
    }
    for mode in ("greedy", "sampled"):
        result[mode] = evaluate(algorithm, env, task["n_episodes"], mode, float(returns.max()), task["seed"], discrete)
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def evaluate(
    algorithm: Any, env: Any, n_episodes: int, mode: str, target: float, seed: int, discrete: bool
) -> dict[str, list[float]]:
    """
    Play episodes. Where an algorithm has no draws of its own, both modes are greedy.

    :param algorithm: has learned
    :param env: the environment
    :param n_episodes: how many
    :param mode: ``"greedy"`` or ``"sampled"``
    :param target: what Decision Transformers are asked for: the highest return of the recording
    :param seed: of the run; that of the first episode is far from those of trainings
    :param discrete: whether actions are choices
    """
    transformer = hasattr(algorithm, "as_stateful_wrapper")
    if transformer:
        sampler = None
        if discrete:
            samplers = d3rlpy.algos
            greedy = mode == "greedy"
            sampler = samplers.GreedyTransformerActionSampler() if greedy else samplers.SoftmaxTransformerActionSampler()
        actor = algorithm.as_stateful_wrapper(target, sampler)
    returns: list[float] = []
    lengths: list[float] = []
    for episode in range(n_episodes):
        observation, _ = env.reset(seed=1_000_000 + 1_000 * seed if episode == 0 else None)
        total, length, reward, done = 0.0, 0, 0.0, False
        if transformer:
            actor.reset()
        while not done:
            action = actor.predict(observation, reward) if transformer else algorithm.predict(observation[None])[0]
            observation, reward, terminated, truncated, _ = env.step(int(action) if discrete else action)
            reward = float(reward)
            total, length, done = total + reward, length + 1, terminated or truncated
        returns.append(total)
        lengths.append(length)
    return {"returns": returns, "lengths": lengths}


if __name__ == "__main__":
    main(*sys.argv[1:])
