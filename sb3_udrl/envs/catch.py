"""Catch: a ball falls, a paddle moves, seen as pixels."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

_CELL = 4  # pixels per cell


class CatchEnv(gym.Env[NDArray[np.uint8], np.int64]):
    """
    Catch a falling ball: +1 if the paddle is below it when it lands, -1 if not, nothing before.

    The observation is a picture of ``4 * size`` by ``4 * size`` grey pixels, the actions are left, stay and right. An
    episode takes ``size - 1`` steps.

    :param size: width and height of the field in cells, at least 9 (36 pixels, what SB3's ``NatureCNN`` needs)
    :param render_mode: ``"rgb_array"`` or None
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, size: int = 10, render_mode: str | None = None) -> None:
        if size < 9:
            raise ValueError(f"size={size}: must be at least 9 cells")
        self.size, self.render_mode = size, render_mode
        self.observation_space = spaces.Box(0, 255, (_CELL * size, _CELL * size, 1), np.uint8)
        self.action_space = spaces.Discrete(3)
        self.ball_row = self.ball_column = self.paddle = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """
        Drop a new ball from a random column of the top row.

        :param seed: seed of the columns
        :param options: not used
        """
        super().reset(seed=seed)
        self.ball_row = 0
        self.ball_column = int(self.np_random.integers(self.size))
        self.paddle = self.size // 2
        return self._picture(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """
        Move the paddle and let the ball fall by a cell.

        :param action: 0 left, 1 stay, 2 right
        """
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, self.size - 1))
        self.ball_row += 1
        landed = self.ball_row == self.size - 1
        reward = (1.0 if self.paddle == self.ball_column else -1.0) if landed else 0.0
        return self._picture(), reward, landed, False, {}

    def render(self) -> NDArray[np.uint8]:
        """The observation in colors, ``(4 * size, 4 * size, 3)``."""
        return np.repeat(self._picture(), 3, axis=2)

    def _picture(self) -> NDArray[np.uint8]:
        cells = np.zeros((self.size, self.size), dtype=np.uint8)
        cells[-1, self.paddle] = 128
        cells[self.ball_row, self.ball_column] = 255
        return np.kron(cells, np.ones((_CELL, _CELL), dtype=np.uint8))[:, :, None]
