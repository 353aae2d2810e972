"""Tables of tree nodes from files, looked at before they are believed: what reads them has no bounds of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.tree._tree import NODE_DTYPE

_N_CATEGORIES = 256  # bits of a bitset


def checked_tree(where: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """
    The state of a tree of scikit-learn.

    :param where: place of the tree, for errors
    :param state: ``n_features``; ``n_classes`` of each of the ``n_outputs``; ``node_count``; ``nodes``, a table of as many
        rows; ``values``, ``(node_count, n_outputs, most classes)``; ``max_depth``
    :return: the same, with counts as Python's
    :raises ValueError: if something is missing, of another type or size, not finite, or leads to nodes or inputs that do not
        exist
    """
    n_features, n_outputs, n_nodes, depth = (
        _count(where, state, name) for name in ("n_features", "n_outputs", "node_count", "max_depth")
    )
    n_classes = state.get("n_classes")
    if not _is_array(n_classes, np.dtype(np.intp), (n_outputs,)) or n_outputs < 1 or n_classes.min() < 1:
        raise ValueError(f"{where} does not say how many classes each of its {n_outputs} outputs has")
    nodes, values = state.get("nodes"), state.get("values")
    if not _is_array(nodes, NODE_DTYPE, (n_nodes,)) or n_nodes < 1:
        raise ValueError(f"{where} has no table of its {n_nodes} nodes")
    if not _is_array(values, np.dtype(np.float64), (n_nodes, n_outputs, int(n_classes.max()))):
        raise ValueError(f"{where} has no values of its {n_nodes} nodes for {n_outputs} outputs of {n_classes.max()} classes")
    is_leaf = nodes["left_child"] == -1
    if (is_leaf != (nodes["right_child"] == -1)).any():
        raise ValueError(f"{where} has a node with a single branch")
    _check_branches(where, is_leaf, nodes["left_child"], nodes["right_child"])
    _check_features(where, nodes["feature"][~is_leaf], n_features)
    if np.isnan(nodes["threshold"][~is_leaf]).any() or not np.isfinite(values).all():  # infinity: all but missing values
        raise ValueError(f"{where} holds numbers that are not finite")
    return {
        **{"n_features": n_features, "n_classes": n_classes, "node_count": n_nodes, "max_depth": depth},
        **{"nodes": nodes, "values": values},
    }


def check_histogram_tree(where: str, predictor: Any, n_categories: NDArray[np.int64]) -> None:
    """
    Look at a tree of histogram gradient boosting.

    :param where: place of the tree, for errors
    :param predictor: the tree
    :param n_categories: of each input, zero for numbers, ``(n_features,)``
    :raises ValueError: if it has another type or size, leads to nodes, inputs or sets that do not exist, or is not finite
    """
    nodes = getattr(predictor, "nodes", None)
    if not _is_array(nodes, PREDICTOR_RECORD_DTYPE, (None,)) or not len(nodes):
        raise ValueError(f"{where} has no table of nodes")
    is_leaf = nodes["is_leaf"] != 0
    _check_branches(where, is_leaf, nodes["left"], nodes["right"])
    inner = nodes[~is_leaf]
    _check_features(where, inner["feature_idx"], len(n_categories))
    sets = getattr(predictor, "raw_left_cat_bitsets", None)
    if not _is_array(sets, np.dtype(np.uint32), (None, _N_CATEGORIES // 32)):
        raise ValueError(f"{where} has no sets of categories")
    by_category = inner["is_categorical"] != 0
    known = n_categories[inner["feature_idx"][by_category]]
    if (inner["bitset_idx"][by_category] >= len(sets)).any():
        raise ValueError(f"{where} decides by sets of categories that do not exist")
    members = np.unpackbits(sets.view(np.uint8), axis=1, bitorder="little")[inner["bitset_idx"][by_category]]
    if (members.sum(axis=1) == 0).any() or (members & (np.arange(_N_CATEGORIES) >= known[:, None])).any():
        raise ValueError(f"{where} decides by categories that do not exist")
    if np.isnan(inner["num_threshold"]).any() or not np.isfinite(nodes["value"]).all():
        raise ValueError(f"{where} holds numbers that are not finite")


def _check_branches(where: str, is_leaf: NDArray[np.bool_], left: NDArray[Any], right: NDArray[Any]) -> None:
    numbers = np.arange(len(is_leaf))[~is_leaf]
    for children in (left[~is_leaf].astype(np.int64), right[~is_leaf].astype(np.int64)):
        if ((children <= numbers) | (children >= len(is_leaf))).any():  # downwards: no circles
            raise ValueError(f"{where} has branches that lead to nodes that do not exist, or back")


def _check_features(where: str, features: NDArray[Any], n_features: int) -> None:
    if ((features < 0) | (features >= n_features)).any():
        raise ValueError(f"{where} decides by inputs that do not exist")


def _is_array(array: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> TypeGuard[NDArray[Any]]:
    if type(array) is not np.ndarray or array.dtype != dtype or array.ndim != len(shape) or not array.flags.c_contiguous:
        return False
    return all(n is None or n == m for n, m in zip(shape, array.shape, strict=True))


def _count(where: str, state: Mapping[str, Any], name: str) -> int:
    count = state.get(name)
    if isinstance(count, np.integer):
        count = int(count)
    if type(count) is not int or not 0 <= count < 2**31:
        raise ValueError(f"{where} has {name}={count!r}, no count")
    return count
