"""Zip files of JSON, arrays and tensors: written in one go, and looked at before anything in them is believed."""

from __future__ import annotations

import io
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import torch as th
from numpy.lib import format as npy
from numpy.typing import NDArray

from sb3_udrl.saving.plain import to_plain

DATA = "data"  # the member with the settings, as in SB3's files
_MAX_RATIO = 20  # of sizes unpacked and packed: what is larger was made to fill the memory


def write_archive(
    target: str | pathlib.Path | IO[bytes], content: Mapping[str, Any], further: Mapping[str, str] | None = None
) -> None:
    """
    Write a zip file. Arrays are streamed, without a second copy in memory.

    :param target: path or file
    :param content: by name: settings, as :func:`~sb3_udrl.saving.plain.to_plain` writes them; dictionaries of tensors under
        names that end with ``.pth``
    :param further: texts by the names of their members
    """
    tensors = {name: value for name, value in content.items() if name.endswith(".pth")}
    plain, arrays = to_plain({name: value for name, value in content.items() if name not in tensors})
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(DATA, json.dumps(plain, indent=4))
        for name, array in arrays.items():
            with archive.open(name, "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(array), allow_pickle=False)
        for name, value in tensors.items():
            with archive.open(name, "w", force_zip64=True) as member:
                th.save(value, member)
        for name, text in (further or {}).items():
            archive.writestr(name, text)


class Archive:
    """
    A zip file that was looked at: its members have different names, sizes in proportion, and no pickles among the tensors but
    what PyTorch's loader of weights reads.

    :param file: the zip file, open
    :param size: of the file, in bytes
    :raises ValueError: if something is not as it should be
    """

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        self._file = file
        _check_members(file, size, "the file")

    def names(self) -> list[str]:
        """Names of the members."""
        return self._file.namelist()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON holds them."""
        if DATA not in self.names():
            raise ValueError(f"it has no member {DATA!r}")
        settings = json.loads(self._file.read(DATA))
        if not isinstance(settings, dict):
            raise ValueError(f"its member {DATA!r} holds a {type(settings).__name__}, not settings by name")
        return settings

    def array(self, name: str) -> NDArray[Any]:
        """
        The array of a member.

        :param name: of the member
        :raises ValueError: if it is missing, damaged or does not have the size that it declares
        """
        if name not in self.names():
            raise ValueError(f"its array {name!r} is missing")
        with self._file.open(name) as member:
            version = npy.read_magic(member)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = header(member)
            left = self._file.getinfo(name).file_size - member.tell()
            if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize != left or min(shape, default=0) < 0:
                raise ValueError(f"its array {name!r} does not hold {shape} of {dtype} as it says")
            content = bytearray(left)
            reader = io.BufferedReader(member)  # type: ignore[type-var]
            if reader.readinto(content) != left or reader.read(1):  # reads on: then the checksum was compared
                raise ValueError(f"its array {name!r} is cut off")
        array: NDArray[Any] = np.frombuffer(content, dtype)
        return array.reshape(shape, order="F" if by_columns else "C")

    def tensors(self, name: str, device: Any) -> Any:
        """
        The tensors of a member, by PyTorch's loader of weights, which builds nothing else.

        :param name: of the member
        :param device: where they belong
        :raises ValueError: if it is missing
        """
        if name not in self.names():
            raise ValueError(f"its member {name!r} is missing")
        with self._file.open(name) as member:
            return th.load(io.BytesIO(member.read()), map_location=device, weights_only=True)

    def is_pickled_policy(self) -> bool:
        """Whether it is what PyTorch saves of objects: a pickle in a zip file."""
        return DATA not in self.names() and any(name.endswith("/data.pkl") for name in self.names())

    def check_tensors(self) -> None:
        """
        Look at the members that PyTorch will load, which are zip files themselves.

        :raises ValueError: if one is none, or unpacks to much more than its size
        """
        for name in self.names():
            if name.endswith(".pth"):
                content = io.BytesIO(self._file.read(name))
                if not zipfile.is_zipfile(content):
                    raise ValueError(f"its member {name!r} holds no tensors")
                with zipfile.ZipFile(content) as inner:
                    _check_members(inner, len(content.getbuffer()), f"its member {name!r}")


def _check_members(file: zipfile.ZipFile, size: int, what: str) -> None:
    names = file.namelist()
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{what} has several members of the name {twice[0]!r}")
    unpacked = sum(info.file_size for info in file.infolist())
    if unpacked > _MAX_RATIO * size:
        raise ValueError(f"{what} would unpack to {unpacked:,} bytes, more than {_MAX_RATIO} times its size of {size:,}")


@contextmanager
def open_archive(source: str | pathlib.Path | io.BufferedIOBase, suffix: str = "") -> Iterator[Archive]:
    """
    Open a zip file for reading, and leave a file that was open where it was.

    :param source: path, with or without the suffix, or file
    :param suffix: is added where there is no such file without it
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: if it is no zip file, or not as it should be
    """
    with _opened(source, suffix) as file:
        size = _size(file)
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no zip file, or cut off")
        with zipfile.ZipFile(file) as archive:
            yield Archive(archive, size)


def is_archive(source: str | pathlib.Path | io.BufferedIOBase, suffix: str = "") -> bool:
    """
    Whether a file is a zip file at all.

    :param source: path, with or without the suffix, or file
    :param suffix: is added where there is no such file without it
    :raises FileNotFoundError: if there is no such file
    """
    with _opened(source, suffix) as file:
        return zipfile.is_zipfile(file)


@contextmanager
def _opened(source: str | pathlib.Path | io.BufferedIOBase, suffix: str) -> Iterator[Any]:
    """The file of a path; or a file that was open, which is left where it was."""
    if not isinstance(source, str | pathlib.Path):
        start = source.tell()
        try:
            yield source
        finally:
            source.seek(start)
        return
    path = pathlib.Path(source)
    with (path if path.exists() else pathlib.Path(f"{path}{suffix}")).open("rb") as file:
        yield file


def _size(file: IO[bytes]) -> int:
    """Bytes from here to the end."""
    start = file.tell()
    size = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    return size
