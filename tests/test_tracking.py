"""Exact commands while evaluating: what the network sees, against what a calculation by hand says."""

import functools
import threading

import gymnasium as gym
import numpy as np
import pytest
from helpers import CommandSpy, make_vec, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.callbacks import CallbackList, EvalCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecMonitor, VecNormalize

from sb3_udrl.commands import make_command
from sb3_udrl.commands.tracking import set_tracked_env, tracked_steps
from sb3_udrl.evaluation import evaluate_policy, run_commands, track

REWARDS = (3.0, -1.0, 2.5, 10.0, 0.5, 7.0)
COMMAND = (30.0, 4.0)


class WithRewards(gym.Wrapper):
    """Keeps something of its own under the name that the Monitor uses."""

    rewards = 0.0


def scripted(*lengths, vec_env_class=DummyVecEnv, monitor=True, wrapper=lambda env: env):
    """One environment per number, each of whose episodes takes that many steps."""

    def make(length):
        env = Scripted(lengths=(length,), rewards=REWARDS)
        return wrapper(Monitor(env) if monitor else env)

    return vec_env_class([functools.partial(make, length) for length in lengths])


def by_hand(lengths, n_calls, command=COMMAND):
    """The command at every call in every environment, ``(n_calls, n_envs, 2)``."""
    rows = np.empty((n_calls, len(lengths), 2))
    for env, length in enumerate(lengths):
        for call in range(n_calls):
            t = call % length
            rows[call, env] = command[0] - sum(REWARDS[:t]), max(command[1] - t, 1)
    return rows


fork = functools.partial(SubprocVecEnv, start_method="fork")
WRAPPINGS = {
    "dummy": lambda *lengths: scripted(*lengths),
    "subproc": lambda *lengths: scripted(*lengths, vec_env_class=fork),
    "normalize": lambda *lengths: VecNormalize(scripted(*lengths), norm_reward=True),
    "stack": lambda *lengths: VecFrameStack(scripted(*lengths), 3),
    "normalize and stack": lambda *lengths: VecFrameStack(VecNormalize(scripted(*lengths), norm_reward=True), 3),
    "no monitor": lambda *lengths: scripted(*lengths, monitor=False),
    "vec monitor": lambda *lengths: VecMonitor(scripted(*lengths, monitor=False)),
    "wrapper with rewards": lambda *lengths: scripted(*lengths, wrapper=WithRewards),
    "subproc, wrapper with rewards": lambda *lengths: scripted(*lengths, vec_env_class=fork, wrapper=WithRewards),
    "stack and normalize": lambda *lengths: VecNormalize(VecFrameStack(scripted(*lengths), 3), norm_reward=True),
}


def trained_with(callback, env):
    model = tiny_model(env)
    model.set_command(*COMMAND)
    with CommandSpy(model) as spy:
        model.learn(128, callback=callback)
    env.close()
    return [rows for rows in spy.commands if len(rows) == 3]  # those of evaluations, by their number of environments


@pytest.mark.parametrize("name", WRAPPINGS)
def test_commands_are_exact_inside_eval_callback(name):
    eval_env = WRAPPINGS[name](4, 4, 4)
    seen = trained_with(EvalCallback(eval_env, n_eval_episodes=6, eval_freq=50, verbose=0), WRAPPINGS[name](5, 5))
    eval_env.close()
    assert len(seen) == 8  # one evaluation of two episodes in each environment
    np.testing.assert_allclose(np.stack(seen), by_hand((4, 4, 4), 8), atol=1e-6)


@pytest.mark.parametrize(("wrap", "eval_freq"), [(lambda c: [c], 50), (lambda c: CallbackList([EveryNTimesteps(64, c)]), 1)])
def test_eval_callbacks_are_found_inside_of_others(wrap, eval_freq):
    callback = EvalCallback(scripted(3, 3, 3), n_eval_episodes=3, eval_freq=eval_freq, verbose=0)
    seen = trained_with(wrap(callback), scripted(5, 5))
    assert len(seen) >= 3
    np.testing.assert_allclose(np.stack(seen[:3]), by_hand((3, 3, 3), 3), atol=1e-6)


def test_a_callback_can_be_used_again():
    callback = EvalCallback(scripted(3, 3, 3), n_eval_episodes=3, eval_freq=50, verbose=0)
    for _ in range(3):
        np.testing.assert_allclose(np.stack(trained_with(callback, scripted(5, 5))), by_hand((3, 3, 3), 3), atol=1e-6)


def test_subclasses_of_eval_callback_keep_what_they_do():
    class Counting(EvalCallback):
        n_steps = 0

        def _on_step(self):
            self.n_steps += 1
            return super()._on_step()

    callback = Counting(scripted(3, 3, 3), n_eval_episodes=3, eval_freq=50, verbose=0)
    seen = trained_with(callback, scripted(5, 5))
    assert callback.n_steps == 64
    np.testing.assert_allclose(np.stack(seen), by_hand((3, 3, 3), 3), atol=1e-6)


@pytest.fixture
def model():
    model = tiny_model(scripted(5))
    model.set_command(*COMMAND)
    return model


@pytest.mark.parametrize("monitor", [True, False])
@pytest.mark.parametrize("name", ["dummy", "subproc", "normalize"])
def test_own_evaluate_policy_is_exact_everywhere(model, name, monitor):
    """Also without a ``Monitor``, and with episodes of different lengths."""
    env = scripted(2, 6, vec_env_class=fork if name == "subproc" else DummyVecEnv, monitor=monitor)
    env = VecNormalize(env, norm_obs=False, norm_reward=True) if name == "normalize" else env
    with CommandSpy(model) as spy:
        _, lengths = evaluate_policy(model, env, 4, return_episode_rewards=True, warn=False)
    env.close()
    assert sorted(lengths) == [2, 2, 6, 6]
    seen, expected = np.stack(spy.commands), by_hand((2, 6), 12)
    np.testing.assert_allclose(seen[:, 1], expected[:, 1], atol=1e-6)
    np.testing.assert_allclose(seen[:4, 0], expected[:4, 0], atol=1e-6)  # has then played its share


def test_own_evaluate_policy_returns_what_sb3s_does(model):
    env = scripted(2, 6)
    returns, lengths = evaluate_policy(model, env, 4, return_episode_rewards=True)
    assert sorted(zip(returns, lengths, strict=True)) == [(2, 2), (2, 2), (22, 6), (22, 6)]
    assert evaluate_policy(model.policy, env, 4) == (12, 10)
    steps = []
    assert evaluate_policy(model, env, 4, callback=lambda local, _: steps.append(local["reward"])) == (12, 10)
    assert len(steps) == 4 + 12
    with pytest.raises(AssertionError, match="below threshold"):
        evaluate_policy(model, env, 4, reward_threshold=13)


def test_own_evaluate_policy_takes_a_plain_environment_and_a_command(model):
    with CommandSpy(model) as spy:
        mean, _ = evaluate_policy(model, Scripted(lengths=(3,), rewards=REWARDS), 2, command=(10, 3), warn=False)
    assert mean == 4.5
    np.testing.assert_allclose(np.stack(spy.commands), by_hand((3,), 6, (10, 3)))


def test_own_evaluate_policy_takes_a_command_per_environment(model):
    with CommandSpy(model) as spy:
        evaluate_policy(model, scripted(3, 3), 4, command=([10, 20], [3, 5]))
    seen = np.stack(spy.commands)
    np.testing.assert_allclose(seen[:, :1], by_hand((3,), 6, (10, 3)))
    np.testing.assert_allclose(seen[:, 1:], by_hand((3,), 6, (20, 5)))


def test_run_commands_is_exact(model):
    """Commands wait for a free environment; each keeps its own remaining return and horizon."""
    env = VecNormalize(scripted(1, 5), norm_obs=False, norm_reward=True)
    with CommandSpy(model) as spy:
        achieved = run_commands(model, env, make_command([100, 200, 300, 400], [10, 20, 30, 40], 4))
    # while the second environment plays command 1 in five steps, the first is done with all the others
    np.testing.assert_array_equal(achieved["horizon"], [1, 5, 1, 1])
    np.testing.assert_array_equal(achieved["return"], [3, 15, 3, 3])
    seen = np.stack(spy.commands)
    np.testing.assert_allclose(seen[:3, 0], [[100, 10], [300, 30], [400, 40]])
    np.testing.assert_allclose(seen[:, 1], [[200, 20], [197, 19], [198, 18], [195.5, 17], [185.5, 16]])


# The tracked environment itself


def play(model, env, n_steps, **kwargs):
    """A loop like those of SB3, which never passes rewards on."""
    observations, state, starts = env.reset(), None, np.ones(env.num_envs, bool)
    commands = []
    for _ in range(n_steps):
        actions, state = model.predict(observations, state, starts, **kwargs)
        commands.append(state[0].copy())
        observations, _, starts, _ = env.step(actions)
    return np.stack(commands)


def test_rewards_are_read_inside_of_track_only(model):
    env = scripted(4)
    estimated = [[[30, 4]], [[22.5, 3]], [[15, 2]], [[7.5, 1]]]
    np.testing.assert_allclose(play(model, env, 4), estimated)
    with track(env):
        np.testing.assert_allclose(play(model, env, 8), by_hand((4,), 8))
    np.testing.assert_allclose(play(model, env, 4), estimated)


def test_an_argument_counts_more_than_what_is_heard(model):
    env = scripted(4)
    with track(env):
        np.testing.assert_allclose(play(model, env, 3, reward=100.0), [[[30, 4]], [[-70, 3]], [[-170, 2]]])


def test_another_environment_than_the_tracked_one_is_noticed(model):
    """Its steps do not fit the calls, so the estimate is used."""
    tracked, played = scripted(4), scripted(4)
    tracked.reset()
    with track(tracked):
        np.testing.assert_allclose(play(model, played, 3), [[[30, 4]], [[22.5, 3]], [[15, 2]]])
    for _ in range(2):
        tracked.step([0])
    with track(tracked):
        np.testing.assert_allclose(play(model, played, 3), [[[30, 4]], [[22.5, 3]], [[15, 2]]])


def test_another_number_of_environments_is_noticed(model):
    with track(scripted(4, 4)):
        np.testing.assert_allclose(play(model, scripted(4), 2), [[[30, 4]], [[22.5, 3]]])


def test_episodes_that_go_on_in_the_monitor_start_anew_for_the_agent(model):
    """As with Atari's lives: the Monitor's episode goes on, the agent's starts, and only its own rewards count."""
    env = scripted(6)
    observations = env.reset()
    commands = []
    with track(env):
        state, starts = None, np.array([True])
        for t in range(5):
            actions, state = model.predict(observations, state, starts)
            commands.append(state[0][0])
            observations, _, _, _ = env.step(actions)
            starts = np.array([t == 1])
    np.testing.assert_allclose(commands, [[30, 4], [27, 3], [30, 4], [27.5, 3], [17.5, 2]])


def test_what_is_heard():
    with track(scripted(4, 2)) as steps:
        assert (steps.n_envs, steps.n_steps, steps.infos) == (2, 0, None)
        steps._source.reset()
        for n, (first, second) in enumerate([(3, 3), (-1, -1), (2.5, 3)], start=1):
            steps._source.step([0, 0])
            assert (steps.n_steps, steps.rewards.tolist()) == (n, [first, second])
        assert len(steps.infos) == 2
    with track(None) as nothing:
        assert nothing is None and tracked_steps(1) is None


def test_only_vectorized_environments_are_tracked():
    with pytest.raises(ValueError, match="give a VecEnv"), track(Scripted()):
        pass


@pytest.mark.parametrize(
    "wrap", [lambda env: env, lambda env: VecNormalize(env), lambda env: VecFrameStack(VecNormalize(env), 2)]
)
def test_who_listens_leaves_no_trace(wrap, tmp_path):
    """Also where two listen to the same environment, and in the file of VecNormalize."""
    env = wrap(scripted(4))
    layers = [env, getattr(env, "venv", env)]
    with track(env) as first, track(env) as second:
        env.reset()
        env.step([0])
        assert first.rewards.tolist() == second.rewards.tolist() == [3]
        if isinstance(env, VecNormalize):
            env.save(str(tmp_path / "vecnormalize.pkl"))
            assert "step_wait" not in vars(VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), scripted(4)))
    assert not any("step_wait" in vars(layer) for layer in layers)


def test_scopes_are_nested_and_undone_by_errors():
    outer, inner = scripted(4), scripted(4, 4)
    with track(outer):
        with pytest.raises(RuntimeError), track(inner):
            raise RuntimeError
        assert tracked_steps(1) is not None and tracked_steps(2) is None
    assert tracked_steps(1) is None


def test_threads_do_not_see_each_others_environments():
    env = scripted(4)
    env.reset()
    seen = []
    with track(env):
        thread = threading.Thread(target=lambda: seen.append(tracked_steps(1)))
        thread.start()
        thread.join()
        assert tracked_steps(1) is not None
    assert seen == [None]


def test_a_script_may_track_for_good(model):
    env = scripted(4)
    try:
        set_tracked_env(env)
        np.testing.assert_allclose(play(model, env, 8), by_hand((4,), 8))
    finally:
        set_tracked_env(None)
    assert tracked_steps(1) is None


def test_environments_are_left_as_they_were(model):
    env = make_vec(Scripted)
    kinds, spaces_before = type(env), (env.observation_space, env.action_space)
    model.learn(64, callback=EvalCallback(env, eval_freq=30, n_eval_episodes=1, verbose=0))
    evaluate_policy(model, env, 1)
    assert type(env) is kinds and (env.observation_space, env.action_space) == spaces_before
    assert "step_wait" not in vars(env)
