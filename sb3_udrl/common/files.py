"""Files that appear only when they are complete."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def written_at_once(path: str | pathlib.Path | io.BufferedIOBase, suffix: str = "") -> Iterator[Any]:
    """
    A target to write to that takes the place of ``path`` only when all has been written.

    :param path: path, or an open file, which is passed through
    :param suffix: appended to a path that has none, if given
    """
    if not isinstance(path, str | pathlib.Path):
        yield path
        return
    final = pathlib.Path(path)
    final = final if final.suffix or not suffix else final.with_suffix(suffix)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f"{final.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)
