"""What can be asked of a model, as sliders need it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm

_BEYOND = 0.25  # of the range that is known, to both sides
_FAR = 3.0  # standard deviations


class Range(NamedTuple):
    """
    What can be asked of one part of a command.

    :param part: its name
    :param low: the least value that can be asked for here
    :param high: the largest
    :param known: from where to where the model is known to deliver; None where nobody measured
    :param source: who says so: "score card" or "experience"
    :param start: a value to begin with
    """

    part: str
    low: float
    high: float
    known: tuple[float, float] | None
    source: str
    start: float

    def is_beyond(self, value: float) -> bool:
        """
        Whether a value lies outside of what is known.

        :param value: what is asked for
        """
        return self.known is not None and not self.known[0] <= value <= self.known[1]

    @property
    def digits(self) -> int:
        """Decimal places that leave at least twenty values; none where whole numbers do."""
        return max(0, math.ceil(math.log10(20 / (self.high - self.low))))


def ranges(model: CommandedAlgorithm) -> list[Range]:
    """
    A range for every part that a model takes: what its score card says, else what its stored episodes came to; for advantages
    three standard deviations to both sides.

    :param model: a trained model
    """
    own = model.policy.own_command()
    return [_range(model, part.name, part.lowest, float(own[part.name][0])) for part in model.command_space.parts]


def _range(model: CommandedAlgorithm, part: str, lowest: float, own: float) -> Range:
    known, source = model.score_card.reachable(part), "score card"
    experience = model.policy.experience
    if known is None and experience is not None and part in experience.names and len(experience.known()):
        values = experience.known()[:, experience.names.index(part)]
        known, source = (float(values.min()), float(values.max())), "experience"
    if known is None:
        start = 0.0 if np.isnan(own) else own
        return Range(part, max(lowest, min(-_FAR, start)), max(_FAR, start, lowest), None, "", max(start, lowest))
    more = _BEYOND * (known[1] - known[0]) or 1.0
    low, high = max(known[0] - more, lowest), known[1] + more
    if not np.isnan(own):
        low, high = min(low, own), max(high, own)
    return Range(part, low, high, known, source, known[1] if np.isnan(own) else own)
