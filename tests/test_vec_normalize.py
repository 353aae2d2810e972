"""Under ``VecNormalize``: commands stay in raw units, observations are stored raw and normalized as they are used."""

import numpy as np
import pytest
from helpers import DEVICE, CommandSpy, make_vec, obeying_model, tiny_model
from probe_envs import FixedStart, Scripted
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.envs import SimpleMultiObsEnv
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from sb3_udrl import UDRL
from sb3_udrl.commands import FixedCommands
from sb3_udrl.evaluation import evaluate_policy


def normalized(n_envs=2, **kwargs):
    return VecNormalize(make_vec(Scripted, n_envs, lengths=(4,), rewards=(100, -50, 25, 200)), **kwargs)


def test_stored_rewards_and_returns_are_raw():
    model = tiny_model(normalized()).learn(128)
    assert set(model.replay_buffer.returns) == {275}
    np.testing.assert_array_equal(model.replay_buffer.episode(3).rewards, [100, -50, 25, 200])


def test_commands_while_collecting_are_raw():
    model = obeying_model(normalized())
    with CommandSpy(model) as spy:
        model.learn(128, callback=FixedCommands(300, 4))
    rows = [[300, 4], [200, 3], [250, 2], [225, 1]]
    played = np.stack(spy.commands)  # (n_steps, n_envs, 2)
    assert len(played) == 28  # the first 36 steps are warm-up
    for t, command in enumerate(played):
        np.testing.assert_array_equal(command, [rows[t % 4]] * 2)


def test_the_best_command_is_raw():
    model = tiny_model(normalized(), command_sampler="mean_plus_std").learn(128)
    assert model.policy.eval_command.tolist() == [275, 4]


def test_observations_are_stored_raw_and_normalized_when_sampled():
    env = normalized()
    model = tiny_model(env).learn(128)
    buffer = model.replay_buffer
    np.testing.assert_array_equal(buffer.episode(5).observations[:, 1], [0, 1, 2, 3])
    raw, normal = (model.hindsight.transitions(np.arange(5), e).observations for e in (None, env))
    np.testing.assert_allclose(normal, env.normalize_obs(raw), rtol=1e-5)
    assert np.abs(normal).max() < 10 and (raw != normal).any()


def test_what_is_learned_from_follows_the_statistics_of_now():
    env = normalized()
    model = tiny_model(env).learn(64)
    before = model.hindsight.transitions(np.arange(3), env).observations
    env.obs_rms.mean += 1
    after = model.hindsight.transitions(np.arange(3), env).observations
    np.testing.assert_allclose(after, before - 1 / np.sqrt(env.obs_rms.var + env.epsilon), rtol=1e-4)


def test_the_network_learns_from_normalized_observations(monkeypatch):
    seen = []
    model = tiny_model(normalized())
    to_tensors = model.policy.to_tensors
    monkeypatch.setattr(model.policy, "to_tensors", lambda batch: seen.append(batch) or to_tensors(batch))
    model.learn(200)
    observations = np.concatenate([batch.observations for batch in seen[-3:]])
    assert abs(observations[:, 1].mean()) < 0.5  # raw, it would be 1.5
    assert observations[:, 1].std() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("kwargs", [{"norm_obs": False}, {"norm_reward": False}, {}], ids=str)
def test_every_kind_of_normalization(kwargs):
    model = tiny_model(normalized(**kwargs)).learn(100)
    assert set(model.replay_buffer.returns) == {275}


def test_dictionaries_of_which_some_keys_are_normalized():
    env = VecNormalize(make_vec(SimpleMultiObsEnv, 2), norm_obs_keys=["vec"])
    policy_kwargs = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    model = tiny_model(env, "MultiInputPolicy", gradient_steps=1, policy_kwargs=policy_kwargs).learn(300)
    assert model.replay_buffer.n_episodes > 0
    assert model.replay_buffer.episode(0).observations["img"].dtype == np.uint8


def test_frame_stacks_above_are_stored_as_they_are_seen():
    """There are no raw stacked observations to be had."""
    env = VecFrameStack(VecNormalize(make_vec(FixedStart, 2)), 3)
    model = tiny_model(env).learn(128)
    assert model.replay_buffer.episode(0).observations.shape == (8, 6)
    assert model._n_updates > 0 and model._normalizer is None


def test_a_loaded_model_trains_on_frame_stacks_before_it_learns(tmp_path):
    env = VecFrameStack(VecNormalize(make_vec(FixedStart, 2)), 3)
    tiny_model(env).learn(128).save(tmp_path / "model", include=["replay_buffer"])
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE)
    loaded.train(gradient_steps=1, batch_size=16)
    assert loaded._normalizer is None


def test_evaluations_share_the_statistics():
    env, eval_env = normalized(), normalized(1, training=False)
    model = tiny_model(env)
    model.learn(128, callback=EvalCallback(eval_env, eval_freq=64, n_eval_episodes=2, verbose=0))
    np.testing.assert_array_equal(env.obs_rms.mean, eval_env.obs_rms.mean)
    assert evaluate_policy(model, eval_env, 2) == (275, 0)  # raw


def test_save_and_load(tmp_path):
    env = normalized()
    model = tiny_model(env).learn(64)
    model.save(tmp_path / "model")
    env.save(tmp_path / "normalize.pkl")
    env = VecNormalize.load(tmp_path / "normalize.pkl", make_vec(Scripted, 2))
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE)
    assert loaded.get_vec_normalize_env() is env
    loaded.learn(64)
    observation = env.normalize_obs(np.array([[3.0, 1.0]], np.float32))
    assert loaded.predict(observation)[0].shape == (1,)


def test_an_environment_that_gets_normalized_later(tmp_path):
    model = tiny_model(make_vec(Scripted, 2, lengths=(4,), rewards=(100, -50, 25, 200))).learn(64)
    model.set_env(normalized())
    model.learn(64, reset_num_timesteps=False)
    assert set(model.replay_buffer.returns) == {275}
