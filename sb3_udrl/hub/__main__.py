"""``python -m sb3_udrl.hub push MODEL REPO --env ENV``: put a saved model on the Hub."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from sb3_udrl import hub
from sb3_udrl.common.command_lines import what_it_does
from sb3_udrl.evaluation.command_line import add_model_arguments, check_at_least, fail, load_model
from sb3_udrl.evaluation.environments import one_line, read_yaml, settings_beside

# What decides on the outcome of a run of the Zoo, with its defaults
_DEFAULTS: dict[str, Any] = {
    "algo": None,
    "env": None,
    "n_timesteps": -1,
    "seed": None,
    "trained_agent": "",
    "conf_file": None,
    "hyperparams": None,
    "storage": None,
    "study_name": None,
    "trial_id": None,
    "gym_packages": [],
    "env_kwargs": None,
    "eval_env_kwargs": None,
    "eval_freq": 25_000,
    "eval_episodes": 5,
    "n_eval_envs": 1,
    "vec_env": "dummy",
    "device": "auto",
    "num_threads": -1,
}


def main(arguments: list[str] | None = None) -> None:
    """
    Put a saved model on the Hugging Face Hub, with what it does under commands.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.hub", description=what_it_does(main))
    push = parser.add_subparsers(required=True, metavar="push").add_parser("push", help="put a model on the Hub")
    add_model_arguments(push)
    push.add_argument("repo", help="user/name on the Hub; made if it does not exist")
    push.add_argument("--made-by", help="the command that made the model; by default what the Zoo noted beside it")
    push.add_argument("--episodes", type=int, default=5, help="episodes per command (default: %(default)s)")
    push.add_argument("--sampled", action="store_true", help="look at drawn actions instead of the most likely ones")
    push.add_argument("--private", action="store_true", help="make the repository private")
    args = parser.parse_args(arguments)
    check_at_least(push, args, {"episodes": 1})
    model, env = load_model(push, args, render_mode="rgb_array")
    _, folder = settings_beside(args.model if args.model.is_file() else Path(f"{args.model}.zip"))
    made_by = args.made_by or (None if folder is None else zoo_command(read_yaml(folder / "args.yml")))
    options = {"made_by": made_by, "n_episodes": args.episodes, "deterministic": not args.sampled, "private": args.private}
    try:
        print(hub.push(model, args.repo, env, args.env, **options))
    except (ImportError, ValueError, OSError) as error:  # of the Hub: no login, no connection, no such user
        fail(push, one_line(error))


def zoo_command(noted: dict[str, Any]) -> str:
    """
    The command that made a model.

    :param noted: the arguments that the Zoo noted beside it
    """
    words = ["python", "-m", "rl_zoo3.train"]
    for name, default in _DEFAULTS.items():
        value = noted.get(name, default)
        if value == default:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, dict):
            words += [f"{key}:{entry!r}" for key, entry in value.items()]
        else:
            words += map(str, value if isinstance(value, list) else [value])
    return shlex.join(words)


if __name__ == "__main__":
    main()
