"""Dictionary observations."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import DEVICE, make_vec, parameters_of, tiny_model
from probe_envs import AnySpaces, FixedStart
from stable_baselines3.common.envs import BitFlippingEnv, SimpleMultiObsEnv
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack
from torch import nn

from sb3_udrl import UDRL
from sb3_udrl.evaluation import evaluate_policy
from sb3_udrl.policies import CommandPolicy, PartsExtractor, SmallCNN

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


MIXED = spaces.Dict(
    {
        "number": spaces.Discrete(3, start=-1),
        "vector": spaces.Box(900, 1000, (2,)),
        "numbers": spaces.MultiDiscrete([3, 2], start=[4, -2]),
        "image": spaces.Box(0, 255, (3, 8, 8), np.uint8),
        "single": spaces.Box(-1e-3, 1e-3, (), np.float64),
        "bits": spaces.MultiBinary(2),
    }
)


def test_numbers_are_standardized_whatever_lies_beside_them():
    """Choices become ones and zeros, pictures shares of 255: these are fine as they are."""
    model = tiny_model(make_vec(AnySpaces, 2, observation_space=MIXED, action_space=spaces.Discrete(2))).learn(200)
    policy, stored = model.policy, model.replay_buffer
    read = {}
    hook = policy.features_extractor.register_forward_pre_hook(lambda _, given: read.update(given[0]))
    observations = [stored.episode(i).observations for i in range(stored.n_episodes)]
    batch = {key: np.concatenate([part[key] for part in observations]) for key in MIXED.spaces}
    model.predict(batch)
    hook.remove()
    for key in ("vector", "single"):
        assert abs(read[key].mean()) < 0.3 and 0.7 < read[key].std() < 1.3, key
    for key in ("number", "numbers", "bits"):
        assert set(read[key].unique().tolist()) == {0.0, 1.0}
    assert read["number"].argmax(1).tolist() == (batch["number"] + 1).tolist()
    assert read["numbers"].argmax(1).tolist() == (batch["numbers"][:, 0] - 4).tolist()
    assert 0.9 < read["image"].max() <= 1
    assert policy.feature_standardizer.mean.shape == (3,)


def test_files_in_which_other_parts_kept_numbers_from_being_standardized(tmp_path):
    """They decide as they did, and go on so."""
    space = spaces.Dict({"vector": spaces.Box(-500, 500, (2,)), "number": spaces.Discrete(3)})
    env = make_vec(AnySpaces, observation_space=space, action_space=spaces.Box(-1, 1, (1,)))
    model = tiny_model(env, policy_kwargs={"box_head": "gaussian"}).learn(100)
    model.policy.feature_standardizer = nn.Identity()
    observation = {"vector": np.array([300, -20], np.float32), "number": np.array(1)}
    expected, _ = model.predict(observation, deterministic=True)
    for name in ("once", "twice"):
        model.save(tmp_path / name)
        model = UDRL.load(tmp_path / name, env, device=DEVICE)
        assert model.predict(observation, deterministic=True)[0] == expected
    model.learn(100, reset_num_timesteps=False)


@pytest.mark.parametrize("policy", ["MultiInputPolicy", "CommandPolicy"])
def test_pictures_are_read_by_a_network_of_their_size(policy):
    space = spaces.Dict(
        {
            "small": spaces.Box(0, 255, (7, 7, 3), np.uint8),
            "items": spaces.Discrete(4),  # what PyTorch does not take for the name of a part
            "top.view": spaces.Box(0, 255, (64, 64, 1), np.uint8),
            "flat": spaces.Box(0, 255, (40, 90, 1), np.uint8),
        }
    )
    env = make_vec(AnySpaces, observation_space=space, action_space=spaces.Discrete(2), length=4)
    model = tiny_model(env, policy, gradient_steps=1, policy_kwargs=SMALL).learn(64)
    kinds = [type(part) for part in model.policy.features_extractor.parts]
    by_key = dict(zip(model.observation_space.spaces, kinds, strict=True))
    assert by_key == {"small": SmallCNN, "items": nn.Flatten, "top.view": NatureCNN, "flat": SmallCNN}
    assert model.policy.features_extractor.features_dim == 128 + 4 + 8 + 128 * 3 * 6
    assert model._n_updates > 0


def test_files_with_the_network_of_sb3_decide_alike_and_go_on(tmp_path):
    """Before small pictures in a Dict had a network of their own, files did not name the network of SB3 that read them."""
    space = spaces.Dict({"image": spaces.Box(0, 255, (40, 50, 3), np.uint8), "vector": spaces.Box(-1, 1, (2,))})
    env = make_vec(AnySpaces, observation_space=space, action_space=spaces.Box(-1, 1, (2,)), length=4)
    kwargs = {**SMALL, "features_extractor_class": CombinedExtractor}
    model = tiny_model(env, gradient_steps=1, policy_kwargs=kwargs).learn(64)
    observation = {key: np.array(part) for key, part in model.observation_space.sample().items()}
    expected, _ = model.predict(observation, deterministic=True)
    del model.policy_kwargs["features_extractor_class"]
    model.save(tmp_path / "model", include=["replay_buffer"])
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE)
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], expected)
    assert loaded.replay_buffer.n_episodes == model.replay_buffer.n_episodes
    loaded.learn(64, reset_num_timesteps=False)
    loaded.save(tmp_path / "again")
    assert type(UDRL.load(tmp_path / "again", device=DEVICE).policy.features_extractor) is CombinedExtractor


@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_policies_of_plain_observations_are_refused(policy):
    with pytest.raises(ValueError, match="You must use `MultiInputPolicy`"):
        tiny_model(SimpleMultiObsEnv(), policy)


def test_nested_dictionaries_are_refused():
    space = spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})
    with pytest.raises(NotImplementedError, match=r"part 'a' of the observation space.*is not supported.*FlattenObservation"):
        tiny_model(AnySpaces(space, spaces.Discrete(2)))


def test_forests_read_a_dictionary_by_its_keys():
    """Environments are free to write them in another order than the space."""
    pytest.importorskip("sklearn")
    space = spaces.Dict({key: spaces.Box(-1, 1, (1,)) for key in "abc"})
    env = make_vec(AnySpaces, 2, observation_space=space, action_space=spaces.Box(-1, 1, (1,)))
    model = UDRL("ForestPolicy", env, learning_starts=100, seed=0, device=DEVICE).learn(200)
    rng = np.random.default_rng(0)
    observation = {key: rng.uniform(-1, 1, (50, 1)).astype(np.float32) for key in "abc"}
    expected, _ = model.predict(observation, deterministic=True)
    found, _ = model.predict({key: observation[key] for key in "cab"}, deterministic=True)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 1
    moved = {"a": observation["c"], "b": observation["a"], "c": observation["b"]}
    assert (model.predict(moved, deterministic=True)[0] != expected).any()


def test_a_policy_with_its_default_extractor_is_loaded_without_trust(tmp_path):
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)})
    model = tiny_model(make_vec(AnySpaces, 2, observation_space=space, action_space=spaces.Discrete(2)), "CommandPolicy")
    model.policy.save(tmp_path / "policy")
    policy = CommandPolicy.load(tmp_path / "policy", device=DEVICE)
    assert isinstance(policy.features_extractor, PartsExtractor)
