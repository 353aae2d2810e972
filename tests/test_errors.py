"""Bad input gets an error that names the argument, its value and the fix, and leaves everything as it was."""

import copy
import errno
import pickle
import re
import zipfile

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import assert_same_parameters, make_vec, parameters_of, tiny_model
from probe_envs import AnySpaces, Scripted, TwoArms
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_udrl import UDRL
from sb3_udrl.udrlpg.command import EpisodeReturn

# Environments


def test_an_environment_that_never_ends():
    model = tiny_model(gym.make("Pendulum-v1").unwrapped, max_episode_steps=300)
    with pytest.raises(ValueError, match=r"max_episode_steps=300 .*gymnasium.wrappers.TimeLimit or raise max_episode_steps"):
        model.learn(1000)
    assert model.replay_buffer.n_episodes == 0


class Broken(Scripted):
    """Fine for two episodes of three steps, then something goes wrong at the second step of the third."""

    def __init__(self, reward=None, observation=None, dtype=np.float32):
        super().__init__(lengths=(3,), rewards=(1,))
        self.observation_space = spaces.Box(-1e6, 1e6, (2,), dtype)
        self.bad_reward, self.bad_observation = reward, observation

    def step(self, action):
        observation, reward, *others = super().step(action)
        now = self.n_episodes == 2
        if now and self.t == 2 and self.bad_reward is not None:
            reward = self.bad_reward
        if now and self.t == 1 and self.bad_observation is not None:
            observation = np.array([observation[0], self.bad_observation], self.observation_space.dtype)
        return observation, reward, *others


def broken(**kwargs):
    """Two environments, of which the second one breaks; and a model that counts what it has collected until then."""

    def make(env_class, **kwargs):
        return lambda: Monitor(env_class(**kwargs))

    env = DummyVecEnv([make(Broken, dtype=kwargs.get("dtype", np.float32)), make(Broken, **kwargs)])
    return tiny_model(env)


BAD_REWARDS = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("reward", BAD_REWARDS)
def test_rewards_that_are_not_finite(reward):
    model = broken(reward=reward)
    with pytest.raises(
        ValueError, match=re.escape(f"environment 1: reward is {reward}: it must be finite and fit into single")
    ):
        model.learn(100)
    check_consistent(model, steps=7)


@pytest.mark.filterwarnings("ignore:overflow")
def test_rewards_that_are_too_large_for_single_precision():
    with pytest.raises(ValueError, match="environment 1: reward is inf"):
        broken(reward=1e300).learn(100)


@pytest.mark.parametrize(
    ("observation", "dtype"),
    [(np.nan, np.float32), (np.inf, np.float32), (np.nan, np.float64), (1e39, np.float64), (-1e300, np.float64)],
)
def test_observations_that_are_not_finite_or_too_large_are_named_at_once(observation, dtype):
    model = broken(observation=observation, dtype=dtype)
    with pytest.raises(ValueError, match=re.escape(f"environment 1: observation[1] is {observation}: it must be finite and")):
        model.learn(100)
    check_consistent(model, steps=6)


def check_consistent(model, steps):
    """The step that failed counts for nothing, and training goes on with new episodes."""
    assert model.num_timesteps == 2 * steps
    assert model.replay_buffer.returns.tolist() == [3] * 4
    for env in model.get_env().envs:
        env.unwrapped.bad_reward = env.unwrapped.bad_observation = None
    model.learn(12, reset_num_timesteps=False)
    assert model.num_timesteps == 2 * steps + 12
    assert model.replay_buffer.returns.tolist() == [3] * 8
    assert all(np.isfinite(model.replay_buffer.episode(i).observations).all() for i in range(8))


def test_first_observations_that_are_not_finite():
    env = make_vec(Scripted, 2)
    env.envs[1].unwrapped._observation = lambda: np.array([0, np.nan], np.float32)
    model = tiny_model(env)
    with pytest.raises(ValueError, match=re.escape("environment 1: observation[1] is nan")):
        model.learn(10)
    assert model.num_timesteps == model.replay_buffer.n_episodes == 0


def test_parts_of_observations_that_are_not_finite():
    space = spaces.Dict(numbers=spaces.Box(-1, 1, (2, 2)), choice=spaces.Discrete(3))
    env = make_vec(AnySpaces, 3, observation_space=space, action_space=spaces.Discrete(2))
    bad = {"choice": 1, "numbers": np.array([[0, 0], [np.inf, 0]], np.float32)}
    model = tiny_model(env).learn(30)
    env.envs[2].unwrapped.observation_space = copy.deepcopy(space)
    env.envs[2].unwrapped.observation_space.sample = lambda: bad
    with pytest.raises(ValueError, match=re.escape("environment 2: observation['numbers'][1, 0] is inf")):
        model.learn(30, reset_num_timesteps=False)


@pytest.mark.parametrize("observation", [np.nan, np.inf, 1e39])
def test_observations_below_normalization(observation):
    env = VecNormalize(make_vec(Broken, observation=observation, dtype=np.float64))
    with pytest.raises(ValueError, match=re.escape(f"environment 0: observation[1] is {observation}")):
        tiny_model(env).learn(100)


@pytest.mark.parametrize("bad", ["reward", "observation", "first observation", "part of an observation"])
def test_statistics_are_those_before_the_step_that_is_refused(bad):
    spaces_ = (spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    if bad == "part of an observation":
        spaces_ = (spaces.Dict(a=spaces_[0], b=spaces_[0]), spaces_[1])
    env = VecNormalize(make_vec(AnySpaces, 2, observation_space=spaces_[0], action_space=spaces_[1]))
    model = tiny_model(env).learn(40)

    def statistics():
        parts = env.obs_rms.values() if isinstance(env.obs_rms, dict) else [env.obs_rms]
        return [np.copy(value) for part in (*parts, env.ret_rms) for value in (part.mean, part.var, part.count)]

    before, returns = statistics(), env.returns
    one = env.venv.envs[1].unwrapped
    step, reset, nan = one.step, one.reset, np.full(2, np.nan, np.float32)
    wrong = {
        "reward": lambda o, r, *rest: (o, np.nan, *rest),
        "observation": lambda o, *rest: (nan, *rest),
        "first observation": lambda *all_: all_,
        "part of an observation": lambda o, *rest: ({**o, "b": nan}, *rest),
    }[bad]
    one.step = lambda action: wrong(*step(action))
    if bad == "first observation":
        one.reset = lambda **kwargs: (nan, {})
    with pytest.raises(ValueError, match=r"environment 1: .* is nan"):
        model.learn(1, reset_num_timesteps=bad == "first observation")
    for now, then in zip(statistics(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert (env.returns == returns).all()
    one.step, one.reset = step, reset
    model.learn(40, reset_num_timesteps=False)
    assert all(np.isfinite(value).all() for value in statistics())


def test_rewards_whose_sum_is_too_large_for_single_precision():
    """Each of them is finite, the return is not."""
    model = tiny_model(make_vec(Scripted, rewards=(2e38,)))
    with pytest.raises(ValueError, match="add up to more than single precision holds"):
        model.learn(100)
    assert model.replay_buffer.n_episodes == 0
    assert all(weights.isfinite().all() for weights in model.policy.parameters())


@pytest.mark.parametrize("reward", [1e21, 1e37])
def test_large_rewards_leave_weights_finite(reward):
    model = tiny_model(make_vec(Scripted, lengths=(3, 4), rewards=(1, reward))).learn(100)
    assert model._n_updates > 0
    assert all(weights.isfinite().all() for weights in model.policy.parameters())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_predictions_for_what_is_not_finite(value):
    model = tiny_model(make_vec(Scripted))
    with pytest.raises(ValueError, match=re.escape(f"observation[1] is {value}: it must be finite")):
        model.predict(np.array([0, value]))
    with pytest.raises(ValueError, match=re.escape(f"observation[2, 0] is {value}: it must be finite")):
        model.predict(np.array([[0, 0], [0, 0], [value, 0]]))
    assert model.predict(np.array([0, 1e38]))[0] in (0, 1)


def test_predictions_for_a_dictionary_that_is_not_finite():
    space = spaces.Dict(numbers=spaces.Box(-1, 1, (2,)), choice=spaces.Discrete(3))
    model = tiny_model(make_vec(AnySpaces, observation_space=space, action_space=spaces.Discrete(2)))
    with pytest.raises(ValueError, match=re.escape("observation['numbers'][0] is nan")):
        model.predict({"choice": np.array(2), "numbers": np.array([np.nan, 0], np.float32)})


# Arguments


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("batch_size", 0, "batch_size=0: must be at least 1"),
        ("gradient_steps", -2, "gradient_steps=-2: must be at least -1"),
        ("gradient_steps", 1.5, "gradient_steps=1.5: give a whole number, or a share between 0 and 1"),
        ("gradient_steps", -0.5, "gradient_steps=-0.5: give a whole number, or a share between 0 and 1"),
        ("learning_starts", -1, "learning_starts=-1: must be at least 0"),
        ("learning_starts", "many", "learning_starts='many': must be at least 0"),
        ("max_episode_steps", 0, "max_episode_steps=0: must be at least 1"),
        ("max_episode_steps", 2.5, "max_episode_steps=2.5: must be at least 1, a whole number"),
        ("warm_up", ["uniform"], r"warm_up=\['uniform'\]: choose one of"),
        ("buffer_size", 0, "buffer_size=0: must be at least 1"),
        ("train_freq", 0, "train_freq=0: must be at least 1"),
        ("train_freq", (0, "episode"), r"train_freq=\(0, 'episode'\): must be at least 1"),
        ("train_freq", (1, "epoch"), r"train_freq=\(1, 'epoch'\): give a number, \(n, \"step\"\) or \(n, \"episode\"\)"),
        ("train_freq", "episode", r"train_freq='episode': give a number"),
        ("train_freq", (1, "step", 2), r"train_freq=\(1, 'step', 2\): give a number"),
        ("train_freq", (2.9, "episode"), r"train_freq=\(2.9, 'episode'\): give a number"),
        ("train_freq", np.inf, "train_freq=inf: give a number"),
        ("buffer_size", np.inf, "buffer_size=inf: must be at least 1"),
        ("learning_starts", np.nan, "learning_starts=nan: must be at least 0"),
        ("patience", 0, "patience=0: must be at least 1, or None"),
        ("validation_fraction", 0.0, "validation_fraction=0.0: must be between 0 and 1"),
        ("validation_fraction", 1.0, "validation_fraction=1.0: must be between 0 and 1"),
        ("temperature", -0.5, r"temperature=-0.5: every value must be finite and lie between 0"),
        ("temperature", [1.0, np.nan], r"temperature=\[1.0, nan\]: every value must be finite"),
        ("temperature", np.inf, "temperature=inf: every value must be finite"),
        ("temperature", [], r"temperature=\[\]"),
        ("epsilon", 1.5, r"epsilon=1.5: every value must be finite and lie between 0 and 1"),
        ("epsilon", [0.1, -0.1], r"epsilon=\[0.1, -0.1\]"),
        ("warm_up", "random", r"warm_up='random': choose one of \['mixed', 'network', 'normal', 'sticky', 'uniform'\]"),
        ("command_sampler", "best", r"command_sampler='best': choose one of \[.*'fixed'"),
        ("command_sampler", None, r"command_sampler=None: choose one of"),
        ("command_sampler", dict, r"command_sampler=<class 'dict'>: choose one of"),
        ("command_sampler_kwargs", {"n_elite": 5}, r"command_sampler_kwargs=\{'n_elite': 5\} do not fit \w+Commands"),
        ("replay_buffer_kwargs", {"size": 5}, r"replay_buffer_kwargs=\{'size': 5\}: EpisodicReplayBuffer takes no size"),
        (
            "replay_buffer_kwargs",
            {"retention": "worst"},
            r"retention='worst': choose one of \['bands', 'best', 'mixed', 'recent'\]",
        ),
        ("replay_buffer_kwargs", {"sampling": "best"}, r"sampling='best': choose one of \['bands', 'episodes', 'rank'"),
        ("replay_buffer_kwargs", {"trailing_probability": 2}, "trailing_probability=2: must be between 0 and 1"),
        ("policy_kwargs", {"conditioning": "film"}, r"conditioning='film': choose one of \['bilinear'"),
        ("policy_kwargs", {"embedding_dim": 4}, "embedding_dim=4: .* leave it away"),
        ("obedience_kwargs", {"policy_kwargs": {"embedding_dim": 4}}, "embedding_dim=4: .* leave it away"),
        ("learning_rate", -1.0, "Invalid learning rate: -1.0"),
    ],
)
def test_arguments_out_of_range(argument, value, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(make_vec(TwoArms), **{argument: value})


def test_arguments_of_samplers():
    for kwargs, message in (
        ({"command_sampler": "mean_plus_std", "command_sampler_kwargs": {"n_elites": 0}}, "n_elites=0: must be at least 1"),
        ({"command_sampler": "quantile", "command_sampler_kwargs": {"low": 2}}, "low=2, high=1.0: must be 0 <= low"),
        ({"command_sampler": "curriculum", "command_sampler_kwargs": {"width": -1}}, r"high=-0\.5: must be 0 <= low"),
        (
            {"command_sampler": "fixed", "command_sampler_kwargs": {"desired_return": np.nan, "desired_horizon": 1}},
            "the desired return is NaN",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_model(make_vec(TwoArms), **kwargs)


def test_unknown_heads_of_continuous_actions():
    with pytest.raises(
        ValueError, match=r"box_head='normal': choose one of \['beta', 'discretized', 'gaussian', 'squashed'\]"
    ):
        tiny_model("Pendulum-v1", policy_kwargs={"box_head": "normal"})


# Files


@pytest.fixture
def model():
    return tiny_model(make_vec(Scripted)).learn(64)


def test_a_file_that_is_not_there(tmp_path, model):
    with pytest.raises(FileNotFoundError):
        UDRL.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        model.load_replay_buffer(tmp_path / "nothing")


def test_a_text_file_is_no_model(tmp_path):
    (tmp_path / "model.zip").write_text("not a model")
    with pytest.raises(ValueError, match=r"model.zip is not a model that UDRL can load: it is no zip file, or cut off"):
        UDRL.load(tmp_path / "model.zip")


def test_half_a_model_is_no_model(tmp_path, model):
    model.save(tmp_path / "model.zip")
    whole = (tmp_path / "model.zip").read_bytes()
    for part in (whole[: len(whole) // 2], whole[len(whole) // 2 :], whole[:10], b""):
        (tmp_path / "model.zip").write_bytes(part)
        with pytest.raises(ValueError, match="is not a model that UDRL can load"):
            UDRL.load(tmp_path / "model.zip")


@pytest.mark.parametrize("content", [{"hello.txt": "hello"}, {"data": "{}"}, {"data": "[1, 2"}], ids=str)
def test_any_other_zip_is_no_model(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    with pytest.raises(ValueError):
        UDRL.load(tmp_path / "other.zip")


def test_models_of_other_algorithms(tmp_path):
    PPO("MlpPolicy", make_vec(Scripted), n_steps=8, batch_size=8).save(tmp_path / "ppo")
    for env in (None, make_vec(Scripted)):
        with pytest.raises(ValueError, match=r"ActorCriticPolicy is not a BehaviorPolicy.*algorithm that saved it"):
            UDRL.load(tmp_path / "ppo", env)


def check_refused_buffer(model, path, message, **kwargs):
    buffer, rng, generator = model.replay_buffer, model.rng, model.rng.bit_generator.state
    returns, parameters = buffer.returns.copy(), parameters_of(model)
    with pytest.raises(ValueError, match=message):
        model.load_replay_buffer(path, **kwargs)
    assert model.replay_buffer is buffer and model.rng is rng
    assert model.rng.bit_generator.state == generator
    assert buffer.returns.tolist() == returns.tolist()
    assert_same_parameters(parameters_of(model), parameters)


def test_a_text_file_is_no_buffer(tmp_path, model):
    (tmp_path / "buffer.pkl").write_text("not a buffer")
    check_refused_buffer(model, tmp_path / "buffer.pkl", r"buffer.pkl is not a replay buffer .*: it is no zip file")


def test_half_a_buffer_is_no_buffer(tmp_path, model):
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    whole = (tmp_path / "buffer.pkl").read_bytes()
    (tmp_path / "buffer.pkl").write_bytes(whole[: len(whole) // 2])
    check_refused_buffer(model, tmp_path / "buffer.pkl", r"buffer.pkl is not a replay buffer .*: it is no zip file")


def test_buffers_of_other_algorithms(tmp_path, model):
    DQN("MlpPolicy", make_vec(Scripted), buffer_size=100).save_replay_buffer(tmp_path / "buffer")
    check_refused_buffer(model, tmp_path / "buffer", "it is no zip file")
    check_refused_buffer(model, tmp_path / "buffer", "not the episodes of an EpisodicReplayBuffer", allow_pickle=True)


@pytest.mark.parametrize("key", ["hindsight", "replay_buffer"])  # as earlier revisions wrote them
def test_something_else_in_the_place_of_a_buffer(tmp_path, model, key):
    numbers = ("rng", "warm_up", "noise", "further", "running", "torch_rng_state", "cuda_rng_states")
    state = {key: [1, 2], **dict.fromkeys(numbers, 0)}
    (tmp_path / "buffer.pkl").write_bytes(pickle.dumps(state))
    check_refused_buffer(model, tmp_path / "buffer", "is not a replay buffer that UDRL can load", allow_pickle=True)


def test_a_buffer_of_another_environment(tmp_path, model):
    tiny_model(make_vec(TwoArms)).learn(10).save_replay_buffer(tmp_path / "buffer")
    check_refused_buffer(model, tmp_path / "buffer", r"holds episodes of Box\(-1.0, 1.0.*the model acts in Box\(-1e\+06")


def test_saving_that_fails_leaves_no_half_written_file(tmp_path, model, monkeypatch):
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"model.zip", "buffer.pkl"}

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sb3_udrl.saving.archive.npy.write_array", full)
    for save, name in ((model.save, "model"), (model.save_replay_buffer, "buffer")):
        for path in (tmp_path / name, tmp_path / f"new_{name}"):
            with pytest.raises(OSError, match="No space left"):
                save(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


# An empty buffer


def test_an_empty_buffer_says_what_to_do(model):
    model.replay_buffer.reset()
    with pytest.raises(ValueError, match=r"replay buffer holds no episodes to learn from: learn\(\) collects some"):
        model.train(1, 1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"replay_buffer_kwargs": {"size": 9}},
            "EpisodicReplayBuffer takes no size, but device, max_episodes, ",
        ),
        ({"replay_buffer_kwargs": {"buffer_size": 9}}, "EpisodicReplayBuffer takes no buffer_size, but"),
        (
            {"obedience_kwargs": {"share": 9}},
            "Obedience takes no share, but archive_size, .*, policy_kwargs, temp",
        ),
        ({"label_kwargs": {"gamma": 0.9}}, "commands have no part gamma. Arguments go by part, such as"),
        ({"policy_kwargs": {"net_arch": {"pi": [8], "vf": [8]}}}, "net_arch=.*: give a list of the sizes of hidden layers"),
    ],
)
def test_arguments_in_dictionaries_are_refused_with_those_that_there_are(kwargs, message):
    with pytest.raises(ValueError, match=message):
        UDRL("CommandPolicy", "CartPole-v1", **kwargs)


def test_learning_without_an_environment_says_how_to_get_one():
    of_cart_pole = gym.make("CartPole-v1")
    spaces = {"observation_space": of_cart_pole.observation_space, "action_space": of_cart_pole.action_space}
    with pytest.raises(ValueError, match=r"env=None: nothing to learn from: set_env\(env\)"):
        UDRL("CommandPolicy", None, **spaces).learn(10)


def test_policy_kwargs_of_another_policy_are_named():
    with pytest.raises(ValueError, match=r"ForestPolicy takes no conditioning, net_arch, but .*estimator.*-optimize"):
        UDRL("ForestPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8], "conditioning": "linear"})


@pytest.mark.parametrize("patience", [None, 2])
def test_weights_that_are_no_longer_finite_are_taken_back(patience):
    model = tiny_model("CartPole-v1", learning_rate=1e30, learning_starts=50, train_freq=50, patience=patience)
    with pytest.raises(ValueError, match=r"learning_rate=1e\+30: weights were no longer finite after \d+ gradient steps"):
        model.learn(400)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


def test_whole_floats_are_whole_numbers():
    model = tiny_model(make_vec(TwoArms), batch_size=16.0, max_episode_steps=100.0, buffer_size=1e3, train_freq=np.int64(32))
    assert [type(value) for value in (model.batch_size, model.max_episode_steps, model.buffer_size)] == [int] * 3
    model.learn(100)


def test_what_is_no_part_of_a_command():
    for part in (EpisodeReturn, 3):
        with pytest.raises(ValueError, match="is no part of a command, give a name or an instance of a CommandPart"):
            tiny_model(make_vec(TwoArms), commands=["return", part])


def test_a_part_that_is_no_sum_needs_a_labeler():
    class Last(EpisodeReturn):
        name = "last"

    with pytest.raises(ValueError, match="'last' is no sum over steps, so it needs a Labeler of that name in LABELERS"):
        tiny_model(make_vec(TwoArms), commands=["return", Last()])
