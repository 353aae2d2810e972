"""With the settings that users of the Zoo get, learning must not collapse."""

import pathlib

import numpy as np
import pytest
import yaml
from helpers import DEVICE
from stable_baselines3.common.env_util import make_vec_env

import sb3_udrl
from sb3_udrl import UDRL
from sb3_udrl.evaluation import evaluate_policy

FLOOR = 300.0  # of 500; random actions get 22
NOT_OF_THE_MODEL = ("n_envs", "n_timesteps", "policy")


def zoo_settings(env_id):
    root = pathlib.Path(sb3_udrl.__file__).parents[1]
    with open(root / "hyperparams" / "udrl.yml") as file:
        return yaml.safe_load(file)[env_id]


@pytest.mark.slow
@pytest.mark.parametrize("commands", ["relative", "any"])
def test_cart_pole(commands):
    settings = {**zoo_settings("CartPole-v1"), "commands": commands}
    kwargs = {name: value for name, value in settings.items() if name not in NOT_OF_THE_MODEL}
    env = make_vec_env("CartPole-v1", settings["n_envs"], seed=0)
    model = UDRL(settings["policy"], env, seed=0, device=DEVICE, **kwargs).learn(12_000)
    test_env = make_vec_env("CartPole-v1", 10, seed=1)
    returns, _ = evaluate_policy(model, test_env, 20, deterministic=True, return_episode_rewards=True)
    assert np.mean(returns) >= FLOOR
