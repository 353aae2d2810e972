"""How the second behavior function learns to obey while the first one learns to do better."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.commands.calibration import calibration
from sb3_udrl.commands.command import Command
from sb3_udrl.labels import Hindsight
from sb3_udrl.obedience.archive import make_archive
from sb3_udrl.obedience.practice import practice_weights
from sb3_udrl.obedience.score_card import ScoreCard, make_score_card
from sb3_udrl.policies import FitOptions, FitReport
from sb3_udrl.policies.side_by_side import SideBySide
from sb3_udrl.saving.checks import checked_count
from sb3_udrl.saving.random_state import checked_state, generator_state

_LAST_RATE = 0.02  # of the learning rate, at the end
_REMEMBERED = 100  # episodes of practice that the score card is made of
_MIN_EPISODES = 20  # in the archive before anything is learned of them


class Obedience:
    """
    An archive, a behavior function that learns from it, and practice.

    Every finished episode goes to the archive, which keeps all bands of return alike. The obedient behavior function learns a
    little from it at every training, at a rate that falls over training. Some of the later episodes ask it for returns that
    are thinly covered or badly obeyed; they go to the archive alone, so that what is usual stays what the first one does.

    :param policy: the policy, whose ``obedient`` part learns here
    :param rng: source of randomness, which the first behavior function does not share
    :param label_kwargs: further arguments of labelers, by the name of the part
    :param archive_size: capacity of the archive in transitions; less where these are large
    :param gradient_steps: gradient steps per transition that is collected
    :param learning_rate: falls linearly from this to a fiftieth
    :param practice_share: share of the environment steps that practice takes, once it has begun
    :param practice_start: share of training after which practice begins
    :raises ValueError: if an argument is out of its range
    """

    def __init__(
        self,
        policy: SideBySide,
        rng: np.random.Generator,
        label_kwargs: dict[str, dict[str, Any]] | None = None,
        archive_size: int = 200_000,
        gradient_steps: float = 0.03,
        learning_rate: float = 1e-3,
        practice_share: float = 0.1,
        practice_start: float = 0.5,
    ) -> None:
        for name, value, most in (("practice_share", practice_share, 1.0), ("practice_start", practice_start, 1.0)):
            if not 0 <= value <= most:
                raise ValueError(f"obedience_kwargs: {name}={value}: must be between 0 and {most:g}")
        for name, value in (
            ("archive_size", archive_size),
            ("gradient_steps", gradient_steps),
            ("learning_rate", learning_rate),
        ):
            if not value > 0:
                raise ValueError(f"obedience_kwargs: {name}={value}: must be positive")
        self.policy, self.rng = policy, rng
        self.gradient_steps, self.learning_rate = gradient_steps, learning_rate
        self.practice_share, self.practice_start = practice_share, practice_start
        space = policy.obedient.command_space
        archive = make_archive(policy.observation_space, policy.action_space, archive_size, space.recorded, rng)
        self.hindsight = Hindsight(archive, space, label_kwargs)
        self.practiced: deque[tuple[dict[str, float], dict[str, float], bool]] = deque(maxlen=_REMEMBERED)
        self.n_updates = self.n_practiced = 0
        self._practice_steps, self._practice_from = 0, np.inf  # spent on practice; when it began
        self._owed = 0.0  # gradient steps that are due, a fraction included

    @property
    def wanted(self) -> str:
        """The part that practice and calibration go by: the return, if it is one, as it is for the bands of the archive."""
        return self.hindsight.command_space.measured[0]

    @property
    def archive_episodes(self) -> int:
        """Number of episodes in the archive."""
        return self.hindsight.buffer.n_episodes

    def due(self, n_collected: int) -> int:
        """
        Gradient steps that are due, none while there are too few episodes; what is left of one counts the next time.

        :param n_collected: transitions that were collected since the last call
        """
        self._owed += self.gradient_steps * n_collected
        steps = 0 if self.archive_episodes < _MIN_EPISODES else int(self._owed)
        self._owed -= steps
        return steps

    def fit(self, steps: int, batch_size: int, normalizer: VecNormalize | None, remaining: float) -> FitReport:
        """
        Learn from the archive.

        :param steps: number of gradient steps
        :param batch_size: transitions per gradient step
        :param normalizer: normalizes the stored raw observations, if given
        :param remaining: share of the environment steps of ``learn`` that is still to come
        """
        if steps == 0:
            return FitReport(0, {})
        rate = self.learning_rate * max(_LAST_RATE, min(1.0, remaining))
        self.hindsight.relabel()
        options = FitOptions(steps, batch_size, rate, normalizer=normalizer, progress_remaining=remaining)
        report = self.policy.obedient.fit(self.hindsight, options)
        self.n_updates += report.n_updates
        return FitReport(report.n_updates, {f"obedient_{name}": value for name, value in report.metrics.items()})

    def count_from_zero(self) -> None:
        """Practice has yet to begin, and none is owed: a run has started, or has not come to it."""
        self._practice_from, self._practice_steps = np.inf, 0

    def forget_practice(self) -> None:
        """The episodes are those of another model, which says nothing of what this one has learned."""
        self.practiced.clear()
        self.n_updates = self.n_practiced = 0

    def practice_is_due(self, num_timesteps: int, remaining: float, n_running: int) -> bool:
        """
        Whether an episode that starts now should practice.

        :param num_timesteps: environment steps so far
        :param remaining: share of the environment steps of ``learn`` that is still to come
        :param n_running: episodes of practice that have not ended
        """
        if self.n_updates == 0:
            return False
        if 1 - remaining < self.practice_start:
            self.count_from_zero()  # a further run of learn begins: a pause does not count as practice that is owed
            return False
        self._practice_from = min(self._practice_from, num_timesteps)  # it begins, if it has not
        expected = self._practice_steps + n_running * self.hindsight.buffer.lengths.mean()
        return bool(expected < self.practice_share * (num_timesteps - self._practice_from))

    def draw_command(self) -> Command:
        """What to practice: a return that is thinly covered or badly obeyed, and what is typical of the rest, one row."""
        archive, part = self.hindsight.buffer, self.wanted
        asked = np.array([asked[part] for asked, _, _ in self.practiced])
        achieved = np.array([achieved[part] for _, achieved, _ in self.practiced])
        edges, weights = practice_weights(self.hindsight.totals()[:, 0], archive.lengths, asked, achieved)
        band = self.rng.choice(len(weights), p=weights)
        return self.policy.initial_command(1, {part: self.rng.uniform(edges[band], edges[band + 1])})

    def add(self, episode: Episode) -> None:
        """
        Keep an episode, if there is room for one of its kind.

        :param episode: a finished episode
        """
        self.hindsight.buffer.add(episode)

    def fill(self, buffer: EpisodicReplayBuffer, episodes: NDArray[np.int64]) -> None:
        """
        Begin with episodes of a replay buffer that was filled, loaded or recorded.

        :param buffer: the replay buffer
        :param episodes: their numbers in it, ``(n,)``
        """
        for index in episodes:
            self.add(buffer.episode(index))

    def add_practice(self, episode: Episode, asked: Command, greedy: bool) -> None:
        """
        Keep an episode of practice, and what came of it.

        :param episode: a finished episode
        :param asked: what it was asked for, one row
        :param greedy: whether it took the most likely actions
        """
        self.add(episode)
        self._practice_steps += len(episode)
        space = self.hindsight.command_space
        achieved = {part.name: part.achieved(episode) for part in space.parts}
        self.n_practiced += 1
        self.practiced.append(({name: float(asked[name][0]) for name in space.names}, achieved, greedy))

    def score_card(self) -> ScoreCard:
        """What the last episodes of practice were asked for and got."""
        return make_score_card(list(self.practiced))

    def measured(self) -> ScoreCard:
        """The score card as it is now. From here on, the policy asks for something else where that helps by the card."""
        card = self.score_card()
        for greedy in (False, True):
            self.policy.correct(greedy, calibration(*card.episodes(self.wanted, greedy)))
        return card

    def state(self) -> dict[str, Any]:
        """What training needs to go on as if never stopped, as numbers and arrays."""
        return {
            "hindsight": self.hindsight.state(),
            "practiced": [list(row) for row in self.practiced],
            "n_updates": self.n_updates,
            "n_practiced": self.n_practiced,
            "owed": self._owed,
            "practice_steps": self._practice_steps,
            "practice_from": self._practice_from,
            "rng": generator_state(self.rng),
        }

    def restored(self, state: Mapping[str, Any]) -> Obedience:
        """
        Another one with the same arguments that goes on where a saved one was; this one is left as it is.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged
        """
        other = copy.copy(self)
        other.rng = type(self.rng)(type(self.rng.bit_generator)())
        other.rng.bit_generator.state = checked_state(self.rng, state["rng"])
        other.hindsight = self.hindsight.restored(state["hindsight"])
        other.hindsight.buffer.rng = other.rng
        rows = [(_numbers(asked), _numbers(achieved), bool(greedy)) for asked, achieved, greedy in state["practiced"]]
        other.practiced = deque(rows, maxlen=_REMEMBERED)
        other.n_updates, other.n_practiced = checked_count(state, "n_updates"), checked_count(state, "n_practiced")
        other._owed, other._practice_from = float(state["owed"]), float(state["practice_from"])
        other._practice_steps = checked_count(state, "practice_steps")
        return other


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}
