"""Command following: figures by hand, the callback, and what is lost without commands."""

import csv

import numpy as np
import pytest
from helpers import CommandSpy, episode, make_vec, obeying_model, probe_model, small_buffer, tiny_model
from probe_envs import CostlySteps, FixedStart, Scripted, TwoArms
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import UDRL, Command
from sb3_udrl.commands import CommandPart, make_command
from sb3_udrl.commands.calibration import N_KNOTS
from sb3_udrl.evaluation import (
    CommandFollowing,
    CommandFollowingCallback,
    command_following,
    evaluate_policy,
    experienced_commands,
    mask_command,
    run_commands,
)
from sb3_udrl.evaluation.following import PartFollowing, average_ranks
from sb3_udrl.labels import LABELERS, HorizonLabeler


def following(desired, achieved):
    return PartFollowing(np.array(desired, float), np.array(achieved, float))


def test_figures_by_hand():
    command = Command({"return": np.array([1.0, 2, 3]), "horizon": np.array([5.0, 5, 5])})
    achieved = {"return": np.array([[1.0, 1], [2, 4], [2, 2]]), "horizon": np.array([[5.0, 7], [5, 5], [1, 3]])}
    both = CommandFollowing(command, achieved)
    assert both.parts == ["return", "horizon"]
    result = both.of("return")
    assert result.mean_abs_error == pytest.approx((0 + 1 + 1) / 3)
    assert both.of("horizon").mean_abs_error == pytest.approx((1 + 0 + 3) / 3)
    assert result.r_squared == pytest.approx(1 - 6 / 6)
    assert result.rank_correlation == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("achieved", "reach"),
    [
        ([[1], [2], [5]], 1),
        ([[5], [2], [1]], 1),  # reached, though not as told
        ([[-9], [0], [99]], 1),  # what is beyond does not count
        ([[2], [2.5], [4]], 0.5),
        ([[1, 3], [3, 3], [4, 4]], 0.5),  # means of 2, 3 and 4
        ([[2], [2], [2]], 0),
        ([[6], [7], [9]], 0),
    ],
)
def test_reach_by_hand(achieved, reach):
    assert following([1, 2, 5], achieved).reach == pytest.approx(reach)


def test_without_a_range_nothing_can_be_covered():
    assert np.isnan(following([2, 2], [[1], [3]]).reach)


def test_only_commands_that_ask_for_a_part_are_compared():
    command = Command({"return": np.array([1.0, np.nan]), "horizon": np.array([np.nan, 7.0]), "advantage": np.array([1.0, 1])})
    result = CommandFollowing(command, {"return": np.array([[4.0], [5]]), "horizon": np.array([[2.0], [3]])})
    assert result.parts == ["return", "horizon"]
    assert (result.of("return").mean_abs_error, result.of("horizon").mean_abs_error) == (3, 4)
    for part in ("advantage", "energy"):
        with pytest.raises(ValueError, match=f"part='{part}': asked for and measured were return, horizon"):
            result.of(part)


def test_perfect_obedience():
    result = following([1, 5, 9], [[1, 1], [5, 5], [9, 9]])
    assert (result.mean_abs_error, result.r_squared) == (0, 1)
    assert result.rank_correlation == pytest.approx(1)


def test_perfect_disobedience():
    result = following([1, 2, 3], [[3], [2], [1]])
    assert result.rank_correlation == pytest.approx(-1)
    assert result.r_squared == pytest.approx(1 - 8 / 2)


def test_rank_correlation_only_cares_for_order():
    assert following([1, 2, 3, 4], [[0], [1], [100], [1e6]]).rank_correlation == pytest.approx(1)


def test_nothing_changes_nothing_correlates():
    result = following([1, 2, 3], [[7], [7], [7]])
    assert np.isnan(result.rank_correlation) and np.isnan(result.r_squared)
    assert np.isnan(following([2, 2], [[1], [3]]).rank_correlation)


def test_equal_values_share_their_rank():
    np.testing.assert_array_equal(average_ranks(np.array([10.0, 30, 20, 20, 5])), [1, 4, 2.5, 2.5, 0])


@pytest.mark.parametrize("n_envs", [1, 2, 3, 7])
def test_episodes_are_attributed_to_their_commands(n_envs):
    """An agent that stops as told: what each command achieves does not depend on which environment plays it."""
    model = probe_model(make_vec(CostlySteps), 3_000)
    env = make_vec(CostlySteps, n_envs)
    asked = np.array([3, 1, 2, 5, 1])
    achieved = run_commands(model, env, make_command(-asked, asked, 5))
    np.testing.assert_array_equal(achieved["horizon"], asked)
    np.testing.assert_array_equal(achieved["return"], -asked)


def test_returns_and_lengths_by_hand():
    env = make_vec(Scripted, 2, lengths=(3, 1, 4))
    achieved = run_commands(tiny_model(env), env, make_command(0, 1, 5))
    assert achieved.keys() == {"return", "horizon"}
    np.testing.assert_array_equal(achieved["horizon"], [3, 3, 1, 1, 4])
    np.testing.assert_array_equal(achieved["return"], [6, 6, 11, 11, 90])


def test_command_following_repeats_every_command():
    env = make_vec(Scripted, 2, lengths=(2,), rewards=(1, 4))
    result = command_following(tiny_model(env), env, [1, 9], [2, 3], n_episodes=3)
    np.testing.assert_array_equal(result.achieved["return"], np.full((2, 3), 5))
    np.testing.assert_array_equal(result.achieved["horizon"], np.full((2, 3), 2))
    np.testing.assert_array_equal(result.command.desired_return, [1, 9])
    assert result.of("return").mean_abs_error == 4 and result.of("horizon").mean_abs_error == 0.5


@pytest.mark.parametrize(
    "command", [{"return": [1, 9], "horizon": [2, 3]}, make_command([1, 9], [2, 3], 2), ([1, 9], [2, 3])], ids=repr
)
def test_commands_in_other_words(command):
    """As a dictionary, a ``Command``, or in two arguments."""
    env = make_vec(Scripted, 2, lengths=(2,), rewards=(1, 4))
    arguments = command if isinstance(command, tuple) else (command,)
    result = command_following(tiny_model(env), env, *arguments, n_episodes=3)
    assert result.command.desired_return.tolist() == [1, 9] and result.command.desired_horizon.tolist() == [2, 3]
    assert result.of("return").mean_abs_error == 4 and result.of("horizon").mean_abs_error == 0.5


class Last(CommandPart):
    """The last reward, and where it was earned: no sum."""

    name = "last"

    def advance(self, values, step):
        return values

    def achieved(self, episode):
        return float(episode.rewards[-1] + 100 * episode.observations[-1, 1])


@pytest.mark.parametrize("normalizes", [False, True])
def test_a_part_that_is_no_sum_is_measured_by_whole_episodes(normalizes, monkeypatch):
    monkeypatch.setitem(LABELERS, "last", HorizonLabeler)  # nothing is learned here
    env = make_vec(Scripted, 2, lengths=(3, 1), rewards=(1, 4, 9))
    if normalizes:
        env = VecNormalize(env)
    result = command_following(tiny_model(env, commands=["return", Last()]), env, {"last": [1, 9]}, n_episodes=2)
    lengths = result.achieved["horizon"]
    assert result.parts == ["last"] and sorted(np.unique(lengths)) == [1, 3]
    earned = np.where(lengths == 3, result.achieved["return"] - 5, result.achieved["return"])
    np.testing.assert_allclose(result.of("last").achieved, earned + 100 * (lengths - 1))


def test_sampled_and_greedy_actions():
    env = make_vec(TwoArms, 8)
    model = tiny_model(env)
    greedy = command_following(model, env, [0], [1], n_episodes=100)
    sampled = command_following(model, env, [0], [1], n_episodes=100, deterministic=False)
    assert greedy.achieved["return"].std() == 0
    assert 0.2 < sampled.achieved["return"].mean() < 0.8


@pytest.mark.parametrize("commands", [([1, 2], [1]), ([], []), ([[1]], [[1]])])
def test_lists_of_commands_must_fit(commands):
    env = make_vec(TwoArms)
    with pytest.raises(ValueError, match="lists of the same length"):
        command_following(tiny_model(env), env, *commands)


def test_experienced_commands_span_what_was_experienced():
    model = tiny_model(make_vec(TwoArms))
    model.hindsight.buffer = small_buffer(10**4)
    for achieved in range(101):
        model.replay_buffer.add(episode([achieved / (achieved // 10 + 1)] * (achieved // 10 + 1)))
    model.remember()
    commands = experienced_commands(model, 4)
    np.testing.assert_allclose(commands.desired_return, np.linspace(5, 100, 4), rtol=1e-5)
    assert np.isnan(commands.desired_horizon).all()  # which the policy completes, as for everyone


def test_commands_from_experience_are_corrected_as_those_of_a_user_are():
    model = obeying_model(make_vec(FixedStart), commands="any").learn(320)
    for greedy in (False, True):
        model.policy.correct(greedy, np.stack([np.linspace(0, 8, N_KNOTS), np.linspace(100, 108, N_KNOTS)]))
    asked = experienced_commands(model, 3)
    played = model.policy.initial_command(3, asked, deterministic=True)
    assert (played["return"] >= 100).all() and not np.isnan(played["horizon"]).any()


def test_experienced_commands_need_episodes():
    with pytest.raises(ValueError, match="no experience yet"):
        experienced_commands(tiny_model(make_vec(TwoArms)))


def test_the_callback_logs_how_commands_are_followed(tmp_path):
    env = make_vec(Scripted, lengths=(2,), rewards=(1, 4))
    model = tiny_model(env)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    commands = {"return": [3, 9], "horizon": [2, 4]}
    callback = CommandFollowingCallback(make_vec(Scripted, 2, lengths=(2,), rewards=(1, 4)), 96, commands, 1)
    model.learn(128, callback=callback)
    with open(tmp_path / "progress.csv") as file:
        logged = list(csv.DictReader(file))
    keys = ("mean_abs_error", "horizon_mean_abs_error", "r_squared", "rank_correlation")
    found = [[row.get(f"command_following/{key}", "") for key in keys] for row in logged]
    assert found[0] == [""] * 4 and found[1] == [""] * 4
    assert float(found[2][0]) == 3  # 5 achieved, 3 and 9 desired
    assert float(found[2][1]) == 1
    np.testing.assert_array_equal(callback.last_result.achieved["return"], [[5], [5]])


def test_the_callback_takes_its_commands_from_the_buffer():
    env = make_vec(Scripted, 2, lengths=(2,), rewards=(1, 4))
    callback = CommandFollowingCallback(env, eval_freq=40)
    tiny_model(make_vec(Scripted, lengths=(2,), rewards=(1, 4))).learn(64, callback=callback)
    assert callback.last_result.command.desired_return.tolist() == [5] * 9
    assert callback.last_result.parts == ["return"]


def test_the_callback_waits_for_the_first_episode():
    env = make_vec(Scripted, lengths=(50,))
    callback = CommandFollowingCallback(env, eval_freq=10)
    tiny_model(make_vec(Scripted, lengths=(50,))).learn(40, callback=callback)
    assert callback.last_result is None


@pytest.mark.parametrize("eval_freq", [0, -1])
def test_the_callback_may_never_evaluate(eval_freq):
    callback = CommandFollowingCallback(make_vec(Scripted), eval_freq, {"return": [1.0]})
    tiny_model(make_vec(Scripted)).learn(64, callback=callback)
    assert callback.last_result is None


@pytest.mark.parametrize("n_episodes", [0, -1])
def test_each_command_needs_an_episode(n_episodes):
    env = make_vec(Scripted)
    with pytest.raises(ValueError, match=f"n_episodes={n_episodes}: must be at least 1"):
        command_following(tiny_model(env), env, [1.0], n_episodes=n_episodes)
    with pytest.raises(ValueError, match=f"n_episodes={n_episodes}: must be at least 1"):
        CommandFollowingCallback(env, n_episodes=n_episodes)


def test_relative_commands_have_no_return_to_compare_with():
    env = make_vec(Scripted, lengths=(2,))
    model = tiny_model(env, commands="relative")
    for follow, message in (
        (lambda: command_following(model, env, [1], [1]), "asks for horizon, return: this model takes advantage"),
        (lambda: command_following(model.policy, env, [1], [1]), "asks for horizon, return: this model takes advantage"),
        (lambda: experienced_commands(model), "this model takes advantage, which no episode can be compared with"),
        (lambda: model.learn(10, callback=CommandFollowingCallback(env)), "which no episode can be compared with"),
    ):
        with pytest.raises(ValueError, match=message):
            follow()
    assert model.num_timesteps == 0  # known before anything was played
    command = Command({"advantage": np.array([-1.0, 0, 1])})
    achieved = run_commands(model, env, command)  # what they achieve can be seen all the same
    assert achieved["horizon"].tolist() == [2, 2, 2] and len(achieved["return"]) == 3
    result = command_following(model, env, {"advantage": [-1, 0, 1]}, n_episodes=2)
    assert result.achieved["horizon"].tolist() == [[2, 2]] * 3 and result.parts == []
    with pytest.raises(ValueError, match="part='return': asked for and measured were none"):
        result.of("return")


def test_without_its_commands_an_obedient_agent_obeys_no_more():
    model = probe_model(make_vec(TwoArms), 1_000)
    env = make_vec(TwoArms)

    def achieved():
        return [evaluate_policy(model, env, 3, command=(desired, 1))[0] for desired in (0, 1)]

    assert achieved() == [0, 1]
    with mask_command(model):
        low, high = achieved()
        assert low == high
    assert achieved() == [0, 1]
    with mask_command(model.policy):
        assert len(set(achieved())) == 1


def test_a_masked_agent_sees_the_average_command():
    model = probe_model(make_vec(TwoArms), 1_000)
    inputs = []
    hook = model.policy.trunk.register_forward_hook(lambda _, given, __: inputs.append(given[1]))
    with mask_command(model), CommandSpy(model) as spy:
        model.predict(np.ones((2, 1), np.float32), command=([0, 50], [1, 99]))
    hook.remove()
    assert (inputs[0] == 0).all()  # standardized
    np.testing.assert_array_equal(spy.commands[0], [[0, 1], [50, 99]])  # commands themselves go on as ever


def test_only_networks_that_take_commands_can_be_masked():
    model = UDRL("ForestPolicy", make_vec(TwoArms), commands="absolute")
    with pytest.raises(ValueError, match="has a ForestPolicy, which has no network: only a network can be masked"):
        with mask_command(model):
            pass


def test_both_behavior_functions_of_a_policy_are_masked():
    model = tiny_model(make_vec(TwoArms), commands="any")
    inputs = []
    hooks = [net.register_forward_hook(lambda _, given, __: inputs.append(given[1])) for net in model.policy.networks()]
    with mask_command(model):
        for command in ({"advantage": 2.0}, {"return": 5.0, "horizon": 3}):
            model.predict(np.ones((1, 1), np.float32), command=command)
    for hook in hooks:
        hook.remove()
    assert len(inputs) == 2 and all((given == 0).all() for given in inputs)
