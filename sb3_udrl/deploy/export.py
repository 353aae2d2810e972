"""Policies as files for other programs: ONNX, and TorchScript for networks."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch as th

from sb3_udrl.deploy.bookkeeping import KEY, bookkeeping, input_name
from sb3_udrl.deploy.forests import forest_model
from sb3_udrl.deploy.network import DecisionNetwork, observation_parts
from sb3_udrl.policies.base import BehaviorPolicy
from sb3_udrl.saving.files import written_at_once

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm

Writer = Callable[[Path, str], None]  # writes a file with this bookkeeping in it
Rules = list[dict[str, Any]]  # how actions are drawn, of each behavior function


def export_policy(model: CommandedAlgorithm | BehaviorPolicy, path: str | Path) -> None:
    """
    Write what a model decides to a file that needs neither this package nor SB3.

    It takes observations, ``observation`` or ``observation.<key>`` for each part of a Dict, and ``command``, a column per
    part, ``(n, n_parts)``, NaN where a part is not asked for. It puts out ``action``, the most likely actions
    ``(n, *action_shape)``, and what actions are drawn from. How commands begin and change is JSON in the metadata,
    :class:`~sb3_udrl.deploy.ExportedAgent` goes by it.

    :param model: a model, or its policy
    :param path: file to write, or its address: ``.onnx`` for networks and forests, or ``.pt``, TorchScript, for networks
    :raises ImportError: if a package of the extra ``onnx`` is missing
    :raises ValueError: if the suffix is another one, or the policy or a part of its commands has code of its own that no file
        can hold
    """
    policy: Any = getattr(model, "policy", model)
    suffix = PurePosixPath(path).suffix
    if suffix not in (".onnx", ".pt"):
        raise ValueError(f"path={str(path)!r}: name it .onnx, or .pt for TorchScript")
    kinds = {decides.policy.exported_as for decides in policy.deciding()}
    if None in kinds:
        raise ValueError(
            f"policy={type(policy).__name__}: it acts in a way of its own, by its own act(), which no file can hold. Forests, "
            "and networks with a forward() of their own, can be exported"
        )
    if kinds == {"forest"} and suffix == ".pt":
        raise ValueError(f"path={str(path)!r}: TorchScript holds networks alone, name it .onnx for a forest")
    card: Any = getattr(model, "score_card", None)
    content, rules = _forest(policy) if kinds == {"forest"} else _network(policy, suffix)
    about = json.dumps(bookkeeping(policy, rules, {} if card is None else card.to_plain()), allow_nan=False)
    with written_at_once(path) as target:
        content(target, about)


def _forest(policy: BehaviorPolicy) -> tuple[Writer, Rules]:
    model, rules = forest_model(policy)
    return partial(_write_onnx, model), rules


def _network(policy: BehaviorPolicy, suffix: str) -> tuple[Writer, Rules]:
    network = DecisionNetwork(policy)
    heads: list[Any] = [decides.policy.action_head for decides in network.deciding]
    rules = [head.draw_rule() for head in heads]
    return (_torchscript(network) if suffix == ".pt" else partial(_write_onnx, _onnx(network))), rules


def _write_onnx(model: Any, path: Path, about: str) -> None:
    import onnx

    onnx.helper.set_model_props(model, {KEY: about})
    onnx.save(model, str(path))


def _torchscript(network: DecisionNetwork) -> Writer:
    with warnings.catch_warnings(), th.no_grad():
        warnings.simplefilter("ignore")  # that TorchScript is old, and that shapes are known
        traced = th.jit.trace(network, network.example_inputs())

    def write(path: Path, about: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            th.jit.save(traced, path, _extra_files={KEY: about, "outputs": json.dumps(network.output_names())})

    return write


def _onnx(network: DecisionNetwork) -> Any:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX files need onnx and onnxscript: pip install sb3-udrl[onnx]") from error
    inputs, n = network.example_inputs(), th.export.Dim("n")
    with _quiet(), th.no_grad():
        program: Any = th.onnx.export(
            network,
            inputs,
            input_names=[*map(input_name, observation_parts(network.space)), "command"],
            output_names=network.output_names(),
            dynamic_shapes=(tuple({0: n} for _ in inputs),),
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
