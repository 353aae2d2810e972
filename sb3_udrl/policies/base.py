"""What every behavior function can do: act on a command, remember it over an episode, and be fitted to a buffer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.commands.command import Command, CommandLike
from sb3_udrl.commands.command_space import COMMAND_SPACES, CommandSpace
from sb3_udrl.commands.experience import Experience
from sb3_udrl.commands.prediction import PredictState, next_command
from sb3_udrl.labels import CommandBatch, Hindsight
from sb3_udrl.policies.saved_policy import SavedPolicy
from sb3_udrl.spaces.actions import into_space
from sb3_udrl.spaces.finite import refuse_what_is_not_finite
from sb3_udrl.spaces.supported import check_action_space, check_observation_space

Actor = Callable[[Any, Command, NDArray[np.float32]], NDArray[Any]]  # observations, commands, temperatures -> actions
Noise = Callable[[Any], NDArray[np.float32]]  # observations -> draws of a standard normal distribution, (n, n_dims)


class FitOptions(NamedTuple):
    """
    How to learn from the buffer; each behavior function uses what applies to it.

    :param gradient_steps: number of steps to take; with ``patience``, at most so many
    :param batch_size: transitions per step
    :param learning_rate: current value of the schedule
    :param patience: epochs without improvement on held-out episodes after which to stop; None takes all the steps
    :param validation_fraction: share of the episodes that is held out, with ``patience``
    :param normalizer: normalizes the stored raw observations, if given
    :param progress_remaining: share of the environment steps of ``learn`` that is still to come
    """

    gradient_steps: int
    batch_size: int
    learning_rate: float
    patience: int | None = None
    validation_fraction: float = 0.1
    normalizer: VecNormalize | None = None
    progress_remaining: float = 1.0


class FitReport(NamedTuple):
    """
    What came of a fit.

    :param n_updates: number of updates that were made
    :param metrics: figures to log, by name
    """

    n_updates: int
    metrics: dict[str, float]


class Deciding(NamedTuple):
    """
    One of the behavior functions that a policy consists of.

    :param name: what it is called
    :param policy: it decides where a part of its own commands is asked for
    :param temperature: how freely ``predict`` draws its actions
    """

    name: str
    policy: BehaviorPolicy
    temperature: float


class BehaviorPolicy(SavedPolicy):
    """
    Base of all behavior functions. A subclass implements :meth:`act` and :meth:`fit`; the rest is here.

    :param args: as for SB3's ``BasePolicy``
    :param command_space: the commands that it takes; by default a return within a horizon
    :param kwargs: as for SB3's ``BasePolicy``
    """

    exported_as: ClassVar[str | None] = None  # a key of ``sb3_udrl.deploy.export.KINDS``; None where it cannot be exported
    draws: ClassVar[bool] = True  # whether actions are drawn where ``deterministic`` is False
    eval_command: th.Tensor

    _guidance: th.Tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__
        if "act" in own:  # who acts in an own way does so while collecting too, and is not known to exporters
            for name in {"actor", "noise_dims", "exported_as"} - own.keys():
                setattr(cls, name, getattr(BehaviorPolicy, name))

    def __init__(self, *args: Any, command_space: CommandSpace | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_observation_space(self.observation_space)
        check_action_space(self.action_space)
        self.command_space = command_space or COMMAND_SPACES["absolute"]
        self.optimizer = None  # type: ignore[assignment]  # stays so where nothing is learned by gradient
        if self.command_space.mask_share > 0:
            self.register_buffer("_guidance", th.ones(()))
        self.experience = Experience(self.command_space.measured) if self.command_space.measured else None
        initial = self.command_space.to_rows(self.command_space.default())[0]
        self.register_buffer("eval_command", th.as_tensor(initial, dtype=th.float32))  # saved with the weights

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(f"{prefix}eval_command")
        if saved is not None and len(saved) == 2 and saved[1].isinf():  # a relative command as earlier revisions wrote it
            state_dict[f"{prefix}eval_command"] = saved[:1]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """The arguments that every behavior function is made with; a subclass adds its own."""
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,  # not needed for prediction
            "command_space": self.command_space,
        }

    @property
    def guidance(self) -> float:
        """
        How strongly commands are insisted on: 1 as learned, 0 as if nothing was asked for, more beyond what was learned
        (arXiv 2505.23458). Saved with the weights.
        """
        return float(self._guidance) if self.command_space.mask_share > 0 else 1.0

    @guidance.setter
    def guidance(self, guidance: float) -> None:
        if not isinstance(guidance, int | float | np.number) or not 0 <= guidance < np.inf:
            raise ValueError(f"guidance={guidance!r}: must be a finite number, at least 0")
        if self.command_space.mask_share > 0:
            self._guidance.fill_(guidance)
        elif guidance != 1:
            raise ValueError(
                f"guidance={guidance}: this model has always been asked for {' and '.join(self.command_space.names)}, so "
                "nothing tells what a command changes; leave it at 1"
            )

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        """What learns by gradient, by the path of the attribute; part of what is saved."""
        return {} if self.optimizer is None else {"optimizer": self.optimizer}

    def networks(self) -> list[th.nn.Module]:
        """The networks that take features and a standardized command; here, there are none."""
        return []

    def deciding(self) -> list[Deciding]:
        """The behavior functions that decide, each where a part of its commands is asked for, the last before the others."""
        return [Deciding("", self, 1.0)]

    def decides_under(self, command: Command) -> BehaviorPolicy:
        """
        The behavior function that decides under a command, where a policy consists of several.

        :param command: one row
        """
        return self

    @property
    def explorer(self) -> BehaviorPolicy:
        """The behavior function that collects most of the experience."""
        return self

    @classmethod
    def obedient_arguments(cls, action_space: spaces.Space[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """
        Arguments that suit those of this class who obey returns and horizons, beside one that strives for more.

        :param action_space: space of one environment
        :param kwargs: arguments of the one that strives
        """
        return kwargs

    def expect_other_data(self) -> None:
        """What is learned from next goes on from nothing before: nothing may be left out for being much the same."""

    @abstractmethod
    def act(
        self, observation: PyTorchObs, command: Command, deterministic: bool = False, temperature: th.Tensor | None = None
    ) -> NDArray[Any]:
        """
        Choose actions.

        :param observation: a batch, ``(n, *observation_shape)``, or a dictionary of such
        :param command: one row per observation, in raw units
        :param deterministic: the most likely action instead of a draw
        :param temperature: how freely to draw, 1 if None, ``(n, 1)``
        :return: ``(n, *action_shape)``; who calls brings them into the space, see
            :func:`~sb3_udrl.spaces.actions.into_space`
        """

    def noise_dims(self) -> int:
        """How many normal draws, which may come from outside, make an action; 0 where it has its own way to draw."""
        return 0

    def actor(self, rng: np.random.Generator, noise: Noise | None = None) -> Actor:
        """
        A function that draws actions while experience is collected; what was learned does not change meanwhile.

        By default it calls :meth:`act`.

        :param rng: source of randomness, for those who draw from it
        :param noise: draws to take instead of one's own, ``(n, noise_dims)``, of observations ``(n, *observation_shape)``;
            where :meth:`noise_dims` is not 0
        :return: a function of observations ``(n, *observation_shape)``, commands and temperatures ``(n, 1)``
        """

        def draw(observations: Any, command: Command, temperature: NDArray[np.float32]) -> NDArray[Any]:
            tensors = obs_as_tensor(observations, self.device)
            return self.act(tensors, command, temperature=th.as_tensor(temperature, device=self.device))

        return draw

    @abstractmethod
    def fit(self, hindsight: Hindsight, options: FitOptions) -> FitReport:
        """
        Learn from the stored episodes in this behavior function's own way.

        :param hindsight: stored steps with the commands that they fulfilled, of at least one episode
        :param options: how
        """

    def loss_of(self, batch: CommandBatch) -> float:
        """
        How unlikely actions are under their commands, in nats for discrete actions; lower is better.

        :param batch: examples that need not have been learned from
        :return: mean over the examples; NaN where it is not defined, which it is by whoever learns by likelihood
        """
        return float("nan")

    def command_gain(self, batch: CommandBatch, rng: np.random.Generator) -> float:
        """
        How much commands tell of actions: how much higher the loss is with commands dealt out at random.

        :param batch: examples that were not learned from
        :param rng: source of randomness
        """
        shuffled = batch._replace(command=batch.command.rows(rng.permutation(len(batch.command))))
        return self.loss_of(shuffled) - self.loss_of(batch)

    def set_command(self, command: CommandLike, desired_horizon: float | None = None) -> None:
        """
        Set the command that :meth:`predict` starts episodes with.

        :param command: as for :meth:`initial_command`
        :param desired_horizon: in steps, together with a desired return
        :raises ValueError: as :meth:`initial_command` does
        """
        if desired_horizon is not None:
            if not isinstance(command, int | float | np.number | np.ndarray):
                raise ValueError(f"desired_horizon={desired_horizon}: goes with a desired return, not with {command!r}")
            command = (command, desired_horizon)
        asked = self.command_space.make(command, 1, gaps=True)
        self.initial_command(1, asked)  # raises where it cannot be completed
        rows = self.command_space.to_rows(asked)[0]
        self.eval_command = th.as_tensor(rows, dtype=th.float32, device=self.eval_command.device)

    def own_command(self) -> Command:
        """The command that :meth:`predict` starts episodes with when it is given none, one row."""
        return self.command_space.from_rows(self.eval_command.cpu().numpy()[None].astype(np.float64))

    def experienced(self, part: str, n: int) -> NDArray[np.float64]:
        """
        Evenly spaced values of a part that episodes achieved; where the model has no experience, which older files lack, its
        own command alone, over and over: what else was achieved is not known.

        :param part: return, horizon or another part that episodes achieve
        :param n: how many
        :return: ascending, ``(n,)``
        """
        if self.experience is not None and len(self.experience.known()):
            return self.experience.grid(part, n)
        own = float(self.own_command()[part][0])
        return np.full(n, max(0.0, self.command_space.part(part).lowest) if np.isnan(own) else own)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        n_envs = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        return th.as_tensor(self.act(observation, self.initial_command(n_envs), deterministic))

    def initial_command(self, n_envs: int, command: CommandLike | None = None, deterministic: bool | None = None) -> Command:
        """
        What an episode starts with.

        :param n_envs: number of rows
        :param command: a desired return; a pair of desired return and desired horizon; a dictionary of values by part, such as
            ``{"advantage": 1.0, "horizon": 50}``, an empty one to ask for nothing; or a ``Command``. Values are numbers or
            ``(n_envs,)``. By default what :meth:`set_command` set
        :param deterministic: correct what is asked for by what the model was measured to deliver, with the most likely actions
            or with draws; not at all if None
        :raises ValueError: if a value is not finite, out of range or of another shape, or this behavior function does not take
            such commands
        :return: where some of several parts are asked for, the others are what was typical of episodes that achieved these
        """
        initial = self.command_space.make(self.own_command() if command is None else command, n_envs, gaps=True)
        if self.experience is not None:
            initial = self.experience.completed(initial)
        if "advantage" in self.command_space:  # who is asked for nothing does as usual
            nothing = np.logical_and.reduce([np.isnan(values) for values in initial.parts.values()])
            initial = Command({**initial.parts, "advantage": np.where(nothing, 0.0, initial["advantage"])})
        missing = [name for name in self.command_space.names if np.isnan(initial[name]).any()]
        if missing and not self.command_space.partial:
            together = " and ".join(self.command_space.names)
            raise ValueError(
                f"command={command!r}: the desired {missing[0]} is missing: this model takes {together} together as long as "
                "it has no experience"
            )
        return initial

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: PredictState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        *,
        command: CommandLike | None = None,
        reward: ArrayLike | None = None,
        info: Any = None,
        guidance: float | None = None,
    ) -> tuple[NDArray[Any], PredictState]:
        """
        Choose actions, and carry the remaining command along in the state.

        The desired return falls by the reward of the step before. That is ``reward`` if given; else it is heard from the
        environment under :func:`~sb3_udrl.evaluation.track`; else it is estimated as the desired return per step of the
        desired horizon, and as zero where no horizon is asked for.

        :param observation: one observation or a batch, ``(n_envs, *observation_shape)``, or a dictionary of such
        :param state: what the last call returned; None starts new episodes
        :param episode_start: environments whose episode starts here, ``(n_envs,)``
        :param deterministic: the most likely action instead of a draw
        :param command: what is asked of the episodes that start here, as for :meth:`initial_command`
        :param reward: raw reward of the step before, a number or ``(n_envs,)``
        :param info: what the environments said besides at the step before, one dictionary or ``n_envs`` of them: needed by
            parts of commands that count something in it, which stay as they are without; heard as the reward is
        :param guidance: takes the place of :attr:`guidance` in this call
        :return: actions, ``(n_envs, *action_shape)`` or ``action_shape``, and the next state
        :raises ValueError: if an argument has the wrong shape, is not finite or does not fit into single precision
        """
        self.set_training_mode(False)
        if isinstance(cast(object, observation), tuple):
            raise ValueError(
                "predict() got a tuple: in the Gym API `observation, info = env.reset()` returns two things, "
                "only the observation belongs here"
            )
        refuse_what_is_not_finite(observation)
        observations, vectorized = self.obs_to_tensor(observation)
        n_envs = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
        begin = partial(self.initial_command, n_envs, command, deterministic)
        current, new_state = next_command(self.command_space, begin, state, episode_start, n_envs, reward, info)
        with self._guided_by(guidance):
            chosen = self.act(observations, current, deterministic)
        actions = into_space(chosen.reshape((-1, *(self.action_space.shape or ()))), self.action_space)
        return (actions if vectorized else actions.squeeze(axis=0)), new_state

    @contextmanager
    def _guided_by(self, guidance: float | None) -> Iterator[None]:
        """Another guidance as long as the context lasts, if one is given."""
        standing = self.guidance
        if guidance is not None:
            self.guidance = guidance
        try:
            yield
        finally:
            self.guidance = standing
