"""Settings for all tests: one thread, because networks this small are slower with more, and no global random state."""

import random

import numpy as np
import pytest
import torch as th
from hypothesis import HealthCheck, settings

th.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeded():
    """Tests do not depend on which ran before them."""
    random.seed(0)
    np.random.seed(0)
    th.manual_seed(0)
