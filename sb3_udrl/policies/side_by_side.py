"""Two behavior functions in one policy: one that strives for more than usual, and one that obeys."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from sb3_udrl.buffers.arrays import map_observation
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies.base import Actor, BehaviorPolicy, Deciding, FitOptions, FitReport, Noise
from sb3_udrl.policies.corrected import CorrectedPolicy


class SideBySide(CorrectedPolicy):
    """
    Takes every kind of command. "Better than usual" is learned by one behavior function from recent episodes, as with
    relative commands alone. Returns, horizons and what else can be asked for are obeyed by another one, which learns from an
    archive of episodes of all returns. In one network the two kinds disturb each other.

    What is asked for decides row by row: the second one acts where anything but an advantage is asked for. Of these rows
    :class:`~sb3_udrl.commands.experience.Experience` fills in what they leave open, and turns an advantage into a higher
    return. Rows that ask for nothing do as usual.

    :param observation_space: as for ``make``
    :param action_space: as for ``make``
    :param lr_schedule: learning rate by remaining progress
    :param command_space: an advantage and further parts
    :param make: the class of both, such as ``CommandPolicy``
    :param obedient_kwargs: arguments of the second one that differ
    :param obedient_temperature: how freely the second one draws actions, where they are drawn
    :param kwargs: arguments of both
    """

    obedient_temperature: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        command_space: CommandSpace,
        make: type[BehaviorPolicy],
        obedient_kwargs: dict[str, Any] | None = None,
        obedient_temperature: float = 0.7,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, command_space=command_space)
        others = [part for part in command_space.parts if part.name != "advantage"]
        self.striving = make(observation_space, action_space, lr_schedule, command_space=CommandSpace(["advantage"]), **kwargs)
        with th.random.fork_rng(devices=[]):  # draws go on as if the first one was alone
            self.obedient = make(
                observation_space,
                action_space,
                lr_schedule,
                command_space=CommandSpace(others),
                **{**make.obedient_arguments(action_space, kwargs), **(obedient_kwargs or {})},
            )
        self.make, self.obedient_kwargs, self.kwargs = make, obedient_kwargs, kwargs
        self.obedient.experience = self.experience  # one and the same
        self.register_buffer("obedient_temperature", th.tensor(float(obedient_temperature)))
        self.make_corrections()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "make": self.make,
            "obedient_kwargs": self.obedient_kwargs,
            "obedient_temperature": float(self.obedient_temperature),
            **self.kwargs,
        }

    @property
    def guidance(self) -> float:
        return self.obedient.guidance

    @guidance.setter
    def guidance(self, guidance: float) -> None:
        self.obedient.guidance = guidance

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        return {
            f"{name}.{inner}": optimizer
            for name in ("striving", "obedient")
            for inner, optimizer in getattr(self, name).optimizers.items()
        }

    def networks(self) -> list[th.nn.Module]:
        return [*self.striving.networks(), *self.obedient.networks()]

    def deciding(self) -> list[Deciding]:
        obedient = Deciding("obedient", self.obedient, float(self.obedient_temperature))
        return [Deciding("striving", self.striving, 1.0), obedient]

    def decides_under(self, command: Command) -> BehaviorPolicy:
        return self.obedient if self.asks_to_obey(command)[0] else self.striving

    @property
    def explorer(self) -> BehaviorPolicy:
        return self.striving

    def asks_to_obey(self, command: Command) -> NDArray[np.bool_]:
        """
        Which rows ask for anything but an advantage, ``(n,)``.

        :param command: ``n`` rows
        """
        return np.logical_or.reduce([command.asks_for(name) for name in self.obedient.command_space.names])

    def fit(self, hindsight: Hindsight, options: FitOptions) -> FitReport:
        """
        Let the first one learn; the second one learns from the archive.

        :param hindsight: recent episodes
        :param options: how
        """
        return self.striving.fit(hindsight, options)

    def act(
        self, observation: PyTorchObs, command: Command, deterministic: bool = False, temperature: th.Tensor | None = None
    ) -> NDArray[Any]:
        obeys = self.asks_to_obey(command)
        if not obeys.any():
            return self.striving.act(observation, command, deterministic, temperature)
        own = self.obedient_temperature.expand(len(obeys), 1) if temperature is None else temperature
        if obeys.all():
            return self.obedient.act(observation, command, deterministic, own)
        parts = []
        for policy, rows, freely in ((self.striving, ~obeys, temperature), (self.obedient, obeys, own)):
            chosen = th.as_tensor(rows, device=self.device)
            some = map_observation(lambda part, chosen=chosen: part[chosen], observation)
            of_rows = None if freely is None else freely[chosen]
            parts.append(policy.act(some, command.rows(rows), deterministic, of_rows))
        places = np.concatenate([np.flatnonzero(~obeys), np.flatnonzero(obeys)])
        return np.concatenate(parts)[np.argsort(places)]

    def noise_dims(self) -> int:
        return self.striving.noise_dims()

    def actor(
        self, rng: np.random.Generator, noise: Noise | None = None, obedient_rng: np.random.Generator | None = None
    ) -> Actor:
        """
        As for every behavior function, with draws that do not disturb each other.

        :param rng: source of randomness of the first one
        :param noise: draws to take instead of the first one's own
        :param obedient_rng: source of randomness of the second one, by default the same
        """
        strive, obey = self.striving.actor(rng, noise), self.obedient.actor(obedient_rng or rng)

        def draw(observations: Any, command: Command, temperature: NDArray[np.float32]) -> NDArray[Any]:
            obeys = self.asks_to_obey(command)
            actions = strive(observations, command, temperature)
            if obeys.any():
                some = map_observation(lambda part: part[obeys], observations)
                actions[obeys] = obey(some, command.rows(obeys), temperature[obeys])
            return actions

        return draw
