"""Layers that behave differently while training: they do so while training only."""

import numpy as np
import pytest
import torch as th
from helpers import Recorder, make_vec, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class WithModes(BaseFeaturesExtractor):
    """Batch statistics and dropout."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 8)
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))

    def forward(self, observations):
        return self.layers(observations)

    @property
    def statistics(self):
        return self.layers[1].running_mean.clone()


@pytest.fixture
def model():
    env = make_vec(Scripted, 2)
    return tiny_model(env, learning_starts=40, train_freq=20, policy_kwargs={"features_extractor_class": WithModes})


@pytest.mark.parametrize("patience", [None, 1])
def test_statistics_change_in_training_only(model, patience):
    model.patience = patience
    extractor = model.policy.features_extractor
    seen = []
    model.learn(160, callback=Recorder(lambda callback: seen.append((extractor.statistics, extractor.training))))
    statistics = th.stack([s for s, _ in seen])
    changed = (statistics[1:] != statistics[:-1]).any(1).cpu()
    # rounds of 20 steps; the first training is after step 20, as 40 transitions are there
    assert np.flatnonzero(changed).tolist() == [19, 39, 59]
    assert not any(training for _, training in seen)


def test_predicting_is_repeatable_and_leaves_statistics_alone(model):
    model.learn(100)
    model.policy.set_training_mode(True)
    before = model.policy.features_extractor.statistics
    batch = np.random.default_rng(0).uniform(size=(50, 2)).astype(np.float32)
    params = []
    model.policy.action_head.register_forward_hook(lambda _, __, out: params.append(out))
    for _ in range(2):
        model.predict(batch, deterministic=True)
    assert (params[0] == params[1]).all()
    assert (model.policy.features_extractor.statistics == before).all()


def test_standardizers_do_not_move_while_collecting_or_predicting():
    model = tiny_model(make_vec(Scripted, 2), train_freq=20)
    seen = []
    model.learn(160, callback=Recorder(lambda callback: seen.append(model.policy.command_standardizer.n_updates.item())))
    assert seen == [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20
    model.predict(np.full((5, 2), 1e3, np.float32))
    assert model.policy.command_standardizer.n_updates == 4
