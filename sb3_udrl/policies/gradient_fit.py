"""How a network learns from the buffer: a number of gradient steps, or to convergence."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import update_learning_rate
from torch.nn.utils import parameters_to_vector

from sb3_udrl.buffers.arrays import map_observation
from sb3_udrl.labels import CommandBatch, Hindsight
from sb3_udrl.policies.action_heads import ActionHead
from sb3_udrl.policies.base import FitOptions, FitReport
from sb3_udrl.policies.gradient_policy import GradientPolicy

_LOOKED_AT = 4096  # examples whose loss is computed at a time
_BATCHES_PER_DRAW = 64  # batches are cut from large draws, so that these share the cost of drawing
Examples = tuple[Any, th.Tensor, th.Tensor]  # observations, commands (n, n_inputs), actions


class GradientFit(GradientPolicy):
    """A behavior function that is a network with an ``action_head``."""

    action_head: ActionHead
    average_weights: bool = True

    @abstractmethod
    def forward(self, observation: PyTorchObs, command: th.Tensor) -> th.Tensor:
        """
        :param observation: a batch, ``(n, *observation_shape)``, or a dictionary of such
        :param command: as the command space makes them for behavior functions, ``(n, n_inputs)``
        :return: parameters of the action distribution, ``(n, n_params)``
        """

    @abstractmethod
    def to_tensors(self, batch: CommandBatch) -> Examples:
        """
        Observations, commands ``(n, n_inputs)`` and actions of a batch, on the device of the network.

        :param batch: a batch of the replay buffer
        """

    @abstractmethod
    def update_statistics(self, observations: PyTorchObs, commands: th.Tensor) -> None:
        """
        Take data into account that is about to be learned from.

        :param observations: as in :meth:`forward`
        :param commands: as in :meth:`forward`
        """

    def fit(self, hindsight: Hindsight, options: FitOptions) -> FitReport:
        """
        Take gradient steps on random batches, and end at the average of the weights over the second half of them, which
        acts more steadily than the last ones (suffix averaging, arXiv 1109.5647, section 4); or go through all episodes
        until held-out ones get no better.

        :param hindsight: what to learn from, at least one episode
        :param options: how
        :raises ValueError: if weights are no longer finite; then they are again as they were before
        """
        self.set_training_mode(True)
        update_learning_rate(self.optimizer, options.learning_rate)
        self.action_head.set_progress(options.progress_remaining)
        if options.patience is not None:
            return self._fit_to_convergence(hindsight, options, options.patience)
        losses, batch, total = [], None, th.zeros(())
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]  # frozen ones stay bit by bit
        before = parameters_to_vector(learned).detach().clone()
        for batch in self._batches(hindsight, options):
            losses.append(self._step(*batch))
            if self.average_weights and len(losses) > options.gradient_steps // 2:
                total = total + parameters_to_vector(learned).detach()
        if batch is None:
            return FitReport(0, {})
        after = parameters_to_vector(learned).detach()
        if self.average_weights:
            after = total / (len(losses) - options.gradient_steps // 2)
        if not after.isfinite().all():
            _set_weights(learned, before)
            self._refuse_weights(options, len(losses))
        if self.average_weights:
            _set_weights(learned, after)
        return FitReport(len(losses), {"loss": float(th.stack(losses).mean()), **self._agreement(batch)})

    def _refuse_weights(self, options: FitOptions, n_steps: int) -> NoReturn:
        self.optimizer.state.clear()
        rate = f"learning_rate={options.learning_rate:g}"
        raise ValueError(f"{rate}: weights were no longer finite after {n_steps} gradient steps: choose a lower one")

    def _step(self, observations: PyTorchObs, commands: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """One gradient step on a batch; returns its loss."""
        return self.gradient_step(self.action_head.loss(self(observations, commands), actions))

    def _batches(self, hindsight: Hindsight, options: FitOptions) -> Iterator[Examples]:
        """Random batches, as many as there are gradient steps."""
        left, size = options.gradient_steps, options.batch_size
        while left > 0:
            n_batches = min(left, _BATCHES_PER_DRAW)
            draw = self.to_tensors(hindsight.sample(n_batches * size, options.normalizer))
            if left == options.gradient_steps:
                self.update_statistics(*draw[:2])
            for start in range(0, n_batches * size, size):
                yield _rows(draw, slice(start, start + size))
            left -= n_batches

    def _fit_to_convergence(self, hindsight: Hindsight, options: FitOptions, patience: int) -> FitReport:
        """Epochs over all training episodes; the weights that did best on the held-out ones are kept."""
        order = hindsight.rng.permutation(hindsight.learned_from())
        n_held_out = int(np.ceil(options.validation_fraction * len(order)))
        # a single episode is both learned from and looked at
        held_out, learned = order[:n_held_out], order[n_held_out:] if len(order) > n_held_out else order
        examples = self.to_tensors(hindsight.transitions(learned, options.normalizer))
        validation = self.to_tensors(hindsight.transitions(held_out, options.normalizer))
        self.update_statistics(*examples[:2])
        n_updates, waited = 0, 0
        best_loss, best_weights, train_loss = float("inf"), copy.deepcopy(self.state_dict()), th.zeros(())
        while n_updates < options.gradient_steps and waited < patience:
            shuffled = th.as_tensor(hindsight.rng.permutation(len(examples[1])), device=self.device)
            for rows in shuffled.split(options.batch_size)[: options.gradient_steps - n_updates]:
                train_loss = self._step(*_rows(examples, rows))
                n_updates += 1
            loss = self._mean_loss(validation)
            waited = 0 if loss < best_loss else waited + 1
            if loss < best_loss:
                best_loss, best_weights = loss, copy.deepcopy(self.state_dict())
        self.load_state_dict(best_weights)
        if n_updates and best_loss == float("inf"):
            self._refuse_weights(options, n_updates)
        metrics = {"loss": float(train_loss), "validation_loss": best_loss, **self._agreement(validation)}
        return FitReport(n_updates, metrics)

    def loss_of(self, batch: CommandBatch) -> float:
        return self._mean_loss(self.to_tensors(batch))

    @th.no_grad()
    def _mean_loss(self, examples: Examples) -> float:
        self.set_training_mode(False)
        total = 0.0
        for rows in th.arange(len(examples[1]), device=self.device).split(_LOOKED_AT):
            observations, commands, actions = _rows(examples, rows)
            total += float(self.action_head.loss(self(observations, commands), actions)) * len(rows)
        self.set_training_mode(True)
        return total / len(examples[1])

    @th.no_grad()
    def _agreement(self, examples: Examples) -> dict[str, float]:
        """How often the most likely action is the one that was taken, or how far it is from that."""
        observations, commands, actions = _rows(examples, slice(0, 4096))
        predicted = self.action_head.mode(self(observations, commands))
        if self.action_head.discrete:
            return {"accuracy": float((predicted == actions).float().mean())}
        return {"mean_abs_error": float((predicted - actions.to(predicted.dtype)).abs().mean())}


def _rows(examples: Examples, rows: slice | th.Tensor | NDArray[Any]) -> Examples:
    observations, commands, actions = examples
    return map_observation(lambda tensor: tensor[rows], observations), commands[rows], actions[rows]


@th.no_grad()
def _set_weights(parameters: list[th.nn.Parameter], weights: th.Tensor) -> None:
    """Give parameters the values of one vector, in their order, ``(n_weights,)``."""
    for parameter, part in zip(parameters, weights.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))
