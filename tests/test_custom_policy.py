"""Networks and optimizers of one's own."""

import copy

import numpy as np
import pytest
import torch as th
from helpers import DEVICE, make_vec, parameters_of, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.policies.base import FitOptions
from sb3_udrl.policies.gradient_fit import GradientFit


@pytest.mark.parametrize("net_arch", [[], [4], [8, 4], [4, 4, 4]])
def test_net_arch(net_arch):
    model = tiny_model(make_vec(Scripted), net_arch=net_arch).learn(64)
    shapes = [tuple(layer.linear.weight.shape) for layer in model.policy.trunk.layers]
    sizes = [2, *(net_arch or [2])]
    assert shapes == list(zip(sizes[1:], sizes[:-1], strict=True))
    assert model.policy.action_head.linear.in_features == sizes[-1]


def test_the_default_net_arch():
    model = UDRL("CommandPolicy", make_vec(Scripted), commands="absolute", device=DEVICE)
    assert model.policy.net_arch == [128, 128]


@pytest.mark.parametrize("activation_fn", [nn.Tanh, nn.LeakyReLU])
def test_activation_fn(activation_fn):
    model = tiny_model(make_vec(Scripted), policy_kwargs={"activation_fn": activation_fn}).learn(64)
    assert all(isinstance(layer.activation, activation_fn) for layer in model.policy.trunk.layers)


def test_optimizer(tmp_path):
    policy_kwargs = {"optimizer_class": th.optim.AdamW, "optimizer_kwargs": {"weight_decay": 0.25, "eps": 1e-4}}
    model = tiny_model(make_vec(Scripted), policy_kwargs=policy_kwargs, learning_rate=1e-2).learn(64)
    model.save(tmp_path / "model")
    for m in (model, UDRL.load(tmp_path / "model", device=DEVICE)):
        group = m.policy.optimizer.param_groups[0]
        assert type(m.policy.optimizer) is th.optim.AdamW
        assert (group["weight_decay"], group["eps"], group["lr"]) == (0.25, 1e-4, 1e-2)


def test_the_optimizer_has_all_parameters():
    policy = tiny_model(make_vec(Scripted)).policy
    held = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in policy.parameters()}


class Doubling(BaseFeaturesExtractor):
    """A user's own features."""

    def __init__(self, observation_space, features_dim=5):
        super().__init__(observation_space, features_dim)
        self.linear = nn.Linear(2, features_dim)

    def forward(self, observations):
        return 2 * self.linear(observations)


def test_features_extractor(tmp_path):
    policy_kwargs = {"features_extractor_class": Doubling, "features_extractor_kwargs": {"features_dim": 7}}
    model = tiny_model(make_vec(Scripted), policy_kwargs=policy_kwargs)
    before = model.policy.features_extractor.linear.weight.clone()
    model.learn(100)
    assert model.policy.trunk.layers[0].linear.in_features == 7
    assert (model.policy.features_extractor.linear.weight != before).any()
    assert not list(model.policy.feature_standardizer.buffers())  # learned features set their own scale
    model.save(tmp_path / "model")
    UDRL.load(tmp_path / "model", device=DEVICE, trusted=[f"{__name__}.Doubling"]).predict(np.zeros(2, np.float32))


def test_observations_are_standardized_unless_told_otherwise():
    model = tiny_model(make_vec(Scripted, lengths=(9,)), learning_starts=90, train_freq=90).learn(180)
    steps = model.policy.feature_standardizer.mean[1].item()
    assert steps == pytest.approx(4, abs=0.6)
    plain = tiny_model(make_vec(Scripted), policy_kwargs={"standardize_observations": False}).learn(100)
    assert not list(plain.policy.feature_standardizer.buffers())


def test_commands_are_standardized_by_the_data_or_scaled_as_told():
    seen = {}

    def inputs(**policy_kwargs):
        model = tiny_model(make_vec(Scripted, lengths=(9,), rewards=(10,)), policy_kwargs=policy_kwargs).learn(180)
        hook = model.policy.trunk.register_forward_pre_hook(lambda _, given: seen.update(command=given[1]))
        model.predict(np.zeros((1, 2), np.float32), command=(50, 5))
        hook.remove()
        return seen["command"][0].tolist()

    assert inputs() == pytest.approx([0, 0], abs=0.2)  # labels are 10 to 90 and 1 to 9
    assert inputs(return_scale=0.01) == pytest.approx([0.5, 0], abs=0.2)
    assert inputs(return_scale=0.02, horizon_scale=0.1) == pytest.approx([1, 0.5])


def test_initial_weights():
    torch_like = tiny_model(make_vec(Scripted), net_arch=[16], policy_kwargs={"ortho_init": False}).policy
    orthogonal = tiny_model(make_vec(Scripted), net_arch=[16]).policy
    weight = orthogonal.trunk.layers[0].linear.weight
    th.testing.assert_close(weight.T @ weight, 2 * th.eye(2, device=DEVICE))
    assert orthogonal.action_head.linear.weight.abs().max() < 0.011  # at first, all actions are equally likely
    assert torch_like.action_head.linear.weight.abs().max() > 0.1


def test_a_policy_class_of_ones_own():
    class Sized(CommandPolicy):
        """A user's own defaults."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "net_arch": [3]})

    assert tiny_model(make_vec(Scripted), Sized).learn(64).policy.trunk.latent_dim == 3


def test_arguments_are_not_changed():
    policy_kwargs = {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-4}}
    model = UDRL("CommandPolicy", make_vec(Scripted), policy_kwargs=policy_kwargs, device=DEVICE)
    parameters_of(model)
    assert policy_kwargs == {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-4}}


def test_training_ends_at_the_average_of_the_weights_over_its_second_half():
    """Three steps of plain gradient descent: the mean of the weights after the second and the third."""
    policy_kwargs = {"optimizer_class": th.optim.SGD, "average_weights": False}
    model = tiny_model(make_vec(Scripted), learning_rate=0.5, policy_kwargs=policy_kwargs).learn(64)
    state, rng = copy.deepcopy(model.policy.state_dict()), copy.deepcopy(model.rng.bit_generator.state)

    def trained(n_steps, average_weights):
        model.policy.load_state_dict(state)
        model.rng.bit_generator.state = copy.deepcopy(rng)
        model.policy.average_weights = average_weights
        batches = list(GradientFit._batches(model.policy, model.hindsight, FitOptions(3, 8, 0.5)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model.policy, "_batches", lambda *_: iter(batches[:n_steps]))
            model.policy.fit(model.hindsight, FitOptions(n_steps, 8, 0.5))
        return parameters_of(model)

    second, third = trained(2, average_weights=False), trained(3, average_weights=False)
    mean = {name: (second[name] + third[name]) / 2 for name in second}
    ended = trained(3, average_weights=True)
    assert any((second[name] - third[name]).abs().max() > 1e-3 for name in mean)
    for name, value in ended.items():
        np.testing.assert_allclose(value, mean[name], atol=1e-6)


def test_frozen_weights_stay_as_they_are_bit_by_bit():
    model = tiny_model(make_vec(Scripted), gradient_steps=9, policy_kwargs={"net_arch": [8]})  # five weights are averaged
    frozen = model.policy.trunk.layers[0].linear.weight.requires_grad_(False)
    before, moving = frozen.clone(), model.policy.action_head.linear.weight.detach().clone()
    model.learn(200)
    assert th.equal(frozen, before) and not th.equal(model.policy.action_head.linear.weight, moving)
