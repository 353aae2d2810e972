"""``python -m sb3_udrl.app [--models DIR]``: open the demo in a browser, on this machine alone."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from sb3_udrl.app.models import GALLERY
from sb3_udrl.common.command_lines import what_it_does

PAGE = Path(__file__).with_name("page.py")


def main(arguments: list[str] | None = None) -> None:
    """
    Watch models obey: move a slider, see what they do.

    :param arguments: command line, by default that of the process
    :raises SystemExit: with the exit status of Streamlit; 2 if the folder or the extra is missing
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.app", description=what_it_does(main))
    parser.add_argument("--models", type=Path, default=GALLERY, help="folder with saved models; by default our gallery")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default: %(default)s, this machine alone)")
    parser.add_argument("--port", type=int, default=8501, help="to listen on (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    args = parser.parse_args(arguments)
    if not args.models.is_dir():
        parser.exit(2, f"{parser.prog}: error: --models {args.models}: there is no such folder\n")
    try:
        import streamlit  # noqa: F401
    except ImportError:
        parser.exit(2, f"{parser.prog}: error: the demo needs Streamlit: pip install sb3-udrl[app]\n")
    serve(command(args.models, args.address, args.port, args.no_browser))


def serve(command: list[str]) -> NoReturn:
    """
    Become the server, where the system can: then what stops this process stops the server.

    :param command: as :func:`command` says it
    :raises SystemExit: with the server's exit status, where it cannot
    """
    if os.name == "posix":
        os.execve(command[0], command, environment())
    raise SystemExit(subprocess.call(command, env=environment()))


def environment() -> dict[str, str]:
    """That of the server's process: on Linux, MuJoCo draws by EGL unless told otherwise, since a server has no screen."""
    return ({"MUJOCO_GL": "egl"} if sys.platform == "linux" else {}) | dict(os.environ)


def command(models: Path, address: str, port: int, no_browser: bool) -> list[str]:
    """
    The command that serves the page.

    :param models: folder with saved models
    :param address: to listen on
    :param port: to listen on
    :param no_browser: do not open a browser
    """
    options = {
        "server.address": address,
        "server.port": port,
        "server.headless": str(no_browser).lower(),
        "server.showEmailPrompt": "false",  # else a first start waits for an address
        "server.fileWatcherType": "none",
        "runner.postScriptGC": "false",  # or every batch would wait for a full collection, over all that PyTorch loaded
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(PAGE), *given, "--", str(models.resolve())]


if __name__ == "__main__":
    main()
