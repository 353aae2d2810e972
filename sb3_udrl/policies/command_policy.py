"""The behavior function as a neural network: features of the observation, conditioned on the command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import obs_as_tensor
from torch import nn

from sb3_udrl.buffers.arrays import map_observation, to_tensor
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.labels import CommandBatch
from sb3_udrl.policies.action_heads import GaussianHead, make_action_head
from sb3_udrl.policies.base import Actor, Noise
from sb3_udrl.policies.conditioning import ConditionedMlp
from sb3_udrl.policies.features import PartsExtractor, joined, preprocess, replaced, suitable_features_extractor, vector_parts
from sb3_udrl.policies.gradient_fit import Examples, GradientFit
from sb3_udrl.policies.numpy_actor import numpy_actor, numpy_network
from sb3_udrl.policies.standardize import Standardizer
from sb3_udrl.policies.standardize_commands import CommandStandardizer

SelfPolicy = TypeVar("SelfPolicy", bound="CommandPolicy")


class CommandPolicy(GradientFit):
    """
    Neural behavior function (arXiv 1912.02877, section 3.2).

    :param observation_space: Box, Discrete, MultiDiscrete, MultiBinary, images, or a Dict of these
    :param action_space: Discrete, MultiDiscrete, MultiBinary or Box of any shape
    :param lr_schedule: learning rate by remaining progress
    :param net_arch: sizes of the hidden layers after the features extractor
    :param activation_fn: non-linearity of the hidden layers
    :param conditioning: how the command enters: ``"gating"`` (every layer), ``"first_gating"``, ``"prelu"``,
        ``"bilinear"``, ``"concat"``, ``"concat_gating"``, ``"linear"`` (behind the last layer) or ``"masked"`` (no command)
    :param return_scale: factor on desired returns; by default they are standardized by the data
    :param horizon_scale: factor on desired horizons; by default they are standardized by the data
    :param box_head: distribution of continuous actions: ``"gaussian"``, ``"squashed"``, ``"beta"`` or ``"discretized"``;
        by default the last where the space is bounded, the first elsewhere
    :param box_head_kwargs: its arguments: ``min_std`` and ``final_min_std`` for the first two, ``n_bins`` for the last
    :param ortho_init: orthogonal initial weights
    :param standardize_observations: standardize the numbers of observations, parts of a Dict that are Boxes and no images, by
        the data
    :param average_weights: end each training at the average of the weights over its second half, not at the last ones
    :param features_extractor_class: by default chosen from the observation space:
        ``NatureCNN`` for images, ``SmallCNN`` for those below 64 by 64 pixels, ``PartsExtractor`` for Dict, which reads its
        images in the same way, else ``FlattenExtractor``
    :param features_extractor_kwargs: its arguments
    :param normalize_images: divide images by 255
    :param optimizer_class: optimizer of all parameters
    :param optimizer_kwargs: its arguments, except for the learning rate; ``fused=True`` for Adam by default
    :param command_space: the commands that it takes; by default a return within a horizon
    """

    exported_as = "network"
    default_features_extractor: ClassVar[type[BaseFeaturesExtractor] | None] = None

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        conditioning: str = "gating",
        return_scale: float | None = None,
        horizon_scale: float | None = None,
        box_head: str | None = None,
        box_head_kwargs: dict[str, Any] | None = None,
        ortho_init: bool = True,
        standardize_observations: bool = True,
        average_weights: bool = True,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        command_space: CommandSpace | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class or self.default_features_extractor or suitable_features_extractor(observation_space),
            features_extractor_kwargs,
            command_space=command_space,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        if isinstance(net_arch, dict):
            raise ValueError(f"net_arch={net_arch}: give a list of the sizes of hidden layers, for the only network")
        self.net_arch = [128, 128] if net_arch is None else net_arch
        self.activation_fn, self.ortho_init = activation_fn, ortho_init
        self.conditioning, self.return_scale, self.horizon_scale = conditioning, return_scale, horizon_scale
        self.box_head, self.box_head_kwargs = box_head, box_head_kwargs
        self.standardize_observations, self.average_weights = standardize_observations, average_weights

        self.features_extractor = self.make_features_extractor()
        n_inputs = len(self.command_space.input_names)
        self.trunk = ConditionedMlp(self.features_extractor.features_dim, self.net_arch, activation_fn, conditioning, n_inputs)
        self.action_head = make_action_head(self.trunk.latent_dim, action_space, box_head, box_head_kwargs)
        self.feature_standardizer = self._make_feature_standardizer()
        self.command_standardizer = CommandStandardizer(self.command_space)
        if ortho_init:
            self.features_extractor.apply(lambda module: self.init_weights(module, gain=np.sqrt(2)))
            self.trunk.apply(lambda module: self.init_weights(module, gain=np.sqrt(2)))
            for layer in self.trunk.conditioned_layers():  # else a constant input, standardized to zero, gets past no ReLU
                nn.init.uniform_(layer.linear.bias, -0.1, 0.1)
            self.init_weights(self.action_head.linear, gain=0.01)
        self.make_optimizer(lr_schedule)

    @property
    def reads_vectors(self) -> bool:
        """Whether the features are the observation itself."""
        space = self.observation_space
        return len(self.vector_keys) == (len(space.spaces) if isinstance(space, spaces.Dict) else 1)

    @cached_property
    def vector_keys(self) -> list[str]:
        """Parts of the observation whose numbers are features as they are; learned features set their own scale."""
        if self.features_extractor_class not in (FlattenExtractor, CombinedExtractor, PartsExtractor):
            return []
        return list(vector_parts(self.observation_space, bool(self.features_extractor_kwargs.get("normalized_image"))))

    def _make_feature_standardizer(self) -> nn.Module:
        parts = vector_parts(self.observation_space)
        n_numbers = sum(int(np.prod(parts[key].shape)) for key in self.vector_keys)
        return Standardizer(n_numbers) if self.standardize_observations and n_numbers else nn.Identity()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        whole = f"{prefix}command_standardizer.mean" in state_dict
        if whole and f"{prefix}feature_standardizer.mean" not in state_dict:  # a file from when other parts prevented it
            self.feature_standardizer = nn.Identity()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "conditioning": self.conditioning,
            "return_scale": self.return_scale,
            "horizon_scale": self.horizon_scale,
            "box_head": self.box_head,
            "box_head_kwargs": self.box_head_kwargs,
            "ortho_init": self.ortho_init,
            "standardize_observations": self.standardize_observations,
            "average_weights": self.average_weights,
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
            "normalize_images": self.normalize_images,
        }

    def forward(self, observation: PyTorchObs, command: th.Tensor) -> th.Tensor:
        return self.action_head(self.trunk(self._features(observation), self._command_input(command)))

    def _features(self, observation: PyTorchObs) -> th.Tensor:
        prepared = preprocess(observation, self.observation_space, self.normalize_images)
        if isinstance(self.feature_standardizer, Standardizer):
            vectors = self.feature_standardizer(joined(observation, self.vector_keys))
            prepared = replaced(prepared, self.vector_keys, vectors)
        return self.features_extractor(prepared)

    def _command_input(self, command: th.Tensor) -> th.Tensor:
        standardized = self.command_standardizer(command)
        if self.command_space.partial:  # what is not asked for is as usual
            standardized = standardized.masked_fill(standardized.isnan(), 0.0)
        for column, scale in self.fixed_scales():
            standardized[:, column] = (command[:, column] * scale).nan_to_num()
        return standardized

    def fixed_scales(self) -> list[tuple[int, float]]:
        """Columns of the command that are scaled by a given factor instead of being standardized, with that factor."""
        scales = {"return": self.return_scale, "horizon": self.horizon_scale}
        names = self.command_space.input_names
        return [(names.index(name), scale) for name, scale in scales.items() if scale is not None and name in names]

    def act(
        self, observation: PyTorchObs, command: Command, deterministic: bool = False, temperature: th.Tensor | None = None
    ) -> NDArray[Any]:
        with th.no_grad():
            params = self.guided(lambda asked: self(observation, self.command_tensor(asked)), command)
            if deterministic:
                actions = self.action_head.mode(params)
            else:
                actions = self.action_head.sample(params, self._one if temperature is None else temperature)
        return actions.cpu().numpy()

    @classmethod
    def obedient_arguments(cls, action_space: spaces.Space[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Measured: the command as an input besides the gates, and for continuous actions a wide network that is certain."""
        masked = kwargs.get("conditioning") == "masked"  # behavior cloning: neither function sees commands
        own: dict[str, Any] = {"conditioning": "masked" if masked else "concat_gating"}
        if isinstance(action_space, spaces.Box):
            size = kwargs.get("net_arch", [256, 256])  # who chooses one means both
            own |= {"net_arch": size, "box_head": "gaussian", "box_head_kwargs": {"min_std": 0.05}}
        taken = inspect.signature(cls).parameters  # classes of users may set some by themselves
        return {**kwargs, **{name: value for name, value in own.items() if name in taken}}

    def guided(self, network: Callable[[Command], Any], command: Command) -> Any:
        """
        Parameters of the action distribution, moved by ``guidance`` from those where nothing is asked for along the
        difference that the command makes (arXiv 2505.23458).

        :param network: from commands to parameters, ``(n, n_params)``
        :param command: ``n`` rows
        """
        guidance = self.guidance
        if guidance == 1:
            return network(command)
        unasked = network(self.command_space.nothing(len(command)))
        return unasked + guidance * (network(command) - unasked)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.keys()
        if own & {"forward", "_features", "_command_input"} and "numpy_network" not in own:
            cls.numpy_network = _torch_only  # type: ignore[method-assign,assignment]

    def networks(self) -> list[nn.Module]:
        return [self.trunk]

    def noise_dims(self) -> int:
        return self.action_head.noise_dims

    def numpy_network(self) -> Callable[[Any, Command], Any] | None:
        """
        The network as a function in numpy, by its weights as they are now, fast for few rows; None if it has parts that only
        PyTorch knows.
        """
        layers = self.trunk.numpy_twins() if self.reads_vectors else None
        return None if layers is None else numpy_network(self, layers)

    def actor(self, rng: np.random.Generator, noise: Noise | None = None) -> Actor:
        network = self.numpy_network()
        if noise is not None:
            return self._noisy_actor(network or self._torch_network, noise)
        return super().actor(rng) if network is None else numpy_actor(self, network, rng)

    def _noisy_actor(self, network: Callable[[Any, Command], Any], noise: Noise) -> Actor:
        """As :meth:`actor`, with given draws instead of its own; where actions are normally distributed."""
        head = cast(GaussianHead, self.action_head)

        @th.no_grad()
        def draw(observations: Any, command: Command, temperature: NDArray[np.float32]) -> NDArray[Any]:
            params = th.as_tensor(network(observations, command), device=self.device)
            return head.from_noise(params, th.as_tensor(temperature * noise(observations), device=self.device)).cpu().numpy()

        return draw

    def _torch_network(self, observations: Any, command: Command) -> th.Tensor:
        return self(obs_as_tensor(observations, self.device), self.command_tensor(command))

    @property
    def _one(self) -> th.Tensor:
        return th.ones((1, 1), device=self.device)

    def command_tensor(self, command: Command) -> th.Tensor:
        """
        What :meth:`forward` takes.

        :param command: one row per observation, in raw units
        :return: ``(n, n_inputs)``, on the device of the network
        """
        return th.from_numpy(self.command_space.inputs(command)).to(self.eval_command.device)

    def to_tensors(self, batch: CommandBatch) -> Examples:
        return (
            map_observation(lambda rows: to_tensor(rows, self.device), batch.observations),
            self.command_tensor(batch.command),
            to_tensor(batch.actions, self.device),
        )

    @th.no_grad()
    def update_statistics(self, observations: PyTorchObs, commands: th.Tensor) -> None:
        self.command_standardizer.update(commands)
        if isinstance(self.feature_standardizer, Standardizer):
            self.feature_standardizer.update(joined(observations, self.vector_keys))


def _torch_only(policy: CommandPolicy) -> Callable[[Any, Command], Any] | None:
    return None


class MlpPolicy(CommandPolicy):
    """``CommandPolicy`` that flattens its observations, as SB3's ``MlpPolicy`` does, images too."""

    default_features_extractor = FlattenExtractor


class CnnPolicy(CommandPolicy):
    """``CommandPolicy`` that reads images by SB3's ``NatureCNN``."""

    default_features_extractor = NatureCNN


class MultiInputPolicy(CommandPolicy):
    """``CommandPolicy`` that combines the parts of a Dict, images by convolutional networks."""

    default_features_extractor = PartsExtractor
