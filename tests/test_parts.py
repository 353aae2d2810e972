"""The parts of a command: what stored steps fulfilled of each, and what one step leaves of it."""

import numpy as np
import pytest
from helpers import DEVICE, CommandSpy, episode, hindsight, make_vec, obeying_model, small_buffer, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from probe_envs import FixedStart

from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode
from sb3_udrl.commands import make_command_space
from sb3_udrl.commands.command import Command, values_by_part
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.parts import Advantage, Horizon, Return, Step, SummedPart
from sb3_udrl.evaluation import run_commands
from sb3_udrl.labels import Hindsight

NAN = np.nan


class Energy(SummedPart):
    """A part of a user's own: what steps used up, as the environment says in ``infos``."""

    name = "energy"
    lowest = 0.0

    def amounts(self, step):
        return np.array([info["energy"] for info in step.infos])


class Walk(FixedStart):
    """As ``FixedStart``, where each step that moves uses up energy."""

    def step(self, action):
        *result, _ = super().step(action)
        return *result, {"energy": abs(int(action) - 1)}


def with_energy(rewards, energy, first=0.0):
    plain = episode(rewards, first)
    return Episode(plain.observations, plain.actions, plain.rewards, amounts={"energy": np.asarray(energy, np.float32)})


def labels_of(examples, segments=None):
    """The label of every stored step by part, nothing masked."""
    buffer = examples.buffer
    examples.relabel()
    rows = buffer.stored_rows()
    segments = buffer.steps_to_go[rows] if segments is None else np.asarray(segments, np.int32)
    return {labeler.name: labeler.label(buffer, rows, segments) for labeler in examples.labelers}


# What stored steps fulfilled


def test_labels_of_a_return_are_what_followed_and_those_of_a_horizon_in_how_many_steps():
    examples = hindsight(small_buffer())
    examples.buffer.add(episode([1, 2, 3]))
    examples.buffer.add(episode([-5, 7]))
    labels = labels_of(examples)
    np.testing.assert_array_equal(labels["return"], [6, 5, 3, 2, 7])
    np.testing.assert_array_equal(labels["horizon"], [3, 2, 1, 2, 1])


def test_segments_that_end_earlier_count_what_they_hold():
    examples = hindsight(small_buffer())
    examples.buffer.add(episode([1, 2, 4, 8]))
    labels = labels_of(examples, segments=[2, 3, 1, 1])
    np.testing.assert_array_equal(labels["return"], [3, 14, 4, 8])
    np.testing.assert_array_equal(labels["horizon"], [2, 3, 1, 1])


def test_a_part_of_one_s_own_is_summed_like_rewards():
    examples = Hindsight(small_buffer(recorded=("energy",)), CommandSpace(["return", Energy()]))
    examples.buffer.add(with_energy([1, 2, 3], [10, 0, 5]))
    examples.buffer.add(with_energy([4, 4], [1, 2]))
    labels = labels_of(examples)
    np.testing.assert_array_equal(labels["return"], [6, 5, 3, 8, 4])
    np.testing.assert_array_equal(labels["energy"], [15, 5, 5, 3, 2])
    np.testing.assert_array_equal(labels_of(examples, [2, 2, 1, 1, 1])["energy"], [10, 5, 5, 1, 2])
    np.testing.assert_array_equal(examples.totals(), [[6, 15], [8, 3]])


def test_labels_of_a_part_of_one_s_own_stay_right_when_the_buffer_forgets():
    examples = Hindsight(small_buffer(6, recorded=("energy",)), CommandSpace([Energy(), "horizon"]))
    for i in range(5):
        examples.buffer.add(with_energy([0, 0], [i, 10 * i], first=10 * i))
    np.testing.assert_array_equal(examples.totals(), [[22, 2], [33, 2], [44, 2]])
    np.testing.assert_array_equal(labels_of(examples)["energy"], [22, 20, 33, 30, 44, 40])


def test_advantages_by_hand():
    """In a situation where nothing else is known, the usual is the mean, and labels are deviations from it."""
    examples = hindsight(small_buffer(), "relative", advantage={"n_neighbors": 4})
    for reward in (0, 0, 2, 2):
        examples.buffer.add(episode([reward]))
    np.testing.assert_allclose(labels_of(examples)["advantage"], [-1, -1, 1, 1], atol=0.2)


@pytest.mark.parametrize("rewards", [[[1, 2], [3, 4]], [[0, 0], [0, 0]]], ids=["different", "all alike"])
def test_advantages_alone_are_always_asked_for(rewards):
    """With a single part there is nothing to leave out."""
    examples = hindsight(small_buffer(), "relative")
    for i in range(20):
        examples.buffer.add(episode(rewards[i % 2]))
    examples.relabel()
    advantages = examples.sample(500).command["advantage"]
    assert np.isfinite(advantages).all() and (np.abs(advantages) <= 3).all()


def test_models_of_several_parts_see_some_examples_that_ask_for_nothing():
    examples = hindsight(small_buffer(), ["return", "horizon"])
    examples.buffer.add(episode([1, 2, 3]))
    command = examples.sample(5_000).command
    unasked = np.isnan(command["return"])
    np.testing.assert_array_equal(unasked, np.isnan(command["horizon"]))
    assert 0.07 < unasked.mean() < 0.13
    complete = hindsight(examples.buffer).sample(500).command
    assert not np.isnan(complete["return"]).any()


def test_episodes_without_the_amounts_are_refused():
    buffer = small_buffer(recorded=("energy",))
    with pytest.raises(ValueError, match="the episode has no amounts/energy"):
        buffer.add(episode([1]))
    with pytest.raises(ValueError, match="the energy of step 1 is nan: it must be finite"):
        buffer.add(with_energy([1, 2], [0, NAN]))
    assert buffer.n_episodes == 0


# What episodes achieved


def test_what_an_episode_came_to():
    played = with_energy([1, 2.5, -1], [3, 0, 4])
    assert [part().achieved(played) for part in (Return, Horizon, Energy)] == [2.5, 3, 7]
    assert np.isnan(Advantage().achieved(played))
    assert [part().measured for part in (Return, Horizon, Energy, Advantage)] == [True, True, True, False]


# What one step leaves of a command


STEP = Step(np.array([4.0, -1.0, 0.5]), [{"energy": 1.0}, {"energy": 2.0}, {"energy": 0.0}])


@pytest.mark.parametrize(
    ("part", "before", "after"),
    [
        (Return, [10, -3, NAN], [6, -2, NAN]),
        (Horizon, [5, 1, NAN], [4, 1, NAN]),
        (Advantage, [2, -1, NAN], [2, -1, NAN]),
        (Energy, [3, 1, NAN], [2, -1, NAN]),
    ],
)
def test_advance(part, before, after):
    given = np.array(before, dtype=np.float64)
    np.testing.assert_array_equal(part().advance(given, STEP), after)
    np.testing.assert_array_equal(given, before)  # the command before stays as it was


def test_what_is_counted_in_infos_stays_where_nobody_passes_them_on():
    values = np.array([3.0])
    assert Energy().advance(values, Step(np.array([1.0]))) == [3]
    assert Return().advance(values, Step(np.array([1.0]))) == [2]


def test_a_command_advances_part_by_part():
    space = CommandSpace(["horizon", Energy(), "advantage"])
    before = space.make({"horizon": [5, 2, 1], "energy": [1, 2, 3]}, 3)
    after = space.advance(before, STEP)
    assert tuple(after.parts) == space.names
    np.testing.assert_array_equal(space.to_rows(after), [[4, 0, NAN], [1, 0, NAN], [1, 3, NAN]])


amounts = st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(0, 1e3, width=32))


@given(st.lists(amounts, min_size=1, max_size=60))
def test_replaying_an_episode_from_what_it_came_to_reproduces_every_label(steps):
    """What is asked for while acting and what is learned in hindsight are the same thing, at every step."""
    rewards, energy = np.array(steps, dtype=np.float32).T
    space = CommandSpace(["return", "horizon", Energy()])
    examples = Hindsight(small_buffer(recorded=("energy",)), space)
    examples.buffer.add(with_energy(rewards, energy))
    labels = labels_of(examples)
    command = space.from_rows(examples.totals())
    for t in range(len(steps)):
        for name in space.names:
            np.testing.assert_allclose(command[name], labels[name][t], rtol=1e-5, atol=1e-1)
        command = space.advance(command, Step(rewards[[t]].astype(np.float64), [{"energy": float(energy[t])}]))
    np.testing.assert_allclose([command["return"][0], command["energy"][0], command["horizon"][0] - 1], 0, atol=1e-1)


@given(st.lists(st.sampled_from(["return", "horizon", "advantage"]), unique=True), st.lists(st.floats(-9, 9), max_size=20))
def test_what_is_not_asked_for_never_is(left_out, rewards):
    space = make_command_space("any")
    command = space.make({name: 5 for name in space.names if name not in left_out})
    for reward in rewards:
        command = space.advance(command, Step(np.array([reward])))
    assert [name for name in space.names if not command.asks_for(name)[0]] == [n for n in space.names if n in left_out]
    assert not np.isinf(space.to_rows(command)).any()


# What is refused


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ({"speed": 1}, "asks for speed: this model takes return, horizon, advantage"),
        ({"return": np.inf}, 'return=inf: a command must be finite; leave "return" out to not ask for it'),
        ({"advantage": -np.inf}, "advantage=-inf: a command must be finite"),
        ({"return": 1, "horizon": [3, np.inf]}, "horizon=inf: a command must be finite"),
        ({"return": NAN}, "the desired return is NaN"),
        ({"return": 1, "advantage": [NAN, 1]}, "the desired advantage is NaN"),
        ({"horizon": 0.5}, "horizon=0.5: must be at least 1"),
        ({"horizon": [2, -1]}, "horizon=-1.0: must be at least 1"),
        ({"return": [1, 2, 3]}, r"desired return has shape \(3,\)"),
        ({"return": "much"}, "desired return='much': give a number"),
        ("much", 'a dictionary such as {"return": 150, "horizon": 50}'),
        ((1, 2, 3), "a pair of desired return and desired horizon"),
        ([1, 2], "a pair of desired return and desired horizon"),
    ],
)
def test_bad_commands(command, message):
    with pytest.raises(ValueError, match=message):
        make_command_space("any").make(command, 2)


def test_where_all_parts_belong_together_none_may_be_missing():
    space = make_command_space("absolute")
    message = "the desired horizon is missing: this model takes return and horizon together"
    for command in (5, {"return": 5}, Command({"return": np.array([5.0])})):
        with pytest.raises(ValueError, match=message):
            space.make(command)
    with pytest.raises(ValueError, match="the desired return is missing"):
        space.make({})


@pytest.mark.parametrize("command", [(1, 5), 1, {"return": 1}])
def test_returns_and_horizons_are_nothing_to_a_relative_model(command):
    with pytest.raises(ValueError, match="this model takes advantage"):
        make_command_space("relative").make(command)
    model = tiny_model(make_vec(FixedStart), commands="relative")
    with pytest.raises(ValueError, match="this model takes advantage"):
        model.predict(np.zeros(2, np.float32), command=command)


def test_a_part_of_one_s_own_has_its_own_lower_bound():
    with pytest.raises(ValueError, match=r"energy=-1\.0: must be at least 0"):
        CommandSpace([Energy()]).make({"energy": -1})


def test_what_users_write():
    assert values_by_part(150) == {"return": 150}
    assert values_by_part(np.float32(150)) == {"return": 150}
    assert values_by_part((150, 50)) == {"return": 150, "horizon": 50}
    assert values_by_part({"return": None, "horizon": 50}) == {"horizon": 50}
    assert values_by_part({}) == {}


# From training to files


def own_model(env, **kwargs):
    return obeying_model(env, commands=["return", "horizon", Energy()], **kwargs)


def test_a_part_of_one_s_own_from_training_to_prediction(tmp_path):
    model = own_model(make_vec(Walk, 2), command_sampler="fixed", command_sampler_kwargs={"energy": 5})
    with CommandSpy(model) as spy:
        model.learn(128)
    stored = model.replay_buffer.episode(0)
    np.testing.assert_array_equal(stored.amounts["energy"], stored.actions != 1)
    energies = [asked[0, 2] for asked in spy.commands]
    assert energies[0] == 5 and min(energies) < 5  # what was used up is paid off
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(Walk), device=DEVICE, trusted=[f"{__name__}.Energy"])
    assert loaded.command_space == model.command_space
    loaded.learn(32, reset_num_timesteps=False)
    observation = np.zeros(2, np.float32)
    _, state = loaded.predict(observation, command={"energy": 3, "return": 1, "horizon": 8})
    _, state = loaded.predict(observation, state, reward=0.0, info={"energy": 2.0})
    np.testing.assert_array_equal(state[0], [[1, 7, 1]])
    _, state = loaded.predict(observation, state, reward=1.0)
    np.testing.assert_array_equal(state[0], [[0, 6, 1]])
    achieved = run_commands(loaded, make_vec(Walk, 2), loaded.command_space.make({"energy": [1, 2, 3]}, 3))
    assert achieved.keys() == {"return", "horizon", "energy"} and (achieved["energy"] <= 8).all()


def test_an_environment_that_does_not_say_what_a_part_counts():
    with pytest.raises(KeyError, match="energy"):
        own_model(make_vec(FixedStart)).learn(32)


class Light(Energy):
    lowest = 0.7  # is more than what single precision makes of it


def test_the_least_value_can_be_asked_for_in_single_precision():
    model = UDRL("CommandPolicy", make_vec(Walk, 1), commands=["return", Light()], device=DEVICE)
    observation = np.zeros(2, np.float32)
    model.predict(observation)
    model.set_command({"energy": 0.7})
    _, state = model.predict(observation)
    assert state[0][0, 1] == pytest.approx(0.7)
    with pytest.raises(ValueError, match=r"must be at least 0\.7"):
        model.set_command({"energy": 0.69})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_infos_say_must_be_finite(value):
    model = UDRL("CommandPolicy", make_vec(Walk, 1), commands=["return", Energy()], device=DEVICE)
    observation = np.zeros(2, np.float32)
    _, state = model.predict(observation, command={"return": 3, "energy": 5})
    with pytest.raises(ValueError, match="of the energy of environment 0 is not finite"):
        model.predict(observation, state, reward=1.0, info={"energy": value})


@pytest.mark.parametrize("n", [1, 2])
def test_every_environment_has_an_info_of_its_own(n):
    model = UDRL("CommandPolicy", make_vec(Walk, 1), commands=["return", Energy()], device=DEVICE)
    observations = np.zeros((3, 2), np.float32)
    _, state = model.predict(observations, command={"return": 3, "energy": 5})
    with pytest.raises(ValueError, match=f"info has {n} entries for 3 environments"):
        model.predict(observations, state, reward=np.ones(3), info=[{"energy": 1.0}] * n)
