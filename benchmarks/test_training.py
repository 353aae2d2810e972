"""Gradient steps with all that belongs to them, beside the bare arithmetic of the network on a ready batch."""

import time

import pytest

from benchmarks.buffers import filled_buffer
from sb3_udrl import CommandPolicy
from sb3_udrl.commands import COMMAND_SPACES
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies import FitOptions

N_STEPS = 128
pytestmark = pytest.mark.benchmark(group="training", timer=time.process_time, warmup=False)


@pytest.fixture
def setting(batch_size):
    """Network, labelled buffer, options and a ready batch."""
    buffer = filled_buffer(100_000)
    policy = CommandPolicy(buffer.observation_space, buffer.action_space, lambda _: 1e-3)
    hindsight = Hindsight(buffer, COMMAND_SPACES["absolute"])
    return policy, hindsight, FitOptions(N_STEPS, batch_size, 1e-3), policy.to_tensors(hindsight.sample(batch_size))


def measure(benchmark, function):
    """The time of ``N_STEPS`` steps."""
    benchmark.pedantic(function, rounds=20 if benchmark.enabled else 1, warmup_rounds=2 if benchmark.enabled else 0)


@pytest.mark.parametrize("batch_size", [256, 512])
def test_bare_steps(benchmark, setting):
    policy, _, _, (observations, commands, actions) = setting

    def steps():
        for _ in range(N_STEPS):
            loss = policy.action_head.loss(policy(observations, commands), actions)
            policy.optimizer.zero_grad()
            loss.backward()
            policy.optimizer.step()

    measure(benchmark, steps)


@pytest.mark.parametrize("batch_size", [256, 512])
def test_fit(benchmark, setting):
    policy, hindsight, options, _ = setting
    measure(benchmark, lambda: policy.fit(hindsight, options))
