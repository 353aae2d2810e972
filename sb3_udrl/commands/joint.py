"""The name by which files of earlier revisions know :mod:`sb3_udrl.commands.elites`."""

from sb3_udrl.commands.elites import AdaptiveCommands, EliteCommands, JointCommands

__all__ = ["AdaptiveCommands", "EliteCommands", "JointCommands"]
