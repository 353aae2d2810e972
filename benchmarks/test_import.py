"""``from sb3_udrl import UDRL`` beside ``import stable_baselines3``, each in a new process."""

import resource
import subprocess
import sys

import pytest


def cpu_seconds(module):
    """Processor time of a new interpreter that imports a module."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.benchmark(group="import")
@pytest.mark.parametrize("module", ["stable_baselines3", "sb3_udrl.udrl"])
def test_import(benchmark, module):
    seconds = []
    benchmark.pedantic(lambda: seconds.append(cpu_seconds(module)), rounds=9 if benchmark.enabled else 1)
    benchmark.extra_info["cpu_seconds"] = min(seconds)
