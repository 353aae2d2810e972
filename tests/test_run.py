"""``learn``: every kind of run does what its arguments say."""

import inspect

import numpy as np
import pytest
import torch as th
from helpers import Recorder, make_vec, needs_gpu, parameters_of, tiny_model
from probe_envs import Scripted, TwoArms
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_udrl import UDRL, CommandPolicy, EpisodicReplayBuffer
from sb3_udrl.policies import BehaviorPolicy, FitReport, MlpPolicy


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_few_steps(env_id, n_envs):
    model = tiny_model(env_id if n_envs == 1 else make_vec_env(env_id, n_envs))
    before = parameters_of(model)
    model.learn(max(600, 250 * n_envs))
    assert model.replay_buffer.n_episodes >= n_envs
    assert any((before[name] != value).any() for name, value in parameters_of(model).items())


def test_all_defaults():
    model = UDRL("CommandPolicy", "CartPole-v1")
    assert model.learn(300) is model


@pytest.mark.parametrize("policy", ["CommandPolicy", "MlpPolicy", CommandPolicy])
def test_policies_by_name_and_class(policy):
    expected = MlpPolicy if policy == "MlpPolicy" else CommandPolicy
    assert type(tiny_model(make_vec(Scripted), policy).learn(40).policy) is expected


def test_a_float_number_of_steps():
    assert tiny_model(make_vec(Scripted)).learn(1e2).num_timesteps == 100


@pytest.mark.parametrize(("n_envs", "total", "expected"), [(1, 64, 64), (1, 50, 50), (3, 50, 51), (4, 1, 4)])
def test_training_stops_at_the_number_of_steps(n_envs, total, expected):
    assert tiny_model(make_vec(Scripted, n_envs)).learn(total).num_timesteps == expected


def count_updates(n_envs=2, n_timesteps=128, lengths=(4,), **kwargs):
    env = make_vec(Scripted, n_envs, lengths=lengths)
    return tiny_model(env, learning_starts=32, **kwargs).learn(n_timesteps)._n_updates


def test_number_of_updates():
    """Rounds of 8 steps in 2 environments: 16, 32, ..., 128; the first that learns is the one that reaches 32."""
    assert count_updates(train_freq=8, gradient_steps=3) == 7 * 3
    assert count_updates(train_freq=(8, "step"), gradient_steps=3) == 7 * 3
    assert count_updates(train_freq=[8, "step"], gradient_steps=3) == 7 * 3  # as YAML has it
    assert count_updates(train_freq=8, gradient_steps=-1) == 7 * 16
    assert count_updates(train_freq=8, gradient_steps=0.25) == 7 * 4  # a share of the 16 that were collected
    assert count_updates(train_freq=8, gradient_steps=0.001) == 7  # one at least
    assert count_updates(train_freq=8, gradient_steps=0) == 0


def test_training_per_episode():
    """Both environments end an episode every 4 steps: rounds of 4 episodes take 8 steps, 16 in all."""
    assert count_updates(train_freq=(4, "episode"), gradient_steps=3) == 7 * 3
    assert count_updates(train_freq=(3, "episode"), gradient_steps=3) == 7 * 3  # the fourth ends at the same time


def test_training_waits_for_an_episode():
    """It ends after 100 steps; rounds end after 10, 20, ..., 120 and 128."""
    assert count_updates(n_envs=1, lengths=(100,), train_freq=10, gradient_steps=1, n_timesteps=128) == 4


def test_nothing_is_learned_before_learning_starts():
    model = tiny_model(make_vec(Scripted), learning_starts=1000)
    before = parameters_of(model)
    model.learn(200)
    assert model._n_updates == 0
    assert all((before[name] == value).all() for name, value in parameters_of(model).items())


def test_a_stopped_run_does_not_train_again():
    model = tiny_model(make_vec(Scripted), train_freq=10)
    updates = []

    def stop(callback):
        updates.append(model._n_updates)
        return callback.n_calls < 55

    model.learn(200, callback=Recorder(stop))
    assert model.num_timesteps == 55
    assert model._n_updates == updates[-1] == 8


def test_learning_again_starts_to_count_from_zero_or_goes_on():
    model = tiny_model(make_vec(Scripted)).learn(64)
    assert model.learn(40).num_timesteps == 40
    assert model.learn(40, reset_num_timesteps=False).num_timesteps == 80


@pytest.mark.parametrize("learning_rate", [1e-3, lambda progress: 1e-3 * progress])
def test_learning_rates(learning_rate):
    model = tiny_model(make_vec(Scripted), learning_rate=learning_rate, train_freq=20).learn(80)
    rate = model.policy.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(1e-3 if isinstance(learning_rate, float) else 0)


def test_every_argument_is_an_attribute_of_the_same_name():
    """What the Zoo and ``load`` rely on."""
    model = UDRL("CommandPolicy", TwoArms(), seed=3, device="cpu", epsilon=0.1, temperature=[1.0, 0.5])
    for name in inspect.signature(UDRL.__init__).parameters:
        if name not in ("self", "policy", "env", "stats_window_size", "_init_setup_model"):
            assert hasattr(model, name), name
    assert (model.seed, model.epsilon, model.temperature) == (3, 0.1, [1.0, 0.5])
    assert model.gamma == 1.0


def test_arguments_reach_the_buffer():
    kwargs = {"retention": "best", "sampling": "rank", "max_episodes": 7, "trailing_probability": 0.5}
    model = tiny_model(make_vec(Scripted, lengths=(2,)), buffer_size=50, replay_buffer_kwargs=kwargs).learn(60)
    assert model.replay_buffer.buffer_size == 50
    for name, value in kwargs.items():
        assert getattr(model.replay_buffer, name) == value
    assert model.replay_buffer.n_episodes == 7


def test_a_buffer_class_of_ones_own():
    class OwnBuffer(EpisodicReplayBuffer):
        """A user's own class of buffer."""

    model = tiny_model(make_vec(Scripted), replay_buffer_class=OwnBuffer).learn(64)
    assert type(model.replay_buffer) is OwnBuffer and model.replay_buffer.n_episodes > 0


def test_the_model_asks_its_policy_to_fit_and_nothing_more():
    """The seam that other kinds of behavior functions use: a policy that only implements ``act`` and ``fit``."""

    class Majority(BehaviorPolicy):
        """Does what was done most often, whatever is asked."""

        def __init__(self, observation_space, action_space, lr_schedule, command_space):
            super().__init__(observation_space, action_space, command_space=command_space)
            self.counts = np.zeros(action_space.n)
            self.fits = []

        def act(self, observation, command, deterministic=False, temperature=None):
            return np.full(len(observation), self.counts.argmax())

        def fit(self, hindsight, options):
            self.fits.append(options)
            self.counts = np.bincount(hindsight.sample(100).actions, minlength=2)
            return FitReport(1, {"majority": float(self.counts.max() / 100)})

    model = UDRL(
        Majority,
        make_vec(Scripted),
        commands="absolute",
        learning_starts=20,
        train_freq=10,
        gradient_steps=7,
        batch_size=5,
        seed=0,
    )
    model.learn(60)
    assert len(model.policy.fits) == model._n_updates == 5
    assert model.policy.fits[0][:4] == (7, 5, model.learning_rate, None)
    actions, state = model.predict(np.zeros((3, 2), np.float32))
    assert (actions == model.policy.counts.argmax()).all() and len(state[0]) == 3


def test_observations_are_stored_as_they_were_before_the_step():
    model = tiny_model(make_vec(Scripted, 2, lengths=(3,))).learn(48)
    for i in range(model.replay_buffer.n_episodes):
        np.testing.assert_array_equal(model.replay_buffer.episode(i).observations[:, 1], [0, 1, 2])


def test_wrong_policies_are_refused():
    with pytest.raises(ValueError, match=r"policy=ActorCriticPolicy is not a BehaviorPolicy.*algorithm that saved it"):
        tiny_model(make_vec(Scripted), ActorCriticPolicy)
    with pytest.raises(ValueError, match="Policy NoPolicy unknown"):
        tiny_model(make_vec(Scripted), "NoPolicy")


def test_a_device_can_be_chosen():
    assert tiny_model(make_vec(Scripted), device="cpu").policy.device == th.device("cpu")
    assert UDRL("CommandPolicy", make_vec(Scripted)).device.type in ("cpu", "cuda")


@needs_gpu
def test_training_on_a_gpu():
    model = tiny_model(make_vec(TwoArms, 2), device="cuda").learn(100)
    assert model.policy.device.type == "cuda" and model._n_updates > 0
