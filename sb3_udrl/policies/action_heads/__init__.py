"""What comes out of the behavior function: a distribution over the actions of each kind of space."""

from sb3_udrl.policies.action_heads.base import ActionHead, gumbel_like
from sb3_udrl.policies.action_heads.box import (
    BOX_HEADS,
    BetaHead,
    BoxHead,
    DiscretizedHead,
    GaussianHead,
    SquashedGaussianHead,
)
from sb3_udrl.policies.action_heads.discrete import BernoulliHead, CategoricalHead, MultiCategoricalHead
from sb3_udrl.policies.action_heads.make import make_action_head

__all__ = [
    "BOX_HEADS",
    "ActionHead",
    "BernoulliHead",
    "BetaHead",
    "BoxHead",
    "CategoricalHead",
    "DiscretizedHead",
    "GaussianHead",
    "MultiCategoricalHead",
    "SquashedGaussianHead",
    "gumbel_like",
    "make_action_head",
]
