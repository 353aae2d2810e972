"""Collectors as actors of a Ray cluster, which may be many machines."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future
from typing import Any

from sb3_udrl.collectors.collector import Collector, Recipe

_RETRIES = 60  # of about a second each, for an actor to come again


class RayActors:
    """
    An actor for each collector, spread over the cluster. Ray starts those again that are gone.

    :param n: how many
    :param recipe: how they make their copies of the model
    :param address: of a running cluster, ``"auto"`` for the one that this machine belongs to; by default that of the variable
        ``RAY_ADDRESS``, or else one is started on this machine
    :raises ImportError: if Ray is missing
    """

    def __init__(self, n: int, recipe: Recipe, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError("backend='ray' needs Ray: pip install sb3-udrl[ray]") from error
        if not ray.is_initialized():
            address = address or os.environ.get("RAY_ADDRESS") or "local"  # else Ray would take whichever cluster runs here
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self._ray = ray
        actor = ray.remote(max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD")(Collector)
        self._actors: list[Any] = [actor.remote(recipe) for _ in range(n)]

    def share(self, weights: Any) -> Any:
        """
        Put weights into the object store, once for all.

        :param weights: of the behavior function
        """
        return self._ray.put(weights)

    def submit(self, index: int, method: str, *args: Any) -> Future[Any]:
        """
        Call a method of a collector.

        :param index: which collector
        :param method: name of the method
        :param args: its arguments
        """
        retries = _RETRIES if method == "start" else 0  # it may be repeated, and waits for an actor that comes again
        return getattr(self._actors[index], method).options(max_task_retries=retries).remote(*args).future()

    def is_loss(self, error: BaseException) -> bool:
        """
        Whether an error says that a collector is gone; else it comes from what the collector did.

        :param error: as the future of a call raised it
        """
        exceptions = self._ray.exceptions
        return isinstance(error, exceptions.RayError) and not isinstance(error, exceptions.RayTaskError)

    def replace(self, index: int) -> None:
        """
        Nothing to do: Ray does so by itself.

        :param index: which one
        """

    def close(self) -> None:
        """End all actors."""
        for actor in self._actors:
            self._ray.kill(actor)
