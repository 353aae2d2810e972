"""What is asked of the behavior function: a value for each part of a command, one row per environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]


class Command:
    """
    "Get this much return in this many steps", "within 50 steps", "better than usual": a value per part, one row per
    environment (arXiv 1912.02877, section 2, which has the parts ``return`` and ``horizon``).

    :param parts: values by the name of the part, each ``(n,)``; NaN in rows that do not ask for this part
    """

    __slots__ = ("parts",)

    def __new__(cls, *args: Any) -> Command:
        command = super().__new__(cls)
        if len(args) == 2:  # files of earlier revisions hold pairs
            command.parts = dict(zip(("return", "horizon"), args, strict=True))
        return command

    def __init__(self, parts: Mapping[str, FloatArray]) -> None:
        self.parts = dict(parts)

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, name: str) -> FloatArray:
        return self.parts[name]

    def __repr__(self) -> str:
        return f"Command({self.parts})"

    def asks_for(self, name: str) -> NDArray[np.bool_]:
        """
        Which rows ask for a part, ``(n,)``.

        :param name: name of the part
        """
        return ~np.isnan(self.parts[name]) if name in self.parts else np.zeros(len(self), dtype=np.bool_)

    @property
    def desired_return(self) -> FloatArray:
        """Return still to be collected, in raw reward units, ``(n,)``."""
        return self.parts["return"]

    @property
    def desired_horizon(self) -> FloatArray:
        """Steps left, at least one, ``(n,)``."""
        return self.parts["horizon"]

    def where(self, mask: NDArray[np.bool_], other: Command) -> Command:
        """
        Rows of ``other`` where ``mask`` is true, own rows elsewhere.

        :param mask: rows to replace, shape ``(n,)``
        :param other: replacement, with the same parts and as many rows
        """
        return Command({name: np.where(mask, other[name], values) for name, values in self.parts.items()})

    def rows(self, which: Any) -> Command:
        """
        Some rows.

        :param which: a mask ``(n,)``, or indices
        """
        return Command({name: values[which] for name, values in self.parts.items()})

    def put(self, which: NDArray[np.bool_], other: Command) -> Command:
        """
        The same command with some rows replaced.

        :param which: rows to replace, ``(n,)``
        :param other: with the same parts, a row for each that is replaced
        """
        parts = {name: values.copy() for name, values in self.parts.items()}
        for name, values in parts.items():
            values[which] = other[name]
        return Command(parts)


# What users write: 150, (150, 50), {"return": 150}, {"advantage": 1.0, "horizon": 50}, {} for nothing, or a Command
CommandLike: TypeAlias = Command | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike] | NDArray[Any] | float


def values_by_part(command: CommandLike) -> dict[str, Any]:
    """
    The values of a command by the names of its parts.

    :param command: a number is a return, so are an array's numbers; a pair is return and horizon
    :raises ValueError: if it is none of the kinds of ``CommandLike``
    """
    if isinstance(command, Command):
        return dict(command.parts)
    if isinstance(command, Mapping):
        return {name: value for name, value in command.items() if value is not None}
    if isinstance(command, tuple) and len(command) == 2:
        return {"return": command[0], "horizon": command[1]}
    if isinstance(command, int | float | np.number | np.ndarray):
        return {"return": command}
    raise ValueError(
        f"command={command!r}: give a desired return, a pair of desired return and desired horizon, or a dictionary such as "
        '{"return": 150, "horizon": 50}'
    )
