"""Ctrl-C at every line of the replay buffer's methods: what was begun is done, or was never begun."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_buffers import content, random_buffer, random_episode, same

import sb3_udrl.buffers
import sb3_udrl.labels
from sb3_udrl.buffers import EpisodeRecorder, storage
from sb3_udrl.labels import AdvantageLabeler

LABELS = str(Path(sb3_udrl.labels.__file__).parent)
FOLDER = str(Path(sb3_udrl.buffers.__file__).parent)


def interrupted(call: Callable[[Any], Any], buffer: Any, at: int, event: str, folders: Any = FOLDER) -> bool:
    """Call with a buffer, with Ctrl-C at an event of the code in some folders, counted from 0. Whether it came to that."""
    n_left = at

    def trace(frame: Any, kind: str, argument: Any) -> Any:
        nonlocal n_left
        if not frame.f_code.co_filename.startswith(folders):
            return None
        frame.f_trace_opcodes = event == "opcode"
        if kind == event:
            n_left -= 1
            if n_left < 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call(buffer)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def check_all_interrupts(buffer, call, further, event="line", every=1):
    """
    Interrupt a call at every place, or every few, each time on a new copy of the buffer, and then go on with that.

    Returns for each place whether the call had done its work by then.
    """
    pickled = pickle.dumps(buffer)
    before, after = pickle.loads(pickled), pickle.loads(pickled)
    call(after)
    states = [content(before), content(after)]
    next_states = []
    for each in (before, after):
        each.add(further)
        next_states.append(content(each))
    done, came = [], True
    while came:
        tried = pickle.loads(pickled)
        came = interrupted(call, tried, every * len(done), event)
        is_done = same(content(tried), states[1])
        assert is_done or (came and same(content(tried), states[0])), len(done)
        if len(done) % 4 == 0:
            tried.add(further)
            assert same(content(tried), next_states[is_done]), len(done)
            assert len(tried.draw_rows(3)) == 3
        done.append(is_done)
    return done


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Move a few episodes at a time, as large buffers do."""
    monkeypatch.setattr(storage, "_SMALL", 0)
    monkeypatch.setattr(storage, "_PARTS", 4)


def next_to_close_gaps(name, retention, **kwargs):
    """A buffer and an episode that makes it move others together, in several steps."""
    buffer, rng = random_buffer(1, name, buffer_size=50, retention=retention, **kwargs), np.random.default_rng(1)
    moved = storage.Storage.with_fewer_gaps
    while True:
        n_moves, episode, pickled = 0, random_episode(buffer, rng), pickle.dumps(buffer)
        with pytest.MonkeyPatch.context() as patch:

            def counted(stored):
                nonlocal n_moves
                n_moves += 1
                return moved(stored)

            patch.setattr(storage.Storage, "with_fewer_gaps", counted)
            buffer.add(episode)
        if n_moves > 3:
            return pickle.loads(pickled), episode


@pytest.mark.parametrize(
    ("name", "retention", "every"),
    [("vectors", "recent", 7), ("vectors", "best", 7), ("dictionary", "mixed", 1), ("vectors", "bands", 7)],
)
def test_add_that_closes_gaps(name, retention, every):
    buffer, episode = next_to_close_gaps(name, retention)
    further = random_episode(buffer, np.random.default_rng(9))
    done = check_all_interrupts(buffer, lambda each: each.add(episode), further, every=every)
    assert done == sorted(done) and done.count(False) * every > 100  # at one moment, all of it
    assert done.count(True) * every > 100  # while gaps are closed the episode is there


@pytest.mark.parametrize(("n_episodes", "retention"), [(1, "recent"), (5, "recent"), (40, "bands")])
def test_add_to_buffers_that_are_empty_or_full(n_episodes, retention):
    buffer, rng = random_buffer(3, "vectors", n_episodes, retention=retention, max_episodes=8), np.random.default_rng(4)
    episode, further = random_episode(buffer, rng), random_episode(buffer, rng)
    check_all_interrupts(buffer, lambda each: each.add(episode), further)


def test_every_operation_of_the_interpreter():
    """Real signals come between these, not between lines."""
    buffer, episode = next_to_close_gaps("vectors", "best")
    check_all_interrupts(
        buffer, lambda each: each.add(episode), random_episode(buffer, np.random.default_rng(9)), "opcode", 31
    )


@pytest.mark.parametrize(("n_episodes", "retention"), [(1, "recent"), (12, "best"), (40, "mixed")])
def test_add_all(n_episodes, retention):
    buffer, rng = random_buffer(3, "vectors", n_episodes, retention=retention, buffer_size=60), np.random.default_rng(4)
    others = random_buffer(5, "vectors", 12, buffer_size=1000)
    check_all_interrupts(buffer, lambda each: each.add_all(others), random_episode(buffer, rng))


@pytest.mark.parametrize(
    "call",
    [
        lambda buffer: buffer.reset(),
        lambda buffer: buffer.column("further", np.float64),
        lambda buffer: buffer.arrays(),
        lambda buffer: buffer.restored({name: array.copy() for name, array in buffer.arrays().items()}, buffer.settings()),
        lambda buffer: buffer.draw_rows(10),
        lambda buffer: buffer.best(3),
    ],
    ids=["reset", "column", "arrays", "restored", "draw_rows", "best"],
)
def test_all_else(call):
    buffer, episode = next_to_close_gaps("pictures", "mixed", sampling="rank")
    check_all_interrupts(buffer, call, episode)


def test_a_copy_on_a_device():
    buffer, episode = next_to_close_gaps("pictures", "recent", device="cpu")
    pickled = pickle.dumps(buffer)

    def call(each):
        each.add(episode)
        each.take_observations(np.arange(3))

    at, came = 0, True
    while came:
        tried = pickle.loads(pickled)
        tried.take_observations(np.arange(3))
        came = interrupted(call, tried, at, "line")
        for _ in range(2):
            rows = tried.stored_rows()
            np.testing.assert_array_equal(tried.take_observations(rows).numpy(), tried.raw_observations(rows))
            tried.add(episode)
        at += 7
    assert at > 100


# Running episodes, and labels


def step_of(recorder, t):
    """Record a step whose numbers tell time and environment."""
    envs = np.arange(3)
    observations = {"a": np.stack([t + envs / 8, -t - envs / 8], 1), "b": np.array([[t % 2, 1, 0]] * 3)}
    recorder.record(observations, np.full((3, 2), t % 2), t + envs / 4, {"fuel": t - envs / 4})


def episodes_of(recorder):
    """The running episodes, which are left as they are."""
    ended = pickle.loads(pickle.dumps(recorder))
    return [(each.observations, each.actions, each.rewards, each.amounts) for each in map(ended.finish, range(3))]


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return len(one) == len(other) and (
        np.array_equal(one, other) if isinstance(one, np.ndarray) else all(map(equal, one, other))
    )


@pytest.mark.parametrize("ends", [(), (0,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("name", ["record", "finish", "discard"])
def test_running_episodes(name, ends):
    """In arrays that are full; where all episodes have just begun, there is room in front of them."""
    buffer = random_buffer(0, "dictionary", 1)
    recorder = EpisodeRecorder(buffer.observation_space, buffer.action_space, 3, 15, ["fuel"])
    recorder.max_episode_steps = 99
    for t in range(16):
        for env in ends if t == 12 else ():
            recorder.finish(env)
        step_of(recorder, t)
    pickled = pickle.dumps(recorder)
    after = pickle.loads(pickled)

    def call(each):
        step_of(each, 16) if name == "record" else each.finish(1) if name == "finish" else each.discard()

    call(after)
    states, came, at, done = [episodes_of(recorder), episodes_of(after)], True, 0, []
    while came:
        tried = pickle.loads(pickled)
        came = interrupted(call, tried, at, "line")
        done.append(equal(episodes_of(tried), states[1]))
        assert done[-1] or (came and equal(episodes_of(tried), states[0])), at
        at += 1
    assert done.count(False) >= 2 and done[-1]


@pytest.mark.parametrize("redistribute", [False, True])
@pytest.mark.parametrize("labelled", ["nothing", "some", "most"])
def test_labels(labelled, redistribute):
    buffer, rng = random_buffer(1, "vectors", 20, buffer_size=80), np.random.default_rng(2)
    labeler = AdvantageLabeler(n_neighbors=3, redistribute_rewards=redistribute)
    if labelled != "nothing":
        labeler.relabel(buffer)
        for _ in range(4 if labelled == "some" else 1):
            buffer.add(random_episode(buffer, rng))

    def all_of(each):
        return {
            **content(each),
            **{f"labels/{name}": value for name, value in labeler.state(each).items() if value is not None},
        }

    pickled = pickle.dumps(buffer)
    after = pickle.loads(pickled)
    labeler.relabel(after)
    states, came, done = [all_of(buffer), all_of(after)], True, []
    assert not same(*states) and not np.isnan(states[1]["columns/advantage scores"]).any()
    while came:
        tried = pickle.loads(pickled)
        came = interrupted(labeler.relabel, tried, 13 * len(done), "line", (FOLDER, LABELS))
        done.append(same(all_of(tried), states[1]))
        assert done[-1] or (came and same(all_of(tried), states[0])), len(done)
        if not done[-1]:
            labeler.relabel(tried)
            assert labeler.state(tried)["n_remembered"] == states[1]["labels/n_remembered"]
            assert not np.isnan(all_of(tried)["columns/advantage scores"]).any()
    assert done == sorted(done) and done.count(False) > 8 and done[-1]
