"""Models of XGBoost and LightGBM as the text that these write, looked at before they read it: they believe what it says."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROOT = 2**31 - 1  # of XGBoost: no parent
_CATEGORICAL = 1  # bit of LightGBM's decision types
_MOST = 1e30  # of values of leaves: sums over trees stay finite in single precision


def checked_xgboost(where: str, text: Any) -> str:
    """
    A model of XGBoost as JSON.

    :param where: its place, for errors
    :param text: the JSON
    :return: the same, without keys that occur twice
    :raises ValueError: if it is none, of a kind that has no trees, or its parts do not fit together
    """
    try:
        content = json.loads(text, parse_int=_bounded_integer, parse_float=_bounded_float)
        learner = content["learner"]
        n_features = int(learner["learner_model_param"]["num_feature"])
        booster = learner["gradient_booster"]
        booster = booster["gbtree"] if booster["name"] == "dart" else booster
        model, n_groups = booster["model"], max(1, int(learner["learner_model_param"]["num_class"]))
        n_groups = max(n_groups, int(learner["learner_model_param"]["num_target"]))
        trees, groups, rounds = model["trees"], model["tree_info"], model["iteration_indptr"]
        n_trees = int(model["gbtree_model_param"]["num_trees"])
        weights = learner["gradient_booster"].get("weight_drop", [1.0] * n_trees)
        if not n_trees == len(trees) == len(groups) == len(weights) > 0:
            raise ValueError(f"{where} does not hold the {n_trees} trees that it claims, one at least")
        if rounds != sorted(rounds) or rounds[0] != 0 or rounds[-1] != n_trees:
            raise ValueError(f"{where} has rounds of other trees than its own")
        if not all(type(group) is int and 0 <= group < n_groups for group in groups):
            raise ValueError(f"{where} has trees of outputs that do not exist")
        base = np.atleast_1d(json.loads(learner["learner_model_param"]["base_score"]))
        if base.ndim != 1 or len(base) not in (1, n_groups) or not np.isfinite(base).all() or not np.isfinite(weights).all():
            raise ValueError(f"{where} has no base scores for {n_groups} outputs, or numbers that are not finite")
        for i, tree in enumerate(trees):
            if tree["id"] != i:
                raise ValueError(f"{where} has tree {i} under another number, {tree['id']!r}")
            _check_xgboost_tree(f"tree {i} of {where}", tree, n_features)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, json.JSONDecodeError) as error:
        raise ValueError(f"{where} is no model of XGBoost with trees of single outputs: {error!r}") from error
    return json.dumps(content)


def _check_xgboost_tree(where: str, tree: Any, n_features: int) -> None:
    parameters = tree["tree_param"]
    n_nodes = int(parameters["num_nodes"])
    if int(parameters["num_feature"]) != n_features or int(parameters["size_leaf_vector"]) not in (0, 1):
        raise ValueError(f"{where} has other inputs or outputs than its model")
    left, right, parents = (_integers(where, tree, name, n_nodes) for name in ("left_children", "right_children", "parents"))
    features = _integers(where, tree, "split_indices", n_nodes)
    default_left, split_type = (_integers(where, tree, name, n_nodes) for name in ("default_left", "split_type"))
    if n_nodes < 1 or not set(np.concatenate((default_left, split_type))) <= {0, 1}:
        raise ValueError(f"{where} has no nodes, or nodes of an unknown kind")
    for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
        _floats(where, tree, name, n_nodes)
    inner = left != -1
    if (np.abs(np.array(tree["split_conditions"], dtype=float)[~inner]) > _MOST).any():  # leaves have their values there
        raise ValueError(f"{where} has leaves with values beyond {_MOST:g}")
    _check_branches(where, inner, left, right)
    if ((features[inner] < 0) | (features[inner] >= n_features)).any():
        raise ValueError(f"{where} decides by inputs that do not exist")
    numbers = np.arange(n_nodes)[inner]
    if parents[0] != _ROOT or (parents[left[inner]] != numbers).any() or (parents[right[inner]] != numbers).any():
        raise ValueError(f"{where} has nodes with other parents than those that lead to them")
    if split_type.any() or any(tree[name] for name in ("categories", "categories_nodes", "categories_segments")):
        raise ValueError(f"{where} decides by categories, which policies do not have")


def checked_lightgbm(where: str, text: Any) -> str:
    """
    A model of LightGBM as text.

    :param where: its place, for errors
    :param text: the text
    :return: its trees, without the settings of the training
    :raises ValueError: if it is none, or its parts do not fit together
    """
    if not isinstance(text, str) or not text.isascii() or "\0" in text or "\nend of trees" not in text:
        raise ValueError(f"{where} is no model of LightGBM")
    try:
        text = text.partition("end of trees")[0]
        head, *trees = re.split(r"^(?=Tree=)", text, flags=re.MULTILINE)
        header = _pairs(head)
        n_features, n_groups = int(header["max_feature_idx"]) + 1, int(header["num_tree_per_iteration"])
        if len(header["feature_names"].split()) != n_features or len(header["feature_infos"].split()) != n_features:
            raise ValueError(f"{where} does not name its {n_features} inputs")
        if n_groups != int(header["num_class"]) or not trees or len(trees) % n_groups:
            raise ValueError(f"{where} does not hold as many trees for each of its {n_groups} outputs")
        if [int(size) for size in header["tree_sizes"].split()] != [len(tree) for tree in trees]:
            raise ValueError(f"{where} does not hold the trees that it claims")
        for i, tree in enumerate(trees):
            _check_lightgbm_tree(f"tree {i} of {where}", _pairs(tree), n_features)
    except (KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"{where} is no model of LightGBM: {error!r}") from error
    return f"{text}end of trees\n\npandas_categorical:null\n"


def _check_lightgbm_tree(where: str, tree: dict[str, str], n_features: int) -> None:
    n_leaves = int(tree["num_leaves"])
    n_inner = n_leaves - 1
    if n_leaves < 1 or tree["num_cat"] != "0" or tree.get("is_linear", "0") != "0":
        raise ValueError(f"{where} has no leaves, or decides by categories, or has linear leaves, which policies do not have")
    lists: dict[str, Any] = {name: np.array(values.split(), dtype=float) for name, values in tree.items() if name != "Tree"}
    counted = {
        **dict.fromkeys(("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child"), n_inner),
        **dict.fromkeys(("internal_value", "internal_weight", "internal_count"), n_inner),
        **dict.fromkeys(("leaf_value", "leaf_weight", "leaf_count"), n_leaves),
    }
    for name, n in counted.items():
        given = lists[name] if name in ("leaf_value", "split_feature", "threshold") or name in lists else None
        if given is not None and len(given) != n and not (n_leaves == 1 and len(given) <= 1):
            raise ValueError(f"{where} has {len(given)} of {name} instead of {n}")
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{where} holds numbers that are not finite")
    if (np.abs(lists["leaf_value"]) > _MOST).any():
        raise ValueError(f"{where} has leaves with values beyond {_MOST:g}")
    if n_leaves == 1:
        return
    left, right, features = (_whole(where, lists[name]) for name in ("left_child", "right_child", "split_feature"))
    if ((features < 0) | (features >= n_features)).any():
        raise ValueError(f"{where} decides by inputs that do not exist")
    if (_whole(where, lists["decision_type"]) & _CATEGORICAL).any():
        raise ValueError(f"{where} decides by categories, which policies do not have")
    # leaves count from -1 downwards: put them behind the inner nodes
    to_number = [np.where(children < 0, n_inner - 1 - children, children) for children in (left, right)]
    inner = np.arange(n_inner + n_leaves) < n_inner
    none = np.full(n_leaves, -1)
    _check_branches(where, inner, *(np.concatenate((children, none)) for children in to_number))


def _check_branches(where: str, inner: NDArray[np.bool_], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Each node but the first is the child of one node at most: no circles are within reach."""
    children = np.concatenate((left[inner], right[inner]))
    if ((children < 1) | (children >= len(inner))).any() or len(np.unique(children)) < len(children):
        raise ValueError(f"{where} has branches that lead to nodes that do not exist, or to the same one")


def _integers(where: str, tree: Any, name: str, n: int) -> NDArray[np.int64]:
    values = tree[name]
    if len(values) != n or not all(type(value) is int and -1 <= value <= _ROOT for value in values):
        raise ValueError(f"{where} has no {n} whole numbers as {name}")
    return np.array(values, dtype=np.int64)


def _floats(where: str, tree: Any, name: str, n: int) -> None:
    values = tree[name]
    if len(values) != n or not all(type(value) in (int, float) for value in values) or not np.isfinite(values).all():
        raise ValueError(f"{where} has no {n} finite numbers as {name}")


def _bounded_integer(digits: str) -> int:
    """Larger ones end the process when XGBoost writes its model."""
    if abs(number := int(digits)) > _ROOT:
        raise ValueError(f"{digits} takes more than 32 bits")
    return number


def _bounded_float(digits: str) -> float:
    if abs(number := float(digits)) > float(np.finfo(np.float32).max):
        raise ValueError(f"{digits} does not fit into single precision")
    return number


def _whole(where: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
    if (values != np.floor(values)).any() or (np.abs(values) > _ROOT).any():
        raise ValueError(f"{where} has fractions as numbers of nodes")
    return values.astype(np.int64)


def _pairs(text: str) -> dict[str, str]:
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a model of LightGBM has two lines of the same name")
    return dict(pairs)
