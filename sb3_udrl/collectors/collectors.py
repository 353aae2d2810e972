"""The learner's side of collectors: orders go out, steps come back, one by one."""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import numpy as np
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sb3_udrl.buffers.arrays import Array, Observation
from sb3_udrl.collectors.collector import MOST_STEPS, Playing, Recipe, Started, step_of
from sb3_udrl.collectors.environments import making, monitors_with_files
from sb3_udrl.collectors.processes import Processes
from sb3_udrl.collectors.ray_actors import RayActors
from sb3_udrl.collectors.upcoming import Upcoming
from sb3_udrl.common.collecting import CollectingAlgorithm
from sb3_udrl.common.running import Order, RunningEpisodes

_SECONDS = 0.2  # that collectors play at a time, where nobody waits for all of them
_IN_FLIGHT = 2  # so that they go on while the learner is busy
_MOST_LOSSES = 3  # of one collector in a row

SteppedEnvs = tuple[Array, Observation, Array, Array, list[dict[str, Any]]]


class Seat:
    """
    What the learner knows of one collector.

    :param index: which one
    :param running: its running episodes, recorded here
    """

    def __init__(self, index: int, running: RunningEpisodes) -> None:
        self.index, self.running, self.upcoming = index, running, Upcoming(running)
        self.observations: Any = None  # before its next step
        self.life, self.n_losses = -1, 0
        self.starting: Future[Started] | None = None
        self.playing: deque[Future[Playing]] = deque()
        self.outbox: list[Order] = []
        self.has_weights, self.has_exploration = -1, False
        self.quota: float = 0  # steps that it may still play in this round
        self.n_ended = 0  # episodes in the last steps that came back


class Collectors:
    """
    Collectors, and the order in which their steps reach the learner.

    Synchronous ones play with the newest weights while the learner waits, get each order when the episode before has ended,
    and come in turn: runs repeat. Otherwise they play on while the learner learns, with orders in advance, and come as they
    finish.

    :param model: the learner
    :param n: number of collectors
    :param backend: ``"processes"`` on this machine, or ``"ray"``
    :param address: of the Ray cluster
    :param synchronous: whether the learner waits for them
    :raises ValueError: if the environment cannot be made again
    """

    def __init__(
        self,
        model: CollectingAlgorithm,
        n: int,
        backend: str = "processes",
        address: str | None = None,
        synchronous: bool = False,
    ) -> None:
        self.synchronous, self.make = synchronous, making(model.training_env)
        recipe = Recipe(type(model), model.settings_of_copies(), self.make)
        self._backend = Processes(n, recipe) if backend == "processes" else RayActors(n, recipe, address)
        self._seats = [Seat(index, model.new_running() if index else model._running) for index in range(n)]
        self._ahead = model.new_running()  # whose orders are given in advance
        self._monitors = monitors_with_files(model.training_env)
        self._weights: Any = None
        self._version = 0
        self._turn = 0
        self._steps: Iterator[SteppedEnvs] = iter(())

    def n_practicing_besides(self, running: RunningEpisodes) -> int:
        """
        Episodes of practice that are running or ordered.

        :param running: those that are counted elsewhere
        """
        return sum(
            seat.upcoming.n_practicing - (int(running.practicing.sum()) if seat.running is running else 0)
            for seat in self._seats
        )

    def start_over(self, model: CollectingAlgorithm, keep_resumed: bool) -> None:
        """
        Reset all environments; the running episodes are dropped.

        :param model: the learner, which decides about the next ones
        :param keep_resumed: play the episodes that were loaded
        """
        self._steps = iter(())
        for seat in self._seats:
            self._start(model, seat)
        for seat in self._seats:
            while seat.starting is not None:
                self._settle(model, seat, keep_resumed)

    def _hand_out(self, model: CollectingAlgorithm, train_freq: TrainFreq) -> None:
        """
        Hand out the weights as they are now.

        :param model: the learner
        :param train_freq: how much is collected before the next training
        """
        self._weights = self._backend.share(model.policy_weights())
        self._version += 1
        n, by_steps = len(self._seats), train_freq.unit == TrainFrequencyUnit.STEP
        for seat in self._seats:
            share = (train_freq.frequency + n - 1 - seat.index) // n
            seat.quota = share if by_steps else np.inf

    def round(self, model: CollectingAlgorithm, train_freq: TrainFreq, total_timesteps: int) -> Iterator[SteppedEnvs]:
        """
        Steps of the collectors' vectorized environments, one after the other. While one is handled, the learner attends to
        the running episodes of that collector.

        :param model: the learner
        :param train_freq: how much is collected before the next training
        :param total_timesteps: stop at this step at the latest
        :return: actions, observations after the step, rewards, dones and infos, without end
        """
        self._hand_out(model, train_freq)
        wanted = train_freq.frequency if train_freq.unit == TrainFrequencyUnit.STEP else sys.maxsize
        while True:
            yield self._next_step(model, min(wanted, -(-(total_timesteps - model.num_timesteps) // model.n_envs)))
            wanted -= 1

    def _next_step(self, model: CollectingAlgorithm, at_most: int) -> SteppedEnvs:
        step = next(self._steps, None)
        while step is None:
            self._steps = self._arrivals(model, at_most)
            step = next(self._steps, None)
        return step

    def begin_episodes(self, model: CollectingAlgorithm, dones: Array) -> None:
        """
        Begin the next episodes of the collector whose step this was: as ordered, or as the learner decides now.

        :param model: the learner
        :param dones: where, ``(n_envs,)``
        """
        seat = next(seat for seat in self._seats if seat.running is model._running)
        seat.upcoming.end(dones)
        seat.outbox += self._decide(model, seat)

    # One collector

    def _start(self, model: CollectingAlgorithm, seat: Seat) -> None:
        seat.life += 1
        seed = model.seed
        if seed is not None:  # no two collectors, and no two starts after a loss, play alike
            seed += seat.index * model.n_envs
            if seat.life > 0:
                seed = int(np.random.default_rng([seed, seat.life]).integers(2**31))
        seat.playing.clear()
        seat.outbox.clear()
        seat.has_weights, seat.has_exploration = -1, False
        seat.starting = self._backend.submit(seat.index, "start", seat.life, seed)

    def _settle(self, model: CollectingAlgorithm, seat: Seat, keep_resumed: bool = False) -> None:
        """Wait until a collector has started, and decide what to ask of its episodes."""
        assert seat.starting is not None
        try:
            started = seat.starting.result()
        except Exception as error:
            self._lose(model, seat, error)
            return
        seat.starting = None
        seat.observations = started.observations
        seat.upcoming.orders.clear()
        seat.upcoming.waiting = seat.running.start_over(keep_resumed)
        self._decide(model, seat)
        seat.outbox = [seat.running.order(env) for env in range(model.n_envs)]

    def _lose(self, model: CollectingAlgorithm, seat: Seat, error: Exception) -> None:
        """Start a collector again that is gone."""
        if not self._backend.is_loss(error):
            raise error
        seat.n_losses += 1
        if seat.n_losses > _MOST_LOSSES:
            raise RuntimeError(f"collector {seat.index} was lost {seat.n_losses} times before it played a step") from error
        warnings.warn(
            f"collector {seat.index} was lost ({error}): it starts again, without its running episodes", stacklevel=2
        )
        self._backend.replace(seat.index)
        self._start(model, seat)

    def _decide(self, model: CollectingAlgorithm, seat: Seat) -> list[Order]:
        """Decide about the episodes that start and have no order."""
        starts = seat.upcoming.waiting
        if starts.any():
            model.attend_to(seat.running, seat.observations)
            model.begin_episodes(starts)
            seat.upcoming.waiting = np.zeros_like(starts)
        return [seat.running.order(env) for env in np.flatnonzero(starts).tolist()]

    def _order_in_advance(self, model: CollectingAlgorithm, seat: Seat) -> None:
        """Decide about episodes to come, as many as may end before the learner looks again."""
        n_envs = len(seat.running.starts)
        while len(seat.upcoming.orders) < n_envs + 2 * seat.n_ended:
            model.attend_to(self._ahead, seat.observations)
            model.begin_episodes(np.ones(n_envs, dtype=np.bool_))
            orders = [self._ahead.order(env) for env in range(n_envs)]
            self._ahead.temperature[:] = np.nan
            seat.upcoming.add(orders)
            seat.outbox += orders

    def _submit(self, model: CollectingAlgorithm, seat: Seat, n_steps: int) -> None:
        if not self.synchronous and model.decides_in_advance:
            self._order_in_advance(model, seat)
        exploration = None if seat.has_exploration else model.exploration()
        weights = None if seat.has_weights == self._version else self._weights
        randomness = model.randomness() if self.synchronous and len(self._seats) == 1 else None
        seconds = np.inf if self.synchronous else _SECONDS
        arguments = (seat.life, seat.outbox, n_steps, seconds, weights, exploration, randomness)
        seat.playing.append(self._backend.submit(seat.index, "play", *arguments))
        seat.outbox, seat.has_weights = [], self._version
        seat.has_exploration |= bool(exploration)

    # Whose steps come next

    def _arrivals(self, model: CollectingAlgorithm, at_most: int) -> Iterator[SteppedEnvs]:
        seat = self._next_in_turn(model, at_most) if self.synchronous else self._next_to_finish(model)
        if seat.starting is not None:
            self._settle(model, seat)
            return
        try:
            playing = seat.playing.popleft().result()
        except Exception as error:
            self._lose(model, seat, error)
            return
        if playing.life != seat.life:  # was started again, by Ray
            self._start(model, seat)
            return
        yield from self._steps_of(model, seat, playing)

    def _steps_of(self, model: CollectingAlgorithm, seat: Seat, playing: Playing) -> Iterator[SteppedEnvs]:
        n_steps = len(playing.infos)
        seat.quota, seat.n_ended = seat.quota - n_steps, int(playing.dones.sum())
        seat.n_losses = 0 if n_steps else seat.n_losses
        if playing.randomness is not None:
            model.set_randomness(playing.randomness)
        for t in range(n_steps):
            model.attend_to(seat.running, seat.observations)
            step = step_of(playing, t)
            seat.observations = step[1]
            self._write_monitors(step[-1])
            yield step

    def _next_in_turn(self, model: CollectingAlgorithm, at_most: int) -> Seat:
        n = len(self._seats)
        for seat in self._seats:
            if seat.starting is None and not seat.playing and seat.quota > 0:
                self._submit(model, seat, int(min(seat.quota, -(-at_most // n))))
        while True:
            seat = self._seats[self._turn % n]
            self._turn += 1
            if seat.starting is not None or seat.playing:
                return seat

    def _next_to_finish(self, model: CollectingAlgorithm) -> Seat:
        for seat in self._seats:
            while seat.starting is None and len(seat.playing) < _IN_FLIGHT:
                self._submit(model, seat, MOST_STEPS)
        heads: dict[Future[Any], Seat] = {seat.starting or seat.playing[0]: seat for seat in self._seats}
        done, _ = wait(heads, return_when=FIRST_COMPLETED)
        ready = [seat for head, seat in heads.items() if head in done]
        self._turn += 1
        return min(ready, key=lambda seat: (seat.index - self._turn) % len(self._seats))

    def _write_monitors(self, infos: list[dict[str, Any]]) -> None:
        """Episodes that came back are rows of the learner's own files, each once."""
        for monitor, info in zip(self._monitors, infos, strict=False):
            if monitor is not None and monitor.results_writer is not None and "episode" in info:
                monitor.results_writer.write_row({**info["episode"], "t": round(time.time() - monitor.t_start, 6)})

    def pids(self) -> list[int]:
        """Process numbers of the collectors, for those who look after them."""
        return [self._backend.submit(seat.index, "pid").result() for seat in self._seats]

    def close(self) -> None:
        """End the collectors."""
        self._backend.close()
