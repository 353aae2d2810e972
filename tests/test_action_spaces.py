"""Actions lie in their space, in its type, whatever its bounds and whoever chooses them."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import TINY, make_vec
from probe_envs import AnySpaces

from sb3_udrl import UDRL
from sb3_udrl.exploration import WARM_UPS, make_warm_up, uniform_actions
from sb3_udrl.policies.action_heads import BOX_HEADS, make_action_head
from sb3_udrl.spaces.actions import BoxRange, into_space

MOST = float(np.finfo(np.float32).max)
BOXES = {
    "floats": spaces.Box(-2, 3, (2,)),
    "doubles": spaces.Box(0.1, 0.3, (2,), np.float64),
    "halves": spaces.Box(-0.3, 0.7, (2,), np.float16),
    "tiny": spaces.Box(-1e-20, 1e-20, (2,)),
    "far away": spaces.Box(1e9, 1e9 + 1, (2,), np.float64),
    "one value": spaces.Box(np.array([0.1, -1]), np.array([0.1, 1]), dtype=np.float64),
    "whole numbers": spaces.Box(-1, 1, (2,), np.int64),
    "bytes": spaces.Box(0, 255, (2, 2), np.uint8),
    "yes or no": spaces.Box(0, 1, (2,), np.bool_),
    "one whole number": spaces.Box(np.array([3, 0]), np.array([3, 5]), dtype=np.int32),
    "largest of single precision": spaces.Box(-MOST, MOST, (2,)),
    "largest of double precision": spaces.Box(-np.finfo(float).max, np.finfo(float).max, (2,), np.float64),
    "endless": spaces.Box(-np.inf, np.inf, (2,)),
    "endless above": spaces.Box(5, np.inf, (2,)),
    "endless below": spaces.Box(-np.inf, -5, (2,)),
    "as good as endless above": spaces.Box(np.array([-1, 5]), np.array([1, 1e30]), dtype=np.float32),
    "all whole numbers": spaces.Box(-np.inf, np.inf, (2,), np.int64),
    "the largest whole numbers": spaces.Box(2**63 - 5, 2**63 - 1, (2,), np.int64),
    "all of 64 bits": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
}
OTHERS = {
    "discrete": spaces.Discrete(3, start=-1, dtype=np.int32),
    "single": spaces.Discrete(1, start=4),
    "multi-discrete": spaces.MultiDiscrete([3, 1], start=[4, -2], dtype=np.int16),
    "binary": spaces.MultiBinary(3),
}
every_box = pytest.mark.parametrize("space", BOXES.values(), ids=BOXES)
every_space = pytest.mark.parametrize("space", [*BOXES.values(), *OTHERS.values()], ids=[*BOXES, *OTHERS])


def assert_inside(actions, space):
    assert actions.dtype == space.dtype
    assert all(space.contains(action if np.ndim(action) else np.asarray(action)) for action in actions)


@pytest.mark.parametrize(
    ("space", "center", "half", "bounded"),
    [
        (spaces.Box(-2, 3, ()), 0.5, 2.5, True),
        (spaces.Box(-1, 1, (), np.int64), 0, 1.5, True),
        (spaces.Box(7, 7, ()), 7, 0, True),
        (spaces.Box(-128, 127, (), np.int8), -0.5, 128, True),
        (spaces.Box(1e9, 1e9 + 1, (), np.float64), 1e9 + 0.5, 0.5, True),
        (spaces.Box(-1e8, 1e8, ()), 0, 1e8, True),
        (spaces.Box(-1e9, 1e9, ()), 0, 1, False),
        (spaces.Box(-MOST, MOST, ()), 0, 1, False),
        (spaces.Box(-np.finfo(float).max, np.finfo(float).max, (), np.float64), 0, 1, False),
        (spaces.Box(-np.inf, np.inf, ()), 0, 1, False),
        (spaces.Box(0, np.inf, ()), 1, 1, False),
        (spaces.Box(-0.5, np.inf, ()), 0.5, 1, False),
        (spaces.Box(-7, np.inf, ()), 0, 1, False),
        (spaces.Box(-np.inf, -5, ()), -6, 1, False),
        (spaces.Box(-np.inf, np.inf, (), np.int32), 0, 1, False),
    ],
    ids=str,
)
def test_the_range_that_is_tried_at_first(space, center, half, bounded):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried = BoxRange.of(space)
    assert (tried.center, tried.half, tried.bounded) == (center, half, bounded)


def test_every_whole_number_is_equally_likely():
    """Both ends, too."""
    space = spaces.Box(np.array([-1, 0]), np.array([1, 6]), dtype=np.int64)
    draws = uniform_actions(space, 42_000, np.random.default_rng(0))
    assert np.unique(draws[:, 0], return_counts=True)[1] == pytest.approx([14_000] * 3, rel=0.03)
    assert np.unique(draws[:, 1], return_counts=True)[1] == pytest.approx([6_000] * 7, rel=0.05)


def test_draws_have_a_scale_of_one_where_bounds_say_nothing():
    space = spaces.Box(np.array([-MOST, 5, -3]), np.array([MOST, np.inf, 1]), dtype=np.float64)
    draws = uniform_actions(space, 20_000, np.random.default_rng(0))
    assert (draws[:, 0].mean(), draws[:, 0].std()) == pytest.approx((0, 1), abs=0.03)
    assert np.median(draws[:, 1]) == pytest.approx(6, abs=0.03)
    assert (draws[:, 2].min(), draws[:, 2].max()) == pytest.approx((-3, 1), abs=0.01)  # from bound to bound


@every_space
@pytest.mark.parametrize("warm_up", WARM_UPS)
def test_warm_ups_stay_in_the_space(warm_up, space):
    behavior = make_warm_up(warm_up, space, 5, np.random.default_rng(0))
    for step in range(20):
        assert_inside(behavior(np.full((5, 1), step, np.float32), np.full(5, step % 4 == 0)), space)


@pytest.mark.parametrize(
    ("space", "actions", "expected"),
    [
        (spaces.Box(-1, 1, (1,), np.int64), [[0.4], [0.6], [-0.6], [9.0], [-np.inf]], [[0], [1], [-1], [1], [-1]]),
        (spaces.Box(0, 255, (1,), np.uint8), [[-1.0], [300.0], [254.6]], [[0], [255], [255]]),
        (spaces.Box(0, 1, (1,), np.bool_), [[0.2], [0.8], [-3.0]], [[False], [True], [False]]),
        (spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64), [[-1e30], [7.0]], [[-(2**63)], [7]]),
        (spaces.Box(0, 10, (1,), np.int64), [[1e30], [2]], [[10], [2]]),
        (spaces.Box(-1, 1, (1,), np.float64), [[0.25], [1.5]], [[0.25], [1.0]]),
        (spaces.Discrete(3, dtype=np.int32), [2, 0], [2, 0]),
    ],
    ids=str,
)
def test_the_nearest_action_of_a_space(space, actions, expected):
    found = into_space(np.array(actions), space)
    assert found.tolist() == expected
    assert_inside(found, space)


def test_what_is_no_action_is_refused():
    with pytest.raises(ValueError, match="an action is NaN"):
        into_space(np.array([[0.0], [np.nan]]), spaces.Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match=r"actions of shape \(2,\).*needs one row per environment"):
        into_space(np.zeros(2), spaces.Box(-1, 1, (1,)))


def policies(space):
    """Everything that can choose from a space: a name and arguments of the model."""
    if not isinstance(space, spaces.Box):
        return [("CommandPolicy", {}), ("ForestPolicy", {})]
    heads = BOX_HEADS if BoxRange.of(space).bounded.all() else ["gaussian"]
    return [*(("CommandPolicy", {"box_head": head}) for head in heads), ("ForestPolicy", {})]


finite = {name: space for name, space in BOXES.items() if np.isfinite(space.low).all() and np.isfinite(space.high).all()}


@pytest.mark.parametrize(
    ("space", "policy", "policy_kwargs"),
    [
        pytest.param(space, policy, kwargs, id=f"{name}-{policy}-{kwargs.get('box_head', '')}")
        for name, space in {**finite, **OTHERS}.items()
        for policy, kwargs in policies(space)
    ],
)
def test_drawn_stored_and_predicted_actions_are_of_the_space(space, policy, policy_kwargs):
    """The environment refuses all others."""
    env = make_vec(AnySpaces, 2, observation_space=spaces.Box(-1, 1, (2,)), action_space=space, length=4)
    if policy == "ForestPolicy":
        policy_kwargs = {"estimator_kwargs": {"n_estimators": 3}}
    else:
        policy_kwargs = {**policy_kwargs, "net_arch": [8]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UDRL(policy, env, **TINY, policy_kwargs=policy_kwargs, warm_up="mixed", epsilon=0.2).learn(96)
    assert model._n_updates > 0
    stored = np.concatenate([model.replay_buffer.episode(i).actions for i in range(model.replay_buffer.n_episodes)])
    if isinstance(space, spaces.Box):
        assert stored.dtype == space.dtype  # discrete ones are stored in the smallest type that holds them
    assert_inside(stored.astype(space.dtype), space)
    for deterministic in (True, False):
        assert_inside(model.predict(np.zeros((20, 2), np.float32), deterministic=deterministic)[0], space)
    alone, _ = model.predict(np.zeros(2, np.float32))
    assert space.contains(alone) and np.asarray(alone).dtype == space.dtype
    if policy == "CommandPolicy":
        assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


class Lever(gym.Env):
    """One step that pays for being near a target."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, action_space, target):
        self.action_space, self.target = action_space, target

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        distance = float(np.abs(action.astype(np.float64) - self.target).max())
        return np.zeros(1, np.float32), max(-10.0, -distance), True, False, {}


@pytest.mark.parametrize(
    ("space", "target", "tolerance"),
    [
        (spaces.Box(-1, 1, (1,), np.int64), 1, 0),
        (spaces.Box(-1, 1, (1,), np.int64), -1, 0),
        (spaces.Box(0, 1, (1,), np.bool_), 1, 0),
        (spaces.Box(-MOST, MOST, (1,)), 0.3, 0.25),
        (spaces.Box(0.1, 1e30, (1,)), 1.5, 0.3),
    ],
    ids=str,
)
def test_what_is_best_is_learned(space, target, tolerance):
    settings = {**TINY, "learning_starts": 300, "gradient_steps": 8, "learning_rate": 3e-3}
    model = UDRL("CommandPolicy", Lever(space, target), **settings, policy_kwargs={"net_arch": [16]}).learn(1_500)
    action, _ = model.predict(np.zeros(1, np.float32), deterministic=True)
    assert float(action[0]) == pytest.approx(target, abs=tolerance)


@every_box
def test_heads_know_where_they_are(space):
    """From the environment to the range from -1 to 1 and back, in the precision of the space."""
    head = make_action_head(4, space, "gaussian")
    tried = BoxRange.of(space)
    actions = into_space(np.stack([tried.center - 0.9 * tried.half, tried.center, tried.center + 0.9 * tried.half]), space)
    scaled = head.scaled(th.as_tensor(actions))
    assert scaled.isfinite().all() and scaled.abs().max() <= 1
    again = into_space(head.unscaled(scaled).numpy(), space)
    if space.dtype.kind != "f":
        np.testing.assert_array_equal(again, actions)
    resolution = np.maximum(np.spacing(np.abs(actions)).max(0), 1e-7 * tried.half) if space.dtype.kind == "f" else 0
    assert (np.abs(again.astype(np.float64) - actions) <= 2 * resolution).all()
