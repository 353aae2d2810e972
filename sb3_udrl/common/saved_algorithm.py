"""Models and replay buffers as files that are complete or not there."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Collection
from typing import Any, TypeVar, cast

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_udrl.commands.model import CommandedModel
from sb3_udrl.common.files import written_at_once
from sb3_udrl.common.persistence import load_running_state, save_running_state
from sb3_udrl.common.trust import check_settings, trusting

SelfModel = TypeVar("SelfModel", bound="SavedAlgorithm")


class SavedAlgorithm(BaseAlgorithm):
    """Saving and loading, with the signatures of SB3."""

    def save(self, path: str | pathlib.Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """
        Save the model to a zip file, which appears only when it is complete.

        :param path: file, or path with or without ``.zip``
        :param exclude: names of parameters to leave out, besides the default ones
        :param include: names of parameters to save although they are left out by default
        """
        include = ["hindsight" if name == "replay_buffer" else name for name in include or ()]
        with written_at_once(path, ".zip") as target:
            super().save(target, exclude, include)

    @classmethod
    def load(
        cls: type[SelfModel],
        path: str | pathlib.Path | io.BufferedIOBase,
        *args: Any,
        trusted: Collection[str] | None = None,
        **kwargs: Any,
    ) -> SelfModel:
        """
        Load a model from a zip file.

        SB3 keeps some settings as pickles, which can run any code when they are loaded. For files of strangers pass
        ``trusted=[]``: then all of the file is looked through before, and refused if it holds anything that could.

        :param path: file, or path with or without ``.zip``
        :param args: as for every algorithm of SB3: ``env``, ``device``, ``custom_objects``, ...
        :param trusted: full names of types and functions that the file may hold besides those that are known to be harmless;
            None looks at forests alone, not at pickled settings
        :param kwargs: as for every algorithm of SB3; constructor parameters replace the saved ones
        :return: the model
        :raises ValueError: if the file holds something else, or the environment has other spaces
        :raises TypeError: if the file holds types or functions that are not trusted
        """
        try:
            with trusting(trusted):
                if trusted is not None:
                    check_settings(path, kwargs.get("custom_objects"))
                model = super().load(path, *args, **kwargs)
            if "guidance" in kwargs:  # else that of the saved weights
                model.policy.guidance = kwargs["guidance"]
            return model
        except (FileNotFoundError, PermissionError):
            raise
        except (AssertionError, KeyError, OSError) as error:
            if isinstance(error, AssertionError) and "No data found" not in str(error):
                raise
            raise ValueError(f"{path} is not a model that {cls.__name__} saved: {error}") from error

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Save the replay buffer and the state of the random generators, so that training goes on as if never stopped.

        :param path: file, or path with or without ``.pkl``
        """
        with written_at_once(path, ".pkl") as target:
            save_running_state(cast(CommandedModel, self), target)

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        Load what :meth:`save_replay_buffer` saved.

        :param path: file or path
        :param truncate_last_traj: has no effect, stored episodes are always whole; SB3's callers pass it
        :raises ValueError: if the file holds something else, or episodes of other spaces; the model is left as it was
        """
        load_running_state(cast(CommandedModel, self), path)
