"""
Training that is killed: ``python -m benchmarks.kills`` (needs ``os.fork``).

Children save models and buffers, train with checkpoints, or run a benchmark, and get a SIGKILL at random moments. After each
kill, everything that is there is loaded and compared with what must be there: nothing is lost, nothing is there twice,
nothing is half-done, and the next save leaves no partial file behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
import yaml
from gymnasium import spaces
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_udrl import UDRL
from sb3_udrl.benchmark import __main__ as command_line
from sb3_udrl.benchmark.data import read_data, read_episodes, read_facts
from sb3_udrl.buffers import Episode

Report = Callable[[int], None]

PATIENCE = 300  # seconds until a child begins
LENGTH = 10  # steps of an episode
N_STORED = 100  # episodes that a numbered buffer holds
CHECKPOINTS_EVERY = 45  # steps; not a multiple of the length, so that most find an episode under way
SUITE = {
    "seeds": [1, 2],
    "n_eval_episodes": 2,
    "n_final_episodes": 2,
    "n_eval_envs": 2,
    "environments": {"CartPole-v1": {"n_timesteps": 150, "eval_freq": 50}},
    "algorithms": {
        "UDRL": {"algo": "udrl", "hyperparams": {"learning_starts": 50, "train_freq": 50, "gradient_steps": 2}},
        "PPO": {"algo": "ppo", "hyperparams": {"n_steps": 50, "batch_size": 50, "n_epochs": 1}},
    },
}


@dataclass
class Outcome:
    """
    What came of a number of kills.

    :param what: was killed
    :param n_kills: number of kills
    :param n_midway: how many of them left a partial file, so that a file was being written
    :param n_read: number of files that were loaded afterwards
    :param faults: what was wrong
    """

    what: str
    n_kills: int = 0
    n_midway: int = 0
    n_read: int = 0
    faults: list[str] = field(default_factory=list)

    def row(self) -> str:
        """As a row of a Markdown table."""
        return f"| {self.what} | {self.n_kills} | {self.n_midway} | {self.n_read} | {len(self.faults)} |"


def run_child(work: Callable[[Report], None], seconds: float | None) -> tuple[list[int], bool]:
    """
    Run something in a child, and kill it.

    :param work: gets a function that reports a number; reports once when it begins
    :param seconds: to wait from its first report to the kill; without, it is left alone
    :return: what it reported, and whether it was killed; else it ended by itself, without an error
    :raises RuntimeError: if it failed
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            work(lambda number: os.write(writer, b"%d\n" % number))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb", buffering=0) as reports:
        began = bool(select.select([reports], [], [], PATIENCE)[0])
        lines = reports.read(100) if began else b""  # ends with the first report, or where the child does
        if seconds is not None:
            select.select([], [], [], seconds)
            os.kill(pid, signal.SIGKILL)
        lines += reports.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not began or status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the child ended with status {status}")
    return [int(line) for line in lines.split()], status != 0


def import_for_children() -> None:
    """What each child would have to import itself."""
    import rl_zoo3.exp_manager  # noqa: F401

    parameter = th.nn.Parameter(th.zeros(1))
    parameter.grad = th.zeros(1)
    th.optim.Adam([parameter]).step()  # imports much of PyTorch


def partial_files(folder: Path) -> list[str]:
    """Names of the files that are not complete, in a folder and those within."""
    return sorted(path.name for path in folder.rglob("*.partial"))


# One model and one buffer, saved again and again: both tell the how many-th they are


def numbered_model() -> UDRL:
    """A model for :func:`advance`."""
    env = DummyVecEnv([lambda: Monitor(Numbered(0))])
    return UDRL("CommandPolicy", env, buffer_size=N_STORED * LENGTH, seed=0, device="cpu")


def numbered_episode(number: int) -> Episode:
    """
    An episode that no other number has.

    :param number: the number
    """
    rng = np.random.default_rng(number)
    observations = rng.integers(1_000_000, size=(LENGTH, 3)).astype(np.float32)
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


# Checkpoints with their buffers; each child goes on from the last one that is complete


class Numbered(gym.Env[Any, Any]):
    """
    Observations say which process made them, in which episode and at which step.

    :param process: number of the process
    """

    observation_space = spaces.Box(0, 1e6, (3,))
    action_space = spaces.Discrete(2)

    def __init__(self, process: int) -> None:
        self.process, self.n_episodes, self.n_steps = process, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; those that have not ended do not count."""
        super().reset(seed=seed)
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Each action pays itself."""
        self.n_steps += 1
        ended = self.n_steps == LENGTH
        self.n_episodes += ended
        return self._observation(), float(action), ended, False, {}

    def _observation(self) -> Any:
        return np.array([self.process, self.n_episodes, self.n_steps], np.float32)


def checkpoints(folder: Path, suffix: str) -> dict[int, Path]:
    """
    Files of SB3's ``CheckpointCallback``, by their number of steps, in their order.

    :param folder: the folder
    :param suffix: ``.zip`` for models, ``.pkl`` for buffers
    """
    numbers = {path: re.fullmatch(rf"rl_model(_replay_buffer)?_(\d+)_steps\{suffix}", path.name) for path in folder.iterdir()}
    return dict(sorted((int(match[2]), path) for path, match in numbers.items() if match))


def train_forever(folder: Path, process: int, report: Report) -> None:
    """
    The child: goes on from the last pair of files, and trains with checkpoints.

    :param folder: the folder of the checkpoints
    :param process: number of this process
    :param report: gets the number of steps that it goes on from
    """
    env = DummyVecEnv([lambda: Monitor(Numbered(process))])
    models, buffers = checkpoints(folder, ".zip"), checkpoints(folder, ".pkl")
    if buffers:
        start = max(buffers)
        model = UDRL.load(models[start], env, device="cpu", trusted=[])
        model.load_replay_buffer(buffers[start])
    else:
        start, settings = 0, {"learning_starts": 50, "train_freq": 50, "gradient_steps": 1}
        model = UDRL("CommandPolicy", env, buffer_size=1_000_000, seed=0, device="cpu", **settings)
    report(start)
    callback = CheckpointCallback(CHECKPOINTS_EVERY, str(folder), save_replay_buffer=True)
    model.learn(10**9, callback=callback, reset_num_timesteps=False)


def faults_of_checkpoints(folder: Path, process: int, start: int, before: Any, reader: UDRL) -> Iterator[str]:
    """
    Look at what a killed :func:`train_forever` left.

    :param folder: the folder
    :param process: number of the killed process
    :param start: number of steps that it went on from
    :param before: observations in the buffer that it went on from, ``(n, 3)``
    :param reader: loads the buffers
    :return: what is wrong
    """
    models, buffers = checkpoints(folder, ".zip"), checkpoints(folder, ".pkl")
    alone = sorted(models.keys() ^ buffers.keys())
    if set(alone) - {max(models, default=0)} or buffers.keys() - models.keys():
        yield f"process {process}: alone are {alone}"
    last = max(buffers, default=0)
    left = [name for name in partial_files(folder) if int(re.findall(r"\d+", name)[0]) <= last]
    yield from (f"{name} is there after the next save" for name in left)
    for number, path in models.items():
        try:
            n_timesteps = UDRL.load(path, device="cpu", trusted=[]).num_timesteps
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        if n_timesteps != number:
            yield f"{path.name} has {n_timesteps} steps"
    for number, path in buffers.items():
        try:
            reader.load_replay_buffer(path)
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        stored = observations_of(reader)
        yield from (f"{path.name}: {fault}" for fault in faults_of_observations(stored, before))
        n_whole, n_steps = np.sum(stored[:, 0] == process) // LENGTH, number - start
        if number > start and n_whole not in (n_steps // LENGTH, (n_steps - 1) // LENGTH):  # the last may be stored later
            yield f"{path.name}: {n_whole} episodes in {n_steps} steps"
        before = stored


def observations_of(model: UDRL) -> Any:
    """Observations in the buffer, in their order."""
    return np.array(model.replay_buffer.raw_observations(model.replay_buffer.stored_rows()))


def faults_of_observations(stored: Any, before: Any) -> Iterator[str]:
    """
    Look at the observations of a buffer.

    :param stored: all of them, ``(n, 3)``
    :param before: of the buffer before, ``(m, 3)``
    :return: what is wrong
    """
    if not np.array_equal(stored[: len(before)], before):
        yield "episodes of the file before are missing"
    if not np.array_equal(stored[:, 2], np.arange(len(stored)) % LENGTH):
        yield "episodes are not whole"
        return
    episodes = stored[:, :2].reshape(-1, LENGTH, 2)
    first = episodes[:, 0]
    expected = np.concatenate([[0], np.where(np.diff(first[:, 0]) > 0, 0, first[:-1, 1] + 1)]) if len(first) else []
    if (episodes != first[:, None]).any() or (np.diff(first[:, 0]) < 0).any() or not np.array_equal(first[:, 1], expected):
        yield "episodes are missing, or there twice"


def kill_checkpoints(n_kills: int, rng: random.Random, folder: Path) -> Outcome:
    """
    Kill :func:`train_forever`.

    :param n_kills: how often
    :param rng: draws the moments
    :param folder: an empty folder
    """
    outcome, before = Outcome("training with checkpoints and buffers"), np.zeros((0, 3))
    reader = UDRL("CommandPolicy", DummyVecEnv([lambda: Monitor(Numbered(0))]), buffer_size=1_000_000, device="cpu")
    for process in range(1, n_kills + 1):
        reports, _ = run_child(lambda report, process=process: train_forever(folder, process, report), rng.uniform(0, 1))
        outcome.n_kills += 1
        outcome.n_midway += bool(partial_files(folder))
        outcome.faults += faults_of_checkpoints(folder, process, reports[0], before, reader)
        models, buffers = checkpoints(folder, ".zip"), checkpoints(folder, ".pkl")
        outcome.n_read += len(models) + len(buffers)
        for number, path in [*models.items(), *buffers.items()]:
            if number < max(buffers, default=0):  # was looked at
                path.unlink()
        if buffers:
            before = observations_of(reader)
    return outcome


# A benchmark, which goes on where it was killed


def run_benchmark(suite: Path, output: Path, report: Report) -> None:
    """
    The child: ``python -m sb3_udrl.benchmark SUITE --output OUTPUT --n-jobs 1``.

    :param suite: the suite
    :param output: the folder of results
    :param report: gets a zero at the beginning
    """
    report(0)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        command_line.main([str(suite), "--output", str(output), "--n-jobs", "1"])


def without_times(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was measured but for the clocks."""
    return [{name: value for name, value in each.items() if not name.endswith("_seconds")} for each in evaluations]


def faults_of_runs(output: Path, reference: Path, before: dict[str, bytes]) -> Iterator[str]:
    """
    Look at the results that a killed benchmark left.

    :param output: the folder of results
    :param reference: that of a benchmark that was not killed
    :param before: contents of the runs that had ended before, by name
    :return: what is wrong
    """
    for name, content in before.items():
        path = output / "runs" / name
        if not path.exists() or path.read_bytes() != content:
            yield f"{name} is lost, or was run again"
    for path in output.glob("runs/*.json"):
        try:
            ours, theirs = (json.loads((folder / "runs" / path.name).read_text()) for folder in (output, reference))
        except (OSError, ValueError) as error:
            yield f"{path.name}: {error!r}"
            continue
        if without_times(ours["evaluations"]) != without_times(theirs["evaluations"]) or ours["status"] != "complete":
            yield f"{path.name} has other results than one that was not killed"
    for name, read in (("csv.gz", read_episodes), ("runs.jsonl.gz", read_facts)):
        try:
            if (output / f"tiny.{name}").exists():
                read(output, "tiny")
        except (OSError, EOFError, ValueError) as error:
            yield f"tiny.{name}: {error!r}"


def faults_of_results(output: Path, reference: Path) -> Iterator[str]:
    """
    Look at the results of a benchmark that was killed and has now ended.

    :param output: the folder of results
    :param reference: that of a benchmark that was not killed
    :return: what is wrong
    """
    names = {folder: sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (output, reference)}
    if names[output] != names[reference]:
        yield f"{output.name} holds {', '.join(map(str, names[output]))}"
    (_, ours, our_runs), (_, theirs, their_runs) = (read_data(folder, "tiny") for folder in (output, reference))
    clocks = ["cpu_seconds", "wall_seconds"]
    if not ours.drop(columns=clocks).equals(theirs.drop(columns=clocks)):
        yield f"{output.name}: the episodes are not those of a benchmark that was not killed"
    if our_runs["run"].tolist() != their_runs["run"].tolist() or our_runs["run"].duplicated().any():
        yield f"{output.name}: the runs are not those of a benchmark that was not killed"


def kill_benchmarks(n_kills: int, rng: random.Random, folder: Path) -> Outcome:
    """
    Kill :func:`run_benchmark`; where it has ended, the next one begins in another folder.

    :param n_kills: how often
    :param rng: draws the moments
    :param folder: an empty folder
    """
    outcome, suite, reference = Outcome("a benchmark"), folder / "tiny.yml", folder / "reference"
    suite.write_text(yaml.safe_dump(SUITE))
    run_child(lambda report: run_benchmark(suite, reference, report), None)
    records = [json.loads(path.read_text()) for path in (reference / "runs").iterdir()]
    slowest = max(record["evaluations"][-1]["wall_seconds"] for record in records)
    for number in count(1):
        output, ended, before = folder / f"results_{number}", False, dict[str, bytes]()
        while not ended:
            last = outcome.n_kills == n_kills
            seconds = None if last else rng.uniform(0, 4 * slowest)
            _, killed = run_child(lambda report, output=output: run_benchmark(suite, output, report), seconds)
            outcome.n_kills, ended = outcome.n_kills + killed, not killed
            outcome.n_midway += bool(partial_files(output))
            outcome.faults += faults_of_runs(output, reference, before)
            before = {path.name: path.read_bytes() for path in output.glob("runs/*.json")}
            outcome.n_read += len(before)
        outcome.faults += faults_of_results(output, reference)
        if last:
            return outcome
    raise AssertionError("there is no last number")


def main(arguments: list[str] | None = None) -> None:
    """
    Kill, look, and print a table; exit with status 1 if anything was wrong.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description="Kill training, look at what is left.")
    parser.add_argument("--saves", type=int, default=300, help="kills while files are saved (default: %(default)s)")
    parser.add_argument("--checkpoints", type=int, default=100, help="of trainings with checkpoints (default: %(default)s)")
    parser.add_argument("--benchmarks", type=int, default=30, help="of a benchmark (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    args = parser.parse_args(arguments)
    if not hasattr(os, "fork"):
        parser.error("this system has no os.fork")
    th.set_num_threads(1)  # a child has no other threads than the one that forked
    import_for_children()

    print("| killed | kills | in the middle of a file | files read | faults |\n|---|---|---|---|---|", flush=True)
    faults = []
    for kill, n_kills in ((kill_saves, args.saves), (kill_checkpoints, args.checkpoints), (kill_benchmarks, args.benchmarks)):
        folder = Path(tempfile.mkdtemp())
        try:
            outcome = kill(n_kills, random.Random(args.seed), folder)
        finally:
            shutil.rmtree(folder)
        print(outcome.row(), flush=True)
        faults += [f"{outcome.what}: {fault}" for fault in outcome.faults]
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
