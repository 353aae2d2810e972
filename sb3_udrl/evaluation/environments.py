"""The environments that saved models are looked at in, made as in training: the Zoo notes how beside the model."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import yaml
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

N_ENVS = 8


class Settings(NamedTuple):
    """
    How environments are made, besides their id.

    :param env_id: id of the environment, if it is known
    :param env_kwargs: arguments of the environment
    :param env_wrapper: import paths of wrappers, as the Zoo writes them
    :param vec_env_wrapper: the same, for wrappers of vectorized environments
    :param frame_stack: number of stacked observations; 0 for none
    :param vec_normalize: file with the statistics that observations are standardized with
    :param gym_packages: modules to import first
    """

    env_id: str | None = None
    env_kwargs: dict[str, Any] = {}  # noqa: RUF012
    env_wrapper: Any = None
    vec_env_wrapper: Any = None
    frame_stack: int = 0
    vec_normalize: Path | None = None
    gym_packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        given = {name: value for name, value in self._asdict().items() if value and name != "env_id"}
        return ", ".join(f"{name}={value}" for name, value in given.items()) or "nothing special"


def settings_beside(model: Path) -> tuple[Settings, Path | None]:
    """
    What ``config.yml`` and ``args.yml`` say, which the Zoo writes into a folder beside the model, and the Hub right beside it.

    :param model: path of a saved model
    :return: the settings, and the folder where they are; None if there is none
    :raises ValueError: if a file cannot be read, or statistics are missing
    """
    # Beside best_model.zip and checkpoints: <id>_<number>/<id>/
    of_the_run = [path.parent for path in model.resolve().parent.glob("*/config.yml")]
    around = [
        model.with_suffix(""),
        model.parent,
        *(path for path in of_the_run if path.parent.name.startswith(f"{path.name}_")),
    ]
    names = ("config.yml", "args.yml")
    folder = next((path for path in around if all((path / name).is_file() for name in names)), None)
    if folder is None:
        return Settings(), None
    config, args = (read_yaml(folder / name) for name in names)
    env_kwargs = dict(config.get("env_kwargs") or args.get("env_kwargs") or {})
    if env_kwargs.get("render_mode") == "human":
        del env_kwargs["render_mode"]
    statistics = None
    if config.get("normalize"):
        files = [folder / "vecnormalize.pkl", folder / "vec_normalize.pkl"]
        statistics = next((path for path in files if path.is_file()), None)
        if statistics is None:
            raise ValueError(f"{files[0]}: config.yml says normalize={config['normalize']}, but there is no such file")
    settings = Settings(
        None if args.get("env") is None else str(args["env"]),
        env_kwargs,
        config.get("env_wrapper"),
        config.get("vec_env_wrapper"),
        int(config.get("frame_stack") or 0),
        statistics,
        tuple(args.get("gym_packages") or ()),
    )
    return settings, folder


class ZooLoader(yaml.SafeLoader):
    """Reads what the Zoo writes and runs none of it: it knows the types of Python that the Zoo writes for plain values."""


def _plain(loader: ZooLoader, tag: str, node: yaml.Node) -> Any:
    if tag in ("object/apply:collections.OrderedDict", "tuple") and isinstance(node, yaml.SequenceNode):
        values = loader.construct_sequence(node, deep=True)
        return tuple(values) if tag == "tuple" else dict(values[0] if values else ())
    if tag == "object/new:huggingface_sb3.naming_schemes.EnvironmentName" and isinstance(node, yaml.SequenceNode):
        return str(loader.construct_sequence(node, deep=True)[0])
    raise yaml.constructor.ConstructorError(None, None, f"is a Python object, {tag!r}, which is not loaded", node.start_mark)


ZooLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_yaml(path: Path) -> dict[str, Any]:
    """
    A YAML file without code.

    :param path: the file
    :return: its sections
    :raises ValueError: if it cannot be read, in one line
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=ZooLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"{path}{where}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold sections, such as `name: value`, not {values!r:.60}")
    return values


def one_line(error: BaseException) -> str:
    """
    What an error says, without line breaks; its type where it says nothing.

    :param error: any error
    """
    return " ".join(str(error).split()) or type(error).__name__


def environment_spec(env_id: str) -> EnvSpec:
    """
    The registration of an environment.

    :param env_id: its id; in ``module:id``, the module is imported first
    :raises gym.error.Error: if there is none
    :raises ImportError: if the module cannot be imported
    """
    importlib.import_module("sb3_udrl.envs")  # registers ours
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gym.spec(name)


def make_evaluation_env(
    env_id: str,
    seed: int,
    settings: Settings = Settings(),  # noqa: B008
    n_envs: int = N_ENVS,
) -> VecEnv:
    """
    Environments with exact rewards.

    :param env_id: id of the environment, also ``module:id``
    :param seed: seed of the environments
    :param settings: how they are made
    :param n_envs: how many
    :return: the vectorized environment
    :raises FileNotFoundError: if there are no statistics
    """
    if settings.vec_normalize is not None and not settings.vec_normalize.is_file():
        raise FileNotFoundError(f"vec_normalize={settings.vec_normalize}: there is no such file")
    for package in settings.gym_packages:
        importlib.import_module(package)
    spec = environment_spec(env_id)
    env = make_vec_env(
        lambda **kwargs: spec.make(**kwargs),  # of an id, it would ask for a render mode, which some do not take
        n_envs,
        seed,
        env_kwargs=settings.env_kwargs,
        wrapper_class=_wrapper(settings, "env_wrapper"),
    )
    vec_env_wrapper = _wrapper(settings, "vec_env_wrapper")
    if vec_env_wrapper is not None:
        env = vec_env_wrapper(env)
    if settings.vec_normalize is not None:
        env = normalized = VecNormalize.load(str(settings.vec_normalize), env)
        normalized.training = normalized.norm_reward = False
    return VecFrameStack(env, settings.frame_stack) if settings.frame_stack else env


def _wrapper(settings: Settings, key: str) -> Any:
    """A function that wraps as the Zoo does; None where nothing is to be wrapped."""
    paths = getattr(settings, key)
    if not paths:
        return None
    from rl_zoo3.utils import get_wrapper_class  # slow to import

    return get_wrapper_class({key: paths}, key)
