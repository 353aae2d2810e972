"""The policy that generates policies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import update_learning_rate
from torch import nn

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.policies.base import FitOptions, FitReport
from sb3_udrl.policies.corrected import CorrectedPolicy
from sb3_udrl.policies.gradient_policy import GradientPolicy
from sb3_udrl.spaces.actions import Actions
from sb3_udrl.udrlpg.command import COMMAND_SPACE
from sb3_udrl.udrlpg.export import sb3_policy
from sb3_udrl.udrlpg.generators import generated, make_generator
from sb3_udrl.udrlpg.input_scale import InputScale
from sb3_udrl.udrlpg.network import PolicyNetwork
from sb3_udrl.udrlpg.policy_buffer import PolicyBuffer
from sb3_udrl.udrlpg.return_scale import ReturnScale
from sb3_udrl.udrlpg.spaces import check_flat, count_inputs, flat_inputs


class GeneratorPolicy(GradientPolicy, CorrectedPolicy):
    """
    A network that maps a desired return to the weights of a whole policy, which then acts for an episode
    (arXiv 2501.16288). Generated policies are deterministic.

    :param observation_space: space of one environment, flat
    :param action_space: space of one environment
    :param lr_schedule: learning rate schedule
    :param net_arch: sizes of the hidden layers of generated policies; none, by default, for linear ones
    :param generator: ``"plain"``, one network that puts out all weights, or ``"tiles"``, the paper's
    :param generator_kwargs: its arguments
    :param optimizer_class: optimizer of the generator
    :param optimizer_kwargs: its arguments, except for the learning rate; ``fused=True`` for Adam by default
    :param command_space: the commands that it takes: a return
    :raises NotImplementedError: if observations are not flat
    :raises ValueError: if there is no such generator, or ``net_arch`` is no list of sizes
    """

    draws = False
    best_weights: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        generator: str = "plain",
        generator_kwargs: dict[str, Any] | None = None,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        command_space: CommandSpace | None = None,
    ) -> None:
        check_flat(observation_space)
        if not isinstance(net_arch or [], list | tuple) or not all(isinstance(n, int) and n > 0 for n in net_arch or []):
            raise ValueError(f"net_arch={net_arch!r}: give a list of the sizes of hidden layers, each at least 1")
        super().__init__(
            observation_space,
            action_space,
            command_space=command_space or COMMAND_SPACE,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.net_arch = [] if net_arch is None else net_arch
        self.generator_name, self.generator_kwargs = generator, generator_kwargs
        self.actions = Actions(action_space)
        self.network = PolicyNetwork(count_inputs(observation_space), self.net_arch, self.actions.n_outputs)
        self.generator = make_generator(generator, self.network, generator_kwargs)
        self.input_scale = InputScale(count_inputs(observation_space))
        self.return_scale = ReturnScale()
        self.register_buffer("best_weights", th.zeros(self.network.n_weights))
        self.make_corrections()
        self.make_optimizer(lr_schedule)
        self._last: tuple[Any, NDArray[np.float32]] | None = None  # what was generated last, and for what

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "net_arch": self.net_arch,
            "generator": self.generator_name,
            "generator_kwargs": self.generator_kwargs,
        }

    def generate(self, returns: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """
        Weights of policies for desired returns.

        :param returns: ``(n,)``
        :return: ``(n, n_weights)``
        """
        values = self.return_scale.values_of(np.asarray(returns, dtype=np.float64))
        return generated(self.generator, self.return_scale.inputs(values), self.network)

    def act_with(self, weights: NDArray[np.float32], observations: Any) -> NDArray[Any]:
        """
        Actions of given policies, each in its own environment.

        :param weights: ``(n, n_weights)``
        :param observations: ``(n, *observation_shape)``
        :return: ``(n, *action_shape)``, in the space
        """
        inputs = self.input_scale.standardized(flat_inputs(observations, self.observation_space))
        return self.actions.of(self.network.outputs(weights, inputs))

    def act(
        self, observation: PyTorchObs, command: Command, deterministic: bool = False, temperature: th.Tensor | None = None
    ) -> NDArray[Any]:
        assert isinstance(observation, th.Tensor)
        learned = [*self.generator.parameters(), *self.return_scale.buffers()]
        known = (command["return"].tobytes(), [tensor._version for tensor in learned])
        if self._last is None or self._last[0] != known:  # in an episode, it is the same at every step
            self._last = known, self.generate(command["return"])
        return self.act_with(self._last[1], observation.cpu().numpy())

    def fit(self, hindsight: Any, options: FitOptions) -> FitReport:
        """
        Regress the weights of stored policies on their values.

        :param hindsight: the policies, a :class:`~sb3_udrl.udrlpg.policy_buffer.PolicyBuffer` with at least one
        :param options: how
        """
        policies: PolicyBuffer = hindsight
        update_learning_rate(self.optimizer, options.learning_rate)
        values = policies.values()
        self.return_scale.update(values, policies.returns)
        inputs = th.as_tensor(self.return_scale.inputs(values), device=self.device)
        targets = th.as_tensor(policies.weights / self.network.scale, device=self.device)
        losses = []
        for rows in th.as_tensor(policies.draws(options.gradient_steps, options.batch_size), device=self.device):
            losses.append(self.gradient_step(nn.functional.mse_loss(self.generator(inputs[rows]), targets[rows])))
        return FitReport(len(losses), {"loss": float(th.stack(losses).mean())} if losses else {})

    def remember_best(self, policies: PolicyBuffer) -> None:
        """
        Keep the policy of the highest value.

        :param policies: at least one
        """
        self.best_weights.copy_(th.from_numpy(policies.weights[policies.values().argmax()]))

    def generate_policy(self, desired_return: float) -> ActorCriticPolicy:
        """
        The policy for a return, as an ordinary policy of SB3 that works without this package.

        :param desired_return: of a whole episode
        :raises ValueError: if it is not finite
        :raises NotImplementedError: if policies of SB3 do not know the spaces
        """
        asked = self.initial_command(1, desired_return, deterministic=True)["return"]
        return self._sb3_policy(self.generate(asked)[0])

    def best_policy(self) -> ActorCriticPolicy:
        """
        The best policy that was met, as an ordinary policy of SB3.

        :raises ValueError: if nothing was learned yet
        """
        if not self.best_weights.any():
            raise ValueError("this model has met no policy yet: train it")
        return self._sb3_policy(self.best_weights.cpu().numpy())

    def _sb3_policy(self, weights: NDArray[np.float32]) -> ActorCriticPolicy:
        return sb3_policy(self.network, weights, self.input_scale, self.observation_space, self.action_space)
