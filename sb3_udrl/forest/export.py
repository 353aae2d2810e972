"""A forest as an ONNX file, for programs without Python (extra ``onnx``)."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.forest.heads import DiscreteHead
from sb3_udrl.forest.policy import ForestPolicy
from sb3_udrl.forest.scaling import Scaling
from sb3_udrl.saving.files import written_at_once
from sb3_udrl.statistics.moments import CLIP


def to_onnx(policy: ForestPolicy, path: str | pathlib.Path) -> None:
    """
    Write what was learned to an ONNX file.

    Its input ``X``, ``(n, n_inputs)``, is what :func:`~sb3_udrl.forest.examples.to_inputs` makes: the observation as one row,
    then the command as ``policy.command_space.inputs`` makes it. It is of single precision, or double where the forest scales
    its inputs. For discrete actions its outputs are ``action``, the most likely one, ``(n,)`` or ``(n, n_components)``, and
    ``probabilities`` of the actions that the data held; for continuous ones it is ``variable``, the mean,
    ``(n, n_components)``.

    :func:`~sb3_udrl.deploy.export_policy` writes files that take observations and commands as they are.

    :param policy: a fitted policy, ``model.policy``
    :param path: file to write
    :raises ImportError: if skl2onnx is missing
    :raises ValueError: if it is no forest, nothing was learned yet, or skl2onnx does not know the estimator
    """
    if policy.exported_as != "forest":
        raise ValueError(
            f"policy={type(policy).__name__}: only forests are exported here; sb3_udrl.deploy.export_policy takes all policies"
        )
    exported = estimator_graph(policy)
    with written_at_once(path, ".onnx") as target:
        pathlib.Path(target).write_bytes(exported.SerializeToString())


def estimator_graph(policy: ForestPolicy) -> Any:
    """
    What was learned as an ONNX model, see :func:`to_onnx`.

    :param policy: a forest
    :raises ImportError: if skl2onnx is missing
    :raises ValueError: if nothing was learned yet, or skl2onnx does not know the estimator, or a tree of it
    """
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError("ONNX files need skl2onnx: pip install sb3-udrl[onnx]") from error
    if policy.learned is None:
        raise ValueError("this policy has learned nothing yet: train it first")
    estimator = policy.learned.estimator
    if len(policy.learned.present) > 1 and policy.command_space.mask_share > 0 and _has_bare_root(estimator):
        raise ValueError(
            "a tree of this forest has no branch, and skl2onnx cannot let such a tree of several components pass over parts "
            "that are not asked for: train it on more episodes, or with a lower min_samples_leaf"
        )
    options = {"zipmap": False} if policy.head.discrete else None
    inputs = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    try:
        exported = skl2onnx.to_onnx(estimator, inputs, options=options)
    except Exception as error:  # of many kinds
        message = f"skl2onnx cannot export {type(estimator).__name__}: {str(error)[:200]}. Random forests and extra trees work"
        raise ValueError(message) from error
    if policy.learned.scaling is not None:
        _scale_inputs(exported, policy.learned.scaling)
    if isinstance(policy.head, DiscreteHead):
        _name_actions(exported, [v + s for v, s in zip(policy.learned.present, policy.head.start, strict=True)])
    return exported


def _has_bare_root(estimator: Any) -> bool:
    """Whether a tree is a leaf alone."""
    trees = getattr(estimator, "estimators_", [estimator])
    return any(getattr(getattr(tree, "tree_", None), "node_count", 2) == 1 for tree in trees)


def _scale_inputs(exported: Any, scaling: Scaling) -> None:
    """Let the estimator read ``X`` by :meth:`Scaling.read <sb3_udrl.forest.scaling.Scaling.read>`."""
    from onnx import TensorProto, helper, numpy_helper

    graph = exported.graph
    for node in graph.node:
        node.input[:] = ["read" if name == "X" else name for name in node.input]
    (given,) = graph.input
    given.type.tensor_type.elem_type = TensorProto.DOUBLE
    numbers = {**scaling._asdict(), "horizon": np.array([scaling.horizon]), "bounds": scaling.bounds, "clip": np.array([CLIP])}
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in numbers.items())
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", ["X", "horizon"], "steps", {"axis": 1}),
        ("Mul", ["steps", "per_step"], "of_steps", {}),
        ("Sub", ["X", "of_steps"], "beyond", {}),
        ("Sub", ["beyond", "mean"], "differences", {}),
        ("Mul", ["differences", "factor"], "scaled", {}),
        ("Abs", ["scaled"], "size", {}),
        ("Min", ["size", "bounds"], "near", {}),
        ("Sub", ["size", "near"], "rest", {}),
        ("Mul", ["rest", "clip"], "clipped", {}),
        ("Max", ["size", "clip"], "divisor", {}),
        ("Div", ["clipped", "divisor"], "further", {}),
        ("Add", ["near", "further"], "drawn_in", {}),
        ("Sign", ["scaled"], "sign", {}),
        ("Mul", ["sign", "drawn_in"], "in_doubles", {}),
        ("Cast", ["in_doubles"], "read", {"to": TensorProto.FLOAT}),
    ]
    first = [helper.make_node(kind, inputs, [output], **options) for kind, inputs, output, options in steps]
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _name_actions(exported: Any, actions: list[NDArray[np.int64]]) -> None:
    """Replace the output ``label``, places in the lists of actions that the data held, by ``action``."""
    from onnx import TensorProto, helper, numpy_helper

    first = np.cumsum([0, *(len(values) for values in actions[:-1])])
    graph = exported.graph
    if sum(map(len, actions)) == 1:  # the only action that the data held: skl2onnx puts out its place plus one
        first -= 1
    graph.initializer.append(numpy_helper.from_array(first.astype(np.int64), "first_places"))
    graph.initializer.append(numpy_helper.from_array(np.concatenate(actions), "actions"))
    graph.node.append(helper.make_node("Add", ["label", "first_places"], ["places"]))
    graph.node.append(helper.make_node("Gather", ["actions", "places"], ["action"]))
    shape = [None] if len(actions) == 1 else [None, len(actions)]
    action = helper.make_tensor_value_info("action", TensorProto.INT64, shape)
    others = [output for output in graph.output if output.name != "label"]
    del graph.output[:]
    graph.output.extend([action, *others])
