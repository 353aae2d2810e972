"""What the caller trusts in a file, and the error where it names more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

# Parts of forests in files of earlier revisions, which can run code anyway: a damaged one ends the process while it is made
OLDER_FOREST_TYPES = (
    "lightgbm.basic.Booster",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
)
ARGUMENTS = "arguments"  # of a policy that was saved alone, which nobody can give again
_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


def trusted_names() -> tuple[str, ...]:
    """Full names of types that the forest of the file may hold besides the known ones."""
    return _trusted.get()


@contextmanager
def trusting(trusted: Collection[str]) -> Iterator[None]:
    """
    Declare what is trusted in the files that are loaded meanwhile.

    :param trusted: full names of types, besides those that are always trusted
    """
    token = _trusted.set(tuple(trusted))
    try:
        yield
    finally:
        _trusted.reset(token)


class Untrusted(ValueError):
    """
    A file names classes or functions that are on no list.

    :param names: import paths, with the settings that name them
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = sorted(names)
        listed = ", ".join(f"{name} ({where})" for name, where in names.items())
        ways = []
        if not any("<" in name for name in names):  # functions inside of others cannot be imported at all
            ways.append(f"if you trust it, load(..., trusted={self.names})")
        settings = {where.partition("/")[0] for where in names.values()}
        if ARGUMENTS not in settings and all(map(str.isidentifier, settings)):
            given = ", ".join(f"{setting!r}: ..." for setting in sorted(settings))
            ways.append(f"give it yourself, load(..., custom_objects={{{given}}})")
        super().__init__(
            f"the file names {listed}, which could be code of whoever made it, so nothing of it was imported: "
            + ", or ".join(ways)
        )
