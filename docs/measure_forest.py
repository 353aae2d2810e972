"""How long one decision of a forest takes: the figures in docs/guide/forests.md. Run: python docs/measure_forest.py"""

import time

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL
from sb3_udrl.forest.inference import sklearn_predictor

th.set_num_threads(1)
env = make_vec_env("CartPole-v1", n_envs=8, env_kwargs=dict(render_mode=None))
model = UDRL("ForestPolicy", env, seed=0, commands="relative", buffer_size=30_000).learn(30_000)
slow = sklearn_predictor(model.policy.learned.estimator)
observation = np.array([0.01, 0.02, -0.01, 0.03], dtype=np.float32)
state, starts = model.predict(observation)[1], np.array([False])


def decide() -> None:
    model.predict(observation, state, starts, deterministic=True)


def median(n_calls: int = 2000) -> float:
    """Median duration of a decision in microseconds."""
    durations = []
    for _ in range(n_calls):
        started = time.perf_counter()
        decide()
        durations.append(time.perf_counter() - started)
    return float(np.median(durations)) * 1e6


n_nodes = sum(tree.tree_.node_count for tree in model.policy.learned.estimator.estimators_)
print(f"{len(model.policy.learned.estimator.estimators_)} trees, {n_nodes} nodes")
print(f"through treelite: {median():.0f} microseconds")
model.policy.outputs = slow
print(f"through scikit-learn: {median(200):.0f} microseconds")
