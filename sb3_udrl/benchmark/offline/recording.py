"""The recordings that offline runs learn from, made by the commands of the package and of the Zoo."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from sb3_udrl.saving.files import written_at_once

FOLDER = "SB3_UDRL_RECORDINGS"  # environment variable: where recordings lie, for the processes that compute runs
KINDS = ("replay", "medium", "mixed")


@dataclass(frozen=True)
class Recording:
    """
    A recording of a training of the Zoo.

    :param env_id: id of the environment
    :param kind: ``"replay"``, all that the training saw; ``"medium"``, episodes of the model half-way; ``"mixed"``, half and
        half of random actions and of the finished model
    :param algo: algorithm of the Zoo
    :param n_timesteps: steps of the training
    :param n_steps: steps that are recorded, but for ``"replay"``
    :param seed: seed of the training and of the recording
    """

    env_id: str
    kind: str
    algo: str
    n_timesteps: int
    n_steps: int
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: choose one of {', '.join(KINDS)}")

    @property
    def path(self) -> Path:
        """Where it lies, or will."""
        return recordings_folder() / self.training / f"{self.kind}-{self.n_steps}.npz"

    @property
    def training(self) -> str:
        """A name for the training that several recordings are of."""
        return re.sub("[^A-Za-z0-9.]", "_", f"{self.env_id}-{self.algo}-{self.n_timesteps}-{self.seed}")


def recordings_folder() -> Path:
    """The folder of recordings: that of the environment variable ``SB3_UDRL_RECORDINGS``, or ``recordings``."""
    return Path(os.environ.get(FOLDER, "recordings"))


def commands_of(recordings: list[Recording], folder: str) -> list[list[str]]:
    """
    The commands that make the recordings of one training, without the name of Python.

    :param recordings: of one training
    :param folder: where they are made
    """
    first = recordings[0]
    env_id, seed, half = first.env_id, str(first.seed), first.n_timesteps // 2
    zoo = ["-m", "sb3_udrl.zoo", "train", "--algo", first.algo, "--env", env_id, "-n", str(first.n_timesteps), "--seed", seed]
    zoo += ["-f", f"{folder}/logs", "--eval-freq", "-1", "--save-freq", str(half), "--device", "cpu", "--num-threads", "1"]
    replay = f"{folder}/{_file('replay', recordings)}"
    zoo += ["-params", f"callback:{{'sb3_udrl.recordings.RecordEpisodes': {{'path': '{replay}', 'save_freq': 10**9}}}}"]
    commands = [zoo]
    of_the_run = f"{folder}/logs/{first.algo}/{env_id}_1"
    record = ["-m", "sb3_udrl.recordings", "record", "--env", env_id, "--seed", seed]
    for recording in recordings:
        output = ["--output", f"{folder}/{recording.path.name}"]
        if recording.kind == "medium":
            model = [f"{of_the_run}/HALF", "--algo", first.algo]
            commands.append([*record, *model, "--steps", str(recording.n_steps), *output])
        if recording.kind == "mixed":
            steps = ["--steps", str(recording.n_steps // 2)]
            commands.append([*record, *steps, *output])
            commands.append([*record, f"{of_the_run}/{env_id}.zip", "--algo", first.algo, *steps, *output, "--append"])
    return commands


def _file(kind: str, recordings: list[Recording]) -> str:
    named = [recording.path.name for recording in recordings if recording.kind == kind]
    return named[0] if named else f"{kind}.npz"


def make_recordings(recordings: list[Recording], n_jobs: int = 1) -> None:
    """
    Make what is missing.

    :param recordings: what is to be there; those that are stay as they are
    :param n_jobs: trainings at a time
    :raises subprocess.CalledProcessError: if a command fails, whose output is printed
    """
    trainings: dict[str, list[Recording]] = {}
    for recording in dict.fromkeys(recordings):
        trainings.setdefault(recording.training, []).append(recording)
    missing = [each for each in trainings.values() if not all(recording.path.is_file() for recording in each)]
    Parallel(n_jobs=n_jobs)(delayed(_make)(each) for each in missing)


def _make(recordings: list[Recording]) -> None:
    """Run the commands in a folder of their own, and take over what they made."""
    target = recordings[0].path.parent
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".partial", dir=target.parent))
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = commands_of(recordings, str(partial))
    for command in commands:
        command[:] = [_checkpoint(part) if part.endswith("/HALF") else part for part in command]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environ)
        if done.returncode:
            print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
            raise subprocess.CalledProcessError(done.returncode, command)
    target.mkdir(exist_ok=True)
    shown = [" ".join(["python", *command]).replace(str(partial), str(target)) for command in commands]
    with written_at_once(target / "commands.json") as file:
        Path(file).write_text(json.dumps(shown, indent=1), encoding="utf-8")
    for recording in recordings:
        os.replace(partial / recording.path.name, recording.path)
    shutil.rmtree(partial)


def _checkpoint(path: str) -> str:
    """The first of the models that a training saved on its way."""
    saved = Path(path).parent.glob("rl_model_*_steps.zip")
    return str(min(saved, key=lambda file: int(file.stem.split("_")[2])))


def facts_of(recording: Recording) -> dict[str, Any]:
    """
    What the report says of a recording.

    :param recording: one that is there
    :return: how it was made, ``commands``, and ``sha256`` of the arrays
    """
    commands = json.loads((recording.path.parent / "commands.json").read_text(encoding="utf-8"))
    return {**asdict(recording), "commands": commands, "sha256": _digest(recording.path)}


def _digest(path: Path) -> str:
    from sb3_udrl.recordings.arrays import load_arrays

    digest = hashlib.sha256()  # of the arrays: the time stamps of a zip file differ
    for name, array in sorted(load_arrays(path).items()):
        digest.update(name.encode())
        digest.update(str(array.dtype).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def recording_of(environment: str, values: Mapping[str, Any]) -> Recording:
    """
    :param environment: name of the section, for errors
    :param values: what the suite says
    :raises ValueError: if it is not what a recording needs
    """
    try:
        return Recording(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{environment}: recording={dict(values)}: {error}") from error
