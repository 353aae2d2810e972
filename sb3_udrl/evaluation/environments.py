"""The environments that saved models are looked at in."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

N_ENVS = 8


def make_evaluation_env(env_id: str, seed: int, vec_normalize: Path | None = None) -> VecEnv:
    """
    Eight environments that do not render, with exact rewards.

    :param env_id: id of the environment
    :param seed: seed of the environments
    :param vec_normalize: saved statistics that observations are standardized with, as the Zoo's ``vecnormalize.pkl``
    :return: the vectorized environment
    :raises FileNotFoundError: if there are no statistics
    """
    if vec_normalize is not None and not vec_normalize.is_file():
        raise FileNotFoundError(f"vec_normalize={vec_normalize}: there is no such file")
    env = make_vec_env(env_id, N_ENVS, seed, env_kwargs={"render_mode": None})
    if vec_normalize is None:
        return env
    normalized = VecNormalize.load(str(vec_normalize), env)
    normalized.training = normalized.norm_reward = False
    return normalized
