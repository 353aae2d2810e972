"""Forests as ONNX graphs that take observations and commands as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.deploy.bookkeeping import input_name
from sb3_udrl.deploy.network import fed_dtype, observation_parts
from sb3_udrl.policies.base import BehaviorPolicy


class Graph:
    """An ONNX graph that grows node by node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: Any) -> str:
        """
        :param values: an array
        :return: its name
        """
        from onnx import numpy_helper

        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """
        Add a node.

        :param op: operator of ONNX
        :param inputs: names
        :param output: its name; by default one is made up
        :param attributes: of the operator
        :return: name of the output
        """
        from onnx import helper

        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def floats(self, name: str) -> str:
        """
        :param name: of numbers
        :return: the same in single precision
        """
        return self.add("Cast", name, to=1)

    def include(self, exported: Any, inputs: str, prefix: str) -> dict[str, Any]:
        """
        Take over another graph.

        :param exported: model with the input ``X``
        :param inputs: what takes its place
        :param prefix: begins the names of what is in it
        :return: its outputs by the names they had; ``"in sequence"`` says whether the probabilities are
        """
        from onnx import compose

        renamed = compose.add_prefix(exported, prefix).graph
        self.add("Identity", inputs, output=renamed.input[0].name)
        self.nodes += renamed.node
        self.initializers += renamed.initializer
        found = {output.name.removeprefix(prefix): output.name for output in renamed.output}
        return {**found, "in sequence": any(output.type.HasField("sequence_type") for output in renamed.output)}

    def known(self, asked: str) -> str:
        """
        :param asked: commands ``(n, n_parts)``
        :return: the same with zeros in the rows that ask for nothing
        """
        nothing = self.add("Cast", self.add("IsNaN", asked), to=7)
        rows = self.add("ReduceMin", nothing, self.constant(np.array([1])), keepdims=1)
        return self.add("Where", self.add("Cast", rows, to=9), self.constant(np.array(0.0)), asked)

    def where_asked(self, asked: str, actions: str, others: str) -> str:
        """
        :param asked: commands ``(n, n_parts)``
        :param actions: for the rows that ask for anything, ``(n, n_components)``
        :param others: for the other rows
        """
        holds = self.add("Cast", self.add("Not", self.add("IsNaN", asked)), to=7)
        rows = self.add("ReduceMax", holds, self.constant(np.array([1])), keepdims=1)
        return self.add("Where", self.add("Cast", rows, to=9), actions, others)

    def model(self, policy: BehaviorPolicy, outputs: list[str], like: Any) -> Any:
        """
        The whole as a model.

        :param policy: whose observations and commands it takes
        :param outputs: what it puts out besides ``action``
        :param like: a model of the same versions
        """
        from onnx import TensorProto, helper

        box = isinstance(policy.action_space, spaces.Box)
        action = TensorProto.DOUBLE if box else TensorProto.INT64
        inputs = [
            helper.make_tensor_value_info(
                input_name(key), helper.np_dtype_to_tensor_dtype(np.dtype(fed_dtype(part))), ["n", *(part.shape or ())]
            )
            for key, part in observation_parts(policy.observation_space).items()
        ]
        inputs.append(helper.make_tensor_value_info("command", TensorProto.DOUBLE, ["n", len(policy.command_space.names)]))
        shape: list[Any] = ["n", *(policy.action_space.shape or ())]
        put_out = [helper.make_tensor_value_info("action", action, shape)]
        put_out += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "forest", inputs, put_out, self.initializers)
        versions = {entry.domain: entry for entry in like.opset_import}
        return helper.make_model(graph, opset_imports=list(versions.values()), ir_version=like.ir_version)


def forest_model(policy: BehaviorPolicy) -> tuple[Any, list[dict[str, Any]]]:
    """
    The forests of a policy as one ONNX model.

    :param policy: whose behavior functions are forests
    :return: the model, and how actions are drawn from its outputs, of each behavior function
    :raises ImportError: if a package of the extra ``onnx`` is missing
    :raises ValueError: if nothing was learned yet, or skl2onnx does not know an estimator
    """
    from sb3_udrl.forest.export import estimator_graph

    graph, rules, outputs, chosen = Graph(), [], dict[str, str](), ""
    exported = [estimator_graph(decides.policy) for decides in policy.deciding()]  # type: ignore[arg-type]
    for decides, forest in zip(policy.deciding(), exported, strict=True):
        own: Any = decides.policy
        prefix = f"{decides.name}." if decides.name else ""
        columns = [policy.command_space.names.index(name) for name in own.command_space.names]
        asked = graph.add("Gather", "command", graph.constant(np.array(columns)), axis=1)
        precision = forest.graph.input[0].type.tensor_type.elem_type  # double where inputs are scaled
        read = graph.known(asked) if len(exported) > 1 else asked  # other rows are decided by another one
        inputs = _inputs(graph, policy.observation_space, own.command_space, read, precision)
        found = graph.include(forest, inputs, f"{prefix}forest.")
        put_out = _discrete if "probabilities" in found else _continuous
        actions, distribution, rule = put_out(graph, own, found)
        rules.append(rule)
        for name, value in distribution.items():
            outputs[prefix + name] = graph.add("Identity", value, output=prefix + name)
        components = graph.constant(np.array([-1, int(np.prod(own.action_space.shape or ()))], dtype=np.int64))
        actions = graph.add("Reshape", actions, components)
        chosen = graph.where_asked(asked, actions, chosen) if chosen else actions
    shape = graph.constant(np.array([-1, *(policy.action_space.shape or ())], dtype=np.int64))
    graph.add("Reshape", chosen, shape, output="action")
    return graph.model(policy, list(outputs), exported[0]), rules


def _inputs(graph: Graph, space: spaces.Space[Any], commands: CommandSpace, asked: str, precision: int) -> str:
    """As :func:`~sb3_udrl.forest.examples.to_inputs` makes them, ``(n, n_inputs)``."""
    columns = []
    for key, part in observation_parts(space).items():
        size = graph.constant(np.array([-1, int(np.prod(part.shape or ()))], dtype=np.int64))
        columns.append(graph.add("Reshape", input_name(key), size))
    columns.append(graph.floats(asked))  # commands are read in single precision in any case
    for name in commands.per_step:
        values, horizons = (
            graph.add("Gather", asked, graph.constant(np.array([commands.names.index(part)])), axis=1)
            for part in (name, "horizon")
        )
        columns.append(graph.floats(graph.add("Div", values, horizons)))
    if commands.partial:
        columns.append(graph.floats(graph.add("IsNaN", asked)))
    return graph.add("Concat", *(graph.add("Cast", column, to=precision) for column in columns), axis=1)


def _discrete(graph: Graph, forest: Any, found: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The most likely actions, logits of all values as :meth:`DiscreteHead.draw` makes them, and the rule to draw by."""
    head, logits = forest.head, []
    for i, present in enumerate(forest.learned.present):
        probabilities = found["probabilities"]
        if found["in sequence"]:
            probabilities = graph.add("SequenceAt", probabilities, graph.constant(np.array(i)))
        elif len(forest.learned.present) > 1:
            probabilities = graph.add("Gather", probabilities, graph.constant(np.array(i)), axis=0)
        n_columns = len(present) if found["in sequence"] else max(map(len, forest.learned.present))
        places = np.zeros((n_columns, head.uniform.shape[1]), dtype=np.float32)
        places[np.arange(len(present)), present] = 1 - head.smoothing
        smoothed = graph.add("MatMul", probabilities, graph.constant(places))
        smoothed = graph.add("Add", smoothed, graph.constant((head.smoothing * head.uniform[i]).astype(np.float32)))
        least = graph.add("Max", smoothed, graph.constant(np.float32(1e-30)))
        own = graph.add("Add", graph.add("Log", least), graph.constant(head.no_value[i].astype(np.float32)))
        logits.append(graph.add("Unsqueeze", own, graph.constant(np.array([1]))))
    rule = {"kind": "categorical", "start": head.start.tolist()}
    return found["action"], {"logits": graph.add("Concat", *logits, axis=1)}, rule


def _continuous(graph: Graph, forest: Any, found: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The means within the space, means and deviations, and the rule to draw by."""
    space, n_dims = forest.action_space, len(forest.learned.deviation)
    mean = graph.add("Reshape", found["variable"], graph.constant(np.array([-1, n_dims])))
    nothing = graph.add("Mul", mean, graph.constant(np.float32(0)))
    deviation = graph.add("Add", nothing, graph.constant(forest.learned.deviation.astype(np.float32)))
    actions = graph.add("Cast", mean, to=11)
    if space.dtype.kind in "iu":
        actions = graph.add("Round", actions)
    for op, bound in (("Max", space.low), ("Min", space.high)):
        actions = graph.add(op, actions, graph.constant(bound.ravel().astype(np.float64)))
    rule = {"kind": "normal", "center": [0.0], "half_range": [1.0]}  # in units of the action already
    return actions, {"mean": mean, "std": deviation}, rule
