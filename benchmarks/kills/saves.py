"""One model and one buffer, saved again and again: both tell the how many-th they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch as th

from benchmarks.kills.children import Outcome, Report, partial_files, run_child
from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode

LENGTH = 10  # steps of an episode
N_STORED = 100  # episodes that a numbered buffer holds


def numbered_model() -> UDRL:
    """A model for :func:`advance`."""
    return UDRL("CommandPolicy", "CartPole-v1", buffer_size=N_STORED * LENGTH, seed=0, device="cpu")


def numbered_episode(number: int) -> Episode:
    """
    An episode that no other number has.

    :param number: the number
    """
    rng = np.random.default_rng(number)
    observations = 0.4 * rng.random((LENGTH, 4), np.float32)
    return Episode(observations, rng.integers(2, size=LENGTH), rng.random(LENGTH, np.float32))


def advance(model: UDRL, number: int) -> None:
    """
    Make a model the how many-th it is: by its count of steps, each of its weights, and the last episodes of its buffer.

    :param model: from :func:`numbered_model`
    :param number: at least its present one
    """
    for added in range(model.num_timesteps + 1, number + 1):
        model.replay_buffer.add(numbered_episode(added))
    model.num_timesteps = number
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.fill_(number)


def save_forever(model: UDRL, folder: Path, report: Report) -> None:
    """
    The child: saves a model and its buffer under the same names, and says which are complete.

    :param model: from :func:`numbered_model`
    :param folder: where to
    :param report: gets the number of the last pair that is complete
    """
    for number in count(model.num_timesteps):
        report(number)
        advance(model, number + 1)
        model.save(folder / "model")
        model.save_replay_buffer(folder / "buffer")


def faults_of_saves(folder: Path, reported: int, reader: UDRL) -> Iterator[str]:
    """
    Look at what a killed :func:`save_forever` left.

    :param folder: the folder
    :param reported: number of the last pair that was complete
    :param reader: loads the buffer
    :return: what is wrong
    """
    try:
        model = UDRL.load(folder / "model", device="cpu", trusted=[])
        reader.load_replay_buffer(folder / "buffer")
    except (OSError, ValueError) as error:
        yield f"after number {reported}: {error}"
        return
    weights = {value for parameter in model.policy.parameters() for value in parameter.unique().tolist()}
    if weights != {model.num_timesteps}:
        yield f"after number {reported}: the model says {model.num_timesteps}, its weights say {sorted(weights)}"
    buffer = reader.replay_buffer
    numbers = range(buffer.n_episodes_added - buffer.n_episodes + 1, buffer.n_episodes_added + 1)
    if len(numbers) != min(N_STORED, buffer.n_episodes_added):
        yield f"after number {reported}: {len(numbers)} episodes are stored"
    for index, number in enumerate(numbers):
        ours, theirs = buffer.episode(index), numbered_episode(number)
        names = ("observations", "actions", "rewards")
        if not all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in names):
            yield f"after number {reported}: episode {number} is another one"
    if not reported <= numbers[-1] <= model.num_timesteps <= reported + 1:
        yield f"after number {reported}: there are model {model.num_timesteps} and buffer {numbers[-1]}"


def kill_saves(n_kills: int, rng: random.Random, folder: Path) -> Outcome:
    """
    Kill :func:`save_forever`.

    :param n_kills: how often
    :param rng: draws the moments
    :param folder: an empty folder
    """
    outcome, model, reader = Outcome("saving a model and a buffer"), numbered_model(), numbered_model()
    advance(model, 1)
    model.save(folder / "model")
    model.save_replay_buffer(folder / "buffer")
    for _ in range(n_kills):
        reported = run_child(lambda report: save_forever(model, folder, report), rng.uniform(0, 0.1))[0][-1]
        outcome.n_kills += 1
        outcome.n_midway += bool(partial_files(folder))
        outcome.faults += faults_of_saves(folder, reported, reader)
        outcome.n_read += 2
        advance(model, reported + 2)
        model.save(folder / "model")
        model.save_replay_buffer(folder / "buffer")
        outcome.faults += [f"{name} is there after the next save" for name in partial_files(folder)]
    return outcome
