"""Files that appear only when they are complete."""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import os
import pathlib
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sb3_udrl.saving.addresses import is_address, upload

_LONGEST_PREFIX = 200  # bytes; most file systems allow names of 255


@contextmanager
def written_at_once(path: str | pathlib.Path | io.BufferedIOBase, suffix: str = "") -> Iterator[Any]:
    """
    A target to write to that takes the place of ``path`` only when all has been written: whatever happens meanwhile, there is
    the old file or the new one. What processes that were killed left of the same file is removed. Folders that do not exist
    are made; a symbolic link stays, and what it points to is replaced.

    :param path: path; an address such as ``s3://bucket/model.zip``; or an open file, which is passed through
    :param suffix: appended to a path that has none, if given
    :raises PermissionError: if the file is read-only, or its folder is
    :raises IsADirectoryError: if there is a folder of this name
    :raises OSError: if it cannot be sent to the address
    """
    if not isinstance(path, str | pathlib.Path):
        yield path
        return
    if is_address(path):
        with tempfile.TemporaryDirectory() as folder:
            address = str(path) if pathlib.PurePosixPath(path).suffix or not suffix else f"{path}{suffix}"
            local = pathlib.Path(folder) / pathlib.PurePosixPath(address).name
            yield local
            upload(local, address)
        return
    final = pathlib.Path(path)
    final = final if final.suffix or not suffix else final.with_suffix(suffix)
    final = pathlib.Path(os.path.realpath(final))
    replaces = _is_there(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(final)
    with _partial_file(final) as partial:
        yield partial
        if replaces:
            shutil.copymode(final, partial)
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())  # else a power cut could leave the new name with the old nothing
        os.replace(partial, final)


def check_can_be_written(path: str | pathlib.Path, suffix: str = "") -> None:
    """
    Find out before the work whether its result can be written: makes the folder, and leaves no file. Addresses are not tried.

    :param path: path or address, as for :func:`written_at_once`
    :param suffix: appended to a path that has none, if given
    :raises OSError: if nothing can be written there
    """
    with suppress(_OnlyTried), written_at_once(path, suffix):
        raise _OnlyTried


class _OnlyTried(Exception):
    """Nothing was to be written."""


def _is_there(final: pathlib.Path) -> bool:
    """Whether there is a file already; complains if it must not be replaced, since ``os.replace`` would do so silently."""
    try:
        mode = final.stat().st_mode
    except FileNotFoundError:
        return False
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, "there is a folder of this name, save under another one", str(final))
    if not (mode & 0o222 and os.access(final, os.W_OK)):  # of the two, root is told the first alone
        raise PermissionError(
            errno.EACCES, "the file is read-only: make it writable (chmod u+w) or save under another name", str(final)
        )
    return True


def _prefix(final: pathlib.Path) -> str:
    """What the names of partial files of this one begin with."""
    name = os.fsencode(final.name)
    if len(name) <= _LONGEST_PREFIX:
        return final.name
    return f"{final.name[:40]}-{hashlib.sha256(name).hexdigest()[:16]}"


@contextmanager
def _partial_file(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty file beside the final one, locked for as long as this process lives, and removed in the end if it is there."""
    while True:
        partial = final.with_name(f"{_prefix(final)}.{secrets.token_hex(4)}.partial")
        try:
            file = open(partial, "xb")
        except PermissionError as error:
            raise PermissionError(
                errno.EACCES, "the folder is read-only: make it writable (chmod u+w) or save elsewhere", str(final.parent)
            ) from error
        try:
            with suppress(OSError):  # a file system that has no locks
                _lock(file, wait=True)
            if partial.exists():  # else another process took it for a leftover before it was locked
                yield partial
                return
        finally:
            file.close()
            partial.unlink(missing_ok=True)


def _remove_leftovers(final: pathlib.Path) -> None:
    """Remove partial files of this one that no process holds any more."""
    for leftover in final.parent.glob(f"{glob.escape(_prefix(final))}.*.partial"):
        with suppress(OSError), open(leftover, "rb") as file:  # it is still written to, or nobody can tell
            _lock(file, wait=False)
            leftover.unlink()


if sys.platform == "win32":

    def _lock(file: io.BufferedIOBase, wait: bool) -> None:
        """Files are held by who has opened them: they cannot be removed then, nor replaced."""
        file.close()

else:
    import fcntl

    def _lock(file: io.BufferedIOBase, wait: bool) -> None:
        """Hold a file until it is closed, which happens at the latest when the process ends, however it ends."""
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
