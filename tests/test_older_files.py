"""Files that revision 794f5da (0.1.0) wrote load, decide alike and go on learning."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL
from sb3_udrl.policies import CommandPolicy

FILES = Path(__file__).parent / "data" / "v0.1.0"
NET = {"net_arch": [16, 16]}
NAMES = ["absolute", "relative", "relative_linear", "relative_bilinear", "forest", "forest_relative"]


@pytest.mark.parametrize("name", NAMES)
def test_models_of_before_decide_alike(name: str) -> None:
    model = UDRL.load(FILES / f"{name}.zip", device="cpu")
    with np.load(FILES / "decisions.npz") as stored:
        observations, asked = stored[f"{name}/observations"], stored[f"{name}/asked"]
        actions, own_actions = stored[f"{name}/actions"], stored[f"{name}/own_actions"]
    command = {"advantage": asked} if "relative" in name else (asked[0], asked[1])
    np.testing.assert_allclose(model.predict(observations, command=command, deterministic=True)[0], actions, atol=1e-6)
    np.testing.assert_allclose(model.predict(observations, deterministic=True)[0], own_actions, atol=1e-6)


def test_a_policy_of_before_that_was_saved_alone_decides_alike() -> None:
    policy = CommandPolicy.load(FILES / "absolute_policy.pkl", device="cpu")
    with np.load(FILES / "decisions.npz") as stored:
        observations, asked = stored["absolute/observations"], stored["absolute/asked"]
        actions = stored["absolute/actions"]
    np.testing.assert_array_equal(policy.predict(observations, command=(asked[0], asked[1]), deterministic=True)[0], actions)


def test_a_network_that_embedded_nothing_needs_no_argument_for_that() -> None:
    loaded = UDRL.load(FILES / "absolute.zip", device="cpu", custom_objects={"policy_kwargs": {**NET, "embedding_dim": 0}})
    assert loaded.policy_kwargs == NET
    two = UDRL("CommandPolicy", "CartPole-v1", commands="any", obedience_kwargs={"policy_kwargs": {**NET, "embedding_dim": 0}})
    assert two.policy.obedient.net_arch == [16, 16]


def test_a_network_that_embedded_commands_is_refused() -> None:
    with pytest.raises(ValueError, match=r"embedding_dim=4: .* must be trained anew"):
        UDRL.load(FILES / "absolute.zip", device="cpu", custom_objects={"policy_kwargs": {**NET, "embedding_dim": 4}})


class Embeds(CommandPolicy):
    def __init__(self, *args: Any, embedding_dim: int = 8, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.embedding_dim = embedding_dim


def test_a_policy_of_ones_own_may_embed_commands() -> None:
    model = UDRL(Embeds, "CartPole-v1", commands="absolute", policy_kwargs={"embedding_dim": 4}, device="cpu")
    assert model.policy.embedding_dim == 4


def test_settings_of_labels_that_the_buffer_had_reach_the_labels() -> None:
    with pytest.warns(DeprecationWarning, match="label_kwargs"):
        model = UDRL.load(FILES / "relative_linear.zip", device="cpu")
    (labeler,) = model.hindsight.labelers
    assert (labeler.gamma, labeler.local_scale) == (0.98, False)


@pytest.mark.parametrize("name", ["absolute", "relative"])
def test_buffers_of_before_go_on_learning(name: str, tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", n_envs=4, seed=3)
    model = UDRL.load(FILES / f"{name}.zip", env=env, device="cpu")
    shutil.copy(FILES / f"{name}_buffer.pkl", tmp_path)
    model.load_replay_buffer(tmp_path / f"{name}_buffer.pkl", allow_pickle=True)
    n_before = model.replay_buffer.n_transitions_added
    assert n_before > 500
    assert len(model.outcomes) > 0
    model.learn(500, reset_num_timesteps=False)
    assert model.replay_buffer.n_transitions_added > n_before
    batch = model.hindsight.sample(64)
    assert all(np.isfinite(values).all() for values in batch.command.parts.values())


def test_a_buffer_of_other_commands_is_refused() -> None:
    model = UDRL("CommandPolicy", "CartPole-v1", commands="relative", device="cpu")
    with pytest.raises(ValueError, match="other commands"):
        model.load_replay_buffer(FILES / "absolute_buffer.pkl", allow_pickle=True)
    assert model.replay_buffer.n_episodes == 0


# Of the networks after 2,000 steps, by the revision that first took constants off returns
WEIGHTS = {
    "absolute": ("CartPole-v1", {"commands": "absolute", "policy_kwargs": {"net_arch": [16, 16]}}, "33eeee529d3dfba6"),
    "relative": ("CartPole-v1", {"commands": "relative", "policy_kwargs": {"net_arch": [16, 16]}}, "c6bdaf54d59415b7"),
    "redistributed": (
        "CartPole-v1",
        {
            "commands": "relative",
            "label_kwargs": {"advantage": {"redistribute_rewards": True}},
            "policy_kwargs": {"net_arch": [8, 8], "conditioning": "bilinear"},
        },
        "ccfaa53311b7ccb6",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_training_is_bit_for_bit_that_of_before(name: str) -> None:
    env_id, arguments, expected = WEIGHTS[name]
    if th.__config__.show() != (FILES / "torch_config.txt").read_text() or not _same_processor():
        pytest.skip("bits depend on the processor and the version of PyTorch")
    model = UDRL(
        "CommandPolicy",
        make_vec_env(env_id, n_envs=4, seed=3),
        learning_starts=500,
        train_freq=64,
        seed=3,
        device="cpu",
        **arguments,
    ).learn(2000)
    digest = hashlib.sha256()
    for key, value in model.policy.state_dict().items():
        if key != "eval_command" and not key.startswith("experience."):
            digest.update(key.encode() + value.numpy().tobytes())
    assert digest.hexdigest()[:16] == expected


def _same_processor() -> bool:
    """Whether products of matrices have the bits that they had where the hashes were made."""
    generator = th.Generator().manual_seed(0)
    product = th.randn(64, 48, generator=generator) @ th.randn(48, 32, generator=generator)
    return hashlib.sha256(product.exp().numpy().tobytes()).hexdigest()[:16] == (FILES / "product.txt").read_text().strip()
