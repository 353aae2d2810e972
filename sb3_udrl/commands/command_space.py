"""The commands that a model takes: which parts they have, and how they change and enter the behavior function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sb3_udrl.commands.command import Command, CommandLike, values_by_part
from sb3_udrl.commands.parts import PARTS, CommandPart, Step, SummedPart, as_rows

UNASKED = "unasked "  # begins the names of inputs that are one where a part is not asked for


class CommandSpace:
    """
    The set of commands with given parts, as a space of Gymnasium is a set of actions.

    :param parts: parts, or their names in ``PARTS``
    :param partial: whether any part may be left out; if False, all are asked for together
    :raises ValueError: if there is none, one is unknown, or one occurs twice
    """

    def __init__(self, parts: Sequence[str | CommandPart], partial: bool = True) -> None:
        self.parts = [_part(part) for part in parts]
        self.names = tuple(part.name for part in self.parts)
        self.partial = partial
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"commands={list(self.names)}: give at least one part, and each once")

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def part(self, name: str) -> CommandPart:
        """
        A part by its name.

        :param name: one of ``names``
        """
        return self.parts[self.names.index(name)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CommandSpace) and (self.names, self.partial) == (other.names, other.partial)

    def __repr__(self) -> str:
        return f"CommandSpace({list(self.names)}, partial={self.partial})"

    @property
    def mask_share(self) -> float:
        """Share of examples that ask for nothing, as guidance needs it; with a single part, or all of them, there is none."""
        return 0.1 if self.partial and len(self.names) > 1 else 0.0

    @property
    def measured(self) -> tuple[str, ...]:
        """The parts of which an episode says by itself what it achieved: all but advantages; a return comes first."""
        names = [part.name for part in self.parts if part.measured]
        return tuple(sorted(names, key=lambda name: name != "return"))

    @property
    def recorded(self) -> tuple[str, ...]:
        """The summed parts whose amounts are stored with every episode; rewards always are."""
        return tuple(part.name for part in self.parts if isinstance(part, SummedPart) and part.name != "return")

    def amounts(self, step: Step) -> dict[str, NDArray[Any]]:
        """
        What a step contributes to the recorded parts, each ``(n,)``.

        :param step: what the step brought
        """
        return {part.name: part.amounts(step) for part in self.parts if isinstance(part, SummedPart) and part.name != "return"}

    def make(self, command: CommandLike, n_envs: int = 1, gaps: bool | None = None) -> Command:
        """
        A checked command with one row per environment.

        :param command: a desired return, a pair of desired return and desired horizon, a dictionary of values by part, or a
            ``Command``; values are numbers or ``(n_envs,)``
        :param n_envs: number of rows
        :param gaps: whether parts may be missing; by default where the behavior function learns with gaps
        :raises ValueError: if a part is unknown or missing, or a value not finite, out of range or of another shape
        """
        values = values_by_part(command)
        unknown = sorted(set(values) - set(self.names))
        if unknown:
            raise ValueError(f"command={command!r} asks for {', '.join(unknown)}: this model takes {', '.join(self.names)}")
        rows = {}
        for part in self.parts:
            row = as_rows(f"desired {part.name}", values.get(part.name, np.nan), n_envs)
            given = part.name in values and not isinstance(command, Command)  # there, NaN stands for "not asked"
            if np.isnan(row).any() and (given or not (self.partial if gaps is None else gaps)):
                wrong = "is NaN" if given else f"is missing: this model takes {' and '.join(self.names)} together"
                raise ValueError(f"command={command!r}: the desired {part.name} {wrong}")
            part.check(row)
            rows[part.name] = row
        return Command(rows)

    def nothing(self, n_envs: int) -> Command:
        """
        Rows that ask for nothing.

        :param n_envs: number of rows
        """
        return Command({name: np.full(n_envs, np.nan) for name in self.names})

    def default(self) -> Command:
        """What is asked for before anything is known: as usual, or where that is no part as little as there is; one row."""
        values = {part.name: 0.0 if np.isinf(part.lowest) else part.lowest for part in self.parts}
        return self.make({"advantage": 0.0} if "advantage" in self.names else values)

    def advance(self, command: Command, step: Step) -> Command:
        """
        The command after one step. The only place where commands change, in collection, evaluation and prediction alike.

        :param command: before the step
        :param step: what the step brought
        """
        return Command({part.name: part.advance(command[part.name], step) for part in self.parts})

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the columns of :meth:`inputs` are."""
        per_step = tuple(f"{name} per step" for name in self.per_step)
        return (*self.names, *per_step, *(UNASKED + name for name in self.names if self.partial))

    @property
    def per_step(self) -> tuple[str, ...]:
        """Sums that a value per remaining step tells apart from the horizon, which they often go along with."""
        return tuple(part.name for part in self.parts if part.sums and self.partial and "horizon" in self.names)

    def inputs(self, command: Command) -> NDArray[np.float32]:
        """
        Commands as behavior functions read them: the parts, NaN where they are not asked for; where parts may be left out,
        sums per remaining step, and ones where a part is left out.

        :param command: ``n`` rows
        :return: ``(n, len(input_names))``
        """
        columns: list[ArrayLike] = [command[name] for name in self.names]
        columns += [command[name] / command["horizon"] for name in self.per_step]
        if self.partial:
            columns += [np.isnan(command[name]) for name in self.names]
        rows = np.empty((len(command), len(columns)), dtype=np.float32)
        for i, column in enumerate(columns):
            rows[:, i] = column
        return rows

    def to_rows(self, command: Command) -> NDArray[np.float64]:
        """A command as a table, ``(n, n_parts)``, the inverse of :meth:`from_rows`."""
        return np.stack([command[name] for name in self.names], axis=1)

    def from_rows(self, rows: NDArray[Any]) -> Command:
        """
        :param rows: a column per part, NaN where it is not asked for, ``(n, n_parts)``
        """
        return Command({name: rows[:, i] for i, name in enumerate(self.names)})


def _part(part: str | CommandPart) -> CommandPart:
    if isinstance(part, str):
        if part not in PARTS:
            raise ValueError(f"commands: {part!r} is no part of a command, choose of {sorted(PARTS)} or pass a CommandPart")
        return PARTS[part]()
    if not isinstance(part, CommandPart):
        raise ValueError(f"commands: {part!r} is no part of a command, give a name or an instance of a CommandPart")
    return part


COMMAND_SPACES: dict[str, CommandSpace] = {
    "absolute": CommandSpace(["return", "horizon"], partial=False),  # arXiv 1912.02877
    "relative": CommandSpace(["advantage"]),
    "any": CommandSpace(["return", "horizon", "advantage"]),
}


def make_command_space(commands: str | Sequence[str | CommandPart]) -> CommandSpace:
    """
    The space of a name, or of some parts.

    :param commands: a key of ``COMMAND_SPACES``, or parts
    :raises ValueError: if the name or a part is unknown
    """
    if not isinstance(commands, str):
        return CommandSpace(commands)
    if commands not in COMMAND_SPACES:
        raise ValueError(f"commands={commands!r}: choose one of {sorted(COMMAND_SPACES)}, or give a list of parts")
    return COMMAND_SPACES[commands]


def make_command(desired_return: ArrayLike, desired_horizon: ArrayLike, n_envs: int = 1) -> Command:
    """
    A checked command for a return within a horizon.

    :param desired_return: a number, or one per environment, in raw reward units
    :param desired_horizon: a number, or one per environment, in steps
    :param n_envs: number of rows
    :raises ValueError: if a value is not finite, a horizon below one, or a shape neither ``()`` nor ``(n_envs,)``
    """
    return COMMAND_SPACES["absolute"].make((desired_return, desired_horizon), n_envs)


def advance(command: Command, reward: ArrayLike) -> Command:
    """
    A command of known parts after one step; see :meth:`CommandSpace.advance`.

    :param command: before the step
    :param reward: raw reward of the step, ``(n,)`` or a number
    """
    return CommandSpace(list(command.parts)).advance(command, Step(np.asarray(reward)))


_PHRASES = {
    "return": "a return of {:.1f}",
    "horizon": "in {:.0f} steps",
    "advantage": "{:.1f} standard deviations above the usual",
}


def describe(command: Command) -> str:
    """
    A command in words.

    :param command: one row
    """
    asked = {name: float(rows[0]) for name, rows in command.parts.items() if not np.isnan(rows[0])}
    return " ".join(_PHRASES.get(name, f"{name} {{:g}}").format(value) for name, value in asked.items()) or "nothing"
