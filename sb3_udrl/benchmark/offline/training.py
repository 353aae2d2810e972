"""One run that learns from a recording, and is evaluated when it has."""

from __future__ import annotations

import json
import os
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl.algorithms import LEARN_FROM_RECORDINGS
from sb3_udrl.benchmark.offline.recording import Recording, facts_of
from sb3_udrl.benchmark.scratch import scratch_folder
from sb3_udrl.benchmark.suite import D3RLPY, Run
from sb3_udrl.benchmark.training import MODES, follow_commands, habits_of, random_state_kept, warm_up_torch
from sb3_udrl.evaluation import evaluate_policy
from sb3_udrl.evaluation.environments import environment_spec

PYTHON = "SB3_UDRL_D3RLPY"  # environment variable: the Python of an environment with d3rlpy
_PROGRAM = Path(__file__).parent / "d3rlpy_program.py"


def train_offline(run: Run) -> dict[str, Any]:
    """
    Learn from the recording of a run, and evaluate.

    :param run: the run; its budget are gradient steps
    :return: as :func:`sb3_udrl.benchmark.training.train`, and ``recording_facts``
    """
    assert run.recording is not None
    recording = Recording(**run.recording)
    result = _of_d3rlpy(run, recording) if run.algo.startswith(D3RLPY) else _of_ours(run, recording)
    return {**result, "recording_facts": facts_of(recording)}


def _of_ours(run: Run, recording: Recording) -> dict[str, Any]:
    th.set_num_threads(1)
    warm_up_torch()
    env = make_vec_env(environment_spec(recording.env_id).id, run.n_eval_envs, seed=1_000_000 + 1_000 * run.seed)
    model = LEARN_FROM_RECORDINGS[run.algo](
        **{
            "env": None,
            "observation_space": env.observation_space,
            "action_space": env.action_space,
            "seed": run.seed,
            "device": "cpu",
            **run.hyperparams,
        }
    )
    started = np.array([time.process_time(), time.perf_counter()])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "commands change the decisions")  # cloning has none
        model.learn_from(recording.path, run.n_timesteps, **(run.learn_from or {}))
    cpu_seconds, wall_seconds = (np.array([time.process_time(), time.perf_counter()]) - started).round(4).tolist()
    evaluation: dict[str, Any] = {"step": run.n_timesteps, "cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds}
    for mode, deterministic in MODES.items():
        with random_state_kept():
            returns, lengths = evaluate_policy(
                model, env, run.n_final_episodes, deterministic=deterministic, return_episode_rewards=True
            )
        evaluation[mode] = {"returns": np.asarray(returns).tolist(), "lengths": np.asarray(lengths).tolist()}
    commands = follow_commands(model, env, run)
    env.close()
    return {"evaluations": [evaluation], "commands": commands, **habits_of(model)}


def _of_d3rlpy(run: Run, recording: Recording) -> dict[str, Any]:
    python = os.environ.get(PYTHON)
    if not python:
        raise ValueError(f"{run.algo}: --d3rlpy PYTHON is missing, the Python of an environment with d3rlpy")
    task = {
        "env_id": environment_spec(recording.env_id).id,
        "algorithm": run.algo.removeprefix(D3RLPY),
        "hyperparams": run.hyperparams,
        "data": str(recording.path.resolve()),
        "n_steps": run.n_timesteps,
        "n_episodes": run.n_final_episodes,
        "seed": run.seed,
    }
    with scratch_folder() as folder:
        paths = [folder / name for name in ("task.json", "result.json")]
        paths[0].write_text(json.dumps(task), encoding="utf-8")
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [python, str(_PROGRAM), *map(str, paths)], capture_output=True, text=True, env=environ, cwd=folder
        )
        if done.returncode:
            raise RuntimeError(f"{run.algo} failed under {python}:\n{done.stderr[-4000:]}")
        result = json.loads(paths[1].read_text(encoding="utf-8"))
    versions = result.pop("versions")
    return {"evaluations": [{"step": run.n_timesteps, **result}], "commands": [], "versions": versions}
