"""What a model delivers when it is asked: its score card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENOUGH = 20  # episodes: which returns so few achieved says more of the ones that they were asked for


@dataclass(frozen=True)
class ScoreCard:
    """
    Episodes at the end of training that were asked for returns, and what they got. Saved with the model.

    :param asked: desired values by part, each ``(n_episodes,)``, with what experience completes; NaN where nothing does
    :param achieved: achieved values by part, each ``(n_episodes,)``
    :param greedy: whether the most likely actions were taken, ``(n_episodes,)``
    """

    asked: dict[str, list[float]] = field(default_factory=dict)
    achieved: dict[str, list[float]] = field(default_factory=dict)
    greedy: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.greedy)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> ScoreCard:
        """
        The inverse of :meth:`to_plain`.

        :param plain: lists and numbers
        :raises ValueError: if it is something else
        """
        try:
            card = cls(**plain)
            columns: list[Any] = [*card.asked.values(), *card.achieved.values(), card.greedy]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"it is no score card: {error}") from error
        if not all(isinstance(column, list) and len(column) == len(card.greedy) for column in columns):
            raise ValueError("it is no score card: it takes a list of one length for each part, and one of what was greedy")
        if not all(isinstance(value, Real) for column in columns for value in column):
            raise ValueError("it is no score card: it holds what is no number")
        return card

    def to_plain(self) -> dict[str, Any]:
        """As lists and numbers, for files."""
        return asdict(self)

    def with_episode(self, asked: dict[str, float], achieved: dict[str, float], greedy: bool) -> ScoreCard:
        """
        The card with a further episode.

        :param asked: by part
        :param achieved: by part
        :param greedy: whether actions were the most likely ones
        """
        return ScoreCard(
            {part: [*self.asked.get(part, []), value] for part, value in asked.items()},
            {part: [*self.achieved.get(part, []), value] for part, value in achieved.items()},
            [*self.greedy, greedy],
        )

    def episodes(self, part: str, greedy: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """
        What was asked for of a part, and what was achieved, in the episodes that asked for it.

        :param part: its name
        :param greedy: those with the most likely actions, or those with draws
        :return: both ``(n,)``
        """
        asked, achieved = np.array(self.asked.get(part, [])), np.array(self.achieved.get(part, []))
        which = (np.array(self.greedy, dtype=bool) == greedy) & ~np.isnan(asked) if len(asked) else np.zeros(0, dtype=bool)
        return asked[which], achieved[which]

    def error(self, part: str, greedy: bool) -> float:
        """
        Mean absolute distance between asked and achieved; NaN without episodes.

        :param part: its name
        :param greedy: as for :meth:`episodes`
        """
        asked, achieved = self.episodes(part, greedy)
        return float(np.abs(asked - achieved).mean()) if len(asked) else float("nan")

    def obeys_greedily(self, part: str = "return") -> bool:
        """
        Whether to take the most likely actions: yes, unless the card says that draws come nearer to what is asked for. Where
        draws were not tried it is yes, and where these alone were tried it is no.

        :param part: its name
        """
        greedy, drawn = self.error(part, True), self.error(part, False)
        return bool(np.isnan(drawn) or greedy <= drawn)

    def reachable(self, part: str = "return") -> tuple[float, float] | None:
        """
        From where to where the model delivered; None if too few episodes say.

        :param part: its name
        """
        achieved = np.concatenate([self.episodes(part, greedy)[1] for greedy in (False, True)])
        return None if len(achieved) < ENOUGH else (float(achieved.min()), float(achieved.max()))


def make_score_card(rows: Sequence[tuple[dict[str, float], dict[str, float], bool]]) -> ScoreCard:
    """
    A card of some episodes.

    :param rows: asked and achieved values by part, and whether actions were the most likely ones
    """
    if not rows:
        return ScoreCard()
    parts = rows[0][0].keys()
    return ScoreCard(
        {part: [float(asked[part]) for asked, _, _ in rows] for part in parts},
        {part: [float(achieved[part]) for _, achieved, _ in rows] for part in parts},
        [bool(greedy) for _, _, greedy in rows],
    )
