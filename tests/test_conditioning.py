"""How commands enter the network: every way against its formula."""

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from torch import nn

from sb3_udrl.commands import COMMAND_SPACES, Command
from sb3_udrl.policies import CommandPolicy
from sb3_udrl.policies.conditioning import CONDITIONINGS, ConditionedMlp

N, FEATURES, WIDTH = 5, 3, 4
FEATURES_IN, COMMANDS = th.randn(N, FEATURES), th.randn(N, 2)


def trunk(conditioning, net_arch=(WIDTH, WIDTH), activation_fn=nn.ReLU):
    th.manual_seed(1)
    return ConditionedMlp(FEATURES, list(net_arch), activation_fn, conditioning)


def test_gating_multiplies_every_layer():
    net = trunk("gating")
    first, second = net.layers
    hidden = F.relu(first.linear(FEATURES_IN)) * 2 * th.sigmoid(first.gate(COMMANDS))
    hidden = F.relu(second.linear(hidden)) * 2 * th.sigmoid(second.gate(COMMANDS))
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), hidden)


def test_first_gating_multiplies_the_first_layer_only():
    net = trunk("first_gating")
    first, second = net.layers
    hidden = F.relu(first.linear(FEATURES_IN)) * 2 * th.sigmoid(first.gate(COMMANDS))
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), F.relu(second.linear(hidden)))
    assert not hasattr(second, "gate")


def test_prelu_multiplies_two_embeddings():
    net = trunk("prelu", net_arch=[WIDTH])
    layer = net.layers[0]
    own = F.prelu(layer.linear(FEATURES_IN), layer.activation.weight)
    command = F.prelu(layer.embedding[0](COMMANDS), layer.embedding[1].weight)
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), own * command)


def test_bilinear_weights_are_linear_in_the_command():
    net = trunk("bilinear", net_arch=[WIDTH])
    layer = net.layers[0]
    weights = layer.by_command.weight.view(2, WIDTH, FEATURES)
    biases = layer.by_command.bias.view(2, WIDTH)
    expected = []
    for features, command in zip(FEATURES_IN, COMMANDS, strict=True):
        weight = layer.linear.weight + command[0] * weights[0] + command[1] * weights[1]
        bias = layer.linear.bias + command[0] * biases[0] + command[1] * biases[1]
        expected.append(F.relu(weight @ features + bias))
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), th.stack(expected))


def test_concat_is_one_more_input():
    net = trunk("concat", net_arch=[WIDTH])
    expected = F.relu(net.layers[0].linear(th.cat([FEATURES_IN, COMMANDS], 1)))
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), expected)


def test_linear_leaves_the_last_layer_what_is_linear_in_the_command():
    net = trunk("linear")
    hidden = F.relu(net.layers[1].linear(F.relu(net.layers[0].linear(FEATURES_IN))))
    expected = th.cat([hidden] + [COMMANDS[:, k : k + 1] * hidden for k in range(2)], 1)
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), expected)


def test_logits_are_linear_in_the_command():
    policy = CommandPolicy(spaces.Box(-1, 1, (FEATURES,)), spaces.Discrete(3), lambda _: 1e-3, conditioning="linear")
    usual, more = policy(FEATURES_IN, th.zeros(N, 2)), policy(FEATURES_IN, COMMANDS)
    assert not th.allclose(usual, more)
    th.testing.assert_close(policy(FEATURES_IN, 3 * COMMANDS) - usual, 3 * (more - usual))


def test_masked_is_a_plain_network():
    net = trunk("masked")
    expected = F.relu(net.layers[1].linear(F.relu(net.layers[0].linear(FEATURES_IN))))
    th.testing.assert_close(net(FEATURES_IN, COMMANDS), expected)
    assert not {name for name, _ in net.named_parameters() if "linear" not in name}  # no dead weights


@pytest.mark.parametrize("net_arch", [[], [WIDTH], [WIDTH, WIDTH]])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_command_matters_unless_masked(conditioning, net_arch):
    net = trunk(conditioning, net_arch)
    out = net(FEATURES_IN, COMMANDS)
    assert out.shape == (N, net.latent_dim)
    if conditioning == "linear":  # each latent value also times each value of the command
        assert net.latent_dim == (net_arch[-1] if net_arch else FEATURES) * 3
    else:
        assert net.latent_dim == (net_arch[-1] if net_arch else FEATURES)
    for column in range(2):
        other = COMMANDS.clone()
        other[:, column] += 1
        assert th.equal(net(FEATURES_IN, other), out) == (conditioning == "masked")


@pytest.mark.parametrize("conditioning", sorted({*CONDITIONINGS} - {"masked"}))
def test_gradients_reach_every_weight(conditioning):
    net = trunk(conditioning, activation_fn=nn.Tanh)
    net(FEATURES_IN, COMMANDS).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_rows_do_not_mix():
    for conditioning in CONDITIONINGS:
        net = trunk(conditioning)
        together = net(FEATURES_IN, COMMANDS)
        alone = th.cat([net(FEATURES_IN[i : i + 1], COMMANDS[i : i + 1]) for i in range(N)])
        np.testing.assert_allclose(together.detach(), alone.detach(), atol=1e-6)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"conditioning='film': choose one of \['bilinear', 'concat'"):
        trunk("film")


def test_linear_commands_ask_for_what_is_better_on_average():
    """
    The first action always earns 0.2; the second -0.3 and, one time in ten, 9, which is 0.63 on average. Asked for a
    little more than usual, a gated network takes the first, which is what earned a little more. A logistic regression has
    a slope of the sign of the covariance of label and action, so linear logits lean to the second.
    """
    labels = np.float32([0.2] * 10 + [-0.3] * 9 + [9.0])
    actions = th.tensor([0] * 10 + [1] * 10)
    observations, command = th.zeros(20, 1), Command({"advantage": labels})
    chances = {}
    for conditioning in ("linear", "gating"):
        th.manual_seed(1)
        policy = CommandPolicy(
            spaces.Box(-1, 1, (1,)),
            spaces.Discrete(2),
            lambda _: 1e-2,
            net_arch=[16],
            conditioning=conditioning,
            command_space=COMMAND_SPACES["relative"],
        )
        policy.update_statistics(observations, policy.command_tensor(command))
        for _ in range(500):
            policy.optimizer.zero_grad()
            policy.action_head.loss(policy(observations, policy.command_tensor(command)), actions).backward()
            policy.optimizer.step()
        asked = policy.command_tensor(Command({"advantage": np.array([0.0, 0.5])}))
        chances[conditioning] = policy(observations[:2], asked).softmax(1)[:, 1].detach().numpy()
    assert chances["linear"][1] > chances["linear"][0]
    assert chances["gating"][1] < 0.3 < 0.45 < chances["linear"][1]
