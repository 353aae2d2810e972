"""The environments that saved models are looked at in, made as in training: the Zoo notes how beside the model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import yaml
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack

from sb3_udrl.saving.normalization import load_normalization

N_ENVS = 8
# Files beside a model name wrappers and modules, which run when they are imported: without being trusted, only those of these
KNOWN_PACKAGES = ("gymnasium", "stable_baselines3", "sb3_contrib", "rl_zoo3", "sb3_udrl")


class Settings(NamedTuple):
    """
    How environments are made, as files beside a model say.

    :param env_id: id of the environment, if it is known
    :param env_kwargs: arguments of the environment
    :param env_wrapper: import paths of wrappers, as the Zoo writes them
    :param vec_env_wrapper: the same, for wrappers of vectorized environments
    :param frame_stack: number of stacked observations; 0 for none
    :param vec_normalize: file with the statistics that observations are standardized with
    :param gym_packages: modules to import first
    :param algo: name of the algorithm that the model is of, if it is known
    :param trusted: what may be imported besides :data:`KNOWN_PACKAGES`: import paths of wrappers, and modules
    """

    env_id: str | None = None
    env_kwargs: dict[str, Any] = {}  # noqa: RUF012
    env_wrapper: Any = None
    vec_env_wrapper: Any = None
    frame_stack: int = 0
    vec_normalize: Path | None = None
    gym_packages: tuple[str, ...] = ()
    algo: str | None = None
    trusted: tuple[str, ...] = ()

    def __str__(self) -> str:
        given = {name: value for name, value in self._asdict().items() if value and name not in ("env_id", "algo")}
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
    _check_types(folder / "config.yml", config)
    _check_types(folder / "args.yml", args)
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
        args.get("env"),
        env_kwargs,
        config.get("env_wrapper"),
        config.get("vec_env_wrapper"),
        config.get("frame_stack") or 0,
        statistics,
        tuple(args.get("gym_packages") or ()),
        args.get("algo"),
    )
    return settings, folder


def _check_types(path: Path, values: Mapping[str, Any]) -> None:
    """Of what config.yml and args.yml hold for :class:`Settings`."""
    for name, (is_right, expected) in _TYPES.items():
        value = values.get(name)
        if value is not None and not is_right(value):
            raise ValueError(f"{path}: {name}={value!r:.60}: must be {expected}")


def _has_names(values: Any) -> bool:
    return isinstance(values, dict) and _are_texts(list(values))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def _are_wrappers(wrappers: Any) -> bool:
    try:
        named_wrappers(wrappers)
    except ValueError:
        return False
    return True


_WRAPPERS = (_are_wrappers, "import paths of wrappers, each alone or with its arguments by name")
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "algo": (lambda value: isinstance(value, str), "the name of an algorithm"),
    "env": (lambda value: isinstance(value, str), "the id of an environment"),
    "env_kwargs": (_has_names, "arguments by name"),
    "env_wrapper": _WRAPPERS,
    "vec_env_wrapper": _WRAPPERS,
    "frame_stack": (lambda value: type(value) is int and value >= 0, "a whole number"),
    "gym_packages": (_are_texts, "names of modules"),
}


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
    except Exception as error:  # what is no number, date or pair where it says so goes wrong in many ways
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
    :raises ValueError: if the settings name what is not trusted, or is no wrapper, or the statistics are damaged
    """
    if settings.vec_normalize is not None and not settings.vec_normalize.is_file():
        raise FileNotFoundError(f"vec_normalize={settings.vec_normalize}: there is no such file")
    untrusted = untrusted_code(settings if env_id == settings.env_id else settings._replace(env_id=None))
    if untrusted:
        raise ValueError(
            f"the files beside the model name {', '.join(untrusted)}, which could be code of whoever made them, so nothing of "
            f"it was imported: if you trust it, add --trust {' '.join(untrusted)}"
        )
    for package in settings.gym_packages:
        importlib.import_module(package)
    spec = environment_spec(env_id)
    env = make_vec_env(
        lambda **kwargs: spec.make(**kwargs),  # of an id, it would ask for a render mode, which some do not take
        n_envs,
        seed,
        env_kwargs=settings.env_kwargs,
        wrapper_class=_wrapping(settings.env_wrapper, gym.Wrapper, settings.trusted),
    )
    env = _wrapping(settings.vec_env_wrapper, VecEnvWrapper, settings.trusted)(env)
    if settings.vec_normalize is not None:
        env = load_normalization(settings.vec_normalize, env)
    return VecFrameStack(env, settings.frame_stack) if settings.frame_stack else env


def untrusted_code(settings: Settings) -> list[str]:
    """
    What the settings name that would have to be trusted before it is imported, in the order in which it would be.

    :param settings: the settings
    """
    module = (settings.env_id or "").rpartition(":")[0]
    wrappers = [*named_wrappers(settings.env_wrapper), *named_wrappers(settings.vec_env_wrapper)]
    named = [*settings.gym_packages, *([module] if module else []), *(path for path, _ in wrappers)]
    return [name for name in dict.fromkeys(named) if not (_is_known(name) or name in settings.trusted)]


def _is_known(name: str) -> bool:
    return name.partition(".")[0] in KNOWN_PACKAGES


def named_wrappers(wrappers: Any) -> list[tuple[str, dict[str, Any]]]:
    """
    Import paths and arguments in what the Zoo writes: a path, a dictionary of one path and its arguments, or a list of both.

    :param wrappers: what it wrote; nothing for none
    :raises ValueError: if it is something else
    """
    named = []
    for wrapper in wrappers if isinstance(wrappers, list) else [wrappers] if wrappers else []:
        path, arguments = next(iter(wrapper.items())) if isinstance(wrapper, dict) and len(wrapper) == 1 else (wrapper, None)
        if not isinstance(path, str) or not (arguments is None or _has_names(arguments)):
            raise ValueError(f"{wrapper!r:.60}: must be the import path of a wrapper, or one path with its arguments")
        named.append((path, arguments or {}))
    return named


def _wrapping(wrappers: Any, base: type[Any], trusted: tuple[str, ...]) -> Callable[[Any], Any]:
    """A function that wraps as the Zoo does. What is not trusted is looked at before it is called."""
    found = []
    for path, arguments in named_wrappers(wrappers):
        module, _, name = path.rpartition(".")
        wrapper = getattr(importlib.import_module(module), name)
        if path not in trusted and not (isinstance(wrapper, type) and issubclass(wrapper, base)):
            raise ValueError(f"{path}: is no {base.__name__}, and nothing else is called unless you add --trust {path}")
        found.append((wrapper, arguments))

    def wrap(env: Any) -> Any:
        for wrapper, arguments in found:
            env = wrapper(env, **arguments)
        return env

    return wrap
