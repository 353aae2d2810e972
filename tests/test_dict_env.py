"""Dictionary observations."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import DEVICE, make_vec, parameters_of, tiny_model
from probe_envs import AnySpaces, FixedStart
from stable_baselines3.common.envs import BitFlippingEnv, SimpleMultiObsEnv
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack

from sb3_udrl import UDRL
from sb3_udrl.evaluation import evaluate_policy

SMALL = {"features_extractor_kwargs": {"cnn_output_dim": 8}}


class InParts(gym.ObservationWrapper):
    """The observation vector, key by key."""

    def __init__(self, env):
        super().__init__(env)
        box = env.observation_space
        self.observation_space = spaces.Dict(
            {f"part {i}": spaces.Box(box.low[i : i + 1], box.high[i : i + 1]) for i in range(box.shape[0])}
        )

    def observation(self, observation):
        return {key: observation[i : i + 1] for i, key in enumerate(self.observation_space.spaces)}


def test_a_dictionary_of_vectors_is_treated_like_one_vector():
    """The same run, bit by bit."""
    plain = tiny_model(make_vec(FixedStart, 2)).learn(200)
    parts = tiny_model(make_vec(lambda: InParts(FixedStart()), 2), "MultiInputPolicy").learn(200)
    assert isinstance(parts.policy.features_extractor, CombinedExtractor)
    for (name, mine), its in zip(parameters_of(plain).items(), parameters_of(parts).values(), strict=True):
        assert (mine == its).all(), name
    observation = np.array([2.0, 3.0], np.float32)
    expected, _ = plain.predict(observation, deterministic=True)
    assert parts.predict({"part 0": observation[:1], "part 1": observation[1:]}, deterministic=True)[0] == expected


@pytest.mark.parametrize("channel_last", [True, False])
@pytest.mark.parametrize("policy", ["MultiInputPolicy", "CommandPolicy"])
def test_pictures_and_vectors_together(policy, channel_last):
    env = SimpleMultiObsEnv(channel_last=channel_last)
    model = tiny_model(env, policy, gradient_steps=1, policy_kwargs=SMALL).learn(200)
    assert model.observation_space["img"].shape == (1, 64, 64)
    observation, _ = env.reset(seed=0)
    action, state = model.predict(observation)
    assert env.action_space.contains(int(action)) and len(state[0]) == 1
    evaluate_policy(model, make_vec(SimpleMultiObsEnv, 2, channel_last=channel_last), 2)


def test_continuous_actions():
    env = SimpleMultiObsEnv(discrete_actions=False)
    assert tiny_model(env, "MultiInputPolicy", gradient_steps=1, policy_kwargs=SMALL).learn(200)._n_updates > 0


def test_goal_environments(tmp_path):
    """Their observations have keys for what is wanted and what was achieved."""
    env = make_vec(BitFlippingEnv, 2, n_bits=4, continuous=False)
    model = tiny_model(env, "MultiInputPolicy").learn(200)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE)
    observation = env.reset()
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True, command=(0, 4))[0] for m in (model, loaded)))


def test_several_processes():
    env = make_vec(BitFlippingEnv, 2, n_bits=4, vec_env_class=lambda fns: SubprocVecEnv(fns, start_method="fork"))
    assert tiny_model(env, "MultiInputPolicy").learn(100).replay_buffer.n_episodes > 0
    env.close()


def test_frames_can_be_stacked():
    env = VecFrameStack(make_vec(SimpleMultiObsEnv, 2, channel_last=False), 3, channels_order={"img": "first", "vec": "last"})
    model = tiny_model(env, "MultiInputPolicy", gradient_steps=1, policy_kwargs=SMALL).learn(100)
    assert model.observation_space["img"].shape == (3, 64, 64) and model.observation_space["vec"].shape == (15,)


def test_numbers_are_not_standardized():
    """Ones and zeros are fine as they are."""
    space = spaces.Dict({"vector": spaces.Box(-5, 5, (2,)), "number": spaces.Discrete(3)})
    model = tiny_model(make_vec(AnySpaces, observation_space=space, action_space=spaces.Discrete(2)))
    assert not list(model.policy.feature_standardizer.buffers())


@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_policies_of_plain_observations_are_refused(policy):
    with pytest.raises(ValueError, match="You must use `MultiInputPolicy`"):
        tiny_model(SimpleMultiObsEnv(), policy)


def test_nested_dictionaries_are_refused():
    space = spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})
    with pytest.raises(NotImplementedError, match="Nested observation spaces are not supported"):
        tiny_model(AnySpaces(space, spaces.Discrete(2)))
