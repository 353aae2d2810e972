"""What the core's tests ask of every behavior function, asked once more of trees: reproducible, predicts, resumes."""

import numpy as np
import pytest
import test_deterministic
import test_predict
import test_resume
import torch as th
from gymnasium import spaces
from helpers import TINY

from sb3_udrl import UDRL
from sb3_udrl.commands.command import Command
from sb3_udrl.explain.decisions import action_outputs

MODULES = (test_deterministic, test_predict, test_resume)
ABOUT_NETWORKS = {
    "test_another_seed_gives_another_run",  # looks at weights; small trees of two runs may decide alike
    "test_without_a_seed_every_run_is_another",
    "test_a_subclassed_box_is_clipped_too",  # chooses a head
    "test_set_command_is_saved",  # loads by the class of networks
    "test_an_optimizer_with_a_memory",
    "test_a_user_s_warm_up_function",  # does the same everywhere, which trees refuse
    "test_a_model_that_is_loaded_in_the_middle_of_an_episode",  # watches how networks act while they collect
}

for module in MODULES:
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_") and callable(value)}
    globals().update({name: test for name, test in tests.items() if name not in ABOUT_NETWORKS})

model = test_predict.model


def tiny_trees(env, policy="ForestPolicy", net_arch=(), **kwargs):
    """In the place of ``tiny_model``."""
    env = UDRL("CommandPolicy", env).get_env()
    kind = "DecisionTreeRegressor" if isinstance(env.action_space, spaces.Box) else "DecisionTreeClassifier"
    settings = {"estimator": f"sklearn.tree.{kind}", "estimator_kwargs": {"max_depth": 3}, **kwargs.pop("policy_kwargs", {})}
    return UDRL("ForestPolicy", env, **{**TINY, "policy_kwargs": settings, **kwargs})


def decisions_of(model):
    """In the place of ``parameters_of``."""
    policy = model.policy
    policy.observation_space.seed(0)
    observations = np.stack([policy.observation_space.sample() for _ in range(50)])
    command = Command(np.linspace(0, 50, 50, dtype=np.float32), np.linspace(1, 50, 50, dtype=np.float32))
    return {"command": policy.eval_command, "decisions": th.as_tensor(action_outputs(policy, observations, command))}


@pytest.fixture(autouse=True)
def trees_instead_of_networks(monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "tiny_model", tiny_trees)
        monkeypatch.setattr(module, "parameters_of", decisions_of, raising=False)
