"""Which order the next episode of an environment gets: the learner and its collector reckon alike, so neither has to ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.common.running import Order, RunningEpisodes


class Upcoming:
    """
    Orders in the sequence in which they were given. Each goes to the next episode that starts, environments of the same step
    by their index.

    :param running: the running episodes, which begin here
    """

    def __init__(self, running: RunningEpisodes) -> None:
        self.running = running
        self.orders: deque[Order] = deque()
        self.waiting = np.zeros_like(running.starts)  # environments without an order for the episode that starts, (n_envs,)

    @property
    def n_practicing(self) -> int:
        """Episodes of practice that are running or ordered."""
        return int(self.running.practicing.sum()) + sum(not np.isnan(order.temperature) for order in self.orders)

    def clear(self) -> None:
        """Forget the orders: episodes start in all environments."""
        self.orders.clear()
        self.waiting = np.ones_like(self.waiting)

    def add(self, orders: Iterable[Order]) -> None:
        """
        Take orders; environments that wait get theirs.

        :param orders: in sequence
        """
        self.orders.extend(orders)
        self.end(np.zeros_like(self.waiting))

    def end(self, dones: NDArray[np.bool_]) -> None:
        """
        Start the next episodes, as far as there are orders; the other environments wait.

        :param dones: episodes that ended at this step, ``(n_envs,)``
        """
        self.waiting = self.waiting | dones
        for env in np.flatnonzero(self.waiting).tolist():
            if not self.orders:
                return
            self.running.obey(env, self.orders.popleft())
            self.waiting[env] = False
