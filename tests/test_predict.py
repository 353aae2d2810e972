"""``predict``: actions, and the command that travels along in the state."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import DEVICE, CommandSpy, make_vec, tiny_model
from probe_envs import AnySpaces, FixedStart, Scripted
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sb3_udrl import UDRL, Command

ONE = np.zeros(2, np.float32)
THREE = np.zeros((3, 2), np.float32)


@pytest.fixture
def model():
    model = tiny_model(make_vec(Scripted))
    model.set_command(100, 10)
    return model


def rows(state):
    return list(map(tuple, state[0]))


def test_an_environment_is_wrapped_by_itself():
    assert tiny_model(Scripted()).get_env().env_is_wrapped(Monitor) == [True]
    assert tiny_model("CartPole-v1").get_env().num_envs == 1


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_shapes_of_single_and_batched_actions(env_id):
    model = tiny_model(env_id)
    env = gym.make(env_id)
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation)
    assert action.shape == env.action_space.shape and env.action_space.contains(np.asarray(action))
    actions, state = model.predict(np.stack([observation] * 3))
    assert actions.shape == (3, *env.action_space.shape)
    assert all(len(part) == 3 for part in state)


def test_a_subclassed_box_is_clipped_too():
    class OwnBox(spaces.Box):
        """A user's own class of space."""

    space = OwnBox(-0.001, 0.001, (2,), np.float32)
    env = make_vec(AnySpaces, observation_space=spaces.Box(-1, 1, (2,)), action_space=space)
    model = tiny_model(env, policy_kwargs={"box_head": "gaussian"})
    for _ in range(20):
        assert space.contains(model.predict(ONE)[0])


def test_a_tuple_gets_a_helpful_error(model):
    env = Scripted()
    with pytest.raises(ValueError, match=r"observation, info = env.reset\(\)"):
        model.predict(env.reset())


def test_predict_leaves_training_mode(model):
    model.policy.set_training_mode(True)
    model.predict(ONE)
    assert not model.policy.training


def test_episodes_start_with_the_command_that_was_set(model):
    _, state = model.predict(ONE)
    assert rows(state) == [(100, 10)]
    model.set_command(-3, 1)
    assert rows(model.predict(ONE)[1]) == [(-3, 1)]


def test_a_command_of_the_call(model):
    assert rows(model.predict(THREE, command=(7, 2))[1]) == [(7, 2)] * 3
    assert rows(model.predict(THREE, command=([1, 2, 3], 5))[1]) == [(1, 5), (2, 5), (3, 5)]
    asked = Command({"return": np.array([1.0, 2.0, 3.0]), "horizon": np.array([4.0, 5.0, 6.0])})
    assert rows(model.predict(THREE, command=asked)[1]) == [(1, 4), (2, 5), (3, 6)]
    assert rows(model.predict(THREE, command={"horizon": 5, "return": [1, 2, 3]})[1]) == [(1, 5), (2, 5), (3, 5)]


def test_the_network_sees_the_command_of_the_state(model):
    with CommandSpy(model) as spy:
        _, state = model.predict(THREE, command=([1, 2, 3], 5))
        model.predict(THREE, state, reward=[10, 20, 30])
    np.testing.assert_array_equal(spy.commands[0], [[1, 5], [2, 5], [3, 5]])
    np.testing.assert_array_equal(spy.commands[1], [[-9, 4], [-18, 4], [-27, 4]])


def test_rewards_given_to_predict_are_paid_off(model):
    _, state = model.predict(ONE)
    _, state = model.predict(ONE, state, reward=30.0)
    assert rows(state) == [(70, 9)]
    _, state = model.predict(ONE, state, reward=[-5.0])
    assert rows(state) == [(75, 8)]


def test_without_rewards_a_constant_rate_is_assumed(model):
    """Return per step stays as it was asked: r_t = r_0 h_t / h_0."""
    state, seen = None, []
    for _ in range(4):
        _, state = model.predict(ONE, state)
        seen += rows(state)
    np.testing.assert_allclose(seen, [(100, 10), (90, 9), (80, 8), (70, 7)])


def test_an_estimate_in_overtime_asks_for_nothing_more(model):
    state = None
    for _ in range(13):
        _, state = model.predict(ONE, state)
    np.testing.assert_allclose(rows(state), [(0, 1)], atol=1e-9)


def test_starting_episodes_get_a_fresh_command(model):
    _, state = model.predict(THREE, command=(50, 5))
    _, state = model.predict(THREE, state, np.array([False, True, False]), reward=1.0)
    assert rows(state) == [(49, 4), (100, 10), (49, 4)]
    _, state = model.predict(THREE, state, np.array([False, False, True]), reward=1.0, command=(8, 8))
    assert rows(state) == [(48, 3), (99, 9), (8, 8)]


def test_no_state_means_that_all_episodes_start(model):
    assert rows(model.predict(THREE, None, np.zeros(3, bool))[1]) == [(100, 10)] * 3


def test_the_state_before_is_not_changed(model):
    _, state = model.predict(THREE)
    before = [part.copy() for part in state]
    model.predict(THREE, state, np.array([True, False, False]), reward=5.0)
    for part, kept in zip(state, before, strict=True):
        np.testing.assert_array_equal(part, kept)


def test_deterministic_actions_repeat_and_sampled_ones_vary(model):
    batch = np.zeros((200, 2), np.float32)
    actions, _ = model.predict(batch, deterministic=True)
    assert len(np.unique(actions)) == 1
    assert len(np.unique(model.predict(batch)[0])) == 2


def test_model_and_policy_predict_the_same(model):
    actions, state = model.predict(THREE, deterministic=True)
    of_policy, state_of_policy = model.policy.predict(THREE, deterministic=True)
    np.testing.assert_array_equal(actions, of_policy)
    for mine, its in zip(state, state_of_policy, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_predict_of_sb3_policies_works_too(model):
    """SB3's tools may call ``_predict`` with tensors."""
    actions = model.policy._predict(th.zeros(3, 2, device=DEVICE), deterministic=True)
    np.testing.assert_array_equal(actions, model.predict(THREE, deterministic=True)[0])


def test_an_array_asks_for_a_return_per_environment():
    trained = tiny_model(make_vec(FixedStart, 3), commands="any").learn(320)
    first, second = (trained.predict(THREE, command=command)[1][0] for command in (np.arange(3.0), {"return": np.arange(3.0)}))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match=r"desired return has shape \(2,\).*\(3,\)"):
        trained.predict(THREE, command=np.arange(2.0))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"command": (np.nan, 5)}, "the desired return is NaN"),
        ({"command": (1, 0)}, "horizon=0.0: must be at least 1"),
        ({"command": (1, np.inf)}, "horizon=inf: a command must be finite"),
        ({"command": (1, [5, np.inf, 5])}, "horizon=inf: a command must be finite"),
        ({"command": {"advantage": 1.0}}, "asks for advantage: this model takes return, horizon"),
        ({"command": {}}, "the desired return is missing: this model takes return and horizon together"),
        ({"command": ([1, 2], 5)}, r"desired return has shape \(2,\).*\(3,\)"),
        ({"command": 5}, "command=5: the desired horizon is missing: this model takes return and horizon together"),
        ({"command": (1, 2, 3)}, r"command=\(1, 2, 3\): give a desired return, a pair"),
        ({"command": "more"}, r"command='more': give a desired return, a pair"),
        ({"episode_start": np.zeros(2, bool)}, "episode_start 2 for 3 observations"),
    ],
)
def test_bad_arguments_at_the_start(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        model.predict(THREE, **kwargs)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (np.nan, "reward=nan: give a finite number, or one per environment"),
        (np.inf, "reward=inf: give a finite number, or one per environment"),
        ([1, 2], r"reward has shape \(2,\): give one number, or one per environment"),
        ([[1, 2, 3]], r"reward has shape \(1, 3\): give one number, or one per environment"),
        ([1, 2, np.nan], r"reward=\[1, 2, nan\]: give a finite number, or one per environment"),
    ],
)
def test_bad_rewards(model, reward, message):
    _, state = model.predict(THREE)
    with pytest.raises(ValueError, match=rf"{message}, shape \(3,\)"):
        model.predict(THREE, state, reward=reward)


def test_a_state_of_other_environments(model):
    _, state = model.predict(THREE)
    with pytest.raises(ValueError, match=r"state has 3 rows .* for 2 observations"):
        model.predict(THREE[:2], state)


@pytest.mark.parametrize("of", [lambda model: model, lambda model: model.policy])
def test_evaluate_policy_of_sb3(model, of):
    """The horizon is exact, the return an estimate, as rewards never reach the model there."""
    with CommandSpy(model) as spy:
        mean, std = sb3_evaluate_policy(of(model), make_vec(Scripted, 2, lengths=(4,), rewards=(1, 2)), 4)
    assert (mean, std) == (6, 0)
    expected = [(100 - 10 * t, 10 - t) for t in range(4)]
    for env in range(2):
        np.testing.assert_allclose(np.stack(spy.commands)[:, env], expected * 2)


# Commands that are set


def test_set_command_is_saved(model, tmp_path):
    model.set_command(123.5, 17)
    model.save(tmp_path / "model")
    assert rows(UDRL.load(tmp_path / "model", device=DEVICE).predict(ONE)[1]) == [(123.5, 17)]
    model.policy.save(tmp_path / "policy")
    policy = type(model.policy).load(tmp_path / "policy", device=DEVICE)
    assert rows(policy.predict(ONE)[1]) == [(123.5, 17)]


def test_a_set_command_survives_training_even_of_a_loaded_model(model, tmp_path):
    model.learn(100)
    assert rows(model.predict(ONE)[1]) == [(100, 10)]
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(Scripted), device=DEVICE).learn(100)
    assert rows(loaded.predict(ONE)[1]) == [(100, 10)]


def test_without_set_command_the_model_asks_for_what_its_buffer_supports():
    model = tiny_model(make_vec(Scripted, lengths=(3,), rewards=(5,)), command_sampler="mean_plus_std").learn(60)
    assert rows(model.predict(ONE)[1]) == [(15, 3)]


def test_the_choice_can_be_given_back(tmp_path):
    model = tiny_model(make_vec(Scripted, lengths=(3,), rewards=(5,)), command_sampler="mean_plus_std")
    model.set_command(1, 1)
    model.learn(60)
    model.set_command(2, 2)
    model.save(tmp_path / "model")
    for fixed in (model, UDRL.load(tmp_path / "model", device=DEVICE)):
        assert rows(fixed.predict(ONE)[1]) == [(2, 2)]
        for _ in range(2):
            fixed.set_command(None)
            assert rows(fixed.predict(ONE)[1]) == [(15, 3)]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((5, None), "the desired horizon is missing: this model takes return and horizon together"),
        ((None, 5), "command=None, desired_horizon=5: for a horizon alone"),
        ((np.nan, 5), "the desired return is NaN"),
        ((5, np.inf), "horizon=inf: a command must be finite"),
        (({"advantage": 1.0},), "asks for advantage: this model takes return, horizon"),
        (((5, 5), 5), "desired_horizon=5: goes with a desired return"),
        ((5, 0), "horizon=0.0: must be at least 1"),
        ((([1, 2], 5),), "shape"),
        (([1, 2], 5), "desired_horizon=5: goes with a desired return"),
    ],
)
def test_bad_commands_are_refused_and_change_nothing(model, command, message):
    with pytest.raises(ValueError, match=message):
        model.set_command(*command)
    assert rows(model.predict(ONE)[1]) == [(100, 10)]


def test_a_command_that_is_refused_leaves_the_guidance_as_it_was():
    model = tiny_model(make_vec(Scripted), commands="any")
    with pytest.raises(ValueError, match="retrun"):
        model.set_command({"retrun": 3}, guidance=2.0)
    assert model.policy.guidance == 1
    model.set_command({"return": 3}, guidance=2.0)
    assert model.policy.guidance == 2
    with pytest.raises(ValueError, match="guidance='2': must be a finite number"):
        model.predict(ONE, guidance="2")


@pytest.mark.parametrize("part", ["return", "horizon"])
def test_commands_beyond_single_precision_are_refused(part):
    model = tiny_model(make_vec(Scripted), commands="any")
    for ask in (model.set_command, lambda command: model.predict(ONE, command=command)):
        with pytest.raises(ValueError, match=f"{part}=1e[+]39: a command must be finite"):
            ask({part: 1e39})


def test_desired_returns_may_be_arrays_of_one_number(model):
    model.set_command(np.array(20.0), 30)
    assert rows(model.predict(ONE)[1]) == [(20, 30)]
