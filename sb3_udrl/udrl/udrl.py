"""Upside-Down Reinforcement Learning, https://arxiv.org/abs/1912.02877."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Observation
from sb3_udrl.commands import CommandPart, CommandSampler
from sb3_udrl.common.arguments import check_kwargs, check_policy_kwargs
from sb3_udrl.common.held_out import Groups, held_out_figures
from sb3_udrl.common.hindsight_algorithm import HindsightAlgorithm
from sb3_udrl.common.made_envs import MakeEnv, SpacesAlone
from sb3_udrl.exploration import Exploration
from sb3_udrl.exploration.warm_up import WarmUpFunction
from sb3_udrl.labels import Hindsight
from sb3_udrl.obedience import Obedience
from sb3_udrl.obedience.score_card import ENOUGH
from sb3_udrl.policies import BehaviorPolicy, CnnPolicy, CommandPolicy, FitOptions, FitReport, MlpPolicy, MultiInputPolicy
from sb3_udrl.policies.side_by_side import SideBySide
from sb3_udrl.saving.checks import checked_array
from sb3_udrl.saving.random_state import generator_state

_OF_THE_POLICY = ("policy_kwargs", "temperature")  # among obedience_kwargs
_OF_OBEDIENCE = ("obedience", "_obedient_until", "_n_measured")


class UDRL(HindsightAlgorithm):
    """
    Upside-Down Reinforcement Learning (UDRL): a behavior function maps observation and command, "get this much return
    in this many steps", to an action. It learns from its own episodes, each of which shows how to obey the command that
    it happened to fulfill, and is then asked for more (arXiv 1912.02877, algorithms 1 and 2).

    :param policy: the behavior function: ``"CommandPolicy"`` (suits all observations), ``"MlpPolicy"``, ``"CnnPolicy"``,
        ``"MultiInputPolicy"`` (with SB3's meaning), ``"ForestPolicy"`` (extra ``forest``), or a class
    :param env: the environment to learn from, its id, or a function that makes it; its episodes must end
    :param learning_rate: learning rate, or a function of the remaining progress (from 1 to 0)
    :param buffer_size: capacity of the replay buffer, in transitions
    :param learning_starts: steps of warm-up before the first training; the warm-up goes on while all episodes are alike, and
        there is none with a replay buffer that was loaded or filled
    :param batch_size: transitions per gradient step
    :param train_freq: train every so many steps of the vectorized environment, or ``(n, "step")`` or ``(n, "episode")``
    :param gradient_steps: gradient steps per training; with ``patience``, at most so many; below one, a share of the
        transitions that were collected since the last training; -1 for as many as these
    :param warm_up: behavior before the first training: ``"uniform"`` (then ``"mixed"`` while all episodes are alike),
        ``"normal"``, ``"sticky"``, ``"network"``, ``"mixed"`` (in turn over environments and episodes), or a function of
        observations ``(n_envs, *observation_shape)`` and starts ``(n_envs,)`` that returns actions ``(n_envs, *action_shape)``
    :param temperature: how freely actions are drawn while collecting: 1 as learned, towards 0 greedily; a list is
        dealt out over the environments
    :param epsilon: share of uniformly random actions while collecting; a list is dealt out over the environments
    :param sde_share: share of the variance of continuous actions that is one function of the situation through an episode
    :param commands: what can be asked for: ``"any"``, a return, a horizon, to do so much better than usual from here, or
        several of these at once; ``"relative"``, the last one alone, which trains faster; ``"absolute"``, a return within a
        horizon, as in the paper; or a list of parts, of which any may be left out: ``"return"``, ``"horizon"``,
        ``"advantage"``, or a ``CommandPart``
    :param command_sampler: who decides what is asked for: ``"adaptive"``, ``"joint"``, ``"mean_plus_std"``, ``"fixed"``,
        ``"quantile"``, ``"curriculum"`` or a ``CommandSampler`` class; one that is given to ``learn(callback=...)``
        takes its place
    :param command_sampler_kwargs: its arguments
    :param label_kwargs: arguments of labels by the name of the part: ``dict(advantage=dict(gamma=0.98))``, see
        :class:`~sb3_udrl.labels.AdvantageLabeler`
    :param obedience_kwargs: where advantages and other parts are taken: arguments of
        :class:`~sb3_udrl.obedience.Obedience`, and of the behavior function that obeys: ``policy_kwargs``, and ``temperature``
    :param guidance: how strongly commands are insisted on, while collecting and in ``predict``, see
        :attr:`BehaviorPolicy.guidance <sb3_udrl.policies.BehaviorPolicy.guidance>`
    :param observation_space: space of one environment, for models without an environment (``env=None``)
    :param action_space: space of one environment, for models without an environment
    :param collectors: processes that play, each with environments of its own, while this one learns; with 0, this one plays
        itself. ``env`` is an id or a function then
    :param collector_kwargs: ``backend``: ``"processes"`` on this machine or ``"ray"``; ``address`` of the Ray cluster;
        ``synchronous``: wait for them before learning, so that runs repeat
    :param patience: train to convergence instead: until the loss on held-out episodes has not improved for so many epochs;
        where there are two behavior functions, the one for advantages
    :param validation_fraction: share of the episodes that is held out, with ``patience``
    :param max_episode_steps: an episode that has not ended after so many steps is an error
    :param replay_buffer_class: class of the replay buffer, by default ``EpisodicReplayBuffer``
    :param replay_buffer_kwargs: its further arguments: ``retention``, ``sampling``, ...
    :param policy_kwargs: arguments of the policy
    :param stats_window_size: episodes over which reported figures are averaged, and on which command samplers look back
    :param tensorboard_log: folder for TensorBoard logs, none if None
    :param verbose: 0 for no output, 1 for info, 2 for debug messages
    :param seed: seed of all random generators
    :param device: device of the network
    :param _init_setup_model: whether to build the network when the instance is created
    :raises ValueError: if an argument is out of its range
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CommandPolicy": CommandPolicy,
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }

    def __init__(
        self,
        policy: str | type[BehaviorPolicy],
        env: GymEnv | MakeEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 100_000,
        learning_starts: int = 2_000,
        batch_size: int = 256,
        train_freq: int | tuple[int, str] = 250,
        gradient_steps: int | float = 0.1,
        warm_up: str | WarmUpFunction = "uniform",
        temperature: float | list[float] = 1.0,
        epsilon: float | list[float] = 0.0,
        sde_share: float = 0.0,
        commands: str | Sequence[str | CommandPart] = "any",
        command_sampler: str | type[CommandSampler] = "adaptive",
        command_sampler_kwargs: dict[str, Any] | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        max_episode_steps: int = 100_000,
        replay_buffer_class: type[EpisodicReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        label_kwargs: dict[str, dict[str, Any]] | None = None,
        obedience_kwargs: dict[str, Any] | None = None,
        guidance: float = 1.0,
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
        collectors: int = 0,
        collector_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            commands=commands,
            command_sampler=command_sampler,
            command_sampler_kwargs=command_sampler_kwargs,
            label_kwargs=label_kwargs,
            max_episode_steps=max_episode_steps,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            collectors=collectors,
            collector_kwargs=collector_kwargs,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
        )
        self.warm_up, self.temperature, self.epsilon, self.sde_share = warm_up, temperature, epsilon, sde_share
        self.patience, self.validation_fraction = patience, validation_fraction
        self.obedience_kwargs, self.guidance = obedience_kwargs, guidance
        if env is None and observation_space is not None and action_space is not None:
            wrapped = self._wrap_env(SpacesAlone(observation_space, action_space), monitor_wrapper=False)
            self.observation_space, self.action_space, self.n_envs = wrapped.observation_space, wrapped.action_space, 1
        elif _init_setup_model and (env is None or observation_space is not None or action_space is not None):
            raise ValueError("give env, or observation_space and action_space and env=None")
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        self.policy.guidance = self.guidance
        self.obedience = self._make_obedience()
        self._n_measured = 0  # episodes of practice that the score card has seen
        self._obedient_until = self.num_timesteps  # the obedient behavior function has learned for the steps until then

    def _setup_envs(self) -> None:
        super()._setup_envs()
        self._exploration = self._new_exploration()

    def _new_exploration(self) -> Exploration:
        explorer = self.policy.explorer
        return Exploration(self.warm_up, self.sde_share, self.temperature, self.epsilon, explorer, self.n_envs, self.rng)

    def prefer(self, given: Mapping[str, Any]) -> None:
        super().prefer(given)
        if "guidance" in given:
            self.policy.guidance = self.guidance
        if "temperature" in (given.get("obedience_kwargs") or {}):
            cast(SideBySide, self.policy).obedient_temperature.fill_(given["obedience_kwargs"]["temperature"])

    @property
    def _sides(self) -> bool:
        """Whether there are two behavior functions: one for advantages, one for the rest."""
        return "advantage" in self.command_space and len(self.command_space.names) > 1

    def make_policy(self) -> BehaviorPolicy:
        if not self._sides:
            return super().make_policy()
        further = dict(self.obedience_kwargs or {})
        temperature = further.get("temperature", 0.7)
        if not isinstance(temperature, int | float | np.number) or not 0 <= temperature < np.inf:
            raise ValueError(f"obedience_kwargs: temperature={temperature!r}: must be a finite number, at least 0")
        check_policy_kwargs(self.policy_class, further.get("policy_kwargs") or {})
        return SideBySide(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            self.command_space,
            make=cast(type[BehaviorPolicy], self.policy_class),
            obedient_kwargs=further.get("policy_kwargs"),
            obedient_temperature=float(temperature),
            **self.policy_kwargs,
        )

    def _make_obedience(self) -> Obedience | None:
        if not self._sides:
            if self.obedience_kwargs is not None:
                raise ValueError(
                    f"obedience_kwargs={self.obedience_kwargs}: is for models that take advantages and other parts, such as "
                    f'commands="any"; leave it away for commands={self.commands!r}'
                )
            return None
        kwargs = {name: value for name, value in (self.obedience_kwargs or {}).items() if name not in _OF_THE_POLICY}
        if not self.command_space.measured:
            raise ValueError(f"commands={self.commands!r}: beside advantages, one part at least must be measured")
        check_kwargs(
            "obedience_kwargs", kwargs, Obedience, ("policy", "rng", "label_kwargs"), f", {', '.join(_OF_THE_POLICY)}"
        )
        try:
            return Obedience(cast(SideBySide, self.policy), _obedience_rng(self.seed), self.label_kwargs, **kwargs)
        except TypeError as error:
            raise ValueError(f"obedience_kwargs={self.obedience_kwargs} do not fit Obedience: {error}") from error

    def set_random_seed(self, seed: int | None = None) -> None:
        super().set_random_seed(seed)
        obedience: Obedience | None = getattr(self, "obedience", None)  # the constructor seeds before there is any
        if seed is not None and obedience is not None:  # in place: the archive draws by this very generator
            obedience.rng.bit_generator.state = _obedience_rng(seed).bit_generator.state

    def check_arguments(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience}: must be at least 1, or None for a fixed number of gradient steps")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction={self.validation_fraction}: must be between 0 and 1")
        for name, most in (("temperature", np.inf), ("epsilon", 1.0)):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.size == 0 or not ((values >= 0) & (values <= most) & np.isfinite(values)).all():
                raise ValueError(f"{name}={getattr(self, name)}: every value must be finite and lie between 0 and {most}")
        super().check_arguments()

    def count_from_zero(self) -> None:
        super().count_from_zero()
        self._obedient_until = 0
        if self.obedience is not None:
            self.obedience.count_from_zero()

    # Acting

    def begin_acting(self) -> None:
        if self.obedience is None:
            self._act = self.policy.actor(self.rng, self._exploration.noise)
        else:
            self._act = cast(SideBySide, self.policy).actor(self.rng, self._exploration.noise, self.obedience.rng)

    def choose_actions(self) -> NDArray[Any]:
        running, observations = self._running, cast(Observation, self._last_obs)
        return self._exploration.actions(
            self._act, observations, running.command, running.temperature, running.starts, running.warm_up
        )

    def begin_episodes(self, starts: NDArray[np.bool_]) -> None:
        starts = starts & ~self._begin_practice(starts)
        if not starts.any():
            return
        if self._n_updates == 0:
            self._running.begin(starts, None)
        elif self.replay_buffer.n_episodes == 0:  # a model that was loaded without its buffer
            self.ask(starts, None)
        elif not len(self.outcomes) and not self.replay_buffer.has_differences():
            # where all went alike no command can ask for more, so look for something else (not in arXiv 1912.02877)
            self._exploration.warm_up.widen()
            self._running.begin(starts, None)
        else:
            self._running.begin(starts, self._sampled_command(starts))

    def _begin_practice(self, starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Let some of the episodes that start practice obedience; greedily and by draws, half and half. Which ones."""
        running, obedience = self._running, self.obedience
        running.temperature[starts] = np.nan
        if obedience is None:
            return running.practicing
        usual = float(cast(SideBySide, self.policy).obedient_temperature)
        for env in np.flatnonzero(starts):
            n_running = int(running.practicing.sum()) + self.n_practicing_elsewhere()
            if obedience.practice_is_due(self.num_timesteps, self._current_progress_remaining, n_running):
                command, greedy = obedience.draw_command(), obedience.rng.random() < 0.5
                running.begin(np.arange(len(starts)) == env, command, 0.0 if greedy else usual)
        return running.practicing

    # Learning

    def store(self, episode: Episode, env: int) -> None:
        if self.obedience is None:
            super().store(episode, env)
        elif self._running.practicing[env]:
            greedy = float(self._running.temperature[env, 0]) == 0
            self.obedience.add_practice(episode, self._running.asked.rows([env]), greedy)
        else:
            super().store(episode, env)
            self.obedience.add(episode)

    def fit(self, gradient_steps: int, batch_size: int, learning_rate: float) -> FitReport:
        options = FitOptions(
            gradient_steps,
            batch_size,
            learning_rate,
            self.patience,
            self.validation_fraction,
            self._normalizer,
            self._current_progress_remaining,
        )
        report = self.policy.fit(self.hindsight, options)
        if self.obedience is None:
            return report
        if self.obedience.archive_episodes == 0:
            self.obedience.fill(self.replay_buffer, np.arange(self.replay_buffer.n_episodes))
        n_collected = self.num_timesteps - self._obedient_until
        self._obedient_until = self.num_timesteps
        # Outside of learn nothing is collected, and it learns as much as the other one
        n_due = self.obedience.due(n_collected) if n_collected else gradient_steps
        obedient = self.obedience.fit(n_due, batch_size, self._normalizer, self._current_progress_remaining)
        is_enough = len(self.obedience.practiced) >= min(ENOUGH, len(self.score_card))  # a fuller card stays
        if self.obedience.n_practiced > self._n_measured and is_enough:
            self.score_card, self._n_measured = self.obedience.measured(), self.obedience.n_practiced
        return FitReport(report.n_updates, {**report.metrics, **obedient.metrics})

    def remember(self) -> None:
        if self.obedience is None:
            super().remember()
        elif self.obedience.archive_episodes and self.policy.experience is not None:
            self.policy.experience.remember(self.obedience.hindsight.totals())

    # Learning from recordings

    def learners(self) -> dict[str, BehaviorPolicy]:
        if self.obedience is None:
            return super().learners()
        policy = cast(SideBySide, self.policy)
        return {"": policy.striving, "obedient_": policy.obedient}

    def begin_offline(self, episodes: NDArray[np.bool_]) -> None:
        if self.obedience is not None:
            self.obedience.fill(self.replay_buffer, np.flatnonzero(episodes))
            self._obedient_until = self.num_timesteps

    def validate(self, best: Groups, all_: Groups) -> dict[str, float]:
        metrics = super().validate(best, all_)
        if self.obedience is None:
            return metrics
        obedient = cast(SideBySide, self.policy).obedient
        hindsight = Hindsight(self.replay_buffer, obedient.command_space, self.label_kwargs)
        loss, gain = held_out_figures(obedient, hindsight, all_, self._normalizer, self.rng)
        return {**metrics, "obedient_validation_loss": loss, "obedient_command_gain": gain}

    # Copies that play, and resuming

    def randomness(self) -> dict[str, Any]:
        states = super().randomness()
        return states if self.obedience is None else {**states, "obedience": generator_state(self.obedience.rng)}

    def set_randomness(self, states: Mapping[str, Any]) -> None:
        super().set_randomness(states)
        if self.obedience is not None:
            self.obedience.rng.bit_generator.state = states["obedience"]

    def exploration(self) -> dict[str, Any]:
        return self._exploration.warm_up.decided()

    def explore_as(self, exploration: Mapping[str, Any]) -> None:
        self._exploration.warm_up.restore(exploration)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_exploration", "_act", *_OF_OBEDIENCE]

    def further_state(self) -> dict[str, Any]:
        return {
            **self._exploration.state(),
            "obedience": None if self.obedience is None else self.obedience.state(),
            "practicing": self._running.practicing,
            "practice_temperature": np.nan_to_num(self._running.temperature),
        }

    def restore_further(self, state: Mapping[str, Any], same_envs: bool) -> Callable[[], None]:
        exploration = self._new_exploration()
        if same_envs:
            exploration.restore(state)
        obedience, own_temperature = self.obedience, self._running.temperature
        if obedience is not None and state["obedience"] is not None:
            obedience = obedience.restored(state["obedience"])
            if self._n_updates == 0:
                obedience.forget_practice()
            if same_envs:
                practicing = checked_array(state, "practicing", (self.n_envs,), "b")
                temperature = checked_array(state, "practice_temperature", (self.n_envs, 1))
                own_temperature = np.where(practicing[:, None], temperature, np.nan).astype(np.float32)

        def commit() -> None:
            self._exploration, self.obedience = exploration, obedience
            self._running.temperature = own_temperature
            self._obedient_until = self.num_timesteps

        return commit


def _obedience_rng(seed: int | None) -> np.random.Generator:
    """A generator that draws other numbers than the model's own."""
    return np.random.default_rng(None if seed is None else [seed, 2])
