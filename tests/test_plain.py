"""Objects as plain JSON and arrays come back as they were, and nothing else comes back."""

from __future__ import annotations

import json
from collections import deque
from functools import partial

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from sb3_udrl.commands import FixedCommands
from sb3_udrl.policies import CommandPolicy
from sb3_udrl.saving.estimators import check_arguments, check_estimators
from sb3_udrl.saving.plain import from_plain, to_plain
from sb3_udrl.saving.trust import Untrusted


def round_trip(value, trusted=(), skip=()):
    plain = to_plain(value)
    return from_plain(json.loads(json.dumps(plain.value)), plain.arrays.__getitem__, trusted, skip)


VALUES = [
    None,
    True,
    3,
    -0.25,
    float("inf"),
    "text",
    [1, [2.5, "a"], None],
    (1, (2, 3)),
    {1, 2},
    {"a": {"b": (1,)}, "c": []},
    {1: "integer keys", (2, 3): "tuples"},
    {":type:": "no tag"},
    deque([{"r": 1.0, "l": 2}], maxlen=3),
    [spaces.Discrete(3, start=-1), spaces.MultiDiscrete([2, 3], start=[1, 0]), spaces.MultiBinary([2, 2])],
    spaces.MultiBinary(4),
    spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, np.inf], np.float32)),
    spaces.Box(0, 255, (2, 2, 1), np.uint8),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"inner": spaces.Box(-1, 1, (2,), np.float64)})}),
    [th.nn.Tanh, th.optim.SGD, CommandPolicy, FixedCommands, float],
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_plain_values_come_back(value):
    back = round_trip(value)
    assert back == value and type(back) is type(value)


def test_the_order_of_parts_of_a_dict_space_comes_back():
    space = spaces.Dict([("b", spaces.Discrete(2)), ("a", spaces.Discrete(3))])
    assert list(round_trip(space)) == list(space)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_arrays_come_back(dtype, shape):
    array = np.array(np.arange(np.prod(shape)).reshape(shape) % 2, dtype)
    back = round_trip({"x": array, "x/y": array})  # names in the file that differ
    for name in ("x", "x/y"):
        assert back[name].dtype == dtype and back[name].shape == shape
        np.testing.assert_array_equal(back[name], array)


def test_two_arrays_of_one_path_keep_apart():
    back = round_trip({"a": {"b": np.zeros(1)}, "a/b": np.ones(1)})
    assert (back["a"]["b"], back["a/b"]) == (0, 1)


def test_numbers_of_numpy_become_plain_ones_and_tensors_come_back():
    assert round_trip([np.int64(3), np.float32(0.5), np.bool_(True)]) == [3, 0.5, True]
    back = round_trip(th.arange(3))
    assert isinstance(back, th.Tensor) and back.tolist() == [0, 1, 2]
    assert round_trip(np.dtype(np.uint8)) == np.uint8


def test_schedules_come_back():
    for schedule in (LinearSchedule(1.0, 0.5, 0.25), FloatSchedule(0.75), FloatSchedule(LinearSchedule(1.0, 0.5, 0.25))):
        assert [round_trip(schedule)(p) for p in (1.0, 0.9, 0.0)] == [schedule(p) for p in (1.0, 0.9, 0.0)]


def test_estimators_come_back():
    back = round_trip(make_pipeline(StandardScaler(with_mean=False), ExtraTreesClassifier(7, min_samples_leaf=3)))
    assert back.get_params()["extratreesclassifier__n_estimators"] == 7
    assert back.get_params()["extratreesclassifier__min_samples_leaf"] == 3
    assert back.get_params()["standardscaler__with_mean"] is False


class Energy:
    """A class of a user, with an attribute."""

    def __init__(self, unit=1.0):
        self.unit = unit


def function_of_a_user(progress):
    return progress


def test_functions_and_objects_of_others_need_trust():
    for value in (function_of_a_user, Energy, Energy(0.5), lambda progress: progress):
        name = f"{value.__module__}.{getattr(value, '__qualname__', Energy.__qualname__)}"
        with pytest.raises(Untrusted, match=r"the file names .* \(a/b/0\)"):
            round_trip({"a": {"b": [value]}})
        assert round_trip({"a": 1, "own": value}, skip={"own"}) == {"a": 1}
        if "<" not in name:
            back = round_trip(value, trusted=[name])
            assert back is value or vars(back) == vars(value)


def test_what_cannot_be_imported_is_said_to_be_given():
    with pytest.raises(Untrusted, match=r"imported: give it yourself, load\(\.\.\., custom_objects=\{'rate': \.\.\.\}\)"):
        round_trip({"rate": lambda progress: progress})
    with pytest.raises(ValueError, match="cannot be imported here"):
        from_plain({":type:": "name", "name": "no.such"}, {}.__getitem__, ["no.such"])


def test_objects_without_plain_attributes_are_named_on_loading():
    circle = Energy()
    circle.myself = circle
    with pytest.raises(Untrusted, match="Energy"):
        round_trip(circle)
    with pytest.raises(ValueError, match="attributes that files cannot hold: give it yourself by custom_objects"):
        round_trip(circle, trusted=[f"{__name__}.Energy"])
    with pytest.raises(Untrusted, match=r"functools\.partial"):
        round_trip(partial(function_of_a_user, 1))


@pytest.mark.parametrize(
    "plain",
    [
        {":type:": "nothing that is known"},
        {":type:": "Box", "low": 1},
        {":type:": "Discrete", "n": -1, "start": 0},
        {":type:": "array"},
        {":type:": "array", "member": "missing"},
        {":type:": "tuple", "items": 3},
        {":type:": ["a", "list"]},
        {":type:": "object", "class": "sb3_udrl.policies.command_policy.CommandPolicy", "state": {}},
        {":type:": "object", "class": "stable_baselines3.common.utils.LinearSchedule", "state": None},
        {":type:": "estimator", "class": "sklearn.pipeline.Pipeline", "arguments": {"steps": [], "memory": "/tmp/x"}},
        {":type:": "estimator", "class": "os.system", "arguments": {}},
        {":type:": "dtype", "name": "no dtype"},
    ],
    ids=str,
)
def test_damaged_values_are_refused(plain):
    with pytest.raises(ValueError, match=r"^a: "):
        from_plain({"a": plain}, {}.__getitem__)


def test_values_that_are_nested_too_deep_are_refused():
    value = []
    for _ in range(200):
        value = [value]
    with pytest.raises(ValueError, match="nested more than 100 times"):
        from_plain(value, {}.__getitem__)


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("lightgbm.LGBMClassifier", {"machines": "host:1"}),
        ("lightgbm.LGBMClassifier", {"input_model": "/etc/passwd"}),
        ("xgboost.XGBClassifier", {"callbacks": [1]}),
        ("sklearn.ensemble.ExtraTreesClassifier", {"criterion": len}),
        ("sklearn.pipeline.Pipeline", {"memory": "folder"}),
        ("sklearn.preprocessing.FunctionTransformer", {"func": None}),
        ("sklearn.ensemble.BaggingClassifier", {"estimator__memory": "folder"}),
    ],
)
def test_arguments_of_estimators_that_could_do_anything_are_refused(path, arguments):
    with pytest.raises(ValueError, match="is not a plain argument of that class"):
        check_arguments(path, arguments)


@pytest.mark.parametrize("path", ["dask_ml.X", "xgboost.dask.DaskXGBClassifier", "sklearn.conftest.X", "os.system"])
def test_estimators_of_other_packages_need_trust(path):
    with pytest.raises(Untrusted, match=path):
        check_estimators("policy_kwargs", {"estimator": path}, [])
    check_estimators("policy_kwargs", {"estimator": path}, [path])


def test_plain_arguments_of_estimators_are_taken():
    check_arguments("xgboost.XGBClassifier", {"early_stopping_rounds": 5, "max_depth": 3})
    check_arguments("lightgbm.LGBMRegressor", {"num_leaves": 7})
    check_arguments("sklearn.ensemble.BaggingClassifier", {"estimator__max_depth": 2})
