"""Python objects as plain JSON and arrays, and back. What comes back is built from lists of known kinds: no code is run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

from sb3_udrl.saving.kinds import KINDS, known_object, resolve
from sb3_udrl.saving.trust import Untrusted

TYPE = ":type:"  # the key that tells a tagged value from a dictionary
_DEEPEST = 100


class Plain(NamedTuple):
    """
    An object as it is written.

    :param value: what JSON can hold
    :param arrays: what it refers to, by the name of their members in the file; not copied
    """

    value: Any
    arrays: dict[str, NDArray[Any]]


def to_plain(value: Any, name: str = "") -> Plain:
    """
    An object as plain JSON and arrays. Functions and classes become their import path; other objects the import path of their
    class, and their attributes.

    :param value: any object
    :param name: its name in the file
    """
    writer = _Writer({})
    return Plain(writer.plain(value, name), writer.arrays)


class _Circle(Exception):
    """An object refers to itself."""


class _Writer:
    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self.within: set[int] = set()  # objects that are being written

    def plain(self, value: Any, path: str) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return value.item()
        if isinstance(value, th.Tensor):
            return {TYPE: "tensor", "array": self.plain(value.detach().cpu().numpy(), path)}
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return self._array(value, path)
        if type(value) is list:
            return self._items(value, path)
        if type(value) in (tuple, set, frozenset, deque):
            further = {"maxlen": value.maxlen} if isinstance(value, deque) else {}
            return {TYPE: type(value).__name__, "items": self._items(value, path), **further}
        if isinstance(value, dict):
            return self._dict(value, path)
        for name, kind in KINDS.items():
            if kind.matches(value):
                fields = kind.to_fields(value)
                return {TYPE: name, **{key: self.plain(item, f"{path}/{key}") for key, item in fields.items()}}
        if isinstance(value, type | FunctionType | MethodType) or (callable(value) and hasattr(value, "__qualname__")):
            return {TYPE: "name", "name": import_path(value)}
        return {TYPE: "object", "class": import_path(type(value)), "state": self._state(value, path)}

    def _state(self, value: Any, path: str) -> Any:
        """An object's attributes, or the items of a named tuple; None where these cannot be written."""
        state = list(value) if isinstance(value, tuple) else getattr(value, "__dict__", None)
        if id(value) in self.within:
            raise _Circle
        self.within.add(id(value))
        before = dict(self.arrays)
        try:
            return self.plain(state, path)
        except _Circle:
            self.arrays.clear()
            self.arrays.update(before)
            if len(self.within) > 1:
                raise
            return None
        finally:
            self.within.discard(id(value))

    def _array(self, array: NDArray[Any], path: str) -> dict[str, Any]:
        member = f"{path or 'array'}.npy"
        while member in self.arrays:  # names that differ by what a path cannot hold
            member = f"{member[:-4]}_.npy"
        self.arrays[member] = array
        return {TYPE: "array", "member": member}

    def _items(self, items: Any, path: str) -> list[Any]:
        return [self.plain(item, f"{path}/{i}") for i, item in enumerate(items)]

    def _dict(self, items: Mapping[Any, Any], path: str) -> dict[str, Any]:
        if all(type(key) is str for key in items) and TYPE not in items:
            return {key: self.plain(item, f"{path}/{key}" if path else key) for key, item in items.items()}
        pairs = [[key, item] for key, item in items.items()]
        return {TYPE: "dict", "items": self._items(pairs, path)}


def import_path(value: Any) -> str:
    """
    Where a class or function can be imported from, which is what a file can say of it.

    :param value: a class or function
    """
    return f"{value.__module__}.{value.__qualname__}"


def from_plain(
    value: Any,
    array: Callable[[str], NDArray[Any]],
    trusted: Collection[str] = (),
    skip: Collection[str] = (),
    name: str = "",
) -> Any:
    """
    The inverse of :func:`to_plain`.

    :param value: what JSON held
    :param array: returns the array of a member
    :param trusted: import paths of classes and functions that may be imported besides the known ones
    :param skip: keys of the outermost dictionary to leave out
    :param name: of the value, for errors
    :raises Untrusted: if it names others
    :raises ValueError: if something is not as :func:`to_plain` writes it
    """
    reader = _Reader(array, trusted)
    if isinstance(value, dict) and skip:
        value = {key: item for key, item in value.items() if key not in skip}
    result = reader.value(value, name, 0)
    if reader.untrusted:
        raise Untrusted(reader.untrusted)
    return result


class _Reader:
    def __init__(self, array: Callable[[str], NDArray[Any]], trusted: Collection[str]) -> None:
        self.array, self.trusted = array, trusted
        self.untrusted: dict[str, str] = {}

    def value(self, plain: Any, path: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"{path[:40]}...: nested more than {_DEEPEST} times")
        if isinstance(plain, list):
            return [self.value(item, f"{path}/{i}", depth + 1) for i, item in enumerate(plain)]
        if not isinstance(plain, dict):
            return plain
        if TYPE not in plain:
            return {key: self.value(item, f"{path}/{key}" if path else key, depth + 1) for key, item in plain.items()}
        kind = plain[TYPE]
        try:
            return self._tagged(kind, plain, path, depth)
        except (Untrusted, MemoryError):
            raise
        except Exception as error:
            raise ValueError(f"{path}: damaged, not a {kind} ({error!r})") from error

    def _tagged(self, kind: str, plain: dict[str, Any], path: str, depth: int) -> Any:
        if kind == "array":
            return self.array(str(plain["member"]))
        if kind == "tensor":
            return th.from_numpy(np.array(self.value(plain["array"], path, depth + 1)))
        if kind in ("name", "object"):
            return self._named(kind, plain, path, depth)
        fields = {key: self.value(item, f"{path}/{key}", depth + 1) for key, item in plain.items() if key != TYPE}
        if kind in KINDS:
            return KINDS[kind].from_fields(fields)
        if kind == "deque":
            return deque(fields["items"], fields["maxlen"])
        return {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}[kind](fields["items"])

    def _named(self, kind: str, plain: dict[str, Any], path: str, depth: int) -> Any:
        """A class or function, or an object of a class, if that is known or trusted."""
        name = str(plain["name" if kind == "name" else "class"])
        state = self.value(plain.get("state"), path, depth + 1)
        found = resolve(name, self.trusted)
        if found is None:
            self.untrusted[name] = path
            return None
        if kind == "name":
            return found
        if not isinstance(found, type) or not (name in self.trusted or known_object(found)):
            raise ValueError(f"{name} is no class whose objects files may hold")
        if isinstance(state, list):
            return found(*state)
        if state is None:
            raise ValueError(f"{name} has attributes that files cannot hold: give it yourself by custom_objects")
        made: Any = object.__new__(found)
        vars(made).update(state)
        return made
