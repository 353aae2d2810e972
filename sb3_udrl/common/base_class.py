"""What SB3's base class is to its algorithms: how a model is made, given environments, seeded, and asked to predict."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_udrl.collectors import Collectors
from sb3_udrl.commands import CommandLike, CommandSampler, make_command_sampler
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.outcomes import Outcomes
from sb3_udrl.common.arguments import check_arguments, parse_train_freq
from sb3_udrl.common.collecting import CollectingAlgorithm
from sb3_udrl.common.made_envs import MakeEnv
from sb3_udrl.common.resets import Resets, watch_resets
from sb3_udrl.obedience import ScoreCard
from sb3_udrl.policies import BehaviorPolicy

_OF_SETUP = (  # made anew from the settings
    "command_space",
    "_running",
    "_command_sampler",
    "_stores_raw_obs",
    "_collectors",
    "_is_stepping",
    "_resets",
    "_resets_seen",
)


class BaseCommandedAlgorithm(CollectingAlgorithm):
    """
    An algorithm up to its training: a subclass says which commands it takes (:meth:`make_command_space`) and what it stores of
    episodes (:meth:`make_hindsight`).

    Parameters are those of :class:`~sb3_udrl.UDRL` and of SB3's ``BaseAlgorithm``.
    """

    policy: BehaviorPolicy
    hindsight: Any  # what is stored, as examples to learn from
    _collectors: Collectors | None
    _resets: Resets | None = None  # of the training environment
    _resets_seen: int = 0  # those that are this model's own
    gamma: ClassVar[float] = 1.0  # commands speak of undiscounted returns; callbacks of others read it

    def __init__(
        self,
        policy: str | type[BehaviorPolicy],
        env: GymEnv | MakeEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        *,
        buffer_size: int = 100_000,
        learning_starts: int = 2_000,
        batch_size: int = 256,
        train_freq: int | tuple[int, str] = 250,
        gradient_steps: int | float = 0.1,
        command_sampler: str | type[CommandSampler] = "adaptive",
        command_sampler_kwargs: dict[str, Any] | None = None,
        max_episode_steps: int = 100_000,
        stats_window_size: int = 100,
        collectors: int = 0,
        collector_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if env is not None:
            env = self._wrap_env(env, kwargs.get("verbose", 0), kwargs.get("monitor_wrapper", True))
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            stats_window_size=stats_window_size,
            support_multi_env=True,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
            **kwargs,
        )
        self.buffer_size, self.learning_starts, self.batch_size = buffer_size, learning_starts, batch_size
        self.train_freq, self.gradient_steps = train_freq, gradient_steps
        self.command_sampler, self.command_sampler_kwargs = command_sampler, command_sampler_kwargs
        self.max_episode_steps = max_episode_steps
        self.collectors, self.collector_kwargs = collectors, collector_kwargs
        self._collectors = None
        self.rng = np.random.default_rng()
        self.outcomes = Outcomes(stats_window_size)  # of recent episodes under commands
        self._n_updates = 0
        self._run_began = 0  # at which step: a run that was killed and resumed is one
        self._command_is_fixed = False
        self._chosen_command: dict[str, float] | None = None  # what the model would begin with, where one is fixed
        self._was_filled = False  # the replay buffer, before learning
        self._measured: dict[str, Any] = {}  # the score card, as it is saved

    def _setup_model(self) -> None:
        self.command_space = self.make_command_space()
        self.check_arguments()
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._train_freq = parse_train_freq(self.train_freq)
        self.policy = self.make_policy().to(self.device)
        self.hindsight = self.make_hindsight()
        self._setup_envs()
        self._command_sampler = make_command_sampler(self.command_sampler, self.command_sampler_kwargs)
        self._command_sampler.init_callback(self)
        self._logger = Logger(folder=None, output_formats=[])  # so that train() works before learn()
        self._look_at_env()

    def _setup_envs(self) -> None:
        """Make all that there is one of for each environment."""
        self._running, self._is_stepping = self.new_running(), False
        self._collectors = None

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """
        Set the environment to learn from, as in SB3. A model that has none yet takes as many environments as are given.

        :param env: the environment
        :param force_reset: reset it before training
        :raises ValueError: if its spaces are others than those of the model, which is left as it was
        """
        env = self._wrap_env(env, self.verbose)
        before = self.n_envs
        if self.env is None:
            self.n_envs = env.num_envs
        try:
            super().set_env(env, force_reset)
        except BaseException:
            self.n_envs = before
            raise
        self._look_at_env()
        if self.n_envs != before:
            self._setup_envs()

    def _look_at_env(self) -> None:
        """Get to know the environment: what can be stored of it, and who resets it."""
        normalize = self._vec_normalize_env
        # Observations are stored as they are below VecNormalize, unless wrappers above it (frame stacks) change them
        self._stores_raw_obs = normalize is None or normalize.observation_space == self.observation_space
        former, self._resets = self._resets, None if self.env is None else watch_resets(self.env)
        if self._resets is not None and self._resets is not former:
            self._resets_seen = self._resets.count

    @property
    def replay_buffer(self) -> Any:
        """What is stored."""
        return self.hindsight.buffer

    @property
    def score_card(self) -> ScoreCard:
        """What the model delivered when it was asked, at the end of its training; empty where that was not measured."""
        return ScoreCard.from_plain(self._measured) if self._measured else ScoreCard()

    @score_card.setter
    def score_card(self, card: ScoreCard) -> None:
        self._measured = card.to_plain()

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed all generators: python's, numpy's, torch's, the action space's, the environment's and the model's own.

        :param seed: nothing is seeded if None
        """
        super().set_random_seed(seed)
        if seed is not None:
            # not the seed alone: the first environment's generator would draw the very same numbers
            self.rng.bit_generator.state = np.random.default_rng([seed, 1]).bit_generator.state

    def check_arguments(self) -> None:
        """
        Refuse arguments of the constructor that are out of their range.

        :raises ValueError: naming the argument, its value and what would do
        """
        check_arguments(self)

    @abstractmethod
    def make_command_space(self) -> CommandSpace:
        """The commands that the model takes."""

    @abstractmethod
    def make_hindsight(self) -> Any:
        """What is stored, as examples to learn from; it begins with what ``save(include=["replay_buffer"])`` wrote."""

    def make_policy(self) -> BehaviorPolicy:
        """The behavior function, not yet on its device."""
        policy_class = cast(type[BehaviorPolicy], self.policy_class)
        return policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            command_space=self.command_space,
            **self.policy_kwargs,
        )

    # Commands at prediction time

    def set_command(
        self, command: CommandLike | None, desired_horizon: float | None = None, *, guidance: float | None = None
    ) -> None:
        """
        Set the command that ``predict`` starts episodes with, for good; before, it is what has worked best.

        :param command: a desired return in raw reward units, or a dictionary of values by part, such as ``{"horizon": 50}`` or
            ``{"advantage": 1.0}``, an empty one to ask for nothing; None leaves the choice to the model again
        :param desired_horizon: in steps, together with a desired return
        :param guidance: how strongly commands are insisted on from now on, see
            :attr:`BehaviorPolicy.guidance <sb3_udrl.policies.BehaviorPolicy.guidance>`; None leaves it as it is
        :raises ValueError: if a value is not finite or out of its range, or the model does not take such commands
        """
        if command is None and desired_horizon is not None:
            raise ValueError(f'command=None, desired_horizon={desired_horizon}: for a horizon alone, {{"horizon": ...}}')
        former = self.policy.guidance
        if guidance is not None:
            self.policy.guidance = guidance
        if command is not None:
            chosen = self._chosen_command if self._command_is_fixed else _asked(self.policy.own_command())
            try:
                self.policy.set_command(command, desired_horizon)
            except BaseException:
                self.policy.guidance = former
                raise
            self._command_is_fixed, self._chosen_command = True, chosen
            self.warn_beyond(self.policy.own_command())
        else:
            chosen, self._command_is_fixed, self._chosen_command = self._chosen_command, False, None
            if chosen is not None:
                self.policy.set_command(chosen)

    def begin_with(self, command: CommandLike) -> None:
        """
        Let ``predict`` start episodes with a command that the model has chosen, as soon as nobody says otherwise.

        :param command: the command
        :raises ValueError: as :meth:`set_command` does
        """
        if self._command_is_fixed:
            self._chosen_command = _asked(self.command_space.make(command, gaps=True))
        else:
            self.policy.set_command(command)

    def warn_beyond(self, command: Command) -> None:
        """
        Warn where more, or less, is asked for than was measured.

        :param command: what is asked for, one row
        """
        for part, values in command.parts.items():
            reach, value = self.score_card.reachable(part), float(values[0])
            if reach is not None and not np.isnan(value) and not reach[0] <= value <= reach[1]:
                warnings.warn(
                    f"{part}={value:g} is beyond what this model delivered when it was measured, {reach[0]:g} to "
                    f"{reach[1]:g}: see model.score_card",
                    stacklevel=3,
                )

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        *,
        command: CommandLike | None = None,
        reward: Any = None,
        info: Any = None,
        guidance: float | None = None,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Choose actions; see :meth:`BehaviorPolicy.predict <sb3_udrl.policies.BehaviorPolicy.predict>`."""
        return self.policy.predict(
            observation, state, episode_start, deterministic, command=command, reward=reward, info=info, guidance=guidance
        )

    # Saving

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "rng", "hindsight", "lr_schedule", "_train_freq", *_OF_SETUP]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *(f"policy.{path}" for path in self.policy.optimizers)], []

    def further_state(self) -> dict[str, Any]:
        """What else training needs to go on as if never stopped, besides buffer, generators and running episodes."""
        return {}

    def restore_further(self, state: Mapping[str, Any], same_envs: bool) -> Callable[[], None]:
        """
        Read what :meth:`further_state` returned, and change nothing yet.

        :param state: that of another model
        :param same_envs: whether that had as many environments
        :return: takes it over, and does not fail
        :raises ValueError: if it is damaged
        """
        return lambda: None


def _asked(command: Command) -> dict[str, float]:
    """What one row asks for, by part, as policies hold it."""
    return {part: float(np.float32(values[0])) for part, values in command.parts.items() if not np.isnan(values[0])}
