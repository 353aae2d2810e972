"""Distributions over actions, against those of torch."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.distributions import Bernoulli, Beta, Categorical, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from sb3_udrl.policies.action_heads import BOX_HEADS, gumbel_like, make_action_head

N = 20_000
ONE = th.ones((1, 1))
BOUNDED = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 10.0], np.float32))
UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,))
SPACES = {
    "discrete": spaces.Discrete(4),
    "shifted discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "shifted multi-discrete": spaces.MultiDiscrete([3, 2], start=[10, -5]),
    "table of multi-discrete": spaces.MultiDiscrete([[3, 2], [4, 2], [2, 2]]),
    "binary": spaces.MultiBinary(3),
    "table of binary": spaces.MultiBinary([2, 3]),
    "box": BOUNDED,
    "table box": spaces.Box(-2, 3, (2, 3)),
    "double box": spaces.Box(-1, 1, (2,), np.float64),
    "unbounded": UNBOUNDED,
    "half-bounded": spaces.Box(0, np.inf, (2,)),
    "scalar box": spaces.Box(-1, 1, ()),
}


def make(space, box_head=None, seed=0):
    th.manual_seed(seed)
    head = make_action_head(8, space, box_head)
    return head, head(th.randn(1, 8)).detach()


every_head = pytest.mark.parametrize(
    ("space", "box_head"),
    [
        pytest.param(space, box_head, id=f"{name}-{box_head}")
        for name, space in SPACES.items()
        for box_head in (BOX_HEADS if isinstance(space, spaces.Box) and space.is_bounded() else [None])
    ],
)


@every_head
def test_actions_belong_to_the_space(space, box_head):
    head, params = make(space, box_head)
    params = params.expand(50, -1)
    for actions in (head.sample(params, ONE), head.mode(params), head.sample(params, th.zeros(1, 1))):
        assert actions.shape == (50, *space.shape)
        for action in actions.numpy():
            if isinstance(space, spaces.Box):  # an unbounded draw is clipped by those who act on it
                action = np.clip(action, space.low, space.high)
            assert space.contains(np.asarray(action, dtype=space.dtype))


@every_head
def test_loss_falls_towards_the_data(space, box_head):
    """Gradient descent on one action makes it the mode."""
    head, _ = make(space, box_head)
    space.seed(3)
    sampled = np.clip(space.sample(), -0.5, 8) if isinstance(space, spaces.Box) else space.sample()
    target, latent = th.as_tensor(np.asarray(sampled))[None], th.ones(1, 8)
    optimizer = th.optim.Adam(head.parameters(), lr=0.05)
    first = head.loss(head(latent), target).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss = head.loss(head(latent), target)
        loss.backward()
        optimizer.step()
    assert loss.item() < first
    width = 0.3 * (np.ptp([space.low, space.high]) if box_head not in ("gaussian", None) else 1) if not head.discrete else 0
    np.testing.assert_allclose(head.mode(head(latent)).detach().float(), target.float(), atol=width)


@pytest.mark.parametrize("start", [0, -2, 5])
def test_discrete_likelihood(start):
    head, params = make(spaces.Discrete(4, start=start))
    actions = th.arange(4) + start
    expected = -Categorical(logits=params.expand(4, -1)).log_prob(th.arange(4)).mean()
    th.testing.assert_close(head.loss(params.expand(4, -1), actions), expected)
    assert head.mode(params).item() == params.argmax().item() + start


def test_small_unsigned_actions_are_targets_too():
    """The buffer stores actions in the smallest type; a shift must not wrap around."""
    head, params = make(spaces.Discrete(4, start=2))
    expected = head.loss(params, th.tensor([5]))
    th.testing.assert_close(head.loss(params, th.tensor([5], dtype=th.uint8)), expected)


@pytest.mark.parametrize("start", [[0, 0], [10, -5]])
def test_multi_discrete_likelihood(start):
    head, params = make(spaces.MultiDiscrete([3, 2], start=start))
    picks = th.tensor([[0, 1], [2, 0], [1, 1]])
    first, second = (Categorical(logits=logits.expand(3, -1)) for logits in params.split([3, 2], dim=1))
    expected = -(first.log_prob(picks[:, 0]) + second.log_prob(picks[:, 1])).mean()
    th.testing.assert_close(head.loss(params.expand(3, -1), picks + th.tensor(start)), expected)


def test_binary_likelihood():
    head, params = make(spaces.MultiBinary([2, 2]))
    actions = th.tensor([[[0, 1], [1, 1]], [[0, 0], [1, 0]]], dtype=th.int8)
    expected = -Independent(Bernoulli(logits=params.expand(2, -1)), 1).log_prob(actions.flatten(1).float()).mean()
    th.testing.assert_close(head.loss(params.expand(2, -1), actions), expected)


SCALED = th.tensor([[-0.5, 0.5], [0.9, -0.2], [0.0, 0.0]])
RAW = SCALED * th.tensor([1.0, 5.0]) + th.tensor([0.0, 5.0])  # in the bounds of BOUNDED


def test_gaussian_likelihood():
    head, params = make(BOUNDED, "gaussian")
    mean, log_std = params.chunk(2, 1)
    expected = -Independent(Normal(mean, log_std.exp()), 1).log_prob(SCALED).mean()
    th.testing.assert_close(head.loss(params.expand(3, -1), RAW), expected)


def test_squashed_likelihood():
    head, params = make(BOUNDED, "squashed")
    mean, log_std = params.chunk(2, 1)
    squashed = TransformedDistribution(Normal(mean.expand(3, -1), log_std.exp()), TanhTransform())
    expected = -Independent(squashed, 1).log_prob(SCALED).mean()
    th.testing.assert_close(head.loss(params.expand(3, -1), RAW), expected)


def test_beta_likelihood():
    head, params = make(BOUNDED, "beta")
    alpha, beta = (1 + th.nn.functional.softplus(params)).chunk(2, 1)
    expected = -Independent(Beta(alpha, beta), 1).log_prob((SCALED + 1) / 2).mean()
    th.testing.assert_close(head.loss(params.expand(3, -1), RAW), expected)


def test_discretized_likelihood():
    head, params = make(spaces.Box(0, 21, (1,)), "discretized")
    actions = th.tensor([[0.5], [7.5], [20.5], [21.0]])  # a bin has width 1 here
    expected = -Categorical(logits=params.expand(4, -1)).log_prob(th.tensor([0, 7, 20, 20])).mean()
    th.testing.assert_close(head.loss(params.expand(4, -1), actions), expected)


@pytest.mark.parametrize("box_head", BOX_HEADS)
def test_likelihood_is_finite_at_the_bounds(box_head):
    head, params = make(BOUNDED, box_head)
    corners = th.tensor([[-1.0, 0.0], [1.0, 10.0]])
    assert th.isfinite(head.loss(params.expand(2, -1), corners))


@pytest.mark.parametrize("box_head", BOX_HEADS)
def test_a_component_that_cannot_vary_does_no_harm(box_head):
    space = spaces.Box(np.array([-1.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32))
    head, params = make(space, box_head)
    assert th.isfinite(head.loss(params, th.tensor([[0.5, 2.0]])))
    assert head.mode(params)[0, 1] == pytest.approx(2, abs=1e-6) or box_head == "gaussian"


def test_discrete_draws_have_the_right_frequencies():
    head, params = make(spaces.Discrete(4, start=3))
    drawn = head.sample(params.expand(N, -1), ONE) - 3
    expected = th.softmax(params[0], 0)
    np.testing.assert_allclose(np.bincount(drawn) / N, expected, atol=0.015)


def test_temperature_divides_the_logits():
    head, params = make(spaces.Discrete(4))
    drawn = head.sample(params.expand(N, -1), 0.5 * ONE)
    np.testing.assert_allclose(np.bincount(drawn) / N, th.softmax(params[0] / 0.5, 0), atol=0.015)


def test_multi_discrete_draws_are_independent():
    head, params = make(spaces.MultiDiscrete([3, 2]))
    drawn = head.sample(params.expand(N, -1), ONE)
    first, second = (th.softmax(logits[0], 0) for logits in params.split([3, 2], dim=1))
    joint = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=[3, 2])[0] / N
    np.testing.assert_allclose(joint, np.outer(first, second), atol=0.015)


def test_binary_draws():
    head, params = make(spaces.MultiBinary(3))
    drawn = head.sample(params.expand(N, -1), ONE).float()
    np.testing.assert_allclose(drawn.mean(0), th.sigmoid(params[0]), atol=0.015)


def test_gaussian_draws():
    head, params = make(BOUNDED, "gaussian")
    drawn = head.sample(params.expand(N, -1), ONE)
    mean, std = params[0, :2], params[0, 2:].exp()
    np.testing.assert_allclose(drawn.mean(0), [mean[0], 5 + 5 * mean[1]], atol=0.15)
    np.testing.assert_allclose(drawn.std(0), [std[0], 5 * std[1]], rtol=0.03)


def test_gaussian_is_no_narrower_than_min_std():
    """In draws and in the likelihood, and where it is wider anyway nothing changes."""
    head = make_action_head(8, BOUNDED, "gaussian", {"min_std": 0.3})
    params = th.tensor([[0.5, -0.5, np.log(0.01), np.log(0.6)]])
    drawn = head.sample(params.expand(N, -1), ONE)
    np.testing.assert_allclose(drawn.std(0), [0.3, 5 * 0.6], rtol=0.03)
    expected = -Independent(Normal(params[0, :2], th.tensor([0.3, 0.6])), 1).log_prob(SCALED).mean()
    th.testing.assert_close(head.loss(params.expand(3, -1), RAW), expected)


@pytest.mark.parametrize(("remaining", "least"), [(1.0, 0.4), (0.5, 0.25), (0.0, 0.1), (-0.01, 0.1)])
def test_least_deviation_falls_linearly(remaining, least):
    """Down to the last steps, which may go beyond the budget."""
    head = make_action_head(8, BOUNDED, "gaussian", {"min_std": 0.4, "final_min_std": 0.1})
    head.set_progress(remaining)
    _, log_std = head.split(th.full((1, 4), -5.0))
    th.testing.assert_close(log_std.exp(), th.full((1, 2), least))


def test_least_deviation_stays_without_a_final_one():
    head = make_action_head(8, BOUNDED, "gaussian", {"min_std": 0.4})
    head.set_progress(0.0)
    th.testing.assert_close(head.split(th.full((1, 4), -5.0))[1].exp(), th.full((1, 2), 0.4))


@pytest.mark.parametrize("box_head", ["squashed", "beta", "discretized"])
def test_draws_follow_the_likelihood(box_head):
    """Histogram of many draws against exp(-loss) in the middle of every bar."""
    head, params = make(spaces.Box(-1, 1, (1,)), box_head, seed=2)
    drawn = head.sample(params.expand(N, -1), ONE).flatten().numpy()
    assert drawn.min() >= -1 and drawn.max() <= 1
    share, edges = np.histogram(drawn, bins=21, range=(-1, 1))
    middles = th.as_tensor((edges[:-1] + edges[1:]) / 2, dtype=th.float32)
    density = np.array([float(th.exp(-head.loss(params, middle.view(1, 1)))) for middle in middles])
    if box_head != "discretized":
        density *= 2 / 21  # a density, except for bins, which have probabilities
        if box_head == "beta":
            density /= 2  # of the share of the range, which is half as wide
    np.testing.assert_allclose(share / N, density, atol=0.015)


@every_head
def test_zero_temperature_draws_the_mode(space, box_head):
    head, params = make(space, box_head)
    drawn, mode = head.sample(params.expand(20, -1), th.zeros(1, 1)), head.mode(params)
    scale = 1.0 if head.discrete or not head.bounded else float(np.ptp([space.low, space.high]))
    tolerance = 0 if head.discrete else scale / 40 if box_head == "discretized" else 1e-4  # within a bin, draws stay uniform
    np.testing.assert_allclose(drawn.float(), mode.expand_as(drawn).float(), atol=tolerance)


def test_temperature_per_environment():
    head, params = make(spaces.Discrete(4))
    temperature = th.tensor([0.0, 1.0]).repeat(N // 2)[:, None]
    drawn = head.sample(params.expand(N, -1), temperature)
    assert (drawn[::2] == params.argmax()).all()
    np.testing.assert_allclose(np.bincount(drawn[1::2]) / (N // 2), th.softmax(params[0], 0), atol=0.02)


def test_discretized_mode_is_the_middle_of_the_likeliest_bin():
    head, _ = make(spaces.Box(0, 21, (1, 2)), "discretized")
    params = th.zeros(1, 42)
    params[0, 4] = params[0, 21 + 20] = 1
    th.testing.assert_close(head.mode(params), th.tensor([[[4.5, 20.5]]]))


def test_gumbel_noise_has_its_mean():
    noise = gumbel_like(th.zeros(N, 5))
    assert th.isfinite(noise).all()
    assert noise.mean() == pytest.approx(0.5772, abs=0.02)


def test_unknown_box_head():
    with pytest.raises(ValueError, match=r"box_head='normal': choose one of \['beta', 'discretized'"):
        make(BOUNDED, "normal")


@pytest.mark.parametrize(
    ("box_head", "kwargs", "message"),
    [
        ("beta", {"min_std": 0.3}, r"box_head_kwargs=\{'min_std': 0.3\} do not fit box_head='beta': .*'min_std'"),
        ("gaussian", {"n_bins": 3}, r"box_head_kwargs=\{'n_bins': 3\} do not fit box_head='gaussian': .*'n_bins'"),
        ("gaussian", {"min_std": 0}, r"min_std=0: must be above 0 and below 7"),
        ("squashed", {"min_std": 8}, r"min_std=8: must be above 0 and below 7"),
        ("gaussian", {"min_std": 0.2, "final_min_std": 0}, r"final_min_std=0: must be above 0 and below 7"),
        ("discretized", {"n_bins": 0}, r"n_bins=0: must be at least 1"),
    ],
)
def test_arguments_of_heads(box_head, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_action_head(8, BOUNDED, box_head, kwargs)


def test_number_of_bins():
    assert make_action_head(8, BOUNDED, "discretized", {"n_bins": 5}).linear.out_features == 2 * 5


@pytest.mark.parametrize(("box_head", "kwargs"), [("discretized", None), (None, {"n_bins": 3})])
def test_arguments_of_a_head_that_is_not_there(box_head, kwargs):
    with pytest.raises(ValueError, match=r"box_head=.*continuous actions, leave them away for Discrete\(4\)"):
        make_action_head(8, spaces.Discrete(4), box_head, kwargs)


@pytest.mark.parametrize("box_head", ["squashed", "beta", "discretized"])
@pytest.mark.parametrize("space", [UNBOUNDED, SPACES["half-bounded"]])
def test_heads_that_need_bounds_say_so(box_head, space):
    with pytest.raises(ValueError, match=f"box_head='{box_head}' needs a bounded action space.*'gaussian'"):
        make(space, box_head)


def test_unsupported_space():
    with pytest.raises(NotImplementedError, match="Text"):
        make(spaces.Text(3))
