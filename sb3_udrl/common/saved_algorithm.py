"""Models and replay buffers as files that are complete or not there, and hold no pickles."""

from __future__ import annotations

import io
import pathlib
import warnings
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import stable_baselines3 as sb3
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import get_system_info

from sb3_udrl.commands.model import CommandedModel, HindsightModel
from sb3_udrl.common.checked_settings import check_settings
from sb3_udrl.common.older_files import load_pickled_state
from sb3_udrl.common.persistence import load_running_state, save_running_state
from sb3_udrl.saving.addresses import local_copy
from sb3_udrl.saving.archive import Archive, open_archive, write_archive
from sb3_udrl.saving.checks import checked_optimizer_state
from sb3_udrl.saving.estimators import check_estimators
from sb3_udrl.saving.files import written_at_once
from sb3_udrl.saving.limits import check_sizes
from sb3_udrl.saving.plain import from_plain
from sb3_udrl.saving.trust import OLDER_FOREST_TYPES, Untrusted, trusting

SelfModel = TypeVar("SelfModel", bound="SavedAlgorithm")

_NOT_OF_FILES: dict[str, Any] = {"env": None, "tensorboard_log": None}  # come from the caller, whatever a file says
_REQUIRED = ("policy_class", "observation_space", "action_space", "verbose")


class SavedAlgorithm(BaseAlgorithm):
    """Saving and loading, with the signatures of SB3."""

    def save(self, path: str | pathlib.Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """
        Save the model to a zip file, which appears only when it is complete. Settings are plain JSON and arrays, weights
        are tensors. Functions and classes of others are stored as their import path, and given again, or trusted, on loading.

        :param path: file, path with or without ``.zip``, or address such as ``s3://bucket/model``
        :param exclude: names of parameters to leave out, besides the default ones
        :param include: names of parameters to save although they are left out by default
        """
        left_out = {*self._excluded_save_params(), *(exclude or ())} - set(include or ()) | {"policy", *_NOT_OF_FILES}
        settings = {name: value for name, value in vars(self).items() if name not in left_out}
        if "replay_buffer" in (include or ()):
            settings["hindsight"] = cast(CommandedModel, self).hindsight.state()
        weights = {f"{name}.pth": tensors for name, tensors in self.get_parameters().items()}
        versions = {"_stable_baselines3_version": sb3.__version__, "system_info.txt": get_system_info(print_info=False)[1]}
        with written_at_once(path, ".zip") as target:
            write_archive(target, {**settings, **weights}, versions)

    @classmethod
    def load(
        cls: type[SelfModel],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: Any = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        trusted: Collection[str] | None = None,
        **kwargs: Any,
    ) -> SelfModel:
        """
        Load a model from a zip file.

        Files that :meth:`save` wrote hold no pickles: loading them runs no code, and imports nothing that they name but what
        is on lists of this package. Older files hold pickles, which can run any code: they are loaded with a warning, and
        refused where ``trusted`` is given.

        :param path: file, path with or without ``.zip``, or address such as ``s3://bucket/model``
        :param env: the environment to go on with; without one, the model can predict
        :param device: device of the network
        :param custom_objects: settings by name that take the place of those in the file
        :param print_system_info: print the system that the model was saved on, and this one
        :param force_reset: reset the environment before training
        :param trusted: import paths of classes and functions that the file may name, and types that its forest may hold,
            besides the known ones; ``[]`` for none of them, and no pickles
        :param kwargs: constructor parameters that replace the saved ones
        :return: the model
        :raises FileNotFoundError: if there is no such file
        :raises ValueError: if the file is damaged or holds something else, names what is not trusted, asks for sizes beyond
            all use, or the environment has other spaces
        """
        given = {**(custom_objects or {}), **kwargs}
        with local_copy(path, ".zip") as source:
            try:
                with open_archive(source, ".zip") as archive:
                    read = _plain_settings(archive, cls, given, trusted)
                with trusting(trusted or (() if read else OLDER_FOREST_TYPES)):
                    model = super().load(
                        source, env, device, {**read, **(custom_objects or {})}, print_system_info, force_reset, **kwargs
                    )
                check_finite(model.get_parameters())
            except (FileNotFoundError, PermissionError, IsADirectoryError, Untrusted):
                raise
            except Exception as raised:
                # SB3 takes a ValueError of the weights for a sign of an old file, which ends in a KeyError
                hidden = raised.__context__ if isinstance(raised, KeyError) else None
                error = hidden if isinstance(hidden, ValueError) else raised
                if isinstance(error, Untrusted):
                    raise error from None
                raise ValueError(f"{path} is not a model that {cls.__name__} can load: {_sentence(error)}") from error
        model.prefer(given)
        return model

    def prefer(self, given: Mapping[str, Any]) -> None:
        """
        Let arguments of the constructor win over what saved weights and episodes say of them.

        :param given: arguments by name, which the constructor has taken
        """
        model = cast(CommandedModel, self)
        if "buffer_size" in given:
            model.replay_buffer.buffer_size = model.buffer_size
        for name, value in (given.get("replay_buffer_kwargs") or {}).items():
            setattr(model.replay_buffer, name, value)

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, device: th.device | str = "auto") -> None:
        """
        Load weights and what their optimizers remember, with the signature of SB3.

        :param load_path_or_dict: path of a model, or tensors by name as from ``get_parameters``
        :param exact_match: whether all of them must be there
        :param device: where they are loaded to
        :raises ValueError: if they are of other networks, or damaged
        """
        if not isinstance(load_path_or_dict, dict):
            with local_copy(load_path_or_dict, ".zip") as source:
                load_path_or_dict = load_from_zip_file(source, device=device, load_data=False)[1]
        optimizers = {name: found for name in load_path_or_dict if (found := _optimizer(self, name)) is not None}
        checked: dict[str, Any] = {
            name: checked_optimizer_state(load_path_or_dict[name], found) for name, found in optimizers.items()
        }
        super().set_parameters(load_path_or_dict | checked, exact_match, device)

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Save the replay buffer and the state of the random generators, so that training goes on as if never stopped. It is a
        zip file of arrays and JSON, under the name that SB3's callers expect.

        :param path: file, path with or without ``.pkl``, or address such as ``s3://bucket/buffer``
        """
        with written_at_once(path, ".pkl") as target:
            save_running_state(cast(CommandedModel, self), target)

    def load_replay_buffer(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        truncate_last_traj: bool = True,
        *,
        allow_pickle: bool = False,
    ) -> None:
        """
        Load what :meth:`save_replay_buffer` saved.

        :param path: file, path or address
        :param truncate_last_traj: has no effect, stored episodes are always whole; SB3's callers pass it
        :param allow_pickle: load a file of an earlier revision, which is a pickle and can run any code
        :raises FileNotFoundError: if there is no such file
        :raises ValueError: if the file is damaged or holds something else, or episodes of other spaces; the model is left as
            it was
        """
        model = cast(CommandedModel, self)
        with local_copy(path, ".pkl") as source:
            try:
                state = load_pickled_state(source, cast(HindsightModel, self)) if allow_pickle else None
                load_running_state(model, source, state)
            except (FileNotFoundError, PermissionError, IsADirectoryError):
                raise
            except Exception as error:
                raise ValueError(
                    f"{path} is not a replay buffer that {type(self).__name__} can load: {_sentence(error)}"
                ) from error


def _plain_settings(
    archive: Archive, model_class: type[Any], given: Mapping[str, Any], trusted: Collection[str] | None
) -> dict[str, Any]:
    """
    The settings of a file as objects, or none where these are pickles, which SB3 reads.

    :param archive: the file
    :param model_class: what is to be loaded
    :param given: settings of the caller, which are not read
    :param trusted: see :meth:`SavedAlgorithm.load`
    """
    archive.check_tensors()
    settings = archive.settings()
    pickled = [name for name, value in settings.items() if isinstance(value, dict) and ":serialized:" in value]
    if pickled and trusted is not None:
        raise ValueError(
            f"it holds pickles ({', '.join(pickled)}), which can run any code; nothing of them was read. If you trust where "
            "it comes from, load it without trusted= and save it again"
        )
    if pickled:
        warnings.warn(
            "this file holds pickles, which can run any code when they are loaded: files of earlier revisions do. Save the "
            "model again to have one without, and load files of strangers with trusted=[]",
            stacklevel=3,
        )
        return {}
    read: dict[str, Any] = from_plain(settings, archive.array, trusted or (), {*given, *_NOT_OF_FILES})
    missing = [name for name in _REQUIRED if name not in {**read, **given}]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    check_settings(read, model_class)
    check_sizes(read)
    check_estimators("policy_kwargs", read.get("policy_kwargs"), trusted or ())
    check_estimators("obedience_kwargs", (read.get("obedience_kwargs") or {}).get("policy_kwargs"), trusted or ())
    return {**read, **_NOT_OF_FILES}


def _optimizer(model: BaseAlgorithm, name: str) -> th.optim.Optimizer | None:
    """What a name of parameters stands for, if that is an optimizer."""
    found: Any = model
    for attribute in name.split("."):
        found = getattr(found, attribute, None)
    return found if isinstance(found, th.optim.Optimizer) else None


def check_finite(parameters: Mapping[str, Any]) -> None:
    """
    Look whether weights and all that was learned with them are numbers.

    :param parameters: as ``get_parameters`` returns them
    :raises ValueError: if one is infinite, or NaN where that has no meaning
    """
    for module, tensors in parameters.items():
        for name, tensor in _tensors(tensors, module):
            array = np.asarray(tensor.detach().cpu().float().numpy()) if tensor.is_floating_point() else np.zeros(0)
            open_parts = name.rpartition(".")[2] in _MAY_BE_NAN
            if not (np.isfinite(array) | (np.isnan(array) & open_parts)).all():
                raise ValueError(f"the weights {name} hold values that are not finite")


_MAY_BE_NAN = ("eval_command", "corrections")  # parts that are not asked for, and what was not measured


def _tensors(nested: Any, path: str) -> list[tuple[str, Any]]:
    if hasattr(nested, "is_floating_point"):
        return [(path, nested)]
    items = nested.items() if isinstance(nested, Mapping) else enumerate(nested) if isinstance(nested, list) else ()
    return [found for key, value in items for found in _tensors(value, f"{path}.{key}")]


def _sentence(error: Exception) -> str:
    """What an error says, with its type where it says little."""
    return str(error) if isinstance(error, ValueError) and str(error) else f"{type(error).__name__} {error}".strip()
