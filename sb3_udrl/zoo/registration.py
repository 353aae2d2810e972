"""
How the RL Zoo learns about UDRL: its tables are extended, never replaced, and each function may run twice.

The start-up hook calls the ``patch_*`` functions while a program imports the Zoo; :func:`register` calls all of them.
"""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.commands.tracking import set_tracked_env
from sb3_udrl.common.made_envs import made_by
from sb3_udrl.zoo.hyperparams import hyperparams_path

if TYPE_CHECKING:
    from rl_zoo3.exp_manager import ExperimentManager

MARK = "_sb3_udrl"


def register() -> None:
    """
    Make the RL Zoo know our algorithms, search spaces, hyperparameters and environments.

    For scripts of your own, and where the start-up hook is turned off::

        import sb3_udrl.zoo
        from rl_zoo3.train import train

        sb3_udrl.zoo.register()
        train()
    """
    for name, patch in PATCHES.items():
        patch(importlib.import_module(name))


def patch_utils(module: ModuleType) -> None:
    """
    Add the algorithms and our environments, and let ``predict`` read the rewards of environments made for testing.

    :param module: ``rl_zoo3.utils``
    """
    importlib.import_module("sb3_udrl.envs")  # registers them with Gymnasium
    for name, algorithm in ALGORITHMS.items():
        module.ALGOS.setdefault(name, algorithm)  # would the Zoo ever bring its own UDRL, that one wins
    original = module.create_test_env
    tracked = _wrap_once(original, _tracking)
    for name, other in list(sys.modules.items()):  # some import the function by its name: the package, enjoy
        if name.split(".")[0] == "rl_zoo3" and getattr(other, "create_test_env", None) is original:
            other.create_test_env = tracked  # type: ignore[attr-defined]
    module.create_test_env = tracked  # type: ignore[attr-defined]  # not yet in sys.modules under every loader


def patch_hyperparams_opt(module: ModuleType) -> None:
    """
    Add the search spaces.

    :param module: ``rl_zoo3.hyperparams_opt``
    """
    from sb3_udrl.zoo.search_space import SEARCH_SPACES  # Optuna is slow to import

    for name, (sample, convert) in SEARCH_SPACES.items():
        module.HYPERPARAMS_SAMPLER.setdefault(name, sample)
        module.HYPERPARAMS_CONVERTER.setdefault(name, convert)


def patch_exp_manager(module: ModuleType) -> None:
    """
    Use our hyperparameters where the Zoo has none, and let collectors make environments as the Zoo does.

    :param module: ``rl_zoo3.exp_manager``
    """
    manager = module.ExperimentManager
    manager.__init__ = _wrap_once(
        manager.__init__, functools.partial(_with_our_config, folder=Path(str(module.__file__)).parent)
    )
    manager.create_envs = _wrap_once(manager.create_envs, _known_how)


def _wrap_once(function: Callable[..., Any], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Any]:
    """
    :param function: function of the Zoo
    :param wrap: makes a new function of it
    :return: the new function, or ``function`` itself if it is one already
    """
    if hasattr(function, MARK):
        return function
    wrapper = functools.wraps(function)(wrap(function))
    setattr(wrapper, MARK, True)
    return wrapper


def _tracking(create_test_env: Callable[..., VecEnv]) -> Callable[..., VecEnv]:
    def create_and_track(*args: Any, **kwargs: Any) -> VecEnv:
        env = create_test_env(*args, **kwargs)
        set_tracked_env(env)
        return env

    return create_and_track


def _known_how(create_envs: Callable[..., VecEnv]) -> Callable[..., VecEnv]:
    def create_known_envs(self: ExperimentManager, n_envs: int, *args: Any, **kwargs: Any) -> VecEnv:
        manager = copy.copy(self)
        manager.callbacks = []  # these hold environments, which do not go into other processes
        again = functools.partial(_create_again, manager, create_envs, n_envs)
        return made_by(again, create_envs(self, n_envs, *args, **kwargs))

    return create_known_envs


def _create_again(manager: ExperimentManager, create_envs: Callable[..., VecEnv], n_envs: int) -> VecEnv:
    """The environments of a training, in another process."""
    for name in ["sb3_udrl.envs", *getattr(manager.args, "gym_packages", [])]:  # they register environments
        importlib.import_module(name)
    return create_envs(manager, n_envs, no_log=True)


def _with_our_config(init: Callable[..., None], folder: Path) -> Callable[..., None]:
    def init_and_set_config(self: ExperimentManager, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        config = Path(self.config)
        default_folders = (folder / "hyperparams", folder.parent / "hyperparams")  # installed, or a clone of the Zoo
        if self.algo in ALGORITHMS and config.parent in default_folders and not config.exists():
            self.config = str(hyperparams_path(self.algo))

    return init_and_set_config


PATCHES = {
    "rl_zoo3.utils": patch_utils,
    "rl_zoo3.hyperparams_opt": patch_hyperparams_opt,
    "rl_zoo3.exp_manager": patch_exp_manager,
}
