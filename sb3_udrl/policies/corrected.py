"""A behavior function that corrects what it is asked for by what it was measured to deliver."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from sb3_udrl.commands.calibration import N_KNOTS, corrected
from sb3_udrl.commands.command import Command, CommandLike
from sb3_udrl.policies.base import BehaviorPolicy

_N_POINTS = N_KNOTS + 2  # a calibration, and where an algorithm lets it end


class CorrectedPolicy(BehaviorPolicy):
    """
    Asks itself for something else where that brings what is wanted. A subclass calls :meth:`make_corrections`.
    """

    corrections: th.Tensor

    def make_corrections(self) -> None:
        """Nothing is corrected at first."""
        self.register_buffer("corrections", th.full((2, 2, _N_POINTS), th.nan))  # sampled, greedy: delivered, to ask for

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Older files have fewer points."""
        points = state_dict.get(f"{prefix}corrections")
        if points is not None and points.ndim == 3 and 0 < points.shape[2] < _N_POINTS:
            state_dict = {**state_dict, f"{prefix}corrections": _filled_up(points)}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def correct(self, greedy: bool, points: NDArray[np.float64] | None) -> None:
        """
        From now on, ask for something else where a return alone is wanted.

        :param greedy: with the most likely actions, or with draws
        :param points: as from :func:`~sb3_udrl.commands.calibration.calibration`, at most two more; None for no correction
        """
        self.corrections[int(greedy)] = th.nan if points is None else _filled_up(th.as_tensor(points))

    def initial_command(self, n_envs: int, command: CommandLike | None = None, deterministic: bool | None = None) -> Command:
        initial = self.command_space.make(self.own_command() if command is None else command, n_envs)
        if deterministic is not None:
            initial = self._corrected(initial, deterministic)
        return super().initial_command(n_envs, initial)

    def _corrected(self, command: Command, greedy: bool) -> Command:
        points, wanted = self.corrections[int(greedy)].cpu().numpy().astype(np.float64), self.command_space.measured[0]
        others = [name for name in command.parts if name != wanted]
        alone = np.logical_and.reduce([command.asks_for(wanted), *(~command.asks_for(name) for name in others)])
        if np.isnan(points).any() or not alone.any():
            return command
        asked = np.where(alone, corrected(np.nan_to_num(command[wanted]), points), command[wanted])
        return Command({**command.parts, wanted: asked})


def _filled_up(points: th.Tensor) -> th.Tensor:
    """As many points as there are places: the last one again says the same."""
    return th.cat((points, points[..., -1:].expand(*points.shape[:-1], _N_POINTS - points.shape[-1])), -1)
