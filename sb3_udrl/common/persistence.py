"""What training needs to go on as if never stopped."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl

from sb3_udrl.commands.model import CommandedModel
from sb3_udrl.common.older_files import upgrade_running_state
from sb3_udrl.labels import Hindsight


def save_running_state(model: CommandedModel, target: Any) -> None:
    """
    Save the replay buffer and all else that training needs to go on as if never stopped: labels, the state of the random
    generators and of exploration, and the commands of the episodes that are about to start.

    :param model: the model
    :param target: path or file
    """
    running = model._running
    state = {
        "hindsight": model.hindsight,
        "rng": model.rng,  # one object in buffer and warm-up too, also after unpickling
        "torch_rng_state": th.get_rng_state(),
        "cuda_rng_states": th.cuda.get_rng_state_all(),
        "further": model.further_state(),
        "running": (running.command, running.asked, running.warm_up, running.recorder.n_steps == 0),
    }
    save_to_pkl(target, state, model.verbose)


def load_running_state(model: CommandedModel, source: Any) -> None:
    """
    Load what :func:`save_running_state` saved. As with SB3's replay buffers, the file is a pickle: trust its origin.

    :param model: takes the buffer and the state of the generators over
    :param source: path or file
    :raises ValueError: if it holds something else, or episodes of other spaces; the model is left as it was
    """
    try:
        state = upgrade_running_state(load_from_pkl(source, model.verbose), model)
        hindsight, rng, running, further = (state[key] for key in ("hindsight", "rng", "running", "further"))
        torch_rng_state, cuda_rng_states = state["torch_rng_state"], state["cuda_rng_states"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{source} is not a replay buffer that {type(model).__name__} saved: {error!r}") from error
    if not isinstance(hindsight, Hindsight):
        raise ValueError(f"{source} holds a {type(hindsight).__name__}, not the episodes of an EpisodicReplayBuffer")
    buffer = hindsight.buffer
    if (buffer.observation_space, buffer.action_space) != (model.observation_space, model.action_space):
        raise ValueError(
            f"{source} holds episodes of {buffer.observation_space} and {buffer.action_space}, "
            f"the model acts in {model.observation_space} and {model.action_space}"
        )
    theirs, ours = hindsight.command_space.names, model.hindsight.command_space.names
    if theirs != ours:
        raise ValueError(f"{source} holds labels for {', '.join(theirs)}, this model learns from those for {', '.join(ours)}")
    model.hindsight, model.rng = hindsight, rng
    th.set_rng_state(torch_rng_state)
    th.cuda.set_rng_state_all(cuda_rng_states[: th.cuda.device_count()])
    same_envs = len(running[-1]) == model.n_envs and tuple(running[0].parts) == model.command_space.names
    if same_envs:
        model._running.resume(*running)
    model.restore_further(further, same_envs)
