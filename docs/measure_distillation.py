"""What one small tree keeps of a network: the figures in docs/guide/explain.md.

Run: python docs/measure_distillation.py ENV SEED [MAX_LEAF_NODES ...]
"""

import sys
import time
from pathlib import Path

import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL
from sb3_udrl.explain import distill

SETTINGS = {  # those of hyperparams/udrl.yml, but for eight environments
    "CartPole-v1": (50_000, dict(learning_starts=1000, train_freq=64)),
    "LunarLander-v3": (1_000_000, dict()),
}

th.set_num_threads(1)
env_id, seed = sys.argv[1], int(sys.argv[2])
n_steps, settings = SETTINGS[env_id]
env = make_vec_env(env_id, n_envs=8, env_kwargs=dict(render_mode=None))
saved = Path(f"{env_id}_{seed}.zip")  # training takes minutes, and other sizes of trees need no other network
if saved.exists():
    model = UDRL.load(saved, env)
else:
    model = UDRL("CommandPolicy", env, commands="relative", buffer_size=30_000, seed=seed, **settings).learn(n_steps)
    model.save(saved)
for max_leaf_nodes in [int(argument) for argument in sys.argv[3:]] or [64]:
    start = time.process_time()
    found = distill(model, env, max_leaf_nodes)
    means = [returns.mean() for returns in (found.teacher_returns, found.returns, found.random_returns)]
    print(
        f"{env_id} seed {seed}, {max_leaf_nodes} leaves: network {means[0]:.1f}, tree {means[1]:.1f}, random {means[2]:.1f}, "
        f"kept {found.kept:.3f}, {found.n_situations} situations, {time.process_time() - start:.0f} CPU seconds",
        flush=True,
    )
