"""Upside-Down Reinforcement Learning (arXiv 1912.02877)."""

from __future__ import annotations

import io
import pathlib
import sys
import time
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import obs_as_tensor, safe_mean

from sb3_udrl.buffers import EpisodeRecorder, EpisodicReplayBuffer
from sb3_udrl.commands.command import Command, advance, make_command
from sb3_udrl.commands.samplers import CommandSampler, JointCommands
from sb3_udrl.exploration import WARM_UPS, uniform_actions
from sb3_udrl.policies import BehaviorPolicy, CommandPolicy

SelfUDRL = TypeVar("SelfUDRL", bound="UDRL")


class UDRL(BaseAlgorithm):
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CommandPolicy": CommandPolicy,
        "MlpPolicy": CommandPolicy,
        "CnnPolicy": CommandPolicy,
        "MultiInputPolicy": CommandPolicy,
    }
    gamma: ClassVar[float] = 1.0
    policy: BehaviorPolicy

    def __init__(
        self,
        policy: str | type[BehaviorPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 5e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 2_000,
        batch_size: int = 256,
        train_freq: int | tuple[int, str] = 250,
        gradient_steps: int = 200,
        warm_up: str = "uniform",
        temperature: float = 1.0,
        epsilon: float = 0.0,
        command_sampler: Any = None,
        max_episode_steps: int = 100_000,
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
            policy, env, learning_rate, policy_kwargs, stats_window_size, tensorboard_log, verbose, device,
            support_multi_env=True, seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
        )
        self.buffer_size, self.learning_starts, self.batch_size = buffer_size, learning_starts, batch_size
        self.train_freq, self.gradient_steps = train_freq, gradient_steps
        self.warm_up, self.temperature, self.epsilon = warm_up, temperature, epsilon
        self.command_sampler = command_sampler
        self.max_episode_steps = max_episode_steps
        self.replay_buffer_kwargs = replay_buffer_kwargs
        self.replay_buffer = None
        self._n_updates = 0
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.rng = np.random.default_rng(self.seed)
        if self.replay_buffer is None:
            self.replay_buffer = EpisodicReplayBuffer(
                self.buffer_size, self.observation_space, self.action_space, seed=self.rng, **(self.replay_buffer_kwargs or {})
            )
        self.policy = self.policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs).to(self.device)
        self._recorder = EpisodeRecorder(self.observation_space, self.action_space, self.n_envs, self.max_episode_steps)
        self._command = make_command(0, 1, self.n_envs)
        self._asked = self._command
        self._warm = np.ones(self.n_envs, bool)
        self._starts = np.ones(self.n_envs, bool)
        self._warm_up = WARM_UPS[self.warm_up](self.action_space, self.n_envs, self.rng)

    def learn(self, total_timesteps, callback=None, log_interval=10, tb_log_name="UDRL", reset_num_timesteps=True, progress_bar=False):
        total_timesteps, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        callback.on_training_start(locals(), globals())
        self._temp = th.as_tensor(np.resize(self.temperature, self.n_envs), dtype=th.float32).unsqueeze(1)
        sampler = self._sampler = self.command_sampler or JointCommands()
        sampler.init_callback(self)
        self._last_original_obs = self._last_obs
        iteration = 0
        while self.num_timesteps < total_timesteps:
            if not self.collect_rollouts(callback):
                break
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            if self.num_timesteps >= self.learning_starts and self.replay_buffer.n_episodes:
                self.train()
        callback.on_training_end()
        return self

    def collect_rollouts(self, callback):
        callback.on_rollout_start()
        self.policy.set_training_mode(False)
        env = self.env
        for _ in range(self.train_freq):
            actions = self._act()
            new_obs, rewards, dones, infos = env.step(np.clip(actions, self.action_space.low, self.action_space.high) if isinstance(self.action_space, spaces.Box) else actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            self._recorder.record(self._last_obs, actions, rewards)
            self._last_obs = new_obs
            self._command = advance(self._command, rewards)
            self._starts = dones
            if dones.any():
                for i in np.flatnonzero(dones):
                    ep = self._recorder.finish(i)
                    self.replay_buffer.add(ep)
                    if not self._warm[i]:
                        self._sampler.on_episode_end(Command(self._asked[0][i:i+1], self._asked[1][i:i+1]), float(ep.rewards.sum()), len(ep))
                if self.num_timesteps >= self.learning_starts and self._n_updates:
                    fresh = self._command.where(dones, Command(*(np.zeros(self.n_envs),) * 2))
                    idx = np.flatnonzero(dones)
                    c = self._sampler.sample(self._last_obs[idx])
                    for f, v in zip(fresh, c):
                        f[idx] = v
                    self._command = fresh
                    self._asked = self._asked.where(dones, fresh)
                    self._warm = self._warm & ~dones
        callback.on_rollout_end()
        return True

    def _act(self):
        if self._warm.all():
            return self._warm_up(self._last_obs, self._starts)
        actions = self.policy.act(obs_as_tensor(self._last_obs, self.device), self._command, temperature=self._temp)
        rep = self._warm | (self.rng.random(self.n_envs) < self.epsilon) if self.epsilon else self._warm
        if rep.any():
            w = self._warm_up(self._last_obs, self._starts) if self._warm.any() else uniform_actions(self.action_space, self.n_envs, self.rng)
            actions = np.where(rep.reshape(-1, *(1,) * (actions.ndim - 1)), w, actions)
        return actions

    def train(self):
        m = self.policy.fit(self.replay_buffer, self.gradient_steps, self.batch_size, self.lr_schedule(self._current_progress_remaining))
        self._n_updates += self.gradient_steps
        self.last_metrics = m
        c = self._sampler.best()
        self.policy.set_command(float(c[0][0]), float(c[1][0]))
