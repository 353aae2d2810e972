"""
Parts of fitted estimators that run native code, as plain numbers.

Native code believes what it reads, so a damaged part can end the process when it is made, before anybody could look at it.
Files hold plain numbers in its place, which are checked first.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree

from sb3_udrl.forest.boosters import checked_lightgbm, checked_xgboost
from sb3_udrl.forest.tree_checks import checked_tree

_KIND = "native part"


def parts(content: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """
    Everything that nested content holds, each object once, with its place.

    :param content: objects, dictionaries, lists and arrays of objects in each other
    :param where: place of the content itself
    """
    seen, rest = set(), [(where, content)]
    while rest:
        place, item = rest.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield place, item
        if isinstance(item, np.ndarray) and item.dtype == object:
            item = item.ravel().tolist()
        if isinstance(item, dict):
            rest.extend((f"{place}.{key}".lstrip("."), value) for key, value in item.items())
        elif isinstance(item, list | tuple | set | frozenset):
            rest.extend((f"{place}[{i}]", value) for i, value in enumerate(item))
        elif hasattr(item, "__dict__") and not isinstance(item, type):
            rest.extend((f"{place}.{name}".lstrip("."), value) for name, value in vars(item).items())


def to_plain(content: Any) -> Any:
    """
    A copy in which native parts are plain numbers. Arrays are shared with the original.

    :param content: with fitted estimators
    """
    return _exchanged(content, _plain)


def from_plain(content: Any) -> Any:
    """
    The inverse of :func:`to_plain`. Search trees of neighbors are built anew from the points.

    :param content: as from :func:`to_plain`, without methods of its own
    :raises ValueError: if a part is damaged
    """
    made = _exchanged(content, _made)
    for _, item in parts(made):
        if hasattr(item, "n_jobs"):
            item.n_jobs = None  # files do not say how many cores to take
        if getattr(item, "_fit_method", None) in _SEARCH_TREES and getattr(item, "_tree", None) is None:
            metric = {"metric": item.effective_metric_, **item.effective_metric_params_}
            item._tree = _SEARCH_TREES[item._fit_method](item._fit_X, item.leaf_size, **metric)
    return made


_SEARCH_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}


def _exchanged(content: Any, exchange: Callable[[str, Any], Any]) -> Any:
    exchanged = ((id(item), exchange(where, item)) for where, item in parts(content))
    return copy.deepcopy(content, {key: new for key, new in exchanged if new is not _COPIED})


_COPIED = object()  # is exchanged for a copy


def _plain(where: str, item: Any) -> Any:
    """What takes the place of an object in files."""
    if isinstance(item, Tree):
        _, (n_features, n_classes, n_outputs), state = item.__reduce__()
        return {_KIND: "tree", "n_features": n_features, "n_classes": n_classes, "n_outputs": n_outputs, **state}
    if isinstance(item, KDTree | BallTree):
        return None  # built anew
    if _is_booster(item, "xgboost"):
        return {_KIND: "xgboost", "json": bytes(item.save_raw("json")).decode()}
    if _is_booster(item, "lightgbm"):
        return {_KIND: "lightgbm", "text": item.model_to_string(num_iteration=-1)}
    return item if isinstance(item, np.ndarray) and item.dtype != object else _COPIED


def _made(where: str, item: Any) -> Any:
    """The inverse of :func:`_plain`."""
    kind = item.get(_KIND) if isinstance(item, dict) else None
    if kind == "tree":
        state = checked_tree(where, item)
        tree = Tree(state["n_features"], state["n_classes"], len(state["n_classes"]))
        tree.__setstate__({name: state[name] for name in ("max_depth", "node_count", "nodes", "values")})
        return tree
    if kind == "xgboost":
        import xgboost

        return xgboost.Booster(model_file=bytearray(checked_xgboost(where, item.get("json")).encode()))
    if kind == "lightgbm":
        import lightgbm

        return lightgbm.Booster(model_str=checked_lightgbm(where, item.get("text")))
    if kind is not None:
        raise ValueError(f"{where} is of an unknown kind, {kind!r}")
    return item if isinstance(item, np.ndarray) and item.dtype != object else _COPIED


def _is_booster(item: Any, package: str) -> bool:
    module = sys.modules.get(package)  # of a package that is not loaded there are no objects
    return module is not None and isinstance(item, module.Booster)
