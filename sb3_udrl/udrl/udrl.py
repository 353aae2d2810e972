"""Upside-Down Reinforcement Learning, https://arxiv.org/abs/1912.02877."""

from __future__ import annotations

import io
import pathlib
import time
from collections import deque
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule, TrainFreq
from stable_baselines3.common.utils import should_collect_more_steps
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import map_observation
from sb3_udrl.commands import CommandSampler, make_command_sampler
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.common.files import written_at_once
from sb3_udrl.evaluation.tracking import track_evaluations, walk_callbacks
from sb3_udrl.exploration import WarmUpFunction, make_warm_up, uniform_actions, widen
from sb3_udrl.policies import BehaviorPolicy, CnnPolicy, CommandPolicy, FitOptions, MlpPolicy, MultiInputPolicy
from sb3_udrl.policies.base import Actor
from sb3_udrl.state_dependent_noise import make_noise
from sb3_udrl.udrl.arguments import check_arguments, count_gradient_steps, make_replay_buffer, parse_train_freq
from sb3_udrl.udrl.logs import dump_logs, record_training
from sb3_udrl.udrl.persistence import load_running_state, save_running_state
from sb3_udrl.udrl.running import RunningEpisodes

SelfUDRL = TypeVar("SelfUDRL", bound="UDRL")


class UDRL(CommandedAlgorithm):
    """
    Upside-Down Reinforcement Learning (UDRL): a behavior function maps observation and command, "get this much return
    in this many steps", to an action. It learns from its own episodes, each of which shows how to obey the command that
    it happened to fulfill, and is then asked for more (arXiv 1912.02877, algorithms 1 and 2).

    :param policy: the behavior function: ``"CommandPolicy"`` (suits all observations), ``"MlpPolicy"``, ``"CnnPolicy"``,
        ``"MultiInputPolicy"`` (with SB3's meaning), ``"ForestPolicy"`` (extra ``forest``), or a class
    :param env: the environment to learn from, or its id; its episodes must end
    :param learning_rate: learning rate, or a function of the remaining progress (from 1 to 0)
    :param buffer_size: capacity of the replay buffer, in transitions
    :param learning_starts: steps of warm-up before the first training; the warm-up goes on while all episodes are alike
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
    :param commands: what is asked for: ``"absolute"``, a return within a horizon, or ``"relative"``, to do so much better
        than usual from here, which often learns faster
    :param command_sampler: who decides what is asked for: ``"adaptive"``, ``"joint"``, ``"mean_plus_std"``, ``"fixed"``,
        ``"quantile"``, ``"curriculum"`` or a ``CommandSampler`` class; one that is given to ``learn(callback=...)``
        takes its place
    :param command_sampler_kwargs: its arguments
    :param patience: train to convergence instead: until the loss on held-out episodes has not improved for so many epochs
    :param validation_fraction: share of the episodes that is held out, with ``patience``
    :param max_episode_steps: an episode that has not ended after so many steps is an error
    :param replay_buffer_class: class of the replay buffer, by default the one that ``commands`` need:
        ``EpisodicReplayBuffer`` or ``RelativeReplayBuffer``
    :param replay_buffer_kwargs: its further arguments: ``retention``, ``sampling``, ``gamma`` for relative commands, ...
    :param policy_kwargs: arguments of the policy
    :param stats_window_size: episodes over which reported figures are averaged
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
    gamma: ClassVar[float] = 1.0  # commands speak of undiscounted returns; callbacks of others read it
    replay_buffer: EpisodicReplayBuffer
    env: VecEnv

    def __init__(
        self,
        policy: str | type[BehaviorPolicy],
        env: GymEnv | str,
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
        commands: str = "absolute",
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
    ) -> None:
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
        )
        self.buffer_size, self.learning_starts, self.batch_size = buffer_size, learning_starts, batch_size
        self.train_freq, self.gradient_steps = train_freq, gradient_steps
        self.warm_up, self.temperature, self.epsilon, self.sde_share = warm_up, temperature, epsilon, sde_share
        self.commands, self.command_sampler, self.command_sampler_kwargs = commands, command_sampler, command_sampler_kwargs
        self.patience, self.validation_fraction, self.max_episode_steps = patience, validation_fraction, max_episode_steps
        self.replay_buffer_class, self.replay_buffer_kwargs = replay_buffer_class, replay_buffer_kwargs
        self.rng = np.random.default_rng()
        # desired return, desired horizon, achieved return and achieved horizon of recent episodes under commands
        self.obedience: deque[tuple[float, float, float, float]] = deque(maxlen=stats_window_size)
        self._n_updates = 0
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_arguments(self)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._train_freq = parse_train_freq(self.train_freq)
        if getattr(self, "replay_buffer", None) is None:
            self.replay_buffer = make_replay_buffer(self)
        policy_class = cast(type[BehaviorPolicy], self.policy_class)
        policy = policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
        self.policy = policy.to(self.device)
        if self.replay_buffer.relative:
            self.policy.eval_command[1] = th.inf
        self._running = RunningEpisodes(self.observation_space, self.action_space, self.n_envs, self.max_episode_steps)
        self._warm_up = make_warm_up(self.warm_up, self.action_space, self.n_envs, self.rng)
        self._noise = make_noise(self.sde_share, self.policy, self.n_envs, self.rng)
        self._temperature = np.resize(np.asarray(self.temperature, dtype=np.float32), (self.n_envs, 1))
        self._epsilon = np.resize(np.asarray(self.epsilon, dtype=np.float64), self.n_envs) if np.any(self.epsilon) else None
        make_command_sampler(self.command_sampler, self.command_sampler_kwargs)  # so that a mistake shows here
        self._stores_raw_obs = True

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed all generators: python's, numpy's, torch's, the action space's, the environment's and the model's own.

        :param seed: nothing is seeded if None
        """
        super().set_random_seed(seed)
        if seed is not None:
            # not the seed alone: the first environment's generator would draw the very same numbers
            self.rng.bit_generator.state = np.random.default_rng([seed, 1]).bit_generator.state

    # Learning

    def learn(
        self: SelfUDRL,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str = "UDRL",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfUDRL:
        """
        Collect episodes under commands and learn from them, in turn (arXiv 1912.02877, algorithm 1).

        :param total_timesteps: number of environment steps, over all environments
        :param callback: called at every step; a ``CommandSampler`` among them decides what is asked for
        :param log_interval: dump the logs after so many rounds, never if None
        :param tb_log_name: name of the run in TensorBoard
        :param reset_num_timesteps: start to count from zero
        :param progress_bar: show a progress bar
        :return: the model
        :raises ValueError: if a reward or observation is not finite, or an episode does not end
        """
        total_timesteps, callback = self._setup_learn(
            int(total_timesteps), callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        iteration = 0
        while self.num_timesteps < total_timesteps:
            collected_from = self.num_timesteps
            if not self.collect_rollouts(self.env, callback, self._train_freq, total_timesteps):
                break
            iteration += 1
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            if self.num_timesteps >= self.learning_starts and self.replay_buffer.n_episodes > 0:
                n_collected = self.num_timesteps - collected_from
                self.train(count_gradient_steps(self.gradient_steps, n_collected), self.batch_size)
            if log_interval is not None and iteration % log_interval == 0:
                self.dump_logs(iteration)
        callback.on_training_end()
        return self

    def collect_rollouts(self, env: VecEnv, callback: BaseCallback, train_freq: TrainFreq, total_timesteps: int) -> bool:
        """
        Act under commands, or as the warm-up does, and store the episodes that end (arXiv 1912.02877, algorithm 2).

        :param env: the training environment
        :param callback: called at every step
        :param train_freq: how much to collect
        :param total_timesteps: stop at this step at the latest
        :return: False if the callback wants training to stop
        """
        callback.on_rollout_start()
        self.policy.set_training_mode(False)
        act = self.policy.actor(self.rng) if self._noise is None else cast(CommandPolicy, self.policy).noisy_actor(self._noise)
        n_steps, n_episodes = 0, 0
        while should_collect_more_steps(train_freq, n_steps, n_episodes) and self.num_timesteps < total_timesteps:
            actions = self._exploring_actions(act)
            new_obs, rewards, dones, infos = env.step(actions)
            self.num_timesteps += env.num_envs
            n_steps += 1
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            self._running.record(self._raw_obs(), actions, self._raw_rewards(rewards), dones)
            self._store_last_obs(new_obs)
            if dones.any():
                n_episodes += int(dones.sum())
                self._finish_episodes(dones, infos)
        callback.on_rollout_end()
        return True

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """
        Let the behavior function learn from the buffer, in its own way.

        :param gradient_steps: number of steps, for those who take steps
        :param batch_size: transitions per step
        """
        started = time.perf_counter()
        remaining = self._current_progress_remaining
        learning_rate = self.lr_schedule(remaining)
        options = FitOptions(
            gradient_steps, batch_size, learning_rate, self.patience, self.validation_fraction, self._normalizer, remaining
        )
        report = self.policy.fit(self.replay_buffer, options)
        self._n_updates += report.n_updates
        if not self._command_is_fixed:
            best = self._command_sampler.best()
            self.policy.set_command(best.desired_return[0], best.desired_horizon[0])
        record_training(self.logger, report, learning_rate, self._n_updates, time.perf_counter() - started)

    def dump_logs(self, iterations: int = 0) -> None:
        """
        Write all figures to the logger.

        :param iterations: rounds of collecting and learning so far
        """
        dump_logs(self, iterations)

    # One step of collecting

    def _exploring_actions(self, act: Actor) -> NDArray[Any]:
        """Actions of the behavior function, of the warm-up in its episodes, and random ones with probability epsilon."""
        running = self._running
        if running.warm_up.all():
            return self._warm_up(self._last_obs, running.starts)  # type: ignore[arg-type]
        actions = act(self._last_obs, running.command, self._temperature)
        if running.warm_up.any():
            actions[running.warm_up] = self._warm_up(self._last_obs, running.starts)[running.warm_up]  # type: ignore[arg-type]
        if self._epsilon is not None:
            random = self.rng.random(self.n_envs) < self._epsilon
            actions[random] = uniform_actions(self.action_space, self.n_envs, self.rng)[random]
        if isinstance(self.action_space, spaces.Box):
            return np.clip(actions, self.action_space.low, self.action_space.high)
        return actions

    @property
    def _normalizer(self) -> VecNormalize | None:
        """``VecNormalize``, unless wrappers above it (frame stacks) change its observations: then they are stored as seen."""
        return self._vec_normalize_env if self._stores_raw_obs else None

    def _raw_obs(self) -> Any:
        """The observations before this step, as they were before ``VecNormalize``."""
        return self._last_obs if self._normalizer is None else self._last_original_obs

    def _raw_rewards(self, rewards: NDArray[Any]) -> NDArray[Any]:
        return rewards if self._vec_normalize_env is None else self._vec_normalize_env.get_original_reward()

    def _store_last_obs(self, new_obs: Any) -> None:
        self._last_obs = new_obs
        if self._vec_normalize_env is not None:
            self._last_original_obs = self._vec_normalize_env.get_original_obs()

    def _finish_episodes(self, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Store the episodes that ended, and begin the next ones in the same environments."""
        for env in np.flatnonzero(dones).tolist():
            episode = self._running.recorder.finish(env, infos[env].get("TimeLimit.truncated", False))
            self.replay_buffer.add(episode)
            if not self._running.warm_up[env]:
                asked = (self._running.asked.desired_return[env], self._running.asked.desired_horizon[env])
                self.obedience.append((*asked, float(episode.rewards.sum()), len(episode)))
        self._begin_episodes(dones)

    def _begin_episodes(self, starts: NDArray[np.bool_]) -> None:
        """Decide how the episodes that start now are played: as warm-up, or under which command."""
        n_starts = int(starts.sum())
        if n_starts == 0:
            return
        if self._noise is not None:
            self._noise.renew(starts)
        if self.num_timesteps < self.learning_starts or self._n_updates == 0:
            self._running.begin(starts, None)
        elif self.replay_buffer.n_episodes == 0:  # a model that was loaded without its buffer
            self._running.begin(starts, self.policy.initial_command(n_starts))
        elif not self.obedience and not self.replay_buffer.has_differences():
            # where all went alike no command can ask for more, so look for something else (not in arXiv 1912.02877)
            widen(self._warm_up)
            self._running.begin(starts, None)
        else:
            first = map_observation(lambda rows: rows[starts], self._raw_obs())
            self._running.begin(starts, self.policy.initial_command(n_starts, self._command_sampler.sample(first)))

    # SB3's hooks

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "UDRL",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        resets = reset_num_timesteps or self._last_obs is None
        result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        normalize = self._vec_normalize_env
        self._stores_raw_obs = normalize is None or normalize.observation_space == self.observation_space
        if resets or self._running.undecided:  # the environments start anew: the episodes that ran are cut off and dropped
            self._begin_episodes(self._running.start_over(keep_resumed=not reset_num_timesteps))
        return result

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        """Install the default command sampler unless one is given, and let evaluation callbacks see exact rewards."""
        if not isinstance(callback, BaseCallback):
            callback = CallbackList(callback) if isinstance(callback, list) else ConvertCallback(callback)
        samplers = [found for found in walk_callbacks(callback) if isinstance(found, CommandSampler)]
        if len(samplers) > 1:
            raise ValueError(f"callback holds {len(samplers)} command samplers: each episode gets one command, so pass one")
        if not samplers:
            samplers = [make_command_sampler(self.command_sampler, self.command_sampler_kwargs)]
            callback = CallbackList([samplers[0], callback])
        self._command_sampler = samplers[0]
        track_evaluations(callback)
        return super()._init_callback(callback, progress_bar)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "rng", "_running", "_warm_up", "_noise", "_temperature", "_command_sampler"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *(["policy.optimizer"] if self.policy.optimizer is not None else [])], []

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Save the replay buffer and the state of the random generators, so that training goes on as if never stopped.

        :param path: file, or path with or without ``.pkl``
        """
        with written_at_once(path, ".pkl") as target:
            save_running_state(self, target)

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        Load what :meth:`save_replay_buffer` saved.

        :param path: file or path
        :param truncate_last_traj: has no effect, stored episodes are always whole; SB3's callers pass it
        :raises ValueError: if the file holds something else, or episodes of other spaces; the model is left as it was
        """
        load_running_state(self, path)
