"""All that a replay buffer holds, in one object that is replaced when an episode comes or goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, GrowableArray, MirroredArray
from sb3_udrl.buffers.checks import RowKind
from sb3_udrl.buffers.episodes import returns_to_go, steps_to_go

_SMALL = 2**25  # bytes of which a second copy may be made for a moment
_PARTS = 32  # in which the rows of larger storages are moved
_REWARDS = "rewards"


@dataclass(frozen=True, eq=False)
class Storage:
    """
    The steps of all episodes, end to end in flat arrays, and a table of the episodes.

    It never changes, and neither do the rows of its episodes but for those of columns: what is new is written where no
    episode lies, and another object tells of it. So a buffer that is interrupted holds all of an episode or nothing.

    :param steps: a row per step, by name; between episodes may lie rows that nobody needs
    :param episodes: ``starts`` (their first rows), ``lengths``, ``returns`` and ``truncated``, oldest first
    :param n_episodes_added: episodes so far, also those that were forgotten since
    :param n_transitions_added: transitions so far, also those that were forgotten since
    :param notes: what those who write columns remember of that, by name
    """

    steps: Mapping[str, GrowableArray]
    episodes: Mapping[str, GrowableArray]
    n_episodes_added: int = 0
    n_transitions_added: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Number of rows, also of those that nobody needs."""
        return len(self.steps[_REWARDS])

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each episode, ``(n_episodes,)``."""
        return self.episodes["starts"].rows

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each episode, ``(n_episodes,)``."""
        return self.episodes["lengths"].rows

    @cached_property
    def n_transitions(self) -> int:
        """Number of steps of all episodes."""
        return int(self.lengths.sum())

    @property
    def has_gaps(self) -> bool:
        """Whether the rows are not just those of all episodes, oldest first."""
        return bool(self._runs[1].any())

    @cached_property
    def _runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The transitions from which on rows are otherwise far from where they would be without gaps, and how far."""
        shifts = self.starts - (np.cumsum(self.lengths) - self.lengths)
        changes = np.flatnonzero(np.diff(shifts, prepend=shifts[:1] - 1))
        return self.starts[changes] - shifts[changes], shifts[changes]

    def rows_of(self, transitions: NDArray[np.int64]) -> NDArray[np.int64]:
        """
        Where transitions lie.

        :param transitions: their numbers, if those of all episodes are counted through, oldest first, ``(n,)``
        """
        edges, shifts = self._runs
        if len(shifts) == 1:
            return transitions + shifts[0]
        return transitions + shifts[find(edges, transitions)]

    def rows_of_episodes(self, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """
        The rows of some episodes, one episode after the other.

        :param episodes: their indices
        """
        lengths = self.lengths[episodes]
        ends = np.cumsum(lengths)
        return np.arange(lengths.sum()) + np.repeat(self.starts[episodes] - (ends - lengths), lengths)

    def with_episode(self, rows: Mapping[str, Array], total: float, truncated: bool) -> Storage:
        """
        With one more episode.

        :param rows: a row per step, by name; columns, which are not among them, begin as NaN
        :param total: its return
        :param truncated: whether a time limit cut it off
        """
        length = len(rows[_REWARDS])
        if len(rows) < len(self.steps):
            rows = {**dict.fromkeys(self.steps, np.full(length, np.nan)), **rows}
        entry = {"starts": self.n_rows, "lengths": length, "returns": total, "truncated": truncated}
        return Storage(
            {name: array.extended(rows[name]) for name, array in self.steps.items()},
            {name: array.extended(np.array([entry[name]])) for name, array in self.episodes.items()},
            self.n_episodes_added + 1,
            self.n_transitions_added + length,
            self.notes,
        )

    def with_episodes_of(self, other: Storage, which: NDArray[np.int64]) -> Storage:
        """
        With episodes of another storage, whose counters are added in full.

        :param other: has the same steps, but for columns, which begin as NaN
        :param which: indices of the episodes, oldest first
        """
        rows, lengths = other.rows_of_episodes(which), other.lengths[which]
        steps = {
            name: array.extended(np.full(len(rows), np.nan) if name.startswith("columns/") else other.steps[name].rows[rows])
            for name, array in self.steps.items()
        }
        table = {name: array.rows[which] for name, array in other.episodes.items()}
        table["starts"] = self.n_rows + np.cumsum(lengths) - lengths
        return Storage(
            steps,
            {name: array.extended(table[name]) for name, array in self.episodes.items()},
            self.n_episodes_added + other.n_episodes_added,
            self.n_transitions_added + other.n_transitions_added,
            self.notes,
        )

    def only(self, mask: NDArray[np.bool_]) -> Storage:
        """
        Without some episodes.

        :param mask: those to keep, at least one, ``(n_episodes,)``
        """
        end = int((self.starts[mask] + self.lengths[mask]).max())
        steps = {name: array.shortened(end) for name, array in self.steps.items()}
        return replace(self, steps=steps, episodes={name: _kept(array, mask) for name, array in self.episodes.items()})

    def with_fewer_gaps(self) -> Storage:
        """
        With more episodes where they would be without gaps, oldest first; to be repeated while there are gaps.

        A small storage is copied. In others some episodes are moved. Younger ones do not lie before the place where they
        would be without gaps, so they are not in the way: only rows of the moved episodes may be. Then these first go to
        the end.
        """
        lengths, ends = self.lengths, np.cumsum(self.lengths)
        places = ends - lengths
        if sum(array.rows.nbytes for array in self.steps.values()) <= _SMALL:
            rows = self.rows_of(np.arange(self.n_transitions))
            return self._at(places, {name: _kept(array, rows) for name, array in self.steps.items()})
        first = int(np.argmax(self.starts != places))
        some = np.arange(first, max(first + 1, np.searchsorted(ends, places[first] + ends[-1] // _PARTS, side="right")))
        rows, to = self.rows_of_episodes(some), int(places[first])
        if self.starts[some].min() < to + len(rows):
            to = self.n_rows
        starts = self.starts.copy()
        starts[some] = places[some] + (to - places[first])
        end = int((starts + lengths).max())
        return self._at(
            starts, {name: array.overwritten(to, array.rows[rows]).shortened(end) for name, array in self.steps.items()}
        )

    def _at(self, starts: NDArray[np.int64], steps: Mapping[str, GrowableArray]) -> Storage:
        """The same episodes with their rows elsewhere."""
        return replace(self, steps=steps, episodes={**self.episodes, "starts": self.episodes["starts"].holding(starts)})

    def with_columns(self, columns: Mapping[str, Array], notes: Mapping[str, Any]) -> Storage:
        """
        With further numbers per row, or other ones, and with further notes.

        :param columns: by name among ``steps``, each ``(n_rows,)``
        :param notes: by name
        """
        capacity = self.steps[_REWARDS].capacity
        steps = {name: _with_room(GrowableArray((), rows.dtype, capacity), rows) for name, rows in columns.items()}
        return replace(self, steps={**self.steps, **steps}, notes={**self.notes, **notes})


def _kept(array: GrowableArray, which: NDArray[Any]) -> GrowableArray:
    """Some rows, given by indices or a mask, with room for more."""
    return _with_room(array, array.rows[which])


def _with_room(array: GrowableArray, kept: Array) -> GrowableArray:
    rows = np.empty((len(kept) * 9 // 8 + 64, *kept.shape[1:]), kept.dtype)
    rows[: len(kept)] = kept
    return array.holding(rows, len(kept))


def by_name(observations: Any) -> dict[str, Any]:
    """
    What there is for each array of observations, by its name among the steps.

    :param observations: something for plain observations, or a dictionary for those of a ``Dict`` space
    """
    if isinstance(observations, dict):
        return {f"observations/{key}": part for key, part in observations.items()}
    return {"observations": observations}


def sums_to_come(rewards: Array, amounts: Mapping[str, Array]) -> dict[str, Array]:
    """
    What is stored beside the steps of an episode and follows from them, by its name among the steps.

    :param rewards: ``(T,)``
    :param amounts: what each step contributed to further parts of commands, by name, each ``(T,)``
    """
    sums = {f"sums_to_go/{name}": returns_to_go(values) for name, values in {"return": rewards, **amounts}.items()}
    return {"steps_to_go": steps_to_go(len(rewards)), **sums}


def find(edges: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.int64]:
    """
    Between which edges numbers lie.

    :param edges: ascending
    :param numbers: at least the first edge, ``(n,)``
    :return: index of the last edge that is no greater, ``(n,)``
    """
    order = numbers.argsort()  # a search in order stays in the cache, however many edges there are
    found = np.empty(len(numbers), dtype=np.int64)
    found[order] = np.searchsorted(edges, numbers[order], side="right") - 1
    return found


def empty_storage(kinds: Mapping[str, RowKind], recorded: Sequence[str], capacity: int, device: th.device | None) -> Storage:
    """
    A storage without episodes.

    :param kinds: what is stored of every step, by name
    :param recorded: names of further amounts, whose sums are stored too
    :param capacity: expected number of rows
    :param device: where a copy of the observations is kept, if anywhere
    """
    types = {"steps_to_go": np.int32, **{f"sums_to_go/{name}": np.float32 for name in ("return", *recorded)}}
    all_kinds = {name: (kind.shape, kind.dtype) for name, kind in kinds.items()}
    all_kinds |= {name: ((), np.dtype(dtype)) for name, dtype in types.items()}
    steps = {
        name: GrowableArray(shape, dtype, capacity)
        if device is None or not name.startswith("observations")
        else MirroredArray(shape, dtype, capacity, device)
        for name, (shape, dtype) in all_kinds.items()
    }
    tables = {"starts": np.int64, "lengths": np.int64, "returns": np.float64, "truncated": np.bool_}
    return Storage(steps, {name: GrowableArray((), dtype, capacity) for name, dtype in tables.items()})
