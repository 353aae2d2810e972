"""The commands of the RL Zoo with UDRL, without the start-up hook: ``python -m sb3_udrl.zoo train --algo udrl``."""

import runpy
import sys
from importlib.util import find_spec

from sb3_udrl.zoo.registration import register

USAGE = """usage: python -m sb3_udrl.zoo COMMAND [ARGUMENT ...]

COMMAND is a module of the RL Zoo: train, enjoy, record_video, record_training, plots.plot_train, plots.all_plots, ...
and the arguments are those of `python -m rl_zoo3.COMMAND`; add --help to see them."""


def main(arguments: list[str]) -> None:
    """
    Run a command of the Zoo.

    :param arguments: name of the command and its arguments
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(USAGE)
        return
    command = arguments[0]
    if find_spec(f"rl_zoo3.{command}") is None:
        sys.exit(f"COMMAND={command!r} is no module of the RL Zoo.\n\n{USAGE}")
    register()
    sys.argv[1:] = arguments[1:]
    runpy.run_module(f"rl_zoo3.{command}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
