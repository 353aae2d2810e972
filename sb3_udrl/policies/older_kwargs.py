"""Arguments that behavior functions of earlier revisions had."""

from __future__ import annotations

import inspect
from typing import Any


def upgrade_policy_kwargs(kwargs: dict[str, Any], policy_class: type[Any]) -> dict[str, Any]:
    """
    :param kwargs: what a file holds, or a constructor was given
    :param policy_class: takes them; an argument that it names itself is its own
    :return: without the arguments that are gone
    :raises ValueError: if one of these is not at the default that it had
    """
    if "embedding_dim" not in kwargs or "embedding_dim" in inspect.signature(policy_class).parameters:
        return kwargs
    if kwargs["embedding_dim"] != 0:
        raise ValueError(
            f"embedding_dim={kwargs['embedding_dim']}: commands are no longer embedded before they enter the network, leave "
            "it away. A model that was trained with it must be trained anew"
        )
    return {name: value for name, value in kwargs.items() if name != "embedding_dim"}
