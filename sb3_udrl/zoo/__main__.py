"""The commands of the RL Zoo with UDRL, without the start-up hook: ``python -m sb3_udrl.zoo train --algo udrl``."""

import argparse
import runpy
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sb3_udrl.remote.command_line import add_save_to, saving_to
from sb3_udrl.zoo.registration import register

USAGE = """usage: python -m sb3_udrl.zoo COMMAND [ARGUMENT ...]

COMMAND is a module of the RL Zoo: train, enjoy, record_video, record_training, plots.plot_train, plots.all_plots, ...
and the arguments are those of `python -m rl_zoo3.COMMAND`; add --help to see them.
With --save-to s3://bucket/prefix, the log folder (-f) is copied there meanwhile."""


def main(arguments: list[str]) -> None:
    """
    Run a command of the Zoo.

    :param arguments: name of the command and its arguments
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(USAGE)
        return
    command = arguments[0]
    if not _exists(f"rl_zoo3.{command}"):
        sys.exit(f"COMMAND={command!r} is no module of the RL Zoo.\n\n{USAGE}")
    register()
    sys.argv[1:], saving = _divided(command, arguments[1:])
    with saving:
        runpy.run_module(f"rl_zoo3.{command}", run_name="__main__", alter_sys=True)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # there is no such package
        return False


def _divided(command: str, arguments: list[str]) -> tuple[list[str], AbstractContextManager[Any]]:
    """The arguments of the Zoo, and what ``--save-to`` asks for."""
    if not any(argument.split("=")[0] == "--save-to" for argument in arguments):
        return arguments, nullcontext()
    parser = argparse.ArgumentParser(prog=f"python -m sb3_udrl.zoo {command}", add_help=False, allow_abbrev=False)
    add_save_to(parser)
    own, of_the_zoo = parser.parse_known_args(arguments)
    parser.add_argument("-f", "--log-folder", type=Path, default=Path("logs"))
    folder = parser.parse_known_args(arguments)[0].log_folder
    return of_the_zoo, saving_to(parser, folder, own.save_to)


if __name__ == "__main__":
    main(sys.argv[1:])
