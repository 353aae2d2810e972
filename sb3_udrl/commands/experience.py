"""What episodes came to so far, in a small table that travels with the model: it says what goes with what in commands."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

from sb3_udrl.buffers.bands import spread_over
from sb3_udrl.commands.command import Command
from sb3_udrl.statistics.moments import moments_of

_N_ROWS = 512
_N_NEAREST = 9  # episodes that say what is typical


class Experience(nn.Module):
    """
    Totals of stored episodes by part, evenly over the range of the first one.

    "150" says nothing of a horizon, and "within 50 steps" nothing of a return. What is not asked for is filled in once, when
    an episode starts, with what is typical of the episodes that come nearest to what is: measured, this obeys better than a
    behavior function that was trained on commands with gaps.

    :param names: the parts, in order
    """

    totals: th.Tensor
    n_known: th.Tensor

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.register_buffer("totals", th.zeros(_N_ROWS, len(names)))  # saved with the weights
        self.register_buffer("n_known", th.zeros(()))  # a float, as all of SB3's state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, empty in self.named_buffers():
            state_dict.setdefault(f"{prefix}{name}", th.zeros_like(empty))  # earlier revisions saved none
        super()._load_from_state_dict(state_dict, prefix, *args)

    def remember(self, totals: NDArray[np.float64]) -> None:
        """
        Take over what episodes came to.

        :param totals: newest last, ``(n_episodes, n_parts)``
        """
        if len(totals) > _N_ROWS:
            totals = totals[np.sort(spread_over(totals[:, 0], _N_ROWS))]
        self.totals[: len(totals)] = th.as_tensor(totals)
        self.n_known.fill_(len(totals))

    def known(self) -> NDArray[np.float64]:
        """The remembered totals, ``(n, n_parts)``."""
        return self.totals[: int(self.n_known)].cpu().numpy().astype(np.float64)

    def grid(self, name: str, n: int) -> NDArray[np.float64]:
        """
        Evenly spaced values of a part that episodes achieved, from a low one, the 5 % quantile, to the highest.

        :param name: the part
        :param n: how many
        :return: ``(n,)``
        :raises ValueError: if nothing is known yet
        """
        values = self.known()[:, self.names.index(name)]
        if len(values) == 0:
            raise ValueError("this model has no experience yet: train it, or say which commands to look at")
        return np.linspace(np.quantile(values, 0.05), values.max(), n)

    def completed(self, command: Command) -> Command:
        """
        Fill in what rows leave open that ask for some of the parts. Where an advantage is asked for besides, the return is
        raised by as many standard deviations of the returns that are typical.

        :param command: ``n`` rows
        :return: the same rows; those that ask for none of the parts, or where nothing is known, stay as they are
        """
        table = self.known()
        rows = np.stack([command[name] for name in self.names], axis=1)
        asked = ~np.isnan(rows)
        advantage = command.parts.get("advantage", np.full(len(rows), np.nan))
        open_rows = asked.any(1) & (~asked.all(1) | ~np.isnan(advantage))
        if len(table) == 0 or not open_rows.any():
            return command
        _, factor = moments_of(table.astype(np.float32))  # zero where all episodes agree, so none is nearer than another
        rows, advantage = rows.copy(), advantage.copy()
        for i in np.flatnonzero(open_rows):
            distances = (np.abs(table - rows[i]) * factor)[:, asked[i]].sum(1)
            nearest = table[np.argsort(distances, kind="stable")[:_N_NEAREST]]
            rows[i] = np.where(asked[i], rows[i], np.median(nearest, axis=0))
            if not np.isnan(advantage[i]):
                if self.names[0] == "return":
                    rows[i, 0] += advantage[i] * nearest[:, 0].std()
                advantage[i] = np.nan
        parts = {**command.parts, **{name: rows[:, j] for j, name in enumerate(self.names)}}
        return Command({**parts, "advantage": advantage} if "advantage" in command.parts else parts)
