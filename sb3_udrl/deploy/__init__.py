"""Agents as files that run without PyTorch: ``export_policy`` writes them, ``ExportedAgent`` runs them (extra ``onnx``)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_udrl.deploy.agent import ExportedAgent
    from sb3_udrl.deploy.export import export_policy

__all__ = ["ExportedAgent", "export_policy"]

_MODULES = {"ExportedAgent": "agent", "export_policy": "export"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # only then: who runs an agent has no PyTorch, who writes TorchScript no ONNX Runtime
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
