"""Upside-Down Reinforcement Learning for Stable-Baselines3."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_udrl.buffers import EpisodicReplayBuffer
    from sb3_udrl.commands import Command
    from sb3_udrl.policies import CommandPolicy
    from sb3_udrl.udrl import UDRL
    from sb3_udrl.udrlpg import UDRLPG

__version__ = "0.1.0"
__all__ = ["UDRL", "UDRLPG", "Command", "CommandPolicy", "EpisodicReplayBuffer"]

_MODULES = {
    "UDRL": "udrl",
    "UDRLPG": "udrlpg",
    "Command": "commands",
    "CommandPolicy": "policies",
    "EpisodicReplayBuffer": "buffers",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # only then: exported agents run without PyTorch and SB3, see sb3_udrl.deploy
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
