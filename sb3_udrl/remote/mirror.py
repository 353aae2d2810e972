"""A folder and its copy at an address: what is due, and what has gone out."""

from __future__ import annotations

import json
import time
from fnmatch import fnmatch
from pathlib import Path

from sb3_udrl.saving.addresses import is_address, place, put
from sb3_udrl.saving.files import written_at_once

JOURNAL = ".saved_to.json"
SETTLED = 2.0  # seconds without a change, after which a file counts as complete

# Lines are only ever added to these, so their beginning is worth having at any time
_GROWING = ("*.csv", "*.log", "*.jsonl", "*tfevents*")
_LEFT_OUT = ("*.partial", JOURNAL)

State = list[int]  # size in bytes, time of the last change in nanoseconds


class Mirror:
    """
    The files of a folder and of its subfolders at an address. What has gone out is noted in the folder, so that the next
    process goes on there. Nothing is ever removed at the address.

    :param folder: the folder, which is made if it is missing
    :param address: where its copy is, see :func:`~sb3_udrl.saving.addresses.place`
    :raises ValueError: if the address is none
    """

    def __init__(self, folder: str | Path, address: str) -> None:
        if not is_address(address):
            raise ValueError(f"{address}: is no address; give one such as s3://bucket/prefix or file:///folder")
        self.folder, self.address = Path(folder), address.rstrip("/")
        self._files, self._root = place(self.address)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sent: dict[str, State] = self._noted().get(self.address, {})
        self._n_failures: dict[str, int] = {}

    def _noted(self) -> dict[str, dict[str, State]]:
        """What the journal says; nothing if it is damaged: then all goes out again."""
        try:
            noted = json.loads((self.folder / JOURNAL).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        sent = noted.items() if isinstance(noted, dict) else ()
        return {address: states for address, states in sent if isinstance(states, dict)}

    def waiting(self) -> dict[str, State]:
        """Files that have changed since they went out, by their names relative to the folder."""
        found = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            state = _state(path)
            if state is not None and state != self._sent.get(name) and not _fits(path.name, _LEFT_OUT):
                found[name] = state
        return found

    def due(self) -> list[str]:
        """Those of them that are complete; what failed before comes last, else the oldest is first."""
        now = time.time_ns()
        ready = {
            name: state
            for name, state in self.waiting().items()
            if now - state[1] >= SETTLED * 1e9 or now < state[1] or _fits(Path(name).name, _GROWING)
        }
        return sorted(ready, key=lambda name: (self._n_failures.get(name, 0), ready[name][1]))

    def send(self, name: str) -> None:
        """
        Send a file, and note that it has gone out. What changes or vanishes meanwhile waits for the next time.

        :param name: relative to the folder
        :raises Exception: of the file system, if it cannot be sent
        """
        path = self.folder / name
        state = _state(path)
        if state is None:
            return
        growing = _fits(path.name, _GROWING)
        try:
            complete = put(path, self._files, f"{self._root}/{name}", lambda: growing or _state(path) == state)
        except Exception:
            self._n_failures[name] = self._n_failures.get(name, 0) + 1
            raise
        if complete:
            self._n_failures.pop(name, None)
            self._sent[name] = state
            noted = {**self._noted(), self.address: self._sent}
            with written_at_once(self.folder / JOURNAL) as target:
                target.write_text(json.dumps(noted), encoding="utf-8")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _state(path: Path) -> State | None:
    """Of a file; nothing for what is none, or gone."""
    try:
        return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None
    except FileNotFoundError:
        return None
