"""What a recording holds, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.recordings.read import Recorded

_QUANTILES = {"least": 0.0, "10 %": 0.1, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "90 %": 0.9, "greatest": 1.0}


def describe_recording(recorded: Recorded) -> str:
    """
    Episodes, steps, ends, and the quantiles of returns and lengths, as lines of text.

    :param recorded: what was read
    """
    buffer = recorded.buffer
    n_cut = int(buffer.truncated.sum())
    lines = [
        ("observations", str(buffer.observation_space)),
        ("actions", str(buffer.action_space)),
        ("episodes", f"{buffer.n_episodes:,}"),
        ("steps", f"{buffer.n_transitions:,}, and {recorded.n_dropped:,} of episodes without an end, which are left out"),
        ("ends", f"{buffer.n_episodes - n_cut:,} by themselves, {n_cut:,} by a time limit"),
        ("parts", ", ".join(("return", "horizon", *buffer.recorded))),
        ("", "".join(f"{name:>11}" for name in _QUANTILES)),
        ("returns", _quantiles(buffer.returns)),
        ("lengths", _quantiles(buffer.lengths)),
    ]
    return "\n".join(f"{name:14}{value}" for name, value in lines)


def _quantiles(values: NDArray[np.float64] | NDArray[np.int64]) -> str:
    return "".join(f"{value:11.5g}" for value in np.quantile(values, list(_QUANTILES.values())))
