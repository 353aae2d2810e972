"""What commands leave open is filled in by what was typical of episodes that achieved the rest."""

import numpy as np
import pytest
import torch as th
from helpers import DEVICE, episode, make_vec, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from probe_envs import FixedStart

from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.commands import make_command_space
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.experience import Experience

NAN = np.nan
ANY = make_command_space("any")


def experience(totals, names=("return", "horizon")):
    known = Experience(names)
    known.remember(np.asarray(totals, dtype=np.float64))
    return known


def completed(known, command, n=1):
    return ANY.to_rows(known.completed(ANY.make(command, n)))


def groups(n=20):
    """Returns of 10 take 5 steps, those of 20 take 50, and those of 30 again 5."""
    return [[10, 5]] * n + [[20, 50]] * n + [[30, 5]] * n


# What is filled in


def test_a_return_comes_with_the_length_that_is_typical_of_it():
    rows = completed(experience(groups()), {"return": [10, 19, 30, 99]}, 4)
    np.testing.assert_array_equal(rows, [[10, 5, NAN], [19, 50, NAN], [30, 5, NAN], [99, 5, NAN]])


def test_a_horizon_comes_with_the_return_that_is_typical_of_it():
    rows = completed(experience(groups()[:40]), {"horizon": [1, 5, 45, 500]}, 4)
    np.testing.assert_array_equal(rows, [[10, 1, NAN], [10, 5, NAN], [20, 45, NAN], [20, 500, NAN]])


def test_typical_is_the_median_of_the_nearest_nine():
    returns = [10, 0, 1, 3, 7, 7, 8, 9, 100]
    known = experience([[value, 4] for value in returns] + [[-1000, 9]] * 100)
    np.testing.assert_array_equal(completed(known, {"horizon": 4}), [[np.median(returns), 4, NAN]])


def test_each_part_counts_by_how_much_it_varies():
    """A return that is 1 off is far, where a horizon that is 30 off is near."""
    totals = [[0, 1000 + i, 7] for i in range(20)] + [[1, 30 * i, 8] for i in range(100)]
    known = experience(totals, ("return", "horizon", "energy"))
    command = known.completed(Command({"return": np.array([1.0]), "horizon": np.array([1010.0]), "energy": np.array([NAN])}))
    assert command["energy"][0] == 8


def test_with_an_advantage_the_return_is_raised_by_deviations_of_typical_returns():
    returns = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    known = experience([[value, 5] for value in returns] + [[500, 90]] * 50)
    (row,) = completed(known, {"horizon": 5, "advantage": 2})
    np.testing.assert_allclose(row, [5 + 2 * returns.std(), 5, NAN])
    (lower,) = completed(known, {"horizon": 5, "advantage": -1})
    np.testing.assert_allclose(lower, [5 - returns.std(), 5, NAN])
    (both,) = completed(known, {"return": 7, "horizon": 5, "advantage": 1})
    np.testing.assert_allclose(both, [7 + returns.std(), 5, NAN])


def test_with_an_advantage_of_zero_it_is_only_filled_in():
    (row,) = completed(experience(groups()), {"return": 20, "advantage": 0})
    np.testing.assert_array_equal(row, [20, 50, NAN])


# What stays as it is


@pytest.mark.parametrize("command", [{}, {"advantage": 2}, {"return": 12, "horizon": 34}], ids=str)
def test_rows_that_leave_nothing_open(command):
    np.testing.assert_array_equal(completed(experience(groups()), command), ANY.to_rows(ANY.make(command)))


def test_rows_are_filled_in_one_by_one():
    given = [[NAN, NAN, NAN], [NAN, NAN, 2], [10, NAN, NAN], [3, 4, NAN], [NAN, 50, 0]]
    known = experience(groups())
    before = ANY.from_rows(np.array(given))
    after = ANY.to_rows(known.completed(before))
    np.testing.assert_array_equal(after, [[NAN, NAN, NAN], [NAN, NAN, 2], [10, 5, NAN], [3, 4, NAN], [20, 50, NAN]])
    np.testing.assert_array_equal(ANY.to_rows(before), given)  # what was given stays as it was


@pytest.mark.parametrize("command", [{"return": 5}, {"horizon": 5}, {"return": 5, "advantage": 1}], ids=str)
def test_without_experience_nothing_is_filled_in(command):
    np.testing.assert_array_equal(completed(Experience(("return", "horizon")), command), ANY.to_rows(ANY.make(command)))
    np.testing.assert_array_equal(completed(experience(np.empty((0, 2))), command), ANY.to_rows(ANY.make(command)))


rows = st.tuples(*[st.one_of(st.just(NAN), st.floats(1, 1e4))] * 3)
tables = st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(1, 1000)), min_size=1, max_size=30)


@given(tables, st.lists(rows, min_size=1, max_size=8))
def test_what_is_asked_for_is_never_changed_but_by_an_advantage(table, asked):
    before = np.array(asked)
    after = ANY.to_rows(experience(table).completed(ANY.from_rows(before)))
    plain = np.isnan(before[:, 2])
    there = ~np.isnan(before)
    np.testing.assert_array_equal(after[plain][there[plain]], before[plain][there[plain]])
    asks = there[:, :2].any(1)
    assert not np.isnan(after[asks][:, :2]).any() and np.isnan(after[asks][:, 2]).all()
    np.testing.assert_array_equal(after[~asks], before[~asks])
    filled = asks & ~there[:, 1]
    assert (after[filled, 1] >= 1).all()


# What is remembered


def test_of_many_episodes_some_of_every_return():
    totals = np.array([[0.0, 1]] * 5_000 + [[100.0, 7]] * 9 + [[0.0, 2]] * 5_000)
    known = experience(totals)
    assert len(known.known()) == 512
    assert (known.known()[:, 0] == 100).sum() == 9
    assert (known.known()[known.known()[:, 0] == 0, 1] == 2).all()  # the newest of those that are many
    np.testing.assert_array_equal(completed(known, {"return": 90}), [[90, 7, NAN]])


def test_it_is_replaced_not_added_to():
    known = experience(groups())
    known.remember(np.array([[1.0, 2]]))
    np.testing.assert_array_equal(known.known(), [[1, 2]])


def test_a_grid_of_what_was_achieved():
    known = experience([[value, 5] for value in range(101)])
    np.testing.assert_allclose(known.grid("return", 3), [5, 52.5, 100])
    with pytest.raises(ValueError, match="no experience yet"):
        Experience(("return",)).grid("return", 3)


def test_it_is_saved_with_the_weights(tmp_path):
    known = experience(groups())
    other = Experience(known.names)
    other.load_state_dict(known.state_dict())
    assert th.equal(other.totals.nan_to_num(), known.totals.nan_to_num())
    np.testing.assert_array_equal(other.known(), groups())


# In models


@pytest.mark.parametrize("commands", ["any", ["return", "horizon"], "absolute"], ids=str)
def test_a_model_fills_in_what_its_own_episodes_were_like(commands, tmp_path):
    model = tiny_model(make_vec(FixedStart), commands=commands).learn(400)
    observation = np.zeros(2, np.float32)
    (row,) = model.predict(observation, command={"return": 3})[1][0]
    np.testing.assert_array_equal(row[:2], [3, 8])
    (row,) = model.predict(observation, command={"horizon": 8})[1][0]
    known = model.policy.experience.known()
    assert known[:, 0].min() <= row[0] <= known[:, 0].max()
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    for loaded in (UDRL.load(tmp_path / "model", device=DEVICE), type(model.policy).load(tmp_path / "policy", device=DEVICE)):
        np.testing.assert_array_equal(loaded.predict(observation, command={"horizon": 8})[1][0][0], row)


def test_models_that_are_always_asked_for_both_need_experience_to_fill_in_one():
    model = tiny_model(make_vec(FixedStart), commands="absolute")
    observation = np.zeros(2, np.float32)
    for command in ({"return": 3}, {"horizon": 3}, {}):
        with pytest.raises(ValueError, match="is missing: this model takes return and horizon together"):
            model.predict(observation, command=command)
        with pytest.raises(ValueError, match="is missing: this model takes return and horizon together"):
            model.set_command(command)
    model.learn(200)
    model.set_command({"return": 3})
    np.testing.assert_array_equal(model.predict(observation)[1][0], [[3, 8]])
    with pytest.raises(ValueError, match="is missing"):
        model.predict(observation, command={})


def test_there_is_none_where_nothing_can_be_measured():
    assert tiny_model(make_vec(FixedStart), commands="relative").policy.experience is None


def test_training_on_a_buffer_that_was_filled_is_enough():
    model = tiny_model(make_vec(FixedStart), commands=["return", "horizon"])
    for i in range(30):
        short = episode([1.0] * (1 + i % 3))
        observations = np.repeat(short.observations, 2, axis=1)
        model.replay_buffer.add(type(short)(observations, short.actions, short.rewards))
    model.train(5, 32)
    assert isinstance(model.policy, CommandPolicy)
    np.testing.assert_array_equal(model.predict(np.zeros(2, np.float32), command={"return": 2})[1][0], [[2, 2]])


def test_an_advantage_raises_no_other_part_than_a_return():
    known = experience([[5], [20], [50]] * 9, ("horizon",))
    command = known.completed(Command({"horizon": np.array([20.0]), "advantage": np.array([3.0])}))
    assert command["horizon"][0] == 20 and np.isnan(command["advantage"][0])
