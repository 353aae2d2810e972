"""What the core's tests ask of every behavior function, asked once more of trees: reproducible, predicts, resumes."""

import pytest
import test_deterministic
import test_predict
import test_resume
import torch as th
from gymnasium import spaces
from helpers import TINY

from sb3_udrl import UDRL

MODULES = (test_deterministic, test_predict, test_resume)
ABOUT_NETWORKS = {
    "test_another_seed_gives_another_run",  # two small trees may act alike; see test_same_seed_same_forest
    "test_a_subclassed_box_is_clipped_too",  # chooses a head
    "test_an_optimizer_with_a_memory",
    "test_a_user_s_warm_up_function",  # does the same everywhere, which trees refuse
    "test_noise_that_depends_on_the_situation",  # which trees refuse
    "test_noise_is_that_of_the_model_not_of_the_file",
    "test_a_command_that_is_refused_leaves_the_guidance_as_it_was",  # which is for networks
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
    return UDRL("ForestPolicy", env, **{"commands": "absolute", **TINY, "policy_kwargs": settings, **kwargs})


def trees_of(model):
    """In the place of ``parameters_of``: the command, and all splits and answers of the tree."""
    learned = model.policy.learned
    parts = (
        {} if learned is None else {name: getattr(learned.estimator.tree_, name) for name in ("feature", "threshold", "value")}
    )
    size = th.tensor([len(part) for part in parts.values()])
    return {"command": model.policy.eval_command.clone(), "size": size, **{name: th.tensor(parts[name]) for name in parts}}


@pytest.fixture(autouse=True)
def trees_instead_of_networks(monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "tiny_model", tiny_trees)
        monkeypatch.setattr(module, "parameters_of", trees_of, raising=False)
