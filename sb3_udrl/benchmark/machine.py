"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "sb3-udrl",
    "stable_baselines3",
    "sb3_contrib",
    "rl_zoo3",
    "torch",
    "numpy",
    "gymnasium",
    "box2d",
    "mujoco",
    "vizdoom",
)


@cache
def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results, where they are installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def describe_machine() -> str:
    """Operating system, processor and number of cores."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        processor = named.group(1) if named else processor
    return f"{platform.system()}, {processor}, {os.cpu_count()} cores"


@cache  # what is loaded stays what it was, whatever happens to the files
def git_revision() -> str | None:
    """Revision of the package, ``-dirty`` with uncommitted changes; None if it does not run from its repository."""
    package = Path(__file__).parents[1]
    command = ["git", "-C", str(package), "rev-parse", "--show-toplevel"]
    try:
        root = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if Path(root).resolve() != package.parent.resolve():
            return None
        command = ["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
