"""The commands ``send`` and ``fetch``, and the option ``--save-to`` of others."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from sb3_udrl.remote.saving_to import SavingTo
from sb3_udrl.saving.addresses import place, upload
from sb3_udrl.saving.files import written_at_once

HELP = "an address such as s3://bucket/prefix, which gets a copy of the files while they appear"


def main(arguments: list[str] | None = None) -> None:
    """
    Run a command; exit with status 2 and one line if an argument is wrong, with 1 if not all could be sent, or with the status
    of the program that ran.

    :param arguments: command line, by default that of the process
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments, program = _divided(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m sb3_udrl.remote",
        description="Copies of folders at addresses: s3://bucket/prefix, or any other that fsspec knows.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    send = commands.add_parser("send", help="send what has not gone out yet; with a program, while it runs")
    send.add_argument("folder", type=Path, help="folder with the files")
    send.add_argument("address", help="where its copy is")
    send.epilog = "After -- comes a program to run, such as: -- python -m rl_zoo3.train --algo udrl -f FOLDER"
    fetch = commands.add_parser("fetch", help="fetch a file or a folder")
    fetch.add_argument("address", help="of the file or the folder")
    fetch.add_argument("target", type=Path, help="the file or folder to make")
    args = parser.parse_args(arguments)
    if args.command == "fetch":
        _fetch(parser, args.address, args.target)
        return
    saving = _saving(parser, args.folder, args.address)
    with saving:
        status = subprocess.call(program) if program else 0
    sys.exit(status or int(bool(saving.left())))


def _divided(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our arguments, and the program after ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


def _saving(parser: argparse.ArgumentParser, folder: Path, address: str) -> SavingTo:
    try:
        return SavingTo(folder, address)
    except (ValueError, ImportError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def _fetch(parser: argparse.ArgumentParser, address: str, target: Path) -> None:
    try:
        files, path = place(address.rstrip("/"))
        found = {target / name.removeprefix(path).lstrip("/"): name for name in files.find(path)}
        if not found:
            raise FileNotFoundError("there is no such file or folder")
        for local, name in found.items():
            if not local.resolve().is_relative_to(target.resolve()):
                raise ValueError(f"{name} would be written outside of {target}")
            with written_at_once(local) as partial:
                files.get_file(name, str(partial))
    except Exception as error:  # of the network, in the types of each protocol
        parser.exit(2, f"{parser.prog}: error: {address}: {error}\n")


def add_save_to(parser: argparse.ArgumentParser) -> None:
    """
    The option ``--save-to``.

    :param parser: gets it
    """
    parser.add_argument("--save-to", metavar="ADDRESS", help=HELP)


def saving_to(parser: argparse.ArgumentParser, folder: Path, address: str | None) -> AbstractContextManager[Any]:
    """
    What ``--save-to`` asks for.

    :param parser: whose program ends if the address is wrong
    :param folder: whose files go out
    :param address: value of the option
    :return: context to work in
    """
    return nullcontext() if address is None else _saving(parser, folder, address)


def send_file(parser: argparse.ArgumentParser, path: Path, address: str | None) -> None:
    """
    What ``--save-to`` asks for where a program writes one file.

    :param parser: whose program ends with status 1 if the file cannot be sent; it stays where it is
    :param path: the file
    :param address: value of the option: of the folder
    """
    if address is None:
        return
    try:
        upload(path, f"{address.rstrip('/')}/{path.name}")
    except (ValueError, ImportError, OSError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n{path} stays; put it into a folder of its own to send it later\n")
