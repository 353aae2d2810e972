"""The files of a repository on the Hub: the model, what it was seen to do, and a card for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command_space import describe
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation import evaluate_policy, run_commands
from sb3_udrl.evaluation.following import PartFollowing, commands_to_show
from sb3_udrl.evaluation.plots import plot_command_following, plot_relative_commands
from sb3_udrl.hub.card import Facts, model_card, wrappers_of
from sb3_udrl.hub.video import write_video
from sb3_udrl.saving.trust import Untrusted

MODEL, PICTURE, VIDEO, RESULTS, CARD = "model.zip", "command_following.png", "replay.mp4", "results.json", "README.md"
_N_COMMANDS = 9


def check_can_be_pushed(model: CommandedAlgorithm, env: VecEnv) -> None:
    """
    Refuse what others could not use, before anything is done.

    :param model: the model
    :param env: where it is looked at
    :raises ValueError: if the environment does not render arrays, or statistics of ``VecNormalize`` belong to the model
    """
    if model.get_vec_normalize_env() is not None:
        raise ValueError(
            "model was trained under VecNormalize, whose statistics SB3 keeps in a pickle, which nobody should load from the "
            "Hub: train without it, networks standardize observations by themselves"
        )
    if env.render_mode != "rgb_array":
        raise ValueError(
            f"env renders {env.render_mode!r}: the video needs arrays, "
            'make_vec_env(..., env_kwargs={"render_mode": "rgb_array"})'
        )


def write_contents(
    model: CommandedAlgorithm,
    env: VecEnv,
    env_id: str,
    folder: Path,
    repo_id: str,
    made_by: str | None,
    n_episodes: int,
    deterministic: bool,
) -> None:
    """
    Write all files of the repository.

    :param model: the model
    :param env: where it is looked at, renders arrays
    :param env_id: what the environment is called
    :param folder: where to write
    :param repo_id: ``user/name`` on the Hub
    :param made_by: the command that made the model, if it is known
    :param n_episodes: episodes per command
    :param deterministic: the most likely actions instead of draws
    """
    model.save(folder / MODEL)
    mean, std = evaluate_policy(model, env, max(n_episodes, 2), deterministic=deterministic, warn=False)
    commands = commands_to_show(model, _N_COMMANDS)
    repeated = commands.rows(np.repeat(np.arange(len(commands)), n_episodes))
    achieved = run_commands(model, env, repeated, deterministic)
    part = model.policy.experience.names[0] if model.policy.experience is not None else "advantage"
    got = achieved.get(part, achieved["return"]).reshape(-1, n_episodes)
    curve = PartFollowing(np.asarray(commands[part], dtype=np.float64), got)
    title = f"{type(model).__name__} on {env_id}"
    if part in achieved:
        plot_command_following(curve, folder / PICTURE, title, part)
    else:
        plot_relative_commands(curve.desired, curve.achieved, folder / PICTURE, title)
    shown = commands_to_show(model, 3)
    write_video(model, env, shown, folder / VIDEO, deterministic)
    results: dict[str, Any] = {
        "env_id": env_id,
        "deterministic": deterministic,
        "mean_return": mean,
        "std_return": std,
        "command_following": {"part": part, "desired": curve.desired.tolist(), "achieved": curve.achieved.tolist()},
        "score_card": model.score_card.to_plain(),
        "made_by": made_by,
    }
    (folder / RESULTS).write_text(json.dumps(_without_nan(results), indent=1, allow_nan=False), encoding="utf-8")
    facts = Facts(
        repo_id,
        type(model).__name__,
        env_id,
        any(decides.policy.exported_as == "forest" for decides in model.policy.deciding()),
        model.command_space.names,
        float(mean),  # type: ignore[arg-type]
        float(std),  # type: ignore[arg-type]
        deterministic,
        part,
        curve,
        [describe(shown.rows([i])) for i in range(len(shown))],
        made_by,
        wrappers_of(env),
        trusted_by(folder / MODEL, type(model)),
    )
    (folder / CARD).write_text(model_card(facts), encoding="utf-8")


def trusted_by(path: Path, algorithm: type[CommandedAlgorithm]) -> list[str]:
    """
    The import paths that a saved model names, and that nobody knows.

    :param path: of the model
    :param algorithm: its class
    """
    try:
        algorithm.load(path, device="cpu", trusted=[])
    except Untrusted as error:
        return error.names
    return []


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
