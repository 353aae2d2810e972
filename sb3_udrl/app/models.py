"""The models of a folder, and how they are opened: the safe way, with a line that says why where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.command_line import DEFAULT_ALGO, MISTAKES
from sb3_udrl.evaluation.environments import (
    KNOWN_PACKAGES,
    Settings,
    make_evaluation_env,
    one_line,
    read_yaml,
    settings_beside,
    untrusted_code,
)
from sb3_udrl.hub.__main__ import zoo_command

GALLERY = Path(__file__).with_name("gallery")


class Listed(NamedTuple):
    """
    A model of the folder, not loaded yet.

    :param name: its path within the folder, without the suffix
    :param path: the file
    :param algo: name of its algorithm
    :param settings: how its environment is made; without an id if nothing beside the model says so
    :param made_by: the command that made it, if that is noted
    """

    name: str
    path: Path
    algo: str
    settings: Settings
    made_by: str | None


class Opened(NamedTuple):
    """
    A model with one environment to watch it in.

    :param model: the model, on the CPU
    :param env: a vectorized environment with one environment in it
    :param env_id: its id
    :param no_picture: why it cannot be shown; None if it can
    """

    model: CommandedAlgorithm
    env: VecEnv
    env_id: str
    no_picture: str | None


class CannotOpen(Exception):
    """A model that cannot be shown; the text says why and what to do."""


def list_models(folder: Path) -> list[Listed]:
    """
    All models of a folder and of the folders in it, by name. How the environment is made is noted by the Zoo beside the
    model, or as ``env_id`` in a ``.json`` file of the same name, or in ``results.json``, which the Hub gets.

    :param folder: where to look
    """
    return [_listed(folder, path) for path in sorted(folder.rglob("*.zip"))]


def _listed(folder: Path, path: Path) -> Listed:
    name = path.relative_to(folder).with_suffix("").as_posix()
    noted = _noted(path)
    try:
        settings, beside = settings_beside(path)
        args = {} if beside is None else read_yaml(beside / "args.yml")
    except ValueError:
        settings, args = Settings(), {}
    made_by = noted.get("made_by") or (zoo_command(args) if args else None)
    if settings.env_id is None and noted.get("env_id"):
        settings = settings._replace(env_id=str(noted["env_id"]))
    return Listed(name, path, str(noted.get("algo") or settings.algo or DEFAULT_ALGO), settings, made_by)


def _noted(path: Path) -> dict[str, Any]:
    for file in (path.with_suffix(".json"), path.with_name("results.json")):
        try:
            noted = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(noted, dict):
            return noted
    return {}


def open_model(listed: Listed, env_id: str | None = None, seed: int = 0) -> Opened:
    """
    Load a model and make an environment to watch it in. Nothing of the file is run, and pickles are refused.

    :param listed: the model
    :param env_id: its environment, where nothing beside the model says so
    :param seed: of the environment
    :raises CannotOpen: if the file is damaged or of another algorithm, an extra is missing, or there is no such environment
    """
    env_id = env_id or listed.settings.env_id
    if not env_id:
        raise CannotOpen(f"{listed.name}: nothing beside the file says which environment it plays: type its id")
    if listed.algo not in ALGORITHMS:
        raise CannotOpen(f"{listed.name} is a model of {listed.algo!r}: the demo shows {', '.join(sorted(ALGORITHMS))}")
    env = _environment(listed, env_id, seed, 1, shown=True)
    try:
        model = ALGORITHMS[listed.algo].load(listed.path, env=env, device="cpu", trusted=[])
    except Exception as error:  # damaged files, and those of other algorithms, go wrong in many ways
        raise CannotOpen(f"{listed.name} with {env_id} cannot be loaded: {one_line(error)}") from error
    assert model.env is not None
    return Opened(model, model.env, env_id, _no_picture(model.env))


def many_environments(opened: Opened, listed: Listed, seed: int, n_envs: int = 8) -> VecEnv:
    """
    Environments without pictures, to play many episodes at once, wrapped as the model needs them.

    :param opened: the model
    :param listed: where it is
    :param seed: of the environments
    :param n_envs: how many
    :raises CannotOpen: if they cannot be made
    """
    return opened.model._wrap_env(_environment(listed, opened.env_id, seed, n_envs, shown=False), verbose=0)


def further_environment(opened: Opened, listed: Listed) -> VecEnv:
    """
    Another environment with pictures, for an episode beside another one.

    :param opened: the model
    :param listed: where it is
    :raises CannotOpen: if it cannot be made
    """
    return opened.model._wrap_env(_environment(listed, opened.env_id, 0, 1, shown=True), verbose=0)


def _environment(listed: Listed, env_id: str, seed: int, n_envs: int, shown: bool) -> VecEnv:
    settings = listed.settings
    untrusted = untrusted_code(settings)
    if untrusted:
        known = ", ".join(KNOWN_PACKAGES)
        raise CannotOpen(f"{listed.name} needs {', '.join(untrusted)}: the demo imports only what is of {known}")
    if not shown:
        return _made(listed, env_id, seed, settings, n_envs)
    rendering = settings._replace(env_kwargs={**settings.env_kwargs, "render_mode": "rgb_array"})
    try:
        return _made(listed, env_id, seed, rendering, n_envs)
    except CannotOpen:  # perhaps for the render mode alone
        return _made(listed, env_id, seed, settings, n_envs)


def _made(listed: Listed, env_id: str, seed: int, settings: Settings, n_envs: int) -> VecEnv:
    try:
        return make_evaluation_env(env_id, seed, settings, n_envs)
    except MISTAKES as error:
        raise CannotOpen(f"{listed.name}: the environment {env_id} cannot be made: {one_line(error)}") from error


def _no_picture(env: VecEnv) -> str | None:
    if env.render_mode != "rgb_array":
        return "This environment cannot be shown: it does not render arrays (render_mode='rgb_array')."
    try:
        env.reset()
        picture = env.get_images()[0]
    except Exception as error:  # drivers of graphics fail in many ways
        return f"This environment cannot be shown on this machine: {one_line(error)}"
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        return "This environment cannot be shown: what it renders is no picture."
    return None
