"""Policies alone as files that are complete or not there, and hold no pickles."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Collection
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import get_device

from sb3_udrl.policies.older_kwargs import upgrade_policy_kwargs
from sb3_udrl.saving.addresses import local_copy
from sb3_udrl.saving.archive import Archive, open_archive, write_archive
from sb3_udrl.saving.estimators import check_estimators
from sb3_udrl.saving.files import written_at_once
from sb3_udrl.saving.limits import check_sizes
from sb3_udrl.saving.plain import from_plain
from sb3_udrl.saving.trust import ARGUMENTS, OLDER_FOREST_TYPES, Untrusted, trusting

SelfPolicy = TypeVar("SelfPolicy", bound="SavedPolicy")

_WEIGHTS = "policy"


class SavedPolicy(BasePolicy):
    """Saving and loading, with the signatures of SB3."""

    def save(self, path: str | pathlib.Path) -> None:
        """
        Save the policy alone, which is enough to predict with; the file appears only when it is complete.

        :param path: of the file, also an address such as ``s3://bucket/policy``
        """
        arguments = self._get_constructor_parameters()
        arguments.pop("lr_schedule", None)  # a policy alone does not learn
        with written_at_once(path) as target:
            write_archive(target, {ARGUMENTS: arguments, f"{_WEIGHTS}.pth": self.state_dict()})

    @classmethod
    def load(
        cls: type[SelfPolicy],
        path: str | pathlib.Path,
        device: th.device | str = "auto",
        *,
        trusted: Collection[str] | None = None,
    ) -> SelfPolicy:
        """
        Load a policy that :meth:`save` wrote. Loading runs no code; files of earlier revisions are pickles, which can run
        any: they are loaded with a warning, and refused where ``trusted`` is given.

        :param path: of the file, also an address such as ``s3://bucket/policy``
        :param device: device of the network
        :param trusted: import paths that the file may name besides the known ones; ``[]`` for none, and no pickles
        :raises FileNotFoundError: if there is no such file
        :raises ValueError: if it is damaged or holds something else, or names what is not trusted
        """
        with local_copy(path) as source:
            try:
                with open_archive(source) as archive:
                    pickled = archive.is_pickled_policy()
                    arguments, weights = ({}, {}) if pickled else _plain(archive, trusted or (), device)
                if pickled:
                    arguments, weights = _pickled(source, trusted, device)
                policy = cls(**{**upgrade_policy_kwargs(arguments, cls), "lr_schedule": cls._dummy_schedule})
                with trusting(trusted or (OLDER_FOREST_TYPES if pickled else ())):
                    policy.load_state_dict(weights)
            except (FileNotFoundError, PermissionError, IsADirectoryError, Untrusted):
                raise
            except Exception as error:
                two = isinstance(error, TypeError) and "'make'" in str(error)  # an argument of nobody else
                hint = "; models that take any command save a sb3_udrl.policies.SideBySide" if two else ""
                raise ValueError(f"{path} is not a policy that {cls.__name__} can load: {error}{hint}") from error
        return policy.to(get_device(device))


def _plain(archive: Archive, trusted: Collection[str], device: th.device | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the constructor, and weights."""
    archive.check_tensors()
    arguments: dict[str, Any] = from_plain(archive.settings().get(ARGUMENTS), archive.array, trusted, name=ARGUMENTS)
    spaces = {name: value for name, value in arguments.items() if name.endswith("_space")}
    check_sizes({**spaces, "policy_kwargs": arguments})
    check_estimators(ARGUMENTS, arguments, trusted)
    return arguments, archive.tensors(f"{_WEIGHTS}.pth", get_device(device))


def _pickled(path: Any, trusted: Collection[str] | None, device: th.device | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """As :func:`_plain`, of a file as earlier revisions wrote it."""
    if trusted is not None:
        raise ValueError("it is a pickle, which can run any code; nothing of it was read")
    warnings.warn(
        "this file is a pickle, which can run any code when it is loaded: files of earlier revisions are. Save the policy "
        "again to have one without, and load files of strangers with trusted=[]",
        stacklevel=3,
    )
    saved = th.load(path, map_location=get_device(device), weights_only=False)
    return saved["data"], saved["state_dict"]
