"""Learning from a recording before the first step, as a callback: in ``learn``, and in the YAML files of the RL Zoo."""

from __future__ import annotations

import warnings
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback


class LearnFrom(BaseCallback):
    """
    Learn from a recording when ``learn`` begins, and go on from there without warm-up. In a YAML file of the Zoo::

        callback:
          - sb3_udrl.recordings.LearnFrom:
              data: cartpole.npz
              gradient_steps: 2000

    A model that has learned before is left as it is, with a warning.

    :param data: the recording: a path, the id of a Minari data set, or what else ``learn_from`` takes
    :param verbose: as in SB3
    :param kwargs: arguments of ``learn_from``
    """

    def __init__(self, data: Any, verbose: int = 0, **kwargs: Any) -> None:
        super().__init__(verbose)
        self.data, self.kwargs = data, kwargs

    def _init_callback(self) -> None:
        model: Any = self.model
        if not hasattr(model, "learn_from"):
            raise ValueError(f"LearnFrom: {type(model).__name__} does not learn from recordings, UDRL does")
        if model._n_updates > 0:
            warnings.warn(f"the model has learned before: data={self.data!r} is not learned from", stacklevel=2)
            return
        logger, custom = model.logger, model._custom_logger
        try:
            model.learn_from(self.data, **self.kwargs)
        finally:
            model._logger, model._custom_logger = logger, custom

    def _on_step(self) -> bool:
        return True
