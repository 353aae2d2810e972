"""Every supported combination of spaces trains, predicts and follows commands."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import make_vec, tiny_model
from probe_envs import AnySpaces, Scripted
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.commands import make_command
from sb3_udrl.evaluation import evaluate_policy, run_commands
from sb3_udrl.policies.action_heads import DiscretizedHead, GaussianHead

OBSERVATIONS = {
    "vector": spaces.Box(-5, 5, (3,)),
    "matrix": spaces.Box(-5, 5, (2, 3)),
    "double": spaces.Box(-5, 5, (3,), np.float64),
    "integers": spaces.Box(-100, 100, (3,), np.int16),
    "unbounded": spaces.Box(-np.inf, np.inf, (3,)),
    "discrete": spaces.Discrete(7),
    "multi-discrete": spaces.MultiDiscrete([3, 4]),
    "binary": spaces.MultiBinary(4),
    "image, channels last": spaces.Box(0, 255, (36, 40, 1), np.uint8),
    "image, channels first": spaces.Box(0, 255, (3, 36, 40), np.uint8),
    "dict": spaces.Dict(
        {
            "vector": spaces.Box(-5, 5, (3,), np.float64),
            "number": spaces.Discrete(3),
            "numbers": spaces.MultiDiscrete([3, 4]),
            "bits": spaces.MultiBinary(2),
            "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
        }
    ),
}
ACTIONS = {
    "discrete": spaces.Discrete(3),
    "shifted discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "shifted multi-discrete": spaces.MultiDiscrete([3, 2], start=[4, -2]),
    "table of multi-discrete": spaces.MultiDiscrete([[3, 2], [2, 4]]),
    "binary": spaces.MultiBinary(3),
    "table of binary": spaces.MultiBinary([2, 2]),
    "box": spaces.Box(-2, 3, (2,)),
    "double box": spaces.Box(-2, 3, (2,), np.float64),
    "table box": spaces.Box(-2, 3, (2, 3)),
    "scalar box": spaces.Box(-1, 1, ()),
}


def check(observation_space, action_space):
    """The environment complains about every action that is not one of its own."""
    arguments = {"observation_space": observation_space, "action_space": action_space, "length": 4}
    extractor = {"features_extractor_kwargs": {"cnn_output_dim": 8}} if isinstance(observation_space, spaces.Dict) else {}
    model = tiny_model(
        make_vec(AnySpaces, 2, **arguments),
        learning_starts=16,
        train_freq=8,
        gradient_steps=1,
        batch_size=8,
        policy_kwargs=extractor,
        warm_up="mixed",
        epsilon=0.2,
    ).learn(48)
    assert model._n_updates > 0 and np.isfinite(model.replay_buffer.returns).all()
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    env = make_vec(AnySpaces, 2, **arguments)
    evaluate_policy(model, env, 2)
    evaluate_policy(model, env, 2, deterministic=False)
    run_commands(model, env, make_command([0, 1], [4, 4], 2))
    action, _ = model.predict(observation_space.sample())
    assert action_space.contains(action if action.shape else np.asarray(action)[()])
    return model


@pytest.mark.parametrize("observation_space", OBSERVATIONS.values(), ids=OBSERVATIONS)
@pytest.mark.parametrize("action_space", [ACTIONS["discrete"], ACTIONS["box"]], ids=["discrete", "box"])
def test_observations(observation_space, action_space):
    check(observation_space, action_space)


@pytest.mark.parametrize("action_space", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("observation_space", [OBSERVATIONS["vector"], OBSERVATIONS["dict"]], ids=["vector", "dict"])
def test_actions(observation_space, action_space):
    check(observation_space, action_space)


@pytest.mark.parametrize("box_head", ["gaussian", "squashed", "beta", "discretized"])
def test_heads_of_continuous_actions(box_head):
    env = make_vec(Scripted, 2, action_space=ACTIONS["table box"])
    model = tiny_model(env, policy_kwargs={"box_head": box_head}).learn(100)
    assert model.policy.box_head == box_head and model._n_updates > 0


@pytest.mark.parametrize("low", [-np.inf, 0])
def test_continuous_actions_need_bounds(low):
    """As for every algorithm of SB3."""
    with pytest.raises(ValueError, match=r"finite lower and upper bound.*TransformAction"):
        tiny_model(make_vec(Scripted, action_space=spaces.Box(low, np.inf, (2,))))


def test_bounds_that_say_nothing():
    with pytest.warns(UserWarning, match="bounds so wide do not say which actions are useful"):
        tiny_model(make_vec(Scripted, action_space=spaces.Box(-1e30, 1, (2,))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_model(make_vec(Scripted, action_space=spaces.Box(-1e4, 1e4, (2,))))


def test_the_default_head_follows_from_the_bounds():
    """Policies on their own take unbounded actions too."""
    for action_space, head in ((ACTIONS["box"], DiscretizedHead), (spaces.Box(-np.inf, np.inf, (2,)), GaussianHead)):
        policy = CommandPolicy(OBSERVATIONS["vector"], action_space, lambda _: 1e-3)
        assert type(policy.action_head) is head
        assert policy.predict(np.zeros((5, 3), np.float32))[0].shape == (5, 2)


def test_a_table_like_taxis():
    """500 states as one number."""
    model = check(spaces.Discrete(500), spaces.Discrete(6))
    assert model.policy.features_extractor.features_dim == 500


def test_images_are_stored_as_bytes():
    model = check(OBSERVATIONS["image, channels last"], ACTIONS["discrete"])
    stored = model.replay_buffer.episode(0).observations
    assert stored.dtype == np.uint8 and stored.shape == (4, 1, 36, 40)


def test_probe_environments_are_proper_environments():
    for env in (Scripted(), AnySpaces(OBSERVATIONS["vector"], ACTIONS["box"])):
        check_env(env, warn=False, skip_render_check=True)


class AnyActions(gym.Env):
    """An environment with some action space."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, True, False, {}


@pytest.mark.parametrize(
    "action_space", [spaces.Dict({"a": spaces.Discrete(2)}), spaces.Tuple((spaces.Discrete(2),)), spaces.Text(3)], ids=str
)
def test_unsupported_action_spaces(action_space):
    with pytest.raises(NotImplementedError, match=r"action space .* is not supported: use Box.*TransformAction"):
        tiny_model(AnyActions(action_space))


@pytest.mark.parametrize(
    ("observation_space", "message"),
    [
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (2,)))), "observation space Tuple.*FlattenObservation"),
        (spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}), "part 'a' of the observation space, Dict.*FlattenObs"),
        (spaces.Dict({"a": spaces.Tuple((spaces.Discrete(2),))}), "part 'a' of the observation space, Tuple.*FlattenObs"),
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), "(?s)observation space MultiDiscrete.*FlattenObservation"),
        (spaces.Text(3), "observation space Text.*FlattenObservation"),
        (spaces.Sequence(spaces.Discrete(2)), "observation space Sequence.*TransformObservation"),
        (spaces.Graph(spaces.Box(-1, 1, (2,)), None), "observation space Graph.*TransformObservation"),
        (spaces.Dict({"words": spaces.Sequence(spaces.Discrete(2))}), "part 'words' .*Sequence.*TransformObservation"),
    ],
    ids=str,
)
@pytest.mark.parametrize("make_model", ["CommandPolicy", "ForestPolicy", "no environment"])
def test_unsupported_observation_spaces(make_model, observation_space, message):
    actions = spaces.Discrete(2)
    with pytest.raises(NotImplementedError, match=message):
        if make_model == "no environment":
            UDRL("CommandPolicy", None, observation_space=observation_space, action_space=actions)
        else:
            UDRL(make_model, AnySpaces(observation_space, actions))


@pytest.mark.parametrize(
    "observation_space",
    [spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (2,)))), spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})],
    ids=["tuple", "nested dict"],
)
def test_the_wrapper_that_errors_name_helps(observation_space):
    env = gym.wrappers.FlattenObservation(AnySpaces(observation_space, spaces.Discrete(2)))
    assert tiny_model(env).learn(64)._n_updates > 0


SHIFTED = {
    "discrete": spaces.Discrete(3, start=-1),
    "far away": spaces.Discrete(3, start=1000),
    "multi-discrete": spaces.MultiDiscrete([3, 1, 2], start=[4, 0, -2]),
    "single number": spaces.Box(-1, 1, ()),
}


@pytest.mark.parametrize("observation_space", SHIFTED.values(), ids=SHIFTED)
def test_observations_that_are_not_counted_from_zero(observation_space):
    check(observation_space, ACTIONS["discrete"])
    check(spaces.Dict({"x": observation_space, "y": spaces.Box(-1, 1, (2,))}), ACTIONS["discrete"])


def test_a_vectorized_environment_by_its_id():
    model = tiny_model(make_vec_env("CartPole-v1", 2)).learn(200)
    assert model.replay_buffer.n_episodes > 0
