"""Folders for what runs write while they last."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

_PREFIX = "sb3_udrl_run_"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """
    An empty folder among the system's temporary files, which is removed in the end; so is what processes that were killed
    left of theirs.
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), _held(leftover):  # somebody works there, or it is another user's
            shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name, ExitStack() as stack:
        with suppress(OSError):  # no locks here, or another process took it for a leftover just now
            stack.enter_context(_held(Path(name)))
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        yield folder


if sys.platform == "win32":

    def _held(folder: Path) -> AbstractContextManager[None]:
        raise OSError("folders have no locks here")

else:
    import fcntl

    @contextmanager
    def _held(folder: Path) -> Iterator[None]:
        """Hold a folder, at the longest until this process ends, however it ends."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)
