"""The policies that play the running episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sb3_udrl.saving.checks import checked_array

NEW = -1  # is stored when its episode ends
UNSTORED = -2  # plays before policies are stored
PRACTICE = -3  # is stored as NEW is, and was generated without noise
MEASURED = -4  # as PRACTICE, by the generator as it is at the end


class PlayedPolicies:
    """
    One policy for each environment, for as long as its episode lasts.

    :param n_envs: number of environments
    :param n_weights: of a policy
    """

    def __init__(self, n_envs: int, n_weights: int) -> None:
        self.weights = np.zeros((n_envs, n_weights), np.float32)
        self.numbers = np.full(n_envs, UNSTORED, dtype=np.int64)  # of stored policies that are evaluated again
        self.left = np.zeros(n_envs, dtype=np.int64)  # further episodes that a new policy is to play

    def state(self) -> dict[str, Any]:
        """As arrays."""
        return {"weights": self.weights, "numbers": self.numbers, "left": self.left}

    def restored(self, state: Mapping[str, Any]) -> PlayedPolicies:
        """
        One of the same size that goes on where a saved one was.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged, or of another size
        """
        n_envs, n_weights = self.weights.shape
        other = PlayedPolicies(n_envs, n_weights)
        other.weights = checked_array(state, "weights", (n_envs, n_weights)).astype(np.float32)
        other.numbers = checked_array(state, "numbers", (n_envs,), "i").astype(np.int64)
        other.left = checked_array(state, "left", (n_envs,), "i").astype(np.int64)
        return other
