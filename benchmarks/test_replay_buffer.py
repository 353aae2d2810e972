"""What the replay buffer costs: sampling from few and many transitions, and memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.buffers import filled_buffer
from sb3_udrl.commands import COMMAND_SPACES
from sb3_udrl.labels import Hindsight

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.benchmark(group="replay buffer", timer=time.process_time, warmup=False)


@pytest.fixture(scope="module")
def buffers():
    """Each buffer is filled once."""
    return {}


@pytest.mark.parametrize("sampling", ["transitions", "return"])
@pytest.mark.parametrize("n_batches", [1, 64])
@pytest.mark.parametrize("n_transitions", [10_000, 10_000_000])
def test_sampling(benchmark, buffers, n_transitions, n_batches, sampling):
    """Batches of 256, one at a time or, as training draws them, 64 at a time."""
    size = n_transitions if benchmark.enabled else 1_000
    if size not in buffers:
        buffers[size] = filled_buffer(size)
    buffer = buffers[size]
    buffer.sampling, buffer._weights = sampling, None
    hindsight = Hindsight(buffer, COMMAND_SPACES["absolute"])

    def draws():
        for _ in range(64 // n_batches):
            hindsight.sample(256 * n_batches)

    benchmark.pedantic(draws, rounds=50 if benchmark.enabled else 1, warmup_rounds=5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(benchmark):
    """In a process of its own, where no other data was."""
    n_transitions = 10_000_000 if benchmark.enabled else 1_000
    command = [sys.executable, "-m", "benchmarks.memory", str(n_transitions)]
    done = benchmark.pedantic(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True))
    benchmark.extra_info["bytes"], benchmark.extra_info["raw_bytes"] = map(float, done.stdout.split())
