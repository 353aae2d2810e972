"""What all algorithms share whose policies obey commands: setting them, predicting under them, complete files."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_udrl.common.files import written_at_once
from sb3_udrl.common.trust import check_settings, trusting
from sb3_udrl.policies import BehaviorPolicy

SelfModel = TypeVar("SelfModel", bound="CommandedAlgorithm")


class CommandedAlgorithm(BaseAlgorithm):
    """Base of the algorithms, with the parameters of SB3's ``BaseAlgorithm``. How they learn is up to them."""

    policy: BehaviorPolicy
    _command_is_fixed = False

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name == "ForestPolicy":
            from sb3_udrl.forest import ForestPolicy  # needs an extra, and is slow to import

            return ForestPolicy
        return super()._get_policy_from_name(policy_name)

    def set_command(self, desired_return: float | None, desired_horizon: float | None = None) -> None:
        """
        Set the command that ``predict`` starts episodes with, for good; before, it is the best that the buffer supports.

        :param desired_return: in raw reward units, or in standard deviations above the usual for relative commands; None
            leaves the choice to the model again, from its next training on
        :param desired_horizon: in steps, at least one; infinite for relative commands
        :raises ValueError: if only one of the two is given, a value is not finite, the horizon is below one, or the command
            is of the kind that the model does not learn
        """
        if (desired_return is None) != (desired_horizon is None):
            raise ValueError(f"desired_return={desired_return}, desired_horizon={desired_horizon}: give both, or neither")
        if desired_return is not None and desired_horizon is not None:
            self.policy.set_command(desired_return, desired_horizon)
        self._command_is_fixed = desired_return is not None

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        *,
        command: Any = None,
        reward: Any = None,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Choose actions; see :meth:`BehaviorPolicy.predict <sb3_udrl.policies.BehaviorPolicy.predict>`."""
        return self.policy.predict(observation, state, episode_start, deterministic, command=command, reward=reward)

    def save(self, path: str | pathlib.Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """
        Save the model to a zip file, which appears only when it is complete.

        :param path: file, or path with or without ``.zip``
        :param exclude: names of parameters to leave out, besides the default ones
        :param include: names of parameters to save although they are left out by default
        """
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
                return super().load(path, *args, **kwargs)
        except (FileNotFoundError, PermissionError):
            raise
        except (AssertionError, KeyError, OSError) as error:
            if isinstance(error, AssertionError) and "No data found" not in str(error):
                raise
            raise ValueError(f"{path} is not a model that {cls.__name__} saved: {error}") from error
