"""The behavior function as a forest, or any other estimator with scikit-learn's interface."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.forest.estimators import (
    can_grow,
    make_estimator,
    prepare,
    rejuvenated,
    takes_missing,
    takes_weights,
    threads,
)
from sb3_udrl.forest.examples import Examples, count_inputs, draw_examples, to_inputs
from sb3_udrl.forest.heads import ContinuousHead, DiscreteHead, Learned, TorchDraws
from sb3_udrl.forest.saving import from_bytes, to_bytes
from sb3_udrl.forest.scaling import make_scaling
from sb3_udrl.labels import CommandBatch, Hindsight
from sb3_udrl.policies.base import Actor, BehaviorPolicy, FitOptions, FitReport, Noise

_N_LOOKED_AT = 1024  # examples behind the logged figures, at most


class Progress(NamedTuple):
    """
    How far the data had come at a fit.

    :param n_episodes: added to the buffer so far
    :param n_transitions: added to the buffer so far
    :param n_stored: transitions that it held
    """

    n_episodes: int
    n_transitions: int
    n_stored: int


class ForestPolicy(BehaviorPolicy):
    """
    Behavior function that is fitted anew to the whole buffer now and then, as in arXiv 2411.11457, which took one transition
    per episode. Of the arguments of ``UDRL``, ``learning_rate``, ``batch_size``, ``gradient_steps`` and ``patience`` belong to
    networks and have no effect.

    :param observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these; the estimator reads it as one row
        of numbers
    :param action_space: Discrete, MultiDiscrete or MultiBinary, for classifiers; Box of any shape, for regressors
    :param lr_schedule: unused
    :param estimator: a dotted path, or an instance, of a classifier with ``predict_proba`` or of a regressor; by default extra
        trees that look at all inputs at each split
    :param estimator_kwargs: arguments of the class that the path names
    :param refit_share: fit again when the buffer has seen so many new transitions, as a share of those that were fitted last
    :param refit_episodes: fit again after so many new episodes instead
    :param new_trees: exchange only so many trees at each fit, the oldest ones, for trees that are grown on the present data:
        for random forests and extra trees of discrete actions. All are new if None
    :param max_transitions: fit to so many transitions at most, drawn as the buffer's ``sampling`` says; no bound if None
    :param smoothing: share of uniformly random actions in the probabilities of discrete ones, so that actions that the data
        lack keep a place
    :param standardize: standardize the inputs first, for estimators that go by distances
    :param n_jobs: cores to fit on, and to decide on where there are 1,000 situations or more at once; -1 for all
    :param command_space: the commands that it takes; by default a return within a horizon
    :raises ValueError: if an argument is out of its range, or the estimator does not exist or lacks what is needed
    """

    exported_as = "forest"

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        estimator: Any = None,
        estimator_kwargs: dict[str, Any] | None = None,
        refit_share: float = 0.05,
        refit_episodes: int | None = None,
        new_trees: int | None = None,
        max_transitions: int | None = None,
        smoothing: float = 0.01,
        standardize: bool = False,
        n_jobs: int = 1,
        command_space: CommandSpace | None = None,
    ) -> None:
        super().__init__(observation_space, action_space, command_space=command_space)
        if not refit_share > 0:
            raise ValueError(f"refit_share={refit_share}: must be positive")
        at_least_one = {"refit_episodes": refit_episodes, "new_trees": new_trees, "max_transitions": max_transitions}
        for name, value in at_least_one.items():
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: must be at least 1, or None")
        if not 0 <= smoothing <= 1:
            raise ValueError(f"smoothing={smoothing}: must be between 0 and 1")
        if n_jobs == 0 or n_jobs < -1:
            raise ValueError(f"n_jobs={n_jobs}: must be at least 1, or -1 for all cores")
        self.estimator, self.estimator_kwargs = estimator, estimator_kwargs
        self.refit_share, self.refit_episodes, self.new_trees = refit_share, refit_episodes, new_trees
        self.max_transitions = max_transitions
        self.smoothing, self.standardize, self.n_jobs = smoothing, standardize, n_jobs
        box = isinstance(action_space, spaces.Box)
        self.head = ContinuousHead(action_space) if box else DiscreteHead(action_space, smoothing)  # type: ignore[arg-type]
        self._template = make_estimator(*self._estimator_or_default(), classifies=not box)
        if self.command_space.mask_share > 0 and not takes_missing(self._template):
            raise ValueError(
                f"estimator={type(self._template).__name__} takes no missing values, as parts are that are not "
                'asked for: choose commands="relative" or "absolute"'
            )
        if new_trees is not None and (standardize or not can_grow(self._template)):
            raise ValueError(
                f"new_trees={new_trees}: only random forests and extra trees of discrete actions, without standardize, can "
                "exchange some of their trees. Leave it at None"
            )
        self.learned: Learned | None = None
        self._last_fit = Progress(0, 0, 0)
        # inputs (n, n_inputs) -> probabilities (n, n_components, most values), or means (n, n_components, 1)
        self.outputs = self.head.outputs(None)

    def _estimator_or_default(self) -> tuple[Any, dict[str, Any] | None]:
        if self.estimator is not None:
            return self.estimator, self.estimator_kwargs
        kind = "Classifier" if self.head.discrete else "Regressor"
        # All inputs at each split: measured, drawn actions get more return so; perhaps else most splits pass over the command
        defaults = {"min_samples_leaf": 20, "max_features": None}
        return f"sklearn.ensemble.ExtraTrees{kind}", {**defaults, **(self.estimator_kwargs or {})}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = (
            "estimator",
            "estimator_kwargs",
            "refit_share",
            "refit_episodes",
            "new_trees",
            "max_transitions",
            "smoothing",
            "standardize",
            "n_jobs",
        )
        return {**super()._get_constructor_parameters(), **{name: getattr(self, name) for name in names}}

    # Learning

    @property
    def guidance(self) -> float:
        """Always 1: only networks are guided."""
        return 1.0

    @guidance.setter
    def guidance(self, guidance: float) -> None:
        if guidance != 1:
            raise ValueError(f"guidance={guidance}: moves the outputs of networks, not those of forests; leave it at 1")

    @classmethod
    def obedient_arguments(cls, action_space: spaces.Space[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """An archive is large, and hardly changes."""
        return {"max_transitions": 30_000, "refit_share": 0.5, **kwargs}

    def fit(self, hindsight: Hindsight, options: FitOptions) -> FitReport:
        """
        Fit a new estimator to the transitions of the buffer, if that has changed enough since the last time.

        :param hindsight: what to learn from, at least one episode
        :param options: ``validation_fraction``, to measure the deviation of continuous actions with, and ``normalizer``
        """
        replay_buffer = hindsight.buffer
        now = Progress(replay_buffer.n_episodes_added, replay_buffer.n_transitions_added, replay_buffer.n_transitions)
        if self.learned is not None and not self._is_due(now):
            return FitReport(0, {})
        n_components = int(np.prod(self.action_space.shape or ()))
        seed = int(replay_buffer.rng.integers(2**31))
        estimator = prepare(self._template, n_components, seed, self.n_jobs, self.standardize)
        examples = draw_examples(
            hindsight,
            self.max_transitions,
            options,
            takes_weights=takes_weights(estimator),
            holds_out=not self.head.discrete,
        )
        with threads(self.n_jobs):
            if (kept := self._with_kept_trees(estimator, examples)) is not None:
                learned = self.head.fit(kept.estimator, examples, kept.scaling)
            else:
                learned = self.head.fit(estimator, examples, make_scaling(examples.inputs, self.command_space))
        self.take_over(learned, now)
        few = slice(None, None, len(examples.inputs) // _N_LOOKED_AT + 1)
        metrics = self.head.metrics(self.outputs(examples.inputs[few]), learned, examples.actions[few])
        return FitReport(1, {**metrics, "n_examples": len(examples.inputs)})

    def _with_kept_trees(self, fresh: Any, examples: Examples) -> Learned | None:
        """Where only some trees are exchanged, the forest with the others; None if the data hold other actions than before."""
        if self.new_trees is None or self.learned is None or not isinstance(self.head, DiscreteHead):
            return None
        if not all(map(np.array_equal, self.head.present(examples.actions), self.learned.present)):
            return None
        return self.learned._replace(estimator=rejuvenated(fresh, self.learned.estimator, self.new_trees))

    def expect_other_data(self) -> None:
        self._last_fit = Progress(0, 0, 0)

    def _is_due(self, now: Progress) -> bool:
        if self._last_fit.n_stored == 0:
            return True
        last = self._last_fit if now.n_episodes >= self._last_fit.n_episodes else Progress(0, 0, self._last_fit.n_stored)
        if self.refit_episodes is not None:
            return now.n_episodes - last.n_episodes >= self.refit_episodes
        return now.n_transitions - last.n_transitions >= self.refit_share * last.n_stored

    def take_over(self, learned: Learned | None, progress: Progress) -> None:
        """
        Act by another estimator from now on.

        :param learned: the fitted estimator, None for one that knows nothing
        :param progress: how much had been stored when it was fitted
        """
        self.outputs, self.learned, self._last_fit = self.head.outputs(learned, self.n_jobs), learned, progress

    def inputs(self, observations: Any, command: Command) -> NDArray[np.floating[Any]]:
        """
        What the forest reads, see :func:`~sb3_udrl.forest.examples.to_inputs`.

        :param observations: arrays or tensors ``(n, *observation_shape)``, or a dictionary of such
        :param command: ``n`` rows
        """
        return to_inputs(observations, self.command_space.inputs(command), self.observation_space)

    def loss_of(self, batch: CommandBatch) -> float:
        inputs = self.inputs(batch.observations, batch.command)
        return self.head.loss(self.outputs(inputs), self.learned, batch.actions)

    # Saving: part of what PyTorch calls the state, in the zip with everything else

    def get_extra_state(self) -> th.Tensor:
        """What was learned, as bytes."""
        content = b"" if self.learned is None else to_bytes(self.learned, self._last_fit)
        return th.frombuffer(bytearray(content), dtype=th.uint8) if content else th.empty(0, dtype=th.uint8)

    def set_extra_state(self, state: th.Tensor) -> None:
        """
        Take over what :meth:`get_extra_state` returned.

        :param state: the bytes
        :raises ValueError: if they are damaged, hold what is not trusted, or fit other observations, commands or actions
        """
        if len(state) == 0:
            self.take_over(None, Progress(0, 0, 0))
        else:
            n_inputs = count_inputs(self.observation_space, len(self.command_space.input_names))
            learned, progress = from_bytes(state.cpu().numpy().tobytes(), n_inputs, self.head)
            self.take_over(learned, Progress(*progress))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "outputs": None}  # treelite's part is built anew

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.outputs = self.head.outputs(self.learned, self.n_jobs)

    # Acting

    def act(
        self, observation: PyTorchObs, command: Command, deterministic: bool = False, temperature: th.Tensor | None = None
    ) -> NDArray[Any]:
        outputs = self.outputs(self.inputs(observation, command))
        if deterministic:
            return self.head.mode(outputs)
        return self.head.draw(outputs, self.learned, 1.0 if temperature is None else temperature.cpu().numpy(), TorchDraws())

    def actor(self, rng: np.random.Generator, noise: Noise | None = None) -> Actor:
        def draw(observations: Any, command: Command, temperature: NDArray[np.float32]) -> NDArray[Any]:
            inputs = self.inputs(observations, command)
            return self.head.draw(self.outputs(inputs), self.learned, temperature, rng)

        return draw
