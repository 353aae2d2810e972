"""Why an agent does what it does: plain arrays, drawn elsewhere (extra ``explain``)."""

try:
    import sb3_udrl.forest  # noqa: F401
except ImportError as error:
    raise ImportError("explanations need scikit-learn, treelite and skops: pip install sb3-udrl[explain]") from error

from sb3_udrl.explain.command_grid import CommandGrid, command_grid
from sb3_udrl.explain.contributions import Contributions, OverTime, contributions, over_time
from sb3_udrl.explain.distillation import Distillation, distill
from sb3_udrl.explain.feature_names import feature_names, input_names
from sb3_udrl.explain.importance import PermutationImportance, impurity_importance, permutation_importance
from sb3_udrl.explain.rules import fired_rule, rules
from sb3_udrl.explain.situations import Situations, play

__all__ = [
    "CommandGrid",
    "Contributions",
    "Distillation",
    "OverTime",
    "PermutationImportance",
    "Situations",
    "command_grid",
    "contributions",
    "distill",
    "feature_names",
    "fired_rule",
    "impurity_importance",
    "input_names",
    "over_time",
    "permutation_importance",
    "play",
    "rules",
]
