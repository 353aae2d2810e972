"""One episode that is being played: step by step, with what is still asked for and what was achieved."""

from __future__ import annotations

import csv
import io
import itertools
import threading
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.commands.command import Command, CommandLike
from sb3_udrl.commands.parts import Step
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.film import to_jpeg

_numbers = itertools.count()
_drawing = threading.Lock()  # PyTorch's generator belongs to all tabs


class Moment(NamedTuple):
    """
    A step of the episode.

    :param observation: as the policy saw it, ``(1, *observation_shape)``
    :param command: what was still asked for, a value per part, NaN where it is not asked for, ``(n_parts,)``
    :param action: what was done, ``action_shape``
    :param amounts: what the step brought, by part
    """

    observation: Observation
    command: NDArray[np.float64]
    action: NDArray[Any]
    amounts: dict[str, float]


class Outcome(NamedTuple):
    """
    What was asked for of one part, and what came of it since.

    :param part: its name
    :param asked: desired value
    :param got: achieved value
    """

    part: str
    asked: float
    got: float


class PlayedEpisode:
    """
    An episode of a model, which can be stepped, and asked for something else on the way.

    :param model: the model
    :param env: a vectorized environment with one environment in it
    :param command: what is asked for, as for ``predict``; None for the model's own
    :param seed: of the environment and of drawn actions; the same seed is the same start
    :param films: whether pictures are kept
    :raises ValueError: if the model does not take such commands, or there are several environments
    """

    def __init__(
        self, model: CommandedAlgorithm, env: VecEnv, command: CommandLike | None = None, seed: int = 0, films: bool = True
    ) -> None:
        if env.num_envs != 1:
            raise ValueError(f"env has {env.num_envs} environments: give one")
        self.model, self.env, self.seed, self.films = model, env, seed, films
        self.number = next(_numbers)  # tells the episodes of this process apart
        self.moments: list[Moment] = []
        self.pictures: list[bytes] = []  # as JPEG
        self.filmed: list[int] = []  # the step that each of them shows
        self.ended = False
        self.stepping = threading.RLock()  # a click begins a thread while the one before may still step
        self._asked_at = 0  # step since which the present command stands
        self._command = self._checked(command)
        self._state: Any = None
        self._last: tuple[Any, Any] = (None, None)  # rewards and infos of the last step
        with _drawing, th.random.fork_rng(devices=[]):
            th.manual_seed(seed)
            self._draws = th.get_rng_state()
        env.seed(seed)
        self._observation: Any = env.reset()
        self._film()

    def _checked(self, command: CommandLike | None) -> Command:
        return self.model.policy.own_command() if command is None else self.model.command_space.make(command, 1)

    @property
    def command(self) -> Command:
        """What was asked for last, one row."""
        return self._command

    def ask(self, command: CommandLike | None) -> None:
        """
        Ask for something else from here on.

        :param command: as for ``predict``: what is to come of the rest of the episode
        :raises ValueError: if the model does not take such commands; then the former one stands
        """
        self._command, self._state, self._asked_at = self._checked(command), None, len(self.moments)

    def step(self, deterministic: bool, filmed: bool = True) -> None:
        """
        Play one step; none if the episode has ended.

        :param deterministic: the most likely action instead of a draw
        :param filmed: keep a picture, where pictures are kept
        """
        with self.stepping:
            if not self.ended:
                self._step(deterministic, filmed)

    def _step(self, deterministic: bool, filmed: bool) -> None:
        starts = np.array([self._state is None])
        reward, info = (None, None) if self._state is None else self._last
        with _drawing, th.random.fork_rng(devices=[]):
            th.set_rng_state(self._draws)
            actions, self._state = self.model.predict(
                self._observation, self._state, starts, deterministic, command=self._command, reward=reward, info=info
            )
            self._draws = th.get_rng_state()
        before = map_observation(np.copy, self._observation)
        self._observation, rewards, dones, infos = self.env.step(actions)
        self._last = (rewards, infos)
        amounts = {
            "return": float(rewards[0]),
            "horizon": 1.0,
            **{name: float(rows[0]) for name, rows in self.model.command_space.amounts(Step(rewards, infos)).items()},
        }
        self.moments.append(Moment(before, np.array(self._state[0][0], dtype=np.float64), actions[0].copy(), amounts))
        self.ended = bool(dones[0])
        if filmed and not self.ended:  # what is seen after the end is the next episode
            self._film()

    def _film(self) -> None:
        if self.films:
            self.pictures.append(to_jpeg(np.asarray(self.env.get_images()[0], dtype=np.uint8)))
            self.filmed.append(len(self.moments))

    def achieved(self, part: str = "return") -> NDArray[np.float64]:
        """
        What the episode came to so far, after every step.

        :param part: its name
        :return: ``(n_steps,)``
        """
        return np.cumsum([moment.amounts[part] for moment in self.moments])

    def remaining(self) -> dict[str, NDArray[np.float64]]:
        """What was still asked for before every step, by part, each ``(n_steps,)``; NaN where it was not asked for."""
        names = self.model.command_space.names
        rows = np.array([moment.command for moment in self.moments]).reshape(-1, len(names))
        return {name: rows[:, i] for i, name in enumerate(names)}

    def outcomes(self) -> list[Outcome]:
        """Asked against got, since the present command stands, for all that was asked for and can be counted."""
        since = self.moments[self._asked_at :]
        return [
            Outcome(part.name, float(self._command[part.name][0]), float(sum(m.amounts[part.name] for m in since)))
            for part in self.model.command_space.parts
            if part.measured and self._command.asks_for(part.name)[0]
        ]

    def table(self) -> dict[str, list[float]]:
        """The episode as columns of equal length: the step, what was still asked for, action, reward, achieved return."""
        columns: dict[str, list[float]] = {"step": list(range(len(self.moments)))}
        columns |= {f"desired {name}": values.tolist() for name, values in self.remaining().items()}
        actions = np.array([np.ravel(moment.action) for moment in self.moments]).reshape(len(self.moments), -1)
        for i in range(actions.shape[1]):
            columns["action" if actions.shape[1] == 1 else f"action {i}"] = actions[:, i].tolist()
        columns["reward"] = [moment.amounts["return"] for moment in self.moments]
        columns["achieved return"] = self.achieved().tolist()
        return columns

    def to_csv(self) -> str:
        """The table as text with a header; what was not asked for is empty."""
        text = io.StringIO()
        writer = csv.writer(text)
        columns = self.table()
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(["" if np.isnan(value) else value for value in row])
        return text.getvalue()
