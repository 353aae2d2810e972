"""What training needs to go on as if never stopped."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.model import CommandedModel
from sb3_udrl.saving.archive import is_archive, open_archive, write_archive
from sb3_udrl.saving.plain import from_plain
from sb3_udrl.saving.random_state import checked_state, checked_torch_states, generator_state, set_torch_states, torch_states


def running_state(model: CommandedModel) -> dict[str, Any]:
    """
    Episodes and labels, the state of the random generators and of exploration, and the commands of the episodes that are
    about to start, as numbers, texts and arrays.

    :param model: the model
    """
    running = model._running
    return {
        "observation_space": model.observation_space,
        "action_space": model.action_space,
        "commands": list(model.hindsight.command_space.names),
        "hindsight": model.hindsight.state(),
        "rng": generator_state(model.rng),
        "torch_rng": torch_states(),
        "further": model.further_state(),
        "running": {
            "command": running.command.parts,
            "asked": running.asked.parts,
            "warm_up": running.warm_up,
            "at_start": running.recorder.n_steps == 0,
        },
    }


def save_running_state(model: CommandedModel, target: Any) -> None:
    """
    Save :func:`running_state`.

    :param model: the model
    :param target: path or file
    """
    write_archive(target, running_state(model))


def load_running_state(model: CommandedModel, source: Any, state: dict[str, Any] | None = None) -> None:
    """
    Load what :func:`save_running_state` saved. All of it is read and checked before the model changes.

    :param model: takes the episodes and the state of the generators over
    :param source: path or file
    :param state: what was read of it already
    :raises ValueError: if it is damaged, or holds something else, or episodes of other spaces; the model is left as it was
    """
    if state is None:
        if not is_archive(source, ".pkl"):
            raise ValueError(
                "it is no zip file. Earlier revisions wrote pickles, which can run any code: if it is one and you trust "
                "where it comes from, load_replay_buffer(..., allow_pickle=True)"
            )
        with open_archive(source, ".pkl") as archive:
            state = from_plain(archive.settings(), archive.array)
    missing = sorted({"hindsight", "rng", "torch_rng", "further", "running", "commands"} - set(state))
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if (state["observation_space"], state["action_space"]) != (model.observation_space, model.action_space):
        raise ValueError(
            f"it holds episodes of {state['observation_space']} and {state['action_space']}, "
            f"the model acts in {model.observation_space} and {model.action_space}"
        )
    theirs, ours = state["commands"], list(model.hindsight.command_space.names)
    if theirs != ours:
        raise ValueError(
            f"it holds labels for {', '.join(map(str, theirs))}, this model learns from those for {', '.join(ours)}"
        )
    hindsight = model.hindsight.restored(state["hindsight"])
    rng, torch = checked_state(model.rng, state["rng"]), checked_torch_states(state["torch_rng"])
    running = _checked_running(state["running"])
    same_envs = len(running[-1]) == model.n_envs and tuple(running[0].parts) == model.command_space.names
    commit_further = model.restore_further(state["further"], same_envs)
    # From here on nothing fails
    model.hindsight = hindsight
    model.rng.bit_generator.state = rng  # buffer, warm-up and noise share this generator
    set_torch_states(*torch)
    if same_envs:
        model._running.resume(*running)
    commit_further()


def _checked_running(running: Any) -> tuple[Command, Command, Any, Any]:
    command, asked = (
        Command({name: np.asarray(values) for name, values in running[key].items()}) for key in ("command", "asked")
    )
    warm_up, at_start = (np.asarray(running[key]) for key in ("warm_up", "at_start"))
    lengths = {len(values) for each in (command, asked) for values in each.parts.values()} | {len(warm_up), len(at_start)}
    numbers = all(values.dtype.kind == "f" for each in (command, asked) for values in each.parts.values())
    if len(lengths) != 1 or not numbers or warm_up.dtype != np.bool_ or at_start.dtype != np.bool_:
        raise ValueError("what it says of the running episodes is damaged")
    return command, asked, warm_up, at_start
