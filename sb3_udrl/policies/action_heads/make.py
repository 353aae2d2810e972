"""The head for an action space."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from sb3_udrl.policies.action_heads.base import ActionHead
from sb3_udrl.policies.action_heads.box import BOX_HEADS
from sb3_udrl.policies.action_heads.discrete import BernoulliHead, CategoricalHead, MultiCategoricalHead
from sb3_udrl.spaces.actions import BoxRange


def make_action_head(
    latent_dim: int,
    action_space: spaces.Space[Any],
    box_head: str | None = None,
    box_head_kwargs: dict[str, Any] | None = None,
) -> ActionHead:
    """
    The head for an action space.

    :param latent_dim: length of the latent vector
    :param action_space: space of one environment
    :param box_head: a key of ``BOX_HEADS``, for continuous actions; by default ``"discretized"`` where the space is bounded,
        ``"gaussian"`` where bounds are missing or very wide
    :param box_head_kwargs: further arguments of that class
    :raises ValueError: if ``box_head`` is unknown, needs bounds that the space lacks, or does not take these arguments; if
        either is given for actions that are not continuous
    :raises NotImplementedError: if the space is of another kind
    """
    kwargs = box_head_kwargs or {}
    if not isinstance(action_space, spaces.Box) and (box_head is not None or kwargs):
        given = f"box_head={box_head!r}, box_head_kwargs={kwargs}"
        raise ValueError(f"{given}: these are for continuous actions, leave them away for {action_space}")
    if isinstance(action_space, spaces.Discrete):
        return CategoricalHead(latent_dim, action_space)
    if isinstance(action_space, spaces.MultiDiscrete):
        return MultiCategoricalHead(latent_dim, action_space)
    if isinstance(action_space, spaces.MultiBinary):
        return BernoulliHead(latent_dim, action_space)
    if isinstance(action_space, spaces.Box):
        if box_head is None:
            box_head = "discretized" if BoxRange.of(action_space).bounded.all() else "gaussian"
        if box_head not in BOX_HEADS:
            raise ValueError(f"box_head={box_head!r}: choose one of {sorted(BOX_HEADS)}")
        try:
            head = BOX_HEADS[box_head](latent_dim, action_space, **kwargs)  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError(f"box_head_kwargs={kwargs} do not fit box_head={box_head!r}: {error}") from error
        if not head.bounded and box_head != "gaussian":
            raise ValueError(
                f"box_head={box_head!r} needs a bounded action space, not {action_space}: use 'gaussian', or bounds of the "
                "size of useful actions"
            )
        return head
    raise NotImplementedError(f"action space {action_space} is not supported")
