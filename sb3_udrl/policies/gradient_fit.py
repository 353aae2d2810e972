"""How a network learns from the buffer: a number of gradient steps, or to convergence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import update_learning_rate
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import CommandBatch, EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import map_observation
from sb3_udrl.policies.action_heads import ActionHead
from sb3_udrl.policies.base import BehaviorPolicy

_CHUNK_BYTES = 16 * 2**20  # batches are drawn many at a time, as far as this goes


class GradientFit(BehaviorPolicy):
    """
    A behavior function that is a network with an ``action_head`` and an ``optimizer``.

    A subclass provides :meth:`to_tensors` and :meth:`update_statistics`.
    """

    action_head: ActionHead

    def to_tensors(self, batch: CommandBatch) -> tuple[PyTorchObs, th.Tensor, th.Tensor]:
        raise NotImplementedError

    def update_statistics(self, observations: PyTorchObs, commands: th.Tensor) -> None:
        raise NotImplementedError

    def fit(
        self,
        replay_buffer: EpisodicReplayBuffer,
        gradient_steps: int,
        batch_size: int,
        learning_rate: float,
        env: VecNormalize | None = None,
    ) -> dict[str, float]:
        self.set_training_mode(True)
        update_learning_rate(self.optimizer, learning_rate)
        losses = [self._step(*batch) for batch in self._batches(replay_buffer, gradient_steps, batch_size, env)]
        return {"loss": float(th.stack(losses).mean())} if losses else {}

    def _step(self, observations: PyTorchObs, commands: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """One gradient step on a batch; returns its loss."""
        loss = self.action_head.loss(self(observations, commands), actions)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _batches(
        self, replay_buffer: EpisodicReplayBuffer, n_batches: int, batch_size: int, env: VecNormalize | None
    ) -> Iterator[tuple[Any, th.Tensor, th.Tensor]]:
        """Random batches, cut from large draws, so that the cost of a draw is shared."""
        left = n_batches
        while left > 0:
            n_drawn = min(left, 64)
            observations, commands, actions = self.to_tensors(replay_buffer.sample(n_drawn * batch_size, env))
            if left == n_batches:
                self.update_statistics(observations, commands)
            for start in range(0, n_drawn * batch_size, batch_size):
                rows = slice(start, start + batch_size)
                yield map_observation(lambda tensor: tensor[rows], observations), commands[rows], actions[rows]
            left -= n_drawn
