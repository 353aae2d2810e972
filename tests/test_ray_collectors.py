"""Collectors on a Ray cluster of two nodes: a short run of the script that anyone runs, and the script finds what is wrong."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import episode

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks are not installed

from benchmarks import collectors


@pytest.mark.slow
def test_actors_that_are_killed_lose_nothing_but_running_episodes(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    row, faults = collectors.kill(n_kills=3, collectors=2, steps_per_kill=600)
    assert faults == []
    kills, losses, steps, episodes, n_faults = row.replace(",", "").strip("| ").split(" | ")
    assert (kills, steps, n_faults) == ("3", "2400", "0") and int(losses) >= 2 and int(episodes) > 20


def numbered(me, number, length):
    first = episode(np.zeros(length))
    places = np.array([(me, number, t) for t in range(length)], np.float32)
    return type(first)(places, first.actions, first.rewards)


@pytest.mark.parametrize(
    ("episodes", "places", "fault"),
    [
        ([(1, 0, 3), (2, 0, 2)], [(1, 0, 0), (1, 0, 1), (1, 0, 2), (2, 0, 0), (2, 0, 1)], None),
        ([(1, 0, 3), (2, 0, 2)], [(1, 0, 0), (1, 0, 1), (1, 0, 2), (2, 0, 0), (2, 0, 0)], "seen twice"),
        ([(1, 0, 3), (1, 0, 3)], [(1, 0, 0), (1, 0, 1), (1, 0, 2), (2, 0, 0), (2, 0, 1)], "there twice"),
        ([(1, 0, 3)], [(1, 0, 0), (1, 0, 1), (1, 0, 2), (2, 0, 0), (2, 0, 1)], "2 episodes ended, 1 were stored"),
        ([(1, 0, 3), (2, 0, 2)], [(1, 0, 0)], "5 steps counted, 1 seen"),
    ],
)
def test_what_is_wrong_is_found(episodes, places, fault):
    stored = [numbered(*each) for each in episodes]
    buffer = SimpleNamespace(n_episodes=len(stored), n_episodes_added=len(stored), episode=lambda index: stored[index])
    model = SimpleNamespace(num_timesteps=5, replay_buffer=buffer)
    faults = collectors.faults_of_kills(model, SimpleNamespace(places=places, n_ended=2), 5)
    assert faults == [] if fault is None else any(fault in found for found in faults)


def test_episodes_that_are_not_whole_are_found():
    cut = numbered(1, 0, 3)
    cut.observations[2, 2] = 3
    buffer = SimpleNamespace(n_episodes=1, n_episodes_added=1, episode=lambda index: cut)
    places = [(1, 0, t) for t in range(3)]
    model = SimpleNamespace(num_timesteps=3, replay_buffer=buffer)
    (fault,) = collectors.faults_of_kills(model, SimpleNamespace(places=places, n_ended=1), 3)
    assert fault == "episode 0 is not whole"
