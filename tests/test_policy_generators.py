"""Generated networks act in one batched product, and generators learn known maps from returns to weights."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_udrl.policies import FitOptions
from sb3_udrl.udrlpg import GeneratorPolicy
from sb3_udrl.udrlpg.generators import TileGenerator
from sb3_udrl.udrlpg.network import PolicyNetwork
from sb3_udrl.udrlpg.policy_buffer import PolicyBuffer
from sb3_udrl.udrlpg.return_scale import ReturnScale, places_of


@pytest.mark.parametrize("net_arch", [[], [4], [6, 5]], ids=str)
def test_batched_acting_equals_acting_one_by_one_and_pytorch(net_arch):
    network, rng = PolicyNetwork(3, net_arch, 2), np.random.default_rng(0)
    weights, inputs = network.initial(10, rng), rng.standard_normal((10, 3)).astype(np.float32)
    together = network.outputs(weights, inputs)
    for i in range(10):
        np.testing.assert_array_equal(network.outputs(weights[i : i + 1], inputs[i : i + 1])[0], together[i])
        hidden = th.from_numpy(inputs[i])
        for index, (matrix, bias) in enumerate(network.layers(weights[i : i + 1])):
            hidden = nn.functional.linear(
                hidden.tanh() if index else hidden, th.from_numpy(matrix[0].T), th.from_numpy(bias[0])
            )
        np.testing.assert_allclose(hidden.numpy(), together[i], rtol=1e-5, atol=1e-6)


def test_initial_weights_have_the_usual_scale():
    network = PolicyNetwork(100, [25], 1)
    (first, _), (second, _) = network.layers(network.initial(200, np.random.default_rng(0)))
    assert first.std() == pytest.approx(1 / 10, rel=0.05) and second.std() == pytest.approx(1 / 5, rel=0.05)
    assert network.n_weights == 101 * 25 + 26


@pytest.mark.parametrize("net_arch", [[], [7], [40, 33]], ids=str)
def test_tiles_cover_all_weights_of_any_shape(net_arch):
    network = PolicyNetwork(5, net_arch, 3)
    generator = TileGenerator(network, net_arch=[8], tile_size=16, embedding_dim=4)
    commands = th.linspace(-1, 1, 4)[:, None]
    weights = generator(commands)
    assert weights.shape == (4, network.n_weights)
    weights.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in generator.parameters())
    n_nets = {0: 2, 1: 4, 2: 6}[len(net_arch)]  # weights and biases of each kind of layer
    assert len(generator.nets) == n_nets


@pytest.mark.parametrize("generator", [{"net_arch": []}, {"net_arch": [32]}], ids=str)
def test_a_known_linear_map_is_recovered(generator):
    """Weights are linear in the return, so the policy for any return is known, also for one beyond all that was stored."""
    policy = GeneratorPolicy(spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)), lambda _: 1e-2, generator_kwargs=generator)
    slope, offset = np.array([0.5, -0.2, 0.1]), np.array([0.1, 0.3, -0.4])
    policies = PolicyBuffer(100, 3, policy.command_space, 0.0, "uniform", np.random.default_rng(0))
    for value in np.linspace(-1, 1, 50):
        policies.add((offset + value * slope).astype(np.float32), 100 * value, 10)
    policy.fit(policies, FitOptions(800, 50, 1e-2))
    policy.fit(policies, FitOptions(200, 50, 1e-3))
    for asked in (-70.0, 0.0, 55.0):
        np.testing.assert_allclose(policy.generate(np.array([asked]))[0], offset + asked / 100 * slope, atol=0.05)
    if not generator["net_arch"]:
        np.testing.assert_allclose(policy.generate(np.array([130.0]))[0], offset + 1.3 * slope, atol=0.05)
    policy.remember_best(policies)
    np.testing.assert_allclose(policy.best_weights, offset + slope, atol=1e-6)


def test_returns_are_read_on_a_scale_that_follows_the_data():
    scale = ReturnScale()
    values = np.linspace(-50, 150, 101)
    scale.update(values, values)
    np.testing.assert_allclose(
        scale.inputs(scale.values_of(np.array([-50.0, 50.0, 150.0, 250.0])))[:, 0], [-1, 0, 1, 2], atol=0.05
    )


def test_a_quarter_of_a_return_s_place_is_its_rank():
    # Of 8: a third of the ranks, and 0.8 of the range, on a scale from -1 to 1
    third = 2 * (0.25 / 3 + 0.75 * 0.8) - 1
    np.testing.assert_allclose(places_of(np.array([0.0, 8.0, 9.0, 10.0]))[:2], [-1, third], rtol=1e-12)


def test_policies_that_crowd_are_told_apart():
    """90 of 100 policies share the upper hundredth of the range: they get a quarter of the scale but for a tenth."""
    values = np.concatenate((np.linspace(0, 98, 10), np.linspace(99, 100, 90)))
    places = places_of(values)
    assert places[0] == -1 and places[-1] == 1 and (np.diff(places) > 0).all()
    assert np.ptp(places[10:]) == pytest.approx(2 * (0.25 * 0.9 + 0.75 * 0.01), abs=0.03)


def test_beyond_the_best_the_scale_goes_on_as_it_ends():
    """Nine tenths of the policies lie far below: asking for half the spread more is one unit more."""
    scale = ReturnScale()
    values = np.concatenate((np.linspace(0, 50, 90), np.linspace(99, 100, 20)))
    scale.update(values, values)
    # The first of the 64 knots above nine tenths of the scale is 52/63 through the policies, on the way from 50 to 99
    knot = 50 + (109 * 52 / 63 - 89) * 49
    place = 2 * (0.25 * 52 / 63 + 0.75 * knot / 100) - 1
    assert scale.spread == pytest.approx(2 * (100 - knot) / (1 - place))  # 41 of a range of 100
    np.testing.assert_allclose(scale.inputs(np.array([100, 100 + scale.spread / 2]))[:, 0], [1, 2], atol=1e-5)


def test_returns_and_values_lead_back_to_each_other():
    """Also where survival pays so much that policies of a higher value earn less."""
    scale, rng = ReturnScale(), np.random.default_rng(0)
    values = rng.uniform(0, 50, 300)
    scale.update(values, values + np.where(values < 10, 1000, 100))
    wanted = np.array([-20.0, 5.0, 30.0, 49.0, 80.0])
    np.testing.assert_allclose(scale.values_of(scale.returns_of(wanted)), wanted, atol=1e-4)


def test_returns_that_hold_a_survival_bonus_find_the_value_that_goes_with_them():
    """An episode of 100 steps pays 100 for survival and its value besides."""
    scale = ReturnScale()
    values = np.linspace(0, 100, 201)
    scale.update(values, 100 + values)
    np.testing.assert_allclose(scale.values_of(np.array([110.0, 150.0, 220.0])), [10, 50, 120], atol=2)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [-1e9, 1e9]], ids=str)
def test_few_or_equal_returns_have_a_scale_too(values):
    scale = ReturnScale()
    scale.update(np.array(values), np.array(values))
    assert np.isfinite(scale.inputs(scale.values_of(np.array([-7.0, values[0], 1e10])))).all()


@pytest.mark.parametrize("size", [1e-30, 1e-5, 1.0, 1e17])
def test_returns_of_any_size_lead_back_to_themselves(size):
    scale, values = ReturnScale(), size * np.linspace(0, 1, 200)
    scale.update(values, values)
    np.testing.assert_allclose(scale.returns_of(values[[0, 100, 199]]), values[[0, 100, 199]], atol=1e-3 * size)


def test_equal_returns_of_any_size_are_read_as_numbers():
    scale = ReturnScale()
    scale.update(np.full(3, 1e17), np.full(3, 1e17))
    np.testing.assert_allclose(scale.inputs(np.array([0.0, 1e17]))[:, 0], [-1, 1])
