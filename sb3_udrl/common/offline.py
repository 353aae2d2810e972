"""Learning from episodes that were recorded, before or without an environment."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import configure_logger

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.model import HindsightModel
from sb3_udrl.common.arguments import make_replay_buffer
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.common.held_out import Groups, groups_of, held_out_figures, split_episodes
from sb3_udrl.common.normalizing import acquaint
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies import BehaviorPolicy, FitReport
from sb3_udrl.recordings.read import read_episodes

SelfOffline = TypeVar("SelfOffline", bound="OfflineLearning")

ROUND = 500  # gradient steps between looks at held-out episodes
_NO_DIFFERENCE = 0.01  # nats
_BEST = 0.3  # share of the episodes that striving learns from: what is better than usual among poor ones is still poor


class OfflineLearning(CommandedAlgorithm):
    """An algorithm that can learn from recordings."""

    hindsight: Hindsight
    label_kwargs: dict[str, dict[str, Any]] | None

    def learn_from(
        self: SelfOffline,
        data: Any,
        gradient_steps: int = 10_000,
        log_interval: int | None = 1,
        tb_log_name: str = "recordings",
        progress_bar: bool = False,
        *,
        best: float | None = None,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
    ) -> SelfOffline:
        """
        Learn from recorded episodes. It needs no environment; :meth:`learn` goes on from there, with the episodes in its
        replay buffer.

        :param data: the recording, in one of the forms that :func:`~sb3_udrl.recordings.read_episodes` takes; observations and
            rewards are raw
        :param gradient_steps: at most so many; forests are fitted once
        :param log_interval: log every so many rounds of 500 gradient steps, never if None
        :param tb_log_name: name of the run in TensorBoard
        :param progress_bar: show a progress bar
        :param best: share of the episodes to learn from, those of the highest returns; by default 0.3 for
            ``commands="any"``, where what obeys learns from all episodes on its own, and all for others
        :param validation_fraction: share of the episodes that is held out
        :param patience: rounds after which to stop, if the loss on held-out episodes was lower before; None never stops
        :return: the model
        :raises ValueError: naming the episode, if the recording is not as the spaces say, or an argument is out of its range
        """
        if not isinstance(gradient_steps, int | float | np.number) or not 1 <= gradient_steps < np.inf or gradient_steps % 1:
            raise ValueError(f"gradient_steps={gradient_steps!r}: must be a whole number, at least 1")
        gradient_steps = int(gradient_steps)
        if patience is not None and not (isinstance(patience, int | float | np.number) and patience >= 1):
            raise ValueError(f"patience={patience}: must be at least 1, or None")
        if best is None:
            best = 1.0 if self.policy.explorer is self.policy else _BEST
        recorded = read_episodes(data, make_replay_buffer(cast(HindsightModel, self)))
        if recorded.n_dropped:
            warnings.warn(f"left out {recorded.n_dropped} steps of episodes without an end", stacklevel=2)
        if not self._custom_logger:
            self._logger = configure_logger(self.verbose, self.tensorboard_log, tb_log_name)
        learn_from_episodes(
            self, recorded.buffer, gradient_steps, best, validation_fraction, patience, log_interval, progress_bar
        )
        self.replay_buffer.add_all(recorded.buffer)
        return self

    def _fit_stored(self, gradient_steps: int, batch_size: int) -> FitReport:
        if self._n_updates == 0 and self.replay_buffer.n_transitions_added > self.num_timesteps:  # of others
            acquaint(self._normalizer, self.replay_buffer)
        return super()._fit_stored(gradient_steps, batch_size)

    def learners(self) -> dict[str, BehaviorPolicy]:
        """What learns on its own, by the beginning of the names of its figures in :meth:`validate`."""
        return {"": self.policy}

    def begin_offline(self, episodes: NDArray[np.bool_]) -> None:
        """
        Prepare to learn from the episodes of ``hindsight``.

        :param episodes: those that are not held out, ``(n_episodes,)``
        """

    def validate(self, best: Groups, all_: Groups) -> dict[str, float]:
        """
        How well some steps are predicted, and what commands have to do with that.

        :param best: groups of episodes like those that are learned from, as rows of ``hindsight``
        :param all_: groups of any episodes
        :return: ``validation_loss`` and ``command_gain``, NaN where the policy does not define them
        """
        loss, gain = held_out_figures(self.policy.explorer, self.hindsight, best, self._normalizer, self.rng)
        return {"validation_loss": loss, "command_gain": gain}


def learn_from_episodes(
    model: OfflineLearning,
    buffer: EpisodicReplayBuffer,
    gradient_steps: int,
    best: float,
    validation_fraction: float,
    patience: int | None,
    log_interval: int | None,
    progress_bar: bool,
) -> None:
    """
    Take gradient steps on recorded episodes until the loss on held-out ones gets no better; the weights that did best stay.

    :param model: the model; its own replay buffer is left as it is
    :param buffer: the recorded episodes
    :param gradient_steps: at most so many
    :param best: share of the episodes to learn from, those of the highest returns
    :param validation_fraction: share of the episodes that is held out
    :param patience: rounds without a better loss on these after which to stop; None takes all the steps
    :param log_interval: log after so many rounds, never if None
    :param progress_bar: show a progress bar
    """
    among_best, held_out = split_episodes(buffer, best, validation_fraction, model.rng)
    best_weights = {prefix: _BestWeights(learner) for prefix, learner in model.learners().items()}
    online, model.hindsight = model.hindsight, Hindsight(buffer, model.hindsight.command_space, model.label_kwargs)
    try:
        model.hindsight.hold_out(~among_best | held_out, labelled=among_best)
        model.begin_offline(~held_out)
        looked_at = [groups_of(buffer, held_out & which, which, model.rng) for which in (among_best, among_best | True)]
        for learner in model.learners().values():
            learner.expect_other_data()
        for round_, (done, n_steps) in enumerate(_rounds(gradient_steps, bool(model.policy.optimizers), progress_bar), 1):
            model._current_progress_remaining = 1 - done / gradient_steps
            report = model._fit_stored(n_steps, model.batch_size)
            now = model.validate(*looked_at)
            for prefix, weights in best_weights.items():
                weights.look(now[f"{prefix}validation_loss"], now[f"{prefix}command_gain"])
            if log_interval is not None and round_ % log_interval == 0:
                _log(model.logger, {**report.metrics, **now}, done + n_steps)
            if patience is not None and all(weights.waited >= patience for weights in best_weights.values()):
                break
    finally:
        model.hindsight = online
        for weights in best_weights.values():
            weights.restore()
    gain = list(best_weights.values())[-1].command_gain  # of the one that obeys, where there are two
    if gain < _NO_DIFFERENCE:
        warnings.warn(
            f"commands change the decisions on held-out episodes by {gain:.4f} nats only: the model will hardly obey. The "
            "recording may hold one behavior alone, or the commands do not tell apart what it holds",
            stacklevel=3,
        )


class _BestWeights:
    """
    The weights of a behavior function that did best on held-out episodes.

    :param learner: the behavior function
    """

    def __init__(self, learner: BehaviorPolicy) -> None:
        self._learner = learner
        self._weights: dict[str, Any] | None = None  # none where there is no loss to go by: the last ones count
        self._loss = np.inf
        self.command_gain = np.nan
        self.waited = 0  # rounds since these

    def look(self, loss: float, command_gain: float) -> None:
        """
        Keep the present weights if they are better.

        :param loss: on held-out episodes
        :param command_gain: what commands have to do with it
        """
        self.waited += 1
        if loss < self._loss:
            self._loss, self.command_gain, self.waited = loss, command_gain, 0
            self._weights = copy.deepcopy(self._learner.state_dict())

    def restore(self) -> None:
        """Go back to the best weights."""
        if self._weights is not None:
            self._learner.load_state_dict(self._weights)


def _rounds(gradient_steps: int, by_gradient: bool, progress_bar: bool) -> Iterator[tuple[int, int]]:
    """Steps that were taken before, and steps to take, of every round; one round where nothing is learned by gradient."""
    starts: Iterable[int] = range(0, gradient_steps, ROUND if by_gradient else gradient_steps)
    if progress_bar:
        from tqdm import tqdm

        starts = tqdm(starts, unit_scale=ROUND, unit="step")
    for start in starts:
        yield start, min(ROUND, gradient_steps - start)


def _log(logger: Logger, metrics: dict[str, float], n_steps: int) -> None:
    for name, value in metrics.items():
        logger.record(f"offline/{name}", value)
    logger.record("offline/gradient_steps", n_steps, exclude="tensorboard")
    logger.dump(step=n_steps)
