"""Collectors in processes of this machine, by Python's own process pools."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from stable_baselines3.common.vec_env.base_vec_env import CloudpickleWrapper

from sb3_udrl.collectors.collector import Collector, Recipe

_START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # as SB3 has it
_collector: Collector  # of this process


class Processes:
    """
    A process for each collector.

    :param n: how many
    :param recipe: how they make their copies of the model
    """

    def __init__(self, n: int, recipe: Recipe) -> None:
        self._recipe = CloudpickleWrapper(recipe)  # plain pickles know no lambdas
        self._pools = [self._pool() for _ in range(n)]

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(_START_METHOD)
        return ProcessPoolExecutor(1, context, _begin, (self._recipe,))

    def share(self, weights: Any) -> Any:
        """
        Weights in a form that may be passed to :meth:`submit`.

        :param weights: of the behavior function
        """
        return weights

    def submit(self, index: int, method: str, *args: Any) -> Future[Any]:
        """
        Call a method of a collector.

        :param index: which collector
        :param method: name of the method
        :param args: its arguments
        """
        try:
            return self._pools[index].submit(_call, method, args)
        except BrokenProcessPool as error:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def is_loss(self, error: BaseException) -> bool:
        """
        Whether an error says that a collector is gone; else it comes from what the collector did.

        :param error: as the future of a call raised it
        """
        return isinstance(error, BrokenProcessPool)

    def replace(self, index: int) -> None:
        """
        Let a new collector take the place of one that is gone.

        :param index: which one
        """
        self._pools[index].shutdown(wait=False, cancel_futures=True)
        self._pools[index] = self._pool()

    def close(self) -> None:
        """End all processes, once they have done what they are about."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(recipe: CloudpickleWrapper) -> None:
    global _collector
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the learner, which then ends its collectors
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _collector = Collector(recipe.var)


def _end_with_parent() -> None:
    """However the learner ends, nobody is left waiting for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def _call(method: str, args: tuple[Any, ...]) -> Any:
    return getattr(_collector, method)(*args)
