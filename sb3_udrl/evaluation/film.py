"""Films of episodes: their pictures, side by side, as GIF and MP4."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.tracking import track
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm

Picture = NDArray[np.uint8]  # (height, width, 3)

_MOST_STEPS = 1_000  # of each episode


class Film(NamedTuple):
    """
    An episode that was filmed.

    :param pictures: one per step, from the first observation on, each ``(height, width, 3)``
    :param got: its return
    """

    pictures: list[Picture]
    got: float


def film(model: CommandedAlgorithm, env: VecEnv, command: Command, deterministic: bool) -> Film:
    """
    Film one episode of the first environment; the others play along.

    :param model: the model
    :param env: renders arrays
    :param command: one row
    :param deterministic: the most likely actions instead of draws
    :raises ValueError: if the environment does not render arrays
    """
    if env.render_mode != "rgb_array":
        raise ValueError(f'env renders {env.render_mode!r}: films need arrays, env_kwargs={{"render_mode": "rgb_array"}}')
    command = command.rows(np.zeros(env.num_envs, dtype=np.int64))
    observations: Any = env.reset()
    state, starts, got = None, np.ones(env.num_envs, dtype=bool), 0.0
    pictures = [_picture(env)]
    with track(env) as heard:
        for _ in range(_MOST_STEPS):
            actions, state = model.predict(observations, state, starts, deterministic, command=command)
            observations, _, starts, _ = env.step(actions)
            got += float(heard.rewards[0])
            if starts[0]:  # what is seen now is the next episode
                break
            pictures.append(_picture(env))
    return Film(pictures, got)


def _picture(env: VecEnv) -> Picture:
    return np.asarray(env.env_method("render", indices=[0])[0], dtype=np.uint8)  # get_images() would draw all of them


def steps_per_second(env: VecEnv) -> float:
    """
    How fast an environment plays in real time; 30 where it does not say.

    :param env: any environment
    """
    fps: Any = env.metadata.get("render_fps")
    return float(fps or 30)


def side_by_side(films: Sequence[Sequence[Picture]], titles: Sequence[str], height: int = 160) -> list[Picture]:
    """
    Films beside each other, each under its title; who ends first shows the last picture, darker, until all have ended.

    :param films: pictures of each
    :param titles: a text above each
    :param height: of the pictures, in pixels
    """
    from PIL import Image, ImageDraw, ImageFont

    bar, font, frames = 20, ImageFont.load_default(12), []
    small = [[_resized(picture, height) for picture in pictures] for pictures in films]
    widths = [pictures[0].shape[1] for pictures in small]
    for step in range(max(map(len, small))):
        canvas = Image.new("RGB", (sum(widths), height + bar), "white")
        left = 0
        for pictures, title, width in zip(small, titles, widths, strict=True):
            picture = pictures[step] if step < len(pictures) else (pictures[-1] * 0.5).astype(np.uint8)
            canvas.paste(Image.fromarray(picture), (left, bar))
            ImageDraw.Draw(canvas).text((left + 4, 2), title, fill="black", font=font)
            left += width
        frames.append(np.asarray(canvas))
    return frames


def _resized(picture: Picture, height: int) -> Picture:
    from PIL import Image

    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height)))


def to_jpeg(picture: Picture, most_pixels: int = 600) -> bytes:
    """
    A picture as a small file.

    :param picture: ``(height, width, 3)``
    :param most_pixels: greatest width or height; larger pictures are made smaller
    """
    from PIL import Image

    image, stream = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((most_pixels, most_pixels))
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def from_jpeg(file: bytes) -> Picture:
    """
    The inverse of :func:`to_jpeg`.

    :param file: its content
    """
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def write_gif(pictures: Sequence[Picture], path: str | Path, fps: float, most_fps: float = 15) -> None:
    """
    Write a GIF. It keeps time, and leaves pictures out where there are more per second than such files show.

    :param pictures: one per step
    :param path: file to write
    :param fps: steps per second
    :param most_fps: pictures per second that are kept at most
    :raises ValueError: if there are no pictures
    """
    from PIL import Image

    if not pictures:
        raise ValueError("pictures is empty: there is nothing to write")
    every = max(1, round(fps / most_fps))
    first, *others = [Image.fromarray(picture).quantize(64) for picture in pictures[::every]]
    duration = round(1000 * every / fps)
    first.save(path, "GIF", save_all=True, append_images=others, duration=duration, loop=0, optimize=True)


def write_mp4(pictures: Sequence[Picture], path: str | Path, fps: float) -> None:
    """
    Write an MP4.

    :param pictures: one per step
    :param path: file to write
    :param fps: pictures per second
    :raises ImportError: if moviepy is missing
    :raises ValueError: if there are no pictures
    """
    try:
        from moviepy import ImageSequenceClip
    except ImportError as error:
        raise ImportError("videos need moviepy: pip install moviepy") from error
    if not pictures:
        raise ValueError("pictures is empty: there is nothing to write")
    clip: Any = ImageSequenceClip([_even(picture) for picture in pictures], fps=fps)
    clip.write_videofile(str(path), codec="libx264", audio=False, logger=None)


def _even(picture: Picture) -> Picture:
    """Width and height as most players need them."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
