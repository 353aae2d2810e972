"""Commands and the callbacks that choose them."""

from sb3_udrl.commands.command import Command, advance, make_command

__all__ = ["Command", "advance", "make_command"]
