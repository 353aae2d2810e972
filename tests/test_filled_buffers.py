"""With a replay buffer that was loaded or filled, training goes on at once."""

import numpy as np
import pytest
from helpers import DEVICE, make_vec, tiny_model
from probe_envs import FixedStart

from sb3_udrl import UDRL


class CountedWarmUp:
    """Uniform actions; remembers how many."""

    def __init__(self):
        self.n_actions = 0

    def __call__(self, observations, starts):
        self.n_actions += len(starts)
        return np.random.default_rng(self.n_actions).integers(3, size=len(starts))


def new_model(**kwargs):
    """Eight steps an episode, twelve episodes of warm-up."""
    return tiny_model(make_vec(FixedStart), warm_up=CountedWarmUp(), learning_starts=96, train_freq=16, **kwargs)


def warm_up_steps(model):
    return model.warm_up.n_actions


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of 160 steps, and its replay buffer."""
    folder = tmp_path_factory.mktemp("saved")
    model = new_model().learn(160)
    assert warm_up_steps(model) == 96 + 8  # the first training is in the middle of an episode
    model.save(folder / "model")
    model.save_replay_buffer(folder / "buffer")
    return folder


def loaded(folder):
    return UDRL.load(folder / "model", make_vec(FixedStart), device=DEVICE, custom_objects={"warm_up": CountedWarmUp()})


@pytest.mark.parametrize("reset", [True, False])
def test_a_model_that_is_loaded_with_its_buffer(saved, reset):
    model = loaded(saved)
    model.load_replay_buffer(saved / "buffer")
    n_updates, n_asked = model._n_updates, len(model.outcomes)
    model.learn(32, reset_num_timesteps=reset)
    assert warm_up_steps(model) == 0
    assert len(model.outcomes) == n_asked + 4
    assert model._n_updates > n_updates


def test_a_model_that_is_loaded_without_its_buffer(saved):
    """Nothing is learned before enough is stored again, but what it knows is played, not chance."""
    before = loaded(saved)._n_updates
    model = loaded(saved).learn(88)
    assert warm_up_steps(model) == 0 and model._n_updates == before > 0
    assert model.learn(24, reset_num_timesteps=False)._n_updates > before


@pytest.mark.parametrize("commands", ["absolute", "relative", "any"])
@pytest.mark.parametrize("n_episodes", [6, 30])
def test_a_new_model_with_the_episodes_of_another_one(saved, n_episodes, commands):
    """However few they are: what they show is learned before the first action."""
    other = loaded(saved).learn(240).replay_buffer
    model = new_model(commands=commands)
    for i in range(n_episodes):
        model.replay_buffer.add(other.episode(i))
    model.learn(8)
    assert warm_up_steps(model) == 0
    assert model._n_updates > 0 and len(model.outcomes) == 1
    model.learn(32, reset_num_timesteps=False)
    assert warm_up_steps(model) == 0


def test_a_new_model_that_loads_a_buffer(saved):
    model = new_model()
    model.load_replay_buffer(saved / "buffer")
    model.learn(32)
    assert warm_up_steps(model) == 0 and len(model.outcomes) == 4


def test_learning_twice():
    model = new_model().learn(160)
    n_before = warm_up_steps(model)
    model.learn(64)
    assert warm_up_steps(model) == n_before
