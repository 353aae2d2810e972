"""Files that are complete or not there, and what training needs to go on as if never stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.exploration import WarmUp, make_warm_up
from sb3_udrl.state_dependent_noise import make_noise

if TYPE_CHECKING:
    from sb3_udrl.udrl.udrl import UDRL


def save_running_state(model: UDRL, target: Any) -> None:
    """
    Save the replay buffer and all else that training needs to go on as if never stopped: the state of the random
    generators, of the warm-up and of the noise, and the commands of the episodes that are about to start.

    :param model: the model
    :param target: path or file
    """
    running = model._running
    state = {
        "replay_buffer": model.replay_buffer,
        "rng": model.rng,  # one object in buffer and warm-up too, also after unpickling
        "torch_rng_state": th.get_rng_state(),
        "cuda_rng_states": th.cuda.get_rng_state_all(),
        "warm_up": model._warm_up if isinstance(model._warm_up, WarmUp) else None,
        "noise": model._noise,
        "running": (running.command, running.asked, running.warm_up, running.recorder.n_steps == 0),
    }
    save_to_pkl(target, state, model.verbose)


def load_running_state(model: UDRL, source: Any) -> None:
    """
    Load what :func:`save_running_state` saved. As with SB3's replay buffers, the file is a pickle: trust its origin.

    :param model: takes the buffer and the state of the generators over
    :param source: path or file
    :raises ValueError: if it holds something else, or episodes of other spaces
    """
    try:
        state = load_from_pkl(source, model.verbose)
        buffer, rng, warm_up, running = (state[key] for key in ("replay_buffer", "rng", "warm_up", "running"))
        torch_rng_state, cuda_rng_states = state["torch_rng_state"], state["cuda_rng_states"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{source} is not a replay buffer that UDRL saved: {error!r}") from error
    if not isinstance(buffer, EpisodicReplayBuffer):
        raise ValueError(f"{source} holds a {type(buffer).__name__}, not an EpisodicReplayBuffer")
    if (buffer.observation_space, buffer.action_space) != (model.observation_space, model.action_space):
        raise ValueError(
            f"{source} holds episodes of {buffer.observation_space} and {buffer.action_space}, "
            f"the model acts in {model.observation_space} and {model.action_space}"
        )
    if buffer.relative != model.replay_buffer.relative:
        raise ValueError(f"{source} holds a {type(buffer).__name__}, whose labels are not commands={model.commands!r}")
    model.replay_buffer, model.rng = buffer, rng
    th.set_rng_state(torch_rng_state)
    th.cuda.set_rng_state_all(cuda_rng_states[: th.cuda.device_count()])
    same_envs = len(running[-1]) == model.n_envs
    if same_envs:
        model._running.resume(*running)
    if same_envs and type(warm_up) is type(model._warm_up):
        model._warm_up = warm_up
    else:
        model._warm_up = make_warm_up(model.warm_up, model.action_space, model.n_envs, rng)
    noise = state.get("noise")
    if same_envs and noise is not None and noise.share == model.sde_share:
        model._noise = noise
    else:
        model._noise = make_noise(model.sde_share, model.policy, model.n_envs, rng)
