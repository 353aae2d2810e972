"""Settings for all tests: one thread, because networks this small are slower with more, and no global random state."""

import random

import numpy as np
import pytest
import torch as th
from helpers import make_vec, tiny_model
from hypothesis import HealthCheck, settings
from probe_envs import Scripted

from sb3_udrl.commands.tracking import set_tracked_env

th.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def no_tracked_env():
    """Scripts of the Zoo track the environment that they make for the rest of the thread: of this test, here."""
    yield
    set_tracked_env(None)


@pytest.fixture(autouse=True)
def _seeded():
    """Tests do not depend on which ran before them."""
    random.seed(0)
    np.random.seed(0)
    th.manual_seed(0)


@pytest.fixture
def saved(tmp_path):
    """The path of a saved model."""
    tiny_model(make_vec(Scripted)).learn(64).save(tmp_path / "model.zip")
    return tmp_path / "model.zip"
