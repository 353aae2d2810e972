"""Files at addresses such as ``s3://bucket/model.zip``, by fsspec: there completely or not at all."""

from __future__ import annotations

import pathlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

Value = TypeVar("Value")

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
_PAUSES = (0.5, 2.0)  # seconds before further attempts; s3fs makes some of its own in each


def is_address(path: object) -> bool:
    """
    :param path: what was given as a path
    :return: whether it is an address of the form ``protocol://...``
    """
    return isinstance(path, str) and "://" in path


def place(address: str) -> tuple[Any, str]:
    """
    Where an address leads.

    :param address: as fsspec takes them: ``s3://bucket/prefix``, ``sftp://host/folder``, ``file:///folder``
    :return: the file system, without remembered listings, and the path in it
    :raises ValueError: if the protocol is unknown
    :raises ImportError: if its package is missing
    """
    import fsspec  # PyTorch brings it; what only uses files on the disk need not load it

    protocol = address.partition("://")[0]
    try:
        files, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        extra = '; pip install "sb3-udrl[s3]"' if protocol in ("s3", "s3a") else ""
        raise ImportError(f"{address}: {error}{extra}") from error
    except ValueError as error:
        raise ValueError(f"{address}: {error}; give an address such as s3://bucket/prefix") from error
    return files, path


def put(local: pathlib.Path, files: Any, path: str, unchanged: Callable[[], bool] = lambda: True) -> bool:
    """
    Copy a file. Whatever happens meanwhile, there is the old one or the new one. Missing folders and buckets are made.

    :param local: the file
    :param files: file system, see :func:`place`
    :param path: path in it
    :param unchanged: asked when all is copied; if it says no, the copy is thrown away
    :return: whether it is there now
    """
    try:
        return _put(local, files, path, unchanged)
    except FileNotFoundError:
        if not local.exists():
            raise
        files.makedirs(files._parent(path), exist_ok=True)
        return _put(local, files, path, unchanged)


def _put(local: pathlib.Path, files: Any, path: str, unchanged: Callable[[], bool]) -> bool:
    protocols = {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
    return (_put_object if protocols & _OBJECT_STORES else _put_and_rename)(local, files, path, unchanged)


def _put_object(local: pathlib.Path, files: Any, path: str, unchanged: Callable[[], bool]) -> bool:
    """Object stores show an object when all of it has been confirmed; renaming would copy it there."""
    with open(local, "rb") as source:
        target = files.open(path, "wb", autocommit=False)
        try:
            shutil.copyfileobj(source, target, 2**20)
            target.close()
            complete = unchanged()
        except BaseException:
            _throw_away(target)
            raise
        if complete:
            target.commit()
        else:
            _throw_away(target)
        return complete


def _put_and_rename(local: pathlib.Path, files: Any, path: str, unchanged: Callable[[], bool]) -> bool:
    import fsspec

    partial, renamed = f"{path}.{secrets.token_hex(4)}.partial", False
    try:
        files.put_file(str(local), partial)
        if unchanged():
            if type(files).mv is fsspec.AbstractFileSystem.mv:  # it takes characters such as ? for patterns
                files.cp_file(partial, path)
                files.rm_file(partial)
            else:
                files.mv(partial, path)
            renamed = True
    finally:
        if not renamed:
            with suppress(Exception):
                files.rm_file(partial)
    return renamed


def _throw_away(target: Any) -> None:
    """Parts that were sent already go, if the server still answers."""
    with suppress(Exception):
        target.discard()
    target.closed = True  # else its finalizer would send the rest


def upload(local: pathlib.Path, address: str) -> None:
    """
    As :func:`put`, with further attempts.

    :param local: the file
    :param address: its address
    :raises OSError: if it could not be sent; what was there before is still there
    """
    files, path = place(address)
    try:
        _attempted(lambda: put(local, files, path))
    except Exception as error:  # of the network, in the types of each protocol
        raise OSError(f"{address}: not saved, {type(error).__name__}: {error}") from error


@contextmanager
def local_copy(path: Any, suffix: str = "") -> Iterator[Any]:
    """
    A file to read, fetched if it is at an address.

    :param path: address; what else it is, is passed through
    :param suffix: is added where there is no such file without it
    :return: context of a path, which is gone after it
    :raises FileNotFoundError: if there is no such file
    :raises OSError: if it cannot be fetched
    """
    if not is_address(path):
        yield path
        return
    files, remote = place(path)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # what is mapped lives on, but on Windows
        local = pathlib.Path(folder) / pathlib.PurePosixPath(remote).name
        try:
            if suffix and not local.suffix and not _attempted(lambda: files.exists(remote)):
                remote, local = remote + suffix, local.with_suffix(suffix)
            _attempted(lambda: files.get_file(remote, str(local)))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: there is no such file") from None
        except Exception as error:  # of the network, in the types of each protocol
            raise OSError(f"{path}: not fetched, {type(error).__name__}: {error}") from error
        yield local


def _attempted(act: Callable[[], Value]) -> Value:
    """What comes of it, after several attempts if need be; what time does not mend is tried once."""
    for pause in _PAUSES:
        try:
            return act()
        except (FileNotFoundError, PermissionError, IsADirectoryError, ImportError):
            raise
        except Exception:
            time.sleep(pause)
    return act()
