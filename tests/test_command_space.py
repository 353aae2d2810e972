"""Which commands a model takes, and how its network reads them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_udrl.commands import make_command_space
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import COMMAND_SPACES, CommandSpace, describe
from sb3_udrl.commands.parts import CommandPart, Horizon, Return, SummedPart

NAN = np.nan


class Energy(SummedPart):
    name = "energy"

    def amounts(self, step):
        return np.array([info["energy"] for info in step.infos])


# Names


@pytest.mark.parametrize(
    ("commands", "names", "partial", "mask_share", "measured"),
    [
        ("absolute", ("return", "horizon"), False, 0.0, ("return", "horizon")),
        ("relative", ("advantage",), True, 0.0, ()),
        ("any", ("return", "horizon", "advantage"), True, 0.1, ("return", "horizon")),
        (["return", "horizon"], ("return", "horizon"), True, 0.1, ("return", "horizon")),
        (["horizon"], ("horizon",), True, 0.0, ("horizon",)),
        ([Horizon(), "return"], ("horizon", "return"), True, 0.1, ("return", "horizon")),  # the return first
        ([Energy(), "advantage"], ("energy", "advantage"), True, 0.1, ("energy",)),
    ],
)
def test_names(commands, names, partial, mask_share, measured):
    space = make_command_space(commands)
    assert (space.names, space.partial, space.mask_share, space.measured) == (names, partial, mask_share, measured)
    assert all(name in space for name in names) and "speed" not in space


def test_only_sums_of_one_s_own_are_stored_besides_rewards():
    assert make_command_space("any").recorded == ()
    assert CommandSpace([Energy(), "return", "horizon"]).recorded == ("energy",)


def test_equality_is_that_of_names_and_of_what_may_be_left_out():
    assert CommandSpace(["return", "horizon"]) == CommandSpace([Return(), Horizon()])
    assert CommandSpace(["return", "horizon"]) != COMMAND_SPACES["absolute"]
    assert CommandSpace(["return", "horizon"]) != CommandSpace(["horizon", "return"])
    assert CommandSpace(["return"]) != "return"
    assert repr(COMMAND_SPACES["absolute"]) == "CommandSpace(['return', 'horizon'], partial=False)"


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ("everything", r"commands='everything': choose one of \['absolute', 'any', 'relative'\], or give a list of parts"),
        (["speed"], r"'speed' is no part of a command, choose of \['advantage', 'horizon', 'return'\] or pass a CommandPart"),
        ([], "give at least one part, and each once"),
        (["return", Return()], "give at least one part, and each once"),
    ],
)
def test_what_is_no_space(commands, message):
    with pytest.raises(ValueError, match=message):
        make_command_space(commands)


# What networks read


def test_complete_commands_are_read_as_they_are():
    space = make_command_space("absolute")
    assert space.input_names == ("return", "horizon")
    inputs = space.inputs(space.make(([10, 20], [5, 4]), 2))
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, [[10, 5], [20, 4]])


def test_advantages_and_whether_they_are_asked_for():
    space = make_command_space("relative")
    assert space.input_names == ("advantage", "unasked advantage")
    np.testing.assert_array_equal(space.inputs(space.make({"advantage": 1.5})), [[1.5, 0]])
    np.testing.assert_array_equal(space.inputs(space.make({})), [[NAN, 1]])


def test_partial_commands_with_the_return_per_step_and_what_is_left_out():
    space = make_command_space("any")
    assert space.input_names == (
        "return",
        "horizon",
        "advantage",
        "return per step",
        "unasked return",
        "unasked horizon",
        "unasked advantage",
    )
    rows = [[10, 5, NAN], [10, NAN, NAN], [NAN, 4, NAN], [NAN, NAN, 1]]
    command = space.from_rows(np.array(rows))
    np.testing.assert_array_equal(
        space.inputs(command),
        [
            [10, 5, NAN, 2, 0, 0, 1],
            [10, NAN, NAN, NAN, 0, 1, 1],
            [NAN, 4, NAN, NAN, 1, 0, 1],
            [NAN, NAN, 1, NAN, 1, 1, 0],
        ],
    )


def test_every_sum_is_read_per_step_if_there_is_a_horizon():
    assert CommandSpace([Energy(), "return", "horizon"]).input_names[3:5] == ("energy per step", "return per step")
    assert CommandSpace([Energy(), "return"]).input_names == ("energy", "return", "unasked energy", "unasked return")


values = st.one_of(st.just(NAN), st.floats(1, 1e4))


@given(st.lists(st.tuples(values, values, values), min_size=1, max_size=9))
def test_there_is_a_finite_input_or_a_flag(rows):
    space = make_command_space("any")
    command = space.from_rows(np.array(rows))
    np.testing.assert_array_equal(space.to_rows(command), rows)
    inputs = dict(zip(space.input_names, space.inputs(command).T, strict=True))
    for name in space.names:
        np.testing.assert_array_equal(inputs[f"unasked {name}"], np.isnan(inputs[name]))
        np.testing.assert_array_equal(command.asks_for(name), inputs[f"unasked {name}"] == 0)
    neither = (inputs["unasked return"] == 0) & (inputs["unasked horizon"] == 0)
    np.testing.assert_array_equal(~np.isnan(inputs["return per step"]), neither)


# Commands of a space


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ("absolute", {"return": 0, "horizon": 1}),
        ("relative", {"advantage": 0}),
        ("any", {"return": NAN, "horizon": NAN, "advantage": 0}),
        (["return", "horizon"], {"return": 0, "horizon": 1}),
    ],
    ids=str,
)
def test_what_is_asked_for_before_anything_is_known(commands, expected):
    default = make_command_space(commands).default()
    assert len(default) == 1 and list(default.parts) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(default[name], [value])


def test_parts_that_are_left_out_are_not_asked_for():
    space = make_command_space("any")
    command = space.make({"horizon": [5, 6]}, 2)
    np.testing.assert_array_equal(space.to_rows(command), [[NAN, 5, NAN], [NAN, 6, NAN]])
    assert command.asks_for("horizon").tolist() == [True, True]
    assert command.asks_for("return").tolist() == command.asks_for("speed").tolist() == [False, False]
    np.testing.assert_array_equal(space.to_rows(space.make({}, 2)), space.to_rows(space.nothing(2)))


def test_rows_of_commands_may_ask_for_different_parts():
    """In a ``Command``, unlike in what users write, NaN stands for what is not asked for."""
    space = make_command_space("any")
    mixed = Command({"return": np.array([1.0, NAN]), "advantage": np.array([NAN, 2.0])})
    np.testing.assert_array_equal(space.to_rows(space.make(mixed, 2)), [[1, NAN, NAN], [NAN, NAN, 2]])


def test_commands_are_copies():
    asked = np.array([1.0, 2.0])
    space = make_command_space("any")
    command = space.make({"return": asked}, 2)
    put = command.put(np.array([True, False]), space.make({"horizon": 3}))
    command["return"][0] = 99
    assert asked[0] == 1
    np.testing.assert_array_equal(space.to_rows(put), [[NAN, 3, NAN], [2, NAN, NAN]])
    np.testing.assert_array_equal(space.to_rows(put.rows([1])), [[2, NAN, NAN]])
    assert len(put) == 2 and len(put.rows([1])) == 1


# In words


class Mystery(CommandPart):
    name = "mystery"

    def advance(self, values, step):
        return values

    def achieved(self, episode):
        return NAN


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({}, "nothing"),
        ({"return": 150}, "a return of 150.0"),
        ({"horizon": 50}, "in 50 steps"),
        ({"return": 150, "horizon": 50}, "a return of 150.0 in 50 steps"),
        ({"advantage": 1.5}, "1.5 standard deviations above the usual"),
        ({"energy": 2.5}, "energy 2.5"),
    ],
    ids=str,
)
def test_in_words(command, words):
    space = CommandSpace(["return", "horizon", "advantage", Energy(), Mystery()])
    assert describe(space.make(command)) == words
