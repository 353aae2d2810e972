"""VizDoom's Take Cover: survive fireballs by stepping aside, seen as small grey pictures (extra ``vizdoom``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

_INSTALL = 'TakeCover-v0 needs vizdoom and pillow: pip install "sb3-udrl[vizdoom]"'


def make_take_cover(render_mode: str | None = None) -> gym.Env[dict[str, Any], np.int64]:
    """
    VizDoom's own environment with a grey screen of 160 by 120 pixels; ``TakeCover-v0`` shrinks it by :class:`SmallScreen`.

    :param render_mode: ``"rgb_array"``, ``"human"`` or None
    :raises ImportError: if vizdoom is missing
    """
    try:
        from vizdoom.gymnasium_wrapper.gymnasium_env_defns import VizdoomScenarioEnv
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    Path("_vizdoom").mkdir(exist_ok=True)  # VizDoom makes it too, and fails if another process does so at the same time
    return VizdoomScenarioEnv(
        "take_cover.cfg",
        max_buttons_pressed=1,
        render_mode=render_mode,
        screen_format="GRAY8",
        screen_resolution="RES_160X120",
        doom_config_path=os.devnull,  # else it reads and writes _vizdoom.ini in the current folder
    )


class SmallScreen(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """
    Of what a VizDoom environment shows, the grey screen alone, as ``(size, size, 1)`` pixels, each a mean over its area.

    :param env: a VizDoom environment with ``screen_format="GRAY8"``
    :param size: width and height in pixels
    :raises ImportError: if Pillow is missing
    """

    def __init__(self, env: gym.Env[Any, Any], size: int = 32) -> None:
        try:
            from PIL import Image
        except ImportError as error:
            raise ImportError(_INSTALL) from error
        RecordConstructorArgs.__init__(self, size=size)
        gym.ObservationWrapper.__init__(self, env)
        self.size, self._image = size, Image
        self.observation_space = spaces.Box(0, 255, (size, size, 1), np.uint8)

    def observation(self, observation: dict[str, Any]) -> NDArray[np.uint8]:
        """
        :param observation: of VizDoom, with ``"screen"`` of shape ``(height, width, 1)``
        :return: the picture, ``(size, size, 1)``
        """
        screen = self._image.fromarray(observation["screen"][..., 0])
        return np.asarray(screen.resize((self.size, self.size), self._image.Resampling.BOX))[..., None]
