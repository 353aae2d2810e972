"""What a forest has learned as bytes, by skops: loading them runs no code that they bring along."""

from __future__ import annotations

import warnings
import zipfile
from typing import Any

import numpy as np
import sklearn
import skops.io
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

from sb3_udrl.forest.heads import Learned
from sb3_udrl.saving.trust import Untrusted, trusted_names

# Data without methods of their own, which skops leaves to the user: node tables could point anywhere, see check_trees
TRUSTED_TYPES = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
    "xgboost.sklearn.XGBRegressor",
)


def to_bytes(learned: Learned, progress: tuple[int, ...]) -> bytes:
    """
    :param learned: what was learned
    :param progress: plain numbers to keep with it
    """
    content = {**learned._asdict(), "progress": list(progress), "scikit-learn": sklearn.__version__}
    return skops.io.dumps(content, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def from_bytes(content: bytes) -> tuple[Learned, list[int]]:
    """
    The inverse of :func:`to_bytes`.

    :param content: the bytes
    :raises Untrusted: if they hold types that are not trusted
    :raises ValueError: if a tree is damaged
    """
    found = set(skops.io.get_untrusted_types(data=content)) - {*TRUSTED_TYPES, *trusted_names()}
    if found:
        raise Untrusted({name: "the forest" for name in sorted(found)})
    loaded = skops.io.loads(content, trusted=[*TRUSTED_TYPES, *trusted_names()])
    if loaded["scikit-learn"] != sklearn.__version__:
        warnings.warn(
            f"this forest was saved with scikit-learn {loaded['scikit-learn']}, and this is {sklearn.__version__}: it may "
            "decide differently. Install that version, or train again",
            stacklevel=2,
        )
    learned = Learned(*(loaded[name] for name in Learned._fields))
    check_trees(learned.estimator)
    return learned, loaded["progress"]


def check_trees(estimator: Any) -> None:
    """
    Look whether the branches of all trees lead to nodes that exist, and further down: nothing else does before they are used.

    :param estimator: a fitted estimator
    :raises ValueError: if one does not
    """
    seen, rest = set(), [estimator]
    while rest:
        item = rest.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tree):
            inner = item.children_left >= 0
            _check_nodes(inner, item.children_left, item.children_right, item.feature, item.n_features)
        elif isinstance(item, TreePredictor):
            nodes = item.nodes
            _check_nodes(nodes["is_leaf"] == 0, nodes["left"], nodes["right"], nodes["feature_idx"], np.inf)
        elif isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list | tuple) or (isinstance(item, np.ndarray) and item.dtype == object):
            rest.extend(item)
        elif hasattr(item, "__dict__"):
            rest.extend(vars(item).values())


def _check_nodes(inner: Any, left: Any, right: Any, feature: Any, n_features: float) -> None:
    numbers = np.arange(len(inner))[inner]
    for children in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if ((children <= numbers) | (children >= len(inner))).any():  # downwards: no circles
            raise ValueError("a tree of this file is damaged: its branches lead to nodes that do not exist")
    if ((feature[inner] < 0) | (feature[inner] >= n_features)).any():
        raise ValueError("a tree of this file is damaged: it decides by inputs that do not exist")
