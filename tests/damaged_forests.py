"""
Damages fitted estimators at random and decides by what still loads. A crash ends the process, so tests run this as a script:

    python damaged_forests.py FIRST_SEED N_SEEDS [KIND ...]

It prints each kind and seed before it tries them, and a line with counts at the end.
"""

import copy
import sys
import warnings

import numpy as np
from gymnasium import spaces
from sklearn import ensemble, linear_model, multioutput, neighbors, neural_network, pipeline, preprocessing, tree
from sklearn.calibration import CalibratedClassifierCV

from sb3_udrl.forest.heads import ContinuousHead, DiscreteHead, Learned, TorchDraws
from sb3_udrl.forest.native_parts import parts, to_plain
from sb3_udrl.forest.saving import from_bytes, to_bytes

N_INPUTS = 5
TREES = {"n_estimators": 2, "max_depth": 3}
CLASSIFIERS = {
    "extra trees": ensemble.ExtraTreesClassifier(**TREES),
    "random forest": ensemble.RandomForestClassifier(**TREES),
    "histogram boosting": ensemble.HistGradientBoostingClassifier(max_iter=2, max_depth=3),
    "gradient boosting": ensemble.GradientBoostingClassifier(**TREES),
    "adaboost": ensemble.AdaBoostClassifier(n_estimators=2),
    "bagging": ensemble.BaggingClassifier(tree.DecisionTreeClassifier(max_depth=3), n_estimators=2, max_features=0.7),
    "decision tree": tree.DecisionTreeClassifier(max_depth=3),
    "neighbors": neighbors.KNeighborsClassifier(),
    "neighbors one by one": neighbors.KNeighborsClassifier(algorithm="brute"),
    "network": neural_network.MLPClassifier(hidden_layer_sizes=(4,), max_iter=5),
    "logistic regression": linear_model.LogisticRegression(),
    "calibrated": CalibratedClassifierCV(linear_model.RidgeClassifier(), cv=2),
    "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), ensemble.ExtraTreesClassifier(**TREES)),
}
CLASSIFIERS_OF_TWO = {
    "random forest of two": ensemble.RandomForestClassifier(**TREES),
    "histogram boosting of two": multioutput.MultiOutputClassifier(
        ensemble.HistGradientBoostingClassifier(max_iter=2, max_depth=3)
    ),
    "neighbors of two": neighbors.KNeighborsClassifier(algorithm="ball_tree", p=1),
}
REGRESSORS_OF_TWO = {
    "regression forest": ensemble.RandomForestRegressor(**TREES),
    "regression boosting": multioutput.MultiOutputRegressor(ensemble.HistGradientBoostingRegressor(max_iter=2, max_depth=3)),
    "neighbors' mean": neighbors.KNeighborsRegressor(weights="distance"),
    "ridge": linear_model.Ridge(),
}
try:
    import xgboost

    CLASSIFIERS["xgboost"] = xgboost.XGBClassifier(**TREES)
    REGRESSORS_OF_TWO["xgboost regression"] = xgboost.XGBRegressor(**TREES)
except ImportError:
    pass
try:
    import lightgbm

    CLASSIFIERS["lightgbm"] = lightgbm.LGBMClassifier(**TREES, verbose=-1)
except ImportError:
    pass

NUMBERS = (-(10**9), -2, -1, 0, 1, 2, 3, 7, 255, 256, 10**6, 2**31 - 1, 2**40, 2**62)
FRACTIONS = (np.nan, np.inf, -np.inf, 1e300, 0.0, -1.0, 5.0)


def fitted(kind):
    """What was learned by an estimator, and the head that acts by it."""
    inputs = np.random.default_rng(0).normal(size=(120, N_INPUTS)).astype(np.float32)
    first, second = (inputs[:, 0] > 0) + (inputs[:, 1] > 0).astype(int), (inputs[:, 2] > 0).astype(int)
    if kind in REGRESSORS_OF_TWO:
        estimator = REGRESSORS_OF_TWO[kind].fit(inputs, inputs[:, :2])
        return Learned(estimator, [], np.full(2, 0.1)), ContinuousHead(spaces.Box(-1, 1, (2,)))
    if kind in CLASSIFIERS_OF_TWO:
        estimator = CLASSIFIERS_OF_TWO[kind].fit(inputs, np.stack([first, second], axis=1))
        return Learned(estimator, [np.arange(3), np.arange(2)], np.zeros(0)), DiscreteHead(spaces.MultiDiscrete([3, 2]), 0.01)
    return Learned(CLASSIFIERS[kind].fit(inputs, first), [np.arange(3)], np.zeros(0)), DiscreteHead(spaces.Discrete(4), 0.01)


def damage(content, rng):
    """Change one or two things somewhere in nested content; what, in words."""
    places = []
    for where, item in parts(content):
        if isinstance(item, dict):
            places += [(where, item, key) for key in item]
        elif isinstance(item, list):
            places += [(where, item, i) for i in range(len(item))]
        elif hasattr(item, "__dict__") and not isinstance(item, type):
            places += [(where, vars(item), name) for name in vars(item)]
    done = []
    for i in rng.permutation(len(places)):
        where, container, key = places[i]
        before = container[key]
        container[key] = damaged(before, rng)
        done += [f"{where}.{key}"] if container[key] is not before else []
        if len(done) > rng.integers(2):
            return done
    return done


def damaged(value, rng):
    """Something like a value, or the value itself if there is nothing like it."""
    if isinstance(value, np.ndarray) and value.size:
        return damaged_array(value, rng)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | np.integer):
        return int(rng.choice(NUMBERS))
    if isinstance(value, float | np.floating):
        return float(rng.choice(FRACTIONS))
    if isinstance(value, list) and value:
        return [[], value[:-1], value + value][rng.integers(3)]
    if isinstance(value, str) and len(value) > 200:  # a booster
        i = rng.integers(len(value))
        return value[:i] + rng.choice(list('0123456789-,[]{}" =.e\n')) + value[i + rng.integers(2) :]
    return value


def damaged_array(array, rng):
    kind = rng.integers(6)
    if array.dtype == object or kind == 0:
        return [
            array[:0],
            array[: len(array) // 2],
            np.concatenate([array, array]),
            array[:, :1] if array.ndim > 1 else array,
        ][rng.integers(4)]
    if kind == 1:
        return array.T.copy() if array.dtype.names else array.astype(rng.choice(["f4", "f8", "i4", "i8", "u1"]))
    array = array.copy()
    flat = array.reshape(-1)
    column = flat[rng.choice(array.dtype.names)] if array.dtype.names else flat
    choices = FRACTIONS if column.dtype.kind == "f" else NUMBERS
    with np.errstate(all="ignore"):
        column[rng.integers(len(column), size=2)] = np.array(rng.choice(choices)).astype(column.dtype)
    return array


def try_kind(kind, seeds):
    """Counts of what was refused, and of what decides."""
    learned, head = fitted(kind)
    from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, head)
    rows = np.random.default_rng(1).normal(size=(10, N_INPUTS)).astype(np.float32) * 3
    counts = {"refused": 0, "decides": 0}
    for seed in seeds:
        content = copy.deepcopy(to_plain(learned._asdict()))
        done = damage(content, np.random.default_rng(seed))
        print(kind, seed, *done, flush=True)
        try:
            read, _ = from_bytes(to_bytes(Learned(**content), (1, 2, 3)), N_INPUTS, head)
        except ValueError:
            counts["refused"] += 1
            continue
        outputs = head.outputs(read)(rows)
        assert head.draw(outputs, read, 1.0, TorchDraws()).shape[0] == len(rows)
        counts["decides"] += 1
    return counts


if __name__ == "__main__":
    first, n, *kinds = sys.argv[1:]
    warnings.simplefilter("ignore")
    counts = [
        try_kind(kind, range(int(first), int(first) + int(n)))
        for kind in kinds or [*CLASSIFIERS, *CLASSIFIERS_OF_TWO, *REGRESSORS_OF_TWO]
    ]
    print({name: sum(of_kind[name] for of_kind in counts) for name in counts[0]})
