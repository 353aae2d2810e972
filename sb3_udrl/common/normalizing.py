"""``VecNormalize`` and observations that were not seen through it."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import EpisodicReplayBuffer

_AT_ONCE = 10_000  # steps


def acquaint(normalize: VecNormalize | None, buffer: EpisodicReplayBuffer) -> None:
    """
    Let statistics that know less than a buffer learn of its observations; those that are kept as they are stay so.

    :param normalize: whose statistics; None for nobody's
    :param buffer: holds raw observations
    """
    if normalize is None or not (normalize.norm_obs and normalize.training):
        return
    statistics = normalize.obs_rms if isinstance(normalize.obs_rms, dict) else {"": normalize.obs_rms}
    rows = buffer.stored_rows()
    if min(each.count for each in statistics.values()) >= len(rows):
        return
    for some in np.array_split(rows, max(1, len(rows) // _AT_ONCE)):
        observations, _ = buffer.take(some)
        for key, each in statistics.items():
            each.update(observations[key] if isinstance(observations, dict) else observations)
