"""UDRLPG: what it stores, asks, generates and learns."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import DEVICE, Recorder, assert_same_parameters, make_vec, parameters_of
from probe_envs import AnySpaces, FixedStart, Scripted
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import UDRL
from sb3_udrl.commands.calibration import N_KNOTS
from sb3_udrl.evaluation import evaluate_policy
from sb3_udrl.evaluation.following import CommandFollowingCallback, command_following
from sb3_udrl.udrlpg import UDRLPG
from sb3_udrl.udrlpg.own_command import holding
from sb3_udrl.udrlpg.played import PRACTICE

TINY = {
    "learning_starts": 16,
    "train_freq": 8,
    "gradient_steps": 4,
    "batch_size": 8,
    "initial_policies": 2,
    "measuring": 0.0,  # so that training in two parts is training at once
    "policy_kwargs": {"generator_kwargs": {"net_arch": [16]}},
    "seed": 0,
    "device": DEVICE,
}
SPACES = [
    spaces.Box(-1, 1, (3,)),
    spaces.Box(-1, 1, (2, 3), np.float64),
    spaces.Discrete(4),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiBinary(3),
]
ACTIONS = [spaces.Discrete(3), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(2), spaces.Box(-2, 3, (2,))]


def tiny_generator(env, **kwargs):
    policy_kwargs = {**TINY["policy_kwargs"], **kwargs.pop("policy_kwargs", {})}
    return UDRLPG("MlpPolicy", env, **{**TINY, **kwargs, "policy_kwargs": policy_kwargs})


def observations_of(space, n=20):
    space.seed(0)
    return np.stack([space.sample() for _ in range(n)])


@pytest.mark.parametrize(
    ("observation_space", "action_space", "net_arch"),
    [
        *((space, ACTIONS[i % len(ACTIONS)], []) for i, space in enumerate(SPACES)),
        *((SPACES[0], space, [5, 4]) for space in ACTIONS),
    ],
    ids=str,
)
def test_generated_policies_are_ordinary_ones(observation_space, action_space, net_arch, tmp_path):
    """They do the same as the model that is asked for this return, greedily or not, and so when they were saved."""
    env = make_vec(AnySpaces, 2, observation_space=observation_space, action_space=action_space)
    model = tiny_generator(env, policy_kwargs={"net_arch": net_arch}).learn(100)
    observations = observations_of(observation_space)
    for desired_return in (-3.0, 0.0, 10.0):
        policy = model.generate_policy(desired_return)
        assert type(policy) is ActorCriticPolicy
        policy.save(tmp_path / "policy")
        expected = model.predict(observations, command=desired_return)[0]
        for own in (policy, ActorCriticPolicy.load(tmp_path / "policy"), pickle.loads(pickle.dumps(policy))):
            for deterministic in (True, False):
                np.testing.assert_allclose(own.predict(observations, deterministic=deterministic)[0], expected, atol=1e-4)


@pytest.mark.slow
def test_a_saved_policy_needs_nothing_of_this_package(tmp_path):
    model = tiny_generator(make_vec(Scripted, 2)).learn(60)
    policy = model.best_policy()
    policy.save(tmp_path / "policy")
    code = (
        "import sys; sys.modules['sb3_udrl'] = None\n"
        "from stable_baselines3.common.policies import ActorCriticPolicy\n"
        f"print(ActorCriticPolicy.load({str(tmp_path / 'policy')!r}).predict([0.5, 1.0])[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(policy.predict(np.array([0.5, 1.0], np.float32))[0])


def test_a_stored_policy_earns_its_return_at_any_later_time():
    """In an environment without chance; statistics of observations that went on changing would change what it does."""
    model = tiny_generator(make_vec(FixedStart, 2), noise=1.0).learn(1_000)
    policies = model.hindsight
    assert policies.n_episodes > 20 and np.ptp(policies.returns) > 0
    for row in range(0, policies.n_episodes, 5):
        policy = model.policy._sb3_policy(policies.weights[row])
        mean, _ = sb3_evaluate_policy(policy, make_vec(FixedStart), n_eval_episodes=1)
        assert mean == pytest.approx(policies.returns[row])


def test_under_normalize_stored_policies_earn_their_return_too():
    env = VecNormalize(make_vec(FixedStart, 2))
    model = tiny_generator(env, noise=1.0).learn(500)
    assert not env.training  # frozen with the end of the warm-up
    eval_env = VecNormalize(make_vec(FixedStart), training=False, norm_reward=False)
    eval_env.obs_rms = env.obs_rms
    for row in range(0, model.hindsight.n_episodes, 5):
        policy = model.policy._sb3_policy(model.hindsight.weights[row])
        assert sb3_evaluate_policy(policy, eval_env, 1)[0] == pytest.approx(model.hindsight.returns[row])


def test_the_best_policy_is_that_of_the_highest_value():
    model = tiny_generator(make_vec(FixedStart, 2), noise=1.0).learn(500)
    best = model.hindsight.best(1)[0]
    assert model.hindsight.returns[best] == model.hindsight.returns.max()
    trained_with = model.policy.best_weights.numpy()
    assert (model.hindsight.weights == trained_with).all(1).any()
    assert sb3_evaluate_policy(model.best_policy(), make_vec(FixedStart), 1)[0] > model.hindsight.returns.mean()


def test_what_was_never_trained_has_no_best_policy():
    with pytest.raises(ValueError, match="has met no policy yet"):
        tiny_generator(make_vec(Scripted)).best_policy()


def test_warm_up_episodes_are_not_stored_and_statistics_stay_after_it():
    means = []

    def look(callback):
        model = callback.model
        means.append(model.policy.input_scale.mean.clone().cpu().numpy())
        if model.num_timesteps <= 40:
            assert model.hindsight.n_episodes == 0

    model = tiny_generator(make_vec(FixedStart, 2), learning_starts=40)
    model.learn(200, callback=Recorder(look))
    assert len({mean.tobytes() for mean in means[:20]}) > 10
    assert len({mean.tobytes() for mean in means[30:]}) == 1


def test_several_episodes_per_policy():
    model = tiny_generator(make_vec(Scripted, 2), episodes_per_policy=3, reevaluation=0.0).learn(400)
    assert set(model.hindsight.counts[:-2]) == {3}  # the last two are still at it


def test_shares_of_what_is_evaluated_again():
    """Every episode is that of a new policy, or a further one of a stored policy."""
    episodes = {}
    for share in (0.0, 0.5):
        model = tiny_generator(make_vec(Scripted, 2, lengths=(4,)), reevaluation=share).learn(800)
        episodes[share] = model.hindsight.counts.sum(), model.hindsight.n_episodes
    assert episodes[0.0][0] == episodes[0.0][1]
    n_again = episodes[0.5][0] - episodes[0.5][1]
    assert 0.35 < n_again / episodes[0.5][0] < 0.65


def test_practice_is_without_noise():
    """What was practiced is what the generator makes of what was asked."""
    model = tiny_generator(make_vec(FixedStart, 2), noise=100.0, practice=0.5)
    seen = []

    def look(callback):
        played, policy = model._played, model.policy
        for env in np.flatnonzero(played.numbers == PRACTICE):
            if model._running.starts[env]:
                asked = model._running.asked["return"][env : env + 1]
                seen.append(np.abs(policy.generate(asked)[0] - played.weights[env]).max())

    model.learn(600, callback=Recorder(look))
    practiced = model.hindsight._used("practiced")
    assert 0.2 < practiced.mean() < 0.6
    size = np.abs(model.hindsight.weights).mean(1)
    assert size[practiced == 1].max() < size[practiced == 0].mean()
    assert len(seen) > 20 and max(seen) < 1e-6


def measured_model(**kwargs):
    return tiny_generator(make_vec(FixedStart, 2), measuring=0.4, **kwargs).learn(800)


def test_the_finished_generator_is_measured(tmp_path):
    """In the last two fifths of training it stays as it is, and the card says what it delivers."""
    updates = []
    model = tiny_generator(make_vec(FixedStart, 2), measuring=0.4)
    model.learn(800, callback=Recorder(lambda callback: updates.append(model._n_updates)))
    assert 0 < updates[240] == updates[-1]
    card = model.score_card
    asked, achieved = card.episodes("return", greedy=True)
    assert 30 < len(card) <= 40 and np.ptp(asked) > 0
    values = model.hindsight.returns
    assert values.min() <= asked.min() and asked.max() <= values.max() + 0.01  # what is taken for the best is asked for, too
    for wanted, got in zip(asked[-5:], achieved[-5:], strict=True):
        weights = model.policy.generate(np.array([wanted]))
        row = np.abs(model.hindsight.weights - weights).max(1).argmin()
        np.testing.assert_allclose(model.hindsight.weights[row], weights[0], rtol=1e-5)
        assert model.hindsight.returns[row] == pytest.approx(got)
    model.save(tmp_path / "model")
    loaded = UDRLPG.load(tmp_path / "model", device=DEVICE, trusted=[])
    assert loaded.score_card == card
    np.testing.assert_array_equal(loaded.policy.corrections, model.policy.corrections)


def test_the_own_command_of_a_finished_generator_holds():
    """It promises what it brought on average, and asks for what brought it, also where more is wanted."""
    model = measured_model()
    to_ask, mean = holding(*model.score_card.episodes("return", True))
    np.testing.assert_allclose(model.policy.own_command()["return"], mean, rtol=1e-6)
    for command in (None, mean + 100):
        asked = model.policy.initial_command(1, command, deterministic=True)["return"]
        np.testing.assert_allclose(asked, to_ask, rtol=1e-6)
    assert evaluate_policy(model, make_vec(FixedStart, 2), 2, warn=False)[0] == pytest.approx(mean)


def test_the_best_policy_may_be_met_while_the_generator_is_measured():
    model = measured_model()
    best = model.hindsight.returns.max() + 100
    model.hindsight.add(np.full(model.policy.network.n_weights, 0.5, np.float32), best, 5, True)
    own = model.policy.own_command()["return"]
    model.train(model.due_gradient_steps(100), 8)
    assert bool((model.policy.best_weights == 0.5).all())
    assert model.policy.own_command()["return"] == own


def test_environments_may_be_functions_that_make_them():
    assert UDRLPG("MlpPolicy", lambda: make_vec(FixedStart, 2), **TINY).n_envs == 2


def test_what_was_measured_is_forgotten_when_training_goes_on():
    model = measured_model()
    model.policy.correct(True, np.stack((np.arange(N_KNOTS), np.arange(N_KNOTS))))
    before = len(model.score_card)
    model.learn(160, reset_num_timesteps=False, callback=Recorder(lambda callback: callback.num_timesteps < 860))
    assert before > 0 and len(model.score_card) == 0
    assert bool(model.policy.corrections.isnan().all())


def test_what_delivers_it_is_asked_for():
    """Asked for 10 to 73 it was measured to deliver 0 to 63: who wants 5 gets the policy for 15."""
    policy = measured_model().policy
    for greedy in (False, True):
        policy.correct(greedy, np.stack((np.arange(N_KNOTS), np.arange(N_KNOTS) + 10)))
        assert policy.initial_command(1, 5, greedy)["return"] == [15]
        assert policy.initial_command(1, 70, greedy)["return"] == [73]  # more than was ever delivered
    assert policy.initial_command(1, 5)["return"] == [5]
    weights = policy.generate(np.array([15.0]))[0]
    layer = policy.generate_policy(5).action_net
    plain = policy._sb3_policy(weights).action_net
    th.testing.assert_close(layer.weight, plain.weight)


def test_the_best_is_asked_for_where_survival_pays():
    """Standing still for 1,000 steps earns more than what moves, yet the command is for the best without that."""
    model = tiny_generator(make_vec(FixedStart, 2), survival_bonus=1.0, learning_starts=16)
    weights = np.zeros(model.policy.network.n_weights, np.float32)
    for number in range(20):
        model.hindsight.add(weights, 1_000.0 + number, 1_000)
    model.hindsight.add(weights + 1, 150.0, 100)
    model.train(1, 8)
    asked = model.policy.own_command()["return"].astype(float)
    assert model.policy.return_scale.values_of(asked) == pytest.approx(50.0, abs=0.01)


def test_beyond_best_needs_policies_to_start_from():
    with pytest.raises(ValueError, match='for a UDRL, choose "adaptive"'):
        UDRL("MlpPolicy", make_vec(Scripted), command_sampler="beyond_best")


def test_the_survival_bonus_is_not_counted():
    """All rewards are 1, so nothing is left; returns stay those of the environment."""
    model = tiny_generator(make_vec(Scripted, 2, lengths=(4, 7), rewards=(1.0,)), survival_bonus=1.0, reevaluation=0.0).learn(
        200
    )
    np.testing.assert_allclose(model.hindsight.means(), 0, atol=1e-9)
    np.testing.assert_array_equal(model.hindsight.returns, model.hindsight.lengths)
    assert set(model.hindsight.returns) <= {4, 7}


def test_commands_stand_until_the_episode_ends():
    model = tiny_generator(make_vec(Scripted, 2)).learn(60)
    observations = np.zeros((2, 2), np.float32)
    _, state = model.predict(observations, command=np.float64(5.0))
    for _ in range(3):
        _, state = model.predict(observations, state, np.zeros(2, bool), reward=1.0)
        np.testing.assert_array_equal(state[0], [[5.0], [5.0]])


def test_what_is_generated_follows_the_weights():
    model = tiny_generator(make_vec(AnySpaces, 2, observation_space=SPACES[0], action_space=ACTIONS[3])).learn(60)
    observations = observations_of(SPACES[0])
    before = model.predict(observations, command=1.0)[0]
    with th.no_grad():
        for parameter in model.policy.generator.parameters():
            parameter.add_(0.5)
    assert (model.predict(observations, command=1.0)[0] != before).any()


@pytest.mark.slow
def test_learning_a_known_environment():
    """The return of an episode of `FixedStart` is decided by the actions, from -36 to 36; it obeys over all of that."""
    env = make_vec(FixedStart, 4)
    kwargs = {"generator_kwargs": {"net_arch": [32]}}
    model = tiny_generator(env, learning_rate=3e-3, gradient_steps=8, batch_size=64, policy_kwargs=kwargs).learn(3_000)
    best, _ = evaluate_policy(model, make_vec(FixedStart), 1)
    assert best == model.hindsight.returns.max() == 36
    following = command_following(model, make_vec(FixedStart), np.linspace(-36, 36, 9), None, 1).of("return")
    assert following.r_squared > 0.8 and following.rank_correlation > 0.9


def test_the_paper_s_generator_learns_too():
    kwargs = {"generator": "tiles", "generator_kwargs": {"net_arch": [16], "tile_size": 4}}
    model = tiny_generator(make_vec(FixedStart, 2), policy_kwargs={**kwargs, "net_arch": [4]}).learn(400)
    assert model._n_updates > 0 and np.isfinite(model.policy.generate(np.array([3.0]))).all()


def test_callbacks_and_logs():
    env = make_vec(Scripted, 2)
    model = tiny_generator(env)
    evaluation = EvalCallback(make_vec(Scripted), eval_freq=20, n_eval_episodes=2, verbose=0)
    following = CommandFollowingCallback(make_vec(Scripted), eval_freq=40, n_episodes=1)
    logged = []
    model.learn(100, callback=[evaluation, following])
    model.logger.dump = lambda step: logged.append(dict(model.logger.name_to_value))
    model.dump_logs(1)
    assert {"policies/best_return", "policies/best_error", "rollout/ep_rew_var", "rollout/ep_rew_mean"} <= logged[0].keys()
    assert evaluation.n_calls == 50
    assert following.last_result is not None


def test_resuming_is_bit_identical(tmp_path):
    """Episodes take 8 steps, so that all of them end when the first part does."""
    whole = tiny_generator(make_vec(FixedStart, 2)).learn(160 + 160)
    part = tiny_generator(make_vec(FixedStart, 2)).learn(160)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    model = UDRLPG.load(tmp_path / "model", make_vec(FixedStart, 2), device=DEVICE, trusted=[])
    model.load_replay_buffer(tmp_path / "buffer")
    model.learn(160, reset_num_timesteps=False)
    assert_same_parameters(parameters_of(model), parameters_of(whole))
    np.testing.assert_array_equal(model.hindsight.weights, whole.hindsight.weights)
    np.testing.assert_array_equal(model.hindsight.returns, whole.hindsight.returns)
    assert model._n_updates == whole._n_updates > part._n_updates > 0


def test_a_run_that_stops_while_it_is_measured_goes_on_measuring(tmp_path):
    whole = tiny_generator(make_vec(FixedStart, 2), measuring=0.5).learn(320)
    part = tiny_generator(make_vec(FixedStart, 2), measuring=0.5)
    part.learn(320, callback=Recorder(lambda callback: callback.num_timesteps < 240))
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    model = UDRLPG.load(tmp_path / "model", make_vec(FixedStart, 2), device=DEVICE)
    model.load_replay_buffer(tmp_path / "buffer")
    model.learn(320 - model.num_timesteps, reset_num_timesteps=False)
    assert part._n_updates == model._n_updates == whole._n_updates
    assert len(part.score_card) < len(model.score_card)
    assert abs(len(model.score_card) - len(whole.score_card)) <= 2  # those that were running begin anew


def test_a_zip_with_its_policies(tmp_path):
    model = tiny_generator(make_vec(FixedStart, 2)).learn(160)
    model.save(tmp_path / "model", include=["replay_buffer"])
    loaded = UDRLPG.load(tmp_path / "model", make_vec(FixedStart, 2), device=DEVICE, trusted=[])
    np.testing.assert_array_equal(loaded.hindsight.weights, model.hindsight.weights)
    loaded.learn(80, reset_num_timesteps=False)
    assert loaded.hindsight.n_episodes > model.hindsight.n_episodes


def test_a_model_without_its_policies_goes_on(tmp_path):
    model = tiny_generator(make_vec(FixedStart, 2)).learn(160)
    model.save(tmp_path / "model")
    loaded = UDRLPG.load(tmp_path / "model", make_vec(FixedStart, 3), device=DEVICE)
    loaded.learn(160, reset_num_timesteps=False)
    assert loaded.num_timesteps == 322 and loaded._n_updates > model._n_updates


def test_damaged_buffers_are_refused_and_nothing_changes(tmp_path):
    model = tiny_generator(make_vec(FixedStart, 2)).learn(160)
    model.hindsight._rows["counts"][0] = 0
    model.save_replay_buffer(tmp_path / "buffer")
    other = tiny_generator(make_vec(FixedStart, 2)).learn(80)
    before = other.hindsight.weights.copy()
    with pytest.raises(ValueError, match="numbers of episodes"):
        other.load_replay_buffer(tmp_path / "buffer")
    np.testing.assert_array_equal(other.hindsight.weights, before)


def test_the_same_seed_gives_the_same_run():
    first, second, third = (tiny_generator(make_vec(FixedStart, 2), seed=seed).learn(160) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.hindsight.weights, second.hindsight.weights)
    assert (
        first.hindsight.weights.shape != third.hindsight.weights.shape
        or (first.hindsight.weights != third.hindsight.weights).any()
    )


@pytest.mark.parametrize("sampler", ["beyond_best", "adaptive", "joint", "mean_plus_std", "quantile", "curriculum", "fixed"])
def test_command_samplers(sampler):
    kwargs = {"desired_return": 3.0} if sampler == "fixed" else None
    model = tiny_generator(make_vec(FixedStart, 2), command_sampler=sampler, command_sampler_kwargs=kwargs).learn(160)
    assert len(model.outcomes) > 0
    if sampler == "fixed":
        assert set(model.outcomes.asked("return")) == {3.0} and model.policy.own_command()["return"] == 3.0


@pytest.mark.parametrize("sampling", ["weighted_bands", "even_bands", "weighted", "uniform"])
def test_every_strategy_of_sampling(sampling):
    assert tiny_generator(make_vec(FixedStart, 2), sampling=sampling).learn(160)._n_updates > 0


def test_observations_that_are_not_flat_are_refused():
    with pytest.raises(NotImplementedError, match="FlattenObservation"):
        tiny_generator(SimpleMultiObsEnv())
    with pytest.raises(NotImplementedError, match="holds pictures"):
        tiny_generator(FakeImageEnv(screen_height=36, screen_width=36, n_channels=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_policies": 1}, "initial_policies=1: must be at least 2"),
        ({"buffer_size": 40.5}, "buffer_size=40.5: must be at least 2, a whole number"),
        ({"initial_policies": 50, "buffer_size": 40}, "at most buffer_size=40"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"reevaluation": 1.0}, "reevaluation=1.0"),
        ({"practice": -0.1}, "practice=-0.1"),
        ({"measuring": 1.0}, "measuring=1.0"),
        ({"episodes_per_policy": 0}, "episodes_per_policy=0"),
        ({"survival_bonus": float("inf")}, "survival_bonus=inf"),
        ({"sampling": "best"}, "choose one of"),
        ({"policy_kwargs": {"generator": "big"}}, "generator='big': choose one of"),
        ({"policy_kwargs": {"generator_kwargs": {"depth": 2}}}, "do not fit PlainGenerator"),
        ({"policy_kwargs": {"depth": 2}}, "takes no depth"),
        ({"train_freq": 0}, "train_freq=0"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UDRLPG("MlpPolicy", make_vec(Scripted), **{**TINY, **arguments})


def test_what_sb3_cannot_choose_is_not_exported():
    env = make_vec(AnySpaces, observation_space=SPACES[0], action_space=spaces.Discrete(3, start=1))
    model = tiny_generator(env).learn(60)
    assert set(model.predict(observations_of(SPACES[0]))[0]) <= {1, 2, 3}
    with pytest.raises(NotImplementedError, match="count choices from zero"):
        model.generate_policy(0.0)


@pytest.mark.parametrize(("offset", "fits"), [(1e4, True), (1e7, False)])
def test_what_single_precision_cannot_read_is_not_exported(offset, fits):
    space = spaces.Box(offset - 1, offset + 1, (2,), np.float64)
    model = tiny_generator(make_vec(AnySpaces, observation_space=space, action_space=spaces.Discrete(3))).learn(60)
    if fits:
        model.generate_policy(0.0)
    else:
        with pytest.raises(NotImplementedError, match="subtract a constant"):
            model.generate_policy(0.0)


def test_a_model_that_stored_no_policy_yet_has_no_best_policy():
    model = tiny_generator(make_vec(FixedStart)).learn(18)  # the warm-up is over, its episodes were not stored
    assert model.policy.input_scale.frozen and model.hindsight.n_episodes == 0
    with pytest.raises(ValueError, match="has met no policy yet"):
        model.best_policy()


def test_a_generator_needs_an_environment():
    with pytest.raises(ValueError, match="env=None: give an environment, or its id"):
        tiny_generator(None)


@pytest.mark.parametrize("net_arch", [{"pi": [32], "vf": [32]}, [0], [8.0], 32])
def test_sizes_of_hidden_layers_are_a_list(net_arch):
    with pytest.raises(ValueError, match=r"net_arch=.*: give a list of the sizes of hidden layers"):
        tiny_generator(make_vec(FixedStart), policy_kwargs={"net_arch": net_arch})


def test_a_command_that_is_fixed_changes_nothing_that_is_measured():
    cards = []
    for fixed in (False, True):
        model = tiny_generator(make_vec(FixedStart, 2), measuring=0.4)
        if fixed:
            model.set_command(-7.0)
        cards.append(model.learn(800).score_card.to_plain())
    assert len(cards[0]["greedy"]) > 10 and cards[0] == cards[1]
