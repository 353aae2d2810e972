"""Policies that were tried, by their weights, and what they earned (arXiv 2501.16288, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.saving.checks import checked_array, checked_count
from sb3_udrl.udrlpg.practice import newest_by_band
from sb3_udrl.udrlpg.return_scale import places_of
from sb3_udrl.udrlpg.sampling import SAMPLINGS, even_bands
from sb3_udrl.udrlpg.uncertainty import standard_errors, worth_another_look

Floats = NDArray[np.float64]

_KEPT = 0.1  # share of the policies, the best, that age does not drop
_PRACTICE_SHARE = 0.25  # of the policies that are learned from
_ARRAYS = {  # by name: letter of the dtype
    "weights": "f",
    "mean": "f",  # of the returns, without the survival bonus
    "squares": "f",  # sum of squared differences from it
    "returns": "f",  # mean return
    "lengths": "f",  # mean length
    "counts": "i",  # episodes
    "ids": "i",  # ascending with time
    "practiced": "i",  # 1 for those that were generated without noise
}


class PolicyBuffer:
    """
    The tried policies as supervised examples: for this return, these weights.

    A policy's return is a mean with its uncertainty, so policies are compared by their value: the mean of their returns minus
    its standard error. One lucky episode does not rule, once it was looked at again.

    :param buffer_size: capacity, in policies; the oldest are dropped, but for the best tenth
    :param n_weights: of a policy
    :param command_space: the commands that examples are for
    :param survival_bonus: reward per step that is not counted in values
    :param sampling: a key of ``SAMPLINGS``
    :param rng: source of randomness
    """

    def __init__(
        self,
        buffer_size: int,
        n_weights: int,
        command_space: CommandSpace,
        survival_bonus: float,
        sampling: str,
        rng: np.random.Generator,
    ) -> None:
        self.buffer_size, self.n_weights, self.command_space = buffer_size, n_weights, command_space
        self.survival_bonus, self.sampling, self.rng = survival_bonus, sampling, rng
        self.n_transitions_added = 0
        self._n_added = 0
        self._n = 0
        self._rows = {name: np.zeros((0, n_weights) if name == "weights" else 0, self._dtype(name)) for name in _ARRAYS}

    @staticmethod
    def _dtype(name: str) -> type[Any]:
        return np.float32 if name == "weights" else np.int64 if _ARRAYS[name] == "i" else np.float64

    def _used(self, name: str) -> NDArray[Any]:
        return self._rows[name][: self._n]

    @property
    def buffer(self) -> PolicyBuffer:
        """Itself: policies are stored as the examples that they are."""
        return self

    @property
    def weights(self) -> NDArray[np.float32]:
        """Of each policy, ``(n_policies, n_weights)``."""
        return self._used("weights")

    @property
    def returns(self) -> Floats:
        """Mean return of each policy, ``(n_policies,)``."""
        return self._used("returns")

    @property
    def lengths(self) -> Floats:
        """Mean length of each policy's episodes, in steps, ``(n_policies,)``."""
        return self._used("lengths")

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of episodes that each policy played, ``(n_policies,)``."""
        return self._used("counts")

    @property
    def n_episodes(self) -> int:
        """Number of stored policies; each is judged as one episode would be."""
        return self._n

    @property
    def n_transitions(self) -> int:
        """Number of steps that the stored policies played."""
        return round(float((self.lengths * self.counts).sum()))

    def add(self, weights: NDArray[np.float32], episode_return: float, length: int, practiced: bool = False) -> int:
        """
        Store a policy after its first episode.

        :param weights: ``(n_weights,)``
        :param episode_return: what it earned
        :param length: steps of the episode
        :param practiced: whether it was generated without noise
        :return: its number, for :meth:`evaluate_again`
        """
        row = self._free_row()
        self._rows["weights"][row] = weights
        first = {"mean": episode_return - self.survival_bonus * length, "squares": 0.0, "returns": episode_return}
        further = {"lengths": length, "counts": 1, "ids": self._n_added, "practiced": practiced}
        for name, value in {**first, **further}.items():
            self._rows[name][row] = value
        self._n = max(self._n, row + 1)
        self._n_added += 1
        self.n_transitions_added += length
        return self._n_added - 1

    def _free_row(self) -> int:
        """Where the next policy goes: to the end, or in the place of the oldest that is not among the best."""
        if self._n < self.buffer_size:
            if self._n == len(self._rows["ids"]):
                size = min(self.buffer_size, max(64, 2 * self._n))
                self._rows = {name: _longer(rows, size) for name, rows in self._rows.items()}
            return self._n
        values = self.values()
        droppable = values <= np.quantile(values, 1 - _KEPT)
        return int(np.where(droppable, self._used("ids"), np.iinfo(np.int64).max).argmin())

    def evaluate_again(self, number: int, episode_return: float, length: int) -> bool:
        """
        Count a further episode of a policy.

        :param number: of the policy, as :meth:`add` returned it
        :param episode_return: what it earned
        :param length: steps of the episode
        :return: whether it is still stored
        """
        found = np.flatnonzero(self._used("ids") == number)
        for row in found:
            rows = self._rows
            self.n_transitions_added += length
            rows["counts"][row] += 1
            share = 1 / rows["counts"][row]
            net = episode_return - self.survival_bonus * length
            before = net - rows["mean"][row]
            rows["mean"][row] += share * before
            rows["squares"][row] += before * (net - rows["mean"][row])
            rows["returns"][row] += share * (episode_return - rows["returns"][row])
            rows["lengths"][row] += share * (length - rows["lengths"][row])
        return len(found) > 0

    def weights_of(self, number: int) -> NDArray[np.float32]:
        """
        The weights of a policy.

        :param number: of a stored policy, as :meth:`add` returned it
        :return: ``(n_weights,)``
        """
        return self.weights[self._used("ids") == number][0]

    def means(self) -> Floats:
        """Mean return of each policy without the survival bonus, ``(n_policies,)``."""
        return self._used("mean")

    def errors(self) -> Floats:
        """Standard errors of these means, ``(n_policies,)``."""
        return standard_errors(self._used("squares"), self.counts)

    def values(self) -> Floats:
        """What each policy is believed to earn at least: mean minus standard error, ``(n_policies,)``."""
        return self.means() - self.errors()

    def best(self, n: int) -> NDArray[np.int64]:
        """
        The policies of the highest values, best first.

        :param n: at most so many
        """
        return np.argsort(-self.values(), kind="stable")[:n]

    def most_promising(self, running: NDArray[np.int64], max_evaluations: int) -> int | None:
        """
        The policy that may be the best, so that it is worth another look.

        :param running: numbers of those that are evaluated right now
        :param max_evaluations: episodes after which a policy is known well enough
        :return: its number, None if there are none, or all are known well enough
        """
        n_running = (self._used("ids")[:, None] == running).sum(1)
        row = worth_another_look(self.means(), self.errors(), self.counts + n_running, max_evaluations)
        return None if row is None else int(self._used("ids")[row])

    def _practiced(self) -> NDArray[np.int64]:
        """Rows of the policies that were generated without noise, oldest first."""
        rows = np.flatnonzero(self._used("practiced"))
        return rows[np.argsort(self._used("ids")[rows])]

    def practiced_values(self) -> Floats:
        """Values of the policies that were generated without noise, oldest first."""
        return self.values()[self._practiced()]

    def draws(self, n: int, batch_size: int) -> NDArray[np.int64]:
        """
        Rows of policies to learn from. A quarter of them were generated without noise and are spread over all bands: these
        show what the generator delivers, whereas policies with noise are worse than what they were made from.

        :param n: number of batches
        :param batch_size: policies in each
        :return: ``(n, batch_size)``
        """
        places = places_of(self.values())
        probabilities = SAMPLINGS[self.sampling](places)
        practiced = self._practiced()
        if len(practiced):
            rows = practiced[newest_by_band(places[practiced])]
            probabilities *= 1 - _PRACTICE_SHARE
            probabilities[rows] += _PRACTICE_SHARE * even_bands(places[rows])
        return self.rng.choice(self._n, size=(n, batch_size), p=probabilities)

    # As the stored steps of other algorithms

    def relabel(self) -> None:
        """Returns say what they were: there is nothing to bring up to date."""

    def totals(self) -> Floats:
        """Mean return of each stored policy, oldest first, ``(n_policies, 1)``."""
        return self.returns[np.argsort(self._used("ids"))][:, None]

    def state(self) -> dict[str, Any]:
        """All of it as numbers and arrays, but for the generator; arrays are not copied."""
        return {
            "arrays": {name: self._used(name) for name in _ARRAYS},
            "n_added": self._n_added,
            "n_transitions_added": self.n_transitions_added,
            "survival_bonus": self.survival_bonus,
        }

    def restored(self, state: Mapping[str, Any]) -> PolicyBuffer:
        """
        One with the same arguments that goes on where a saved one was; this one is left as it is.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged, or does not fit
        """
        arrays = state["arrays"]
        n = len(checked_array(arrays, "weights", (None, self.n_weights)))
        if n > self.buffer_size:
            raise ValueError(f"it holds {n} policies, more than buffer_size={self.buffer_size}")
        if state["survival_bonus"] != self.survival_bonus:
            raise ValueError(
                f"its policies were judged with survival_bonus={state['survival_bonus']}, not {self.survival_bonus}"
            )
        other = copy.copy(self)
        other._rows = {
            name: checked_array(arrays, name, (n, self.n_weights) if name == "weights" else (n,), kind).astype(
                self._dtype(name)
            )
            for name, kind in _ARRAYS.items()
        }
        counts, ids = other._rows["counts"], other._rows["ids"]
        if (
            (counts < 1).any()
            or not np.isin(other._rows["practiced"], (0, 1)).all()
            or (other._rows["squares"] < 0).any()
            or len(np.unique(ids)) < n
        ):
            raise ValueError("its numbers of episodes, or its policies, are damaged")
        other._n = n
        other._n_added = checked_count(state, "n_added")
        other.n_transitions_added = checked_count(state, "n_transitions_added")
        if n and ids.max() >= other._n_added:
            raise ValueError("its numbers of policies are damaged")
        return other


def _longer(rows: NDArray[Any], size: int) -> NDArray[Any]:
    longer = np.zeros((size, *rows.shape[1:]), rows.dtype)
    longer[: len(rows)] = rows
    return longer
