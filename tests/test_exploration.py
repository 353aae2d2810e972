"""The warm-up, and how actions are drawn while collecting."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import Recorder, make_vec, tiny_model
from probe_envs import Perseverance, Scripted, TellingArms

from sb3_udrl.exploration.warm_up import WARM_UPS, NetworkWarmUp, StickyWarmUp, make_warm_up, uniform_actions

ACTION_SPACES = [
    spaces.Discrete(4),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiDiscrete([[3, 2], [4, 5]]),
    spaces.MultiDiscrete([3, 2], start=[10, -5]),
    spaces.MultiBinary(3),
    spaces.MultiBinary([2, 3]),
    spaces.Box(-2, 3, (2,)),
    spaces.Box(np.array([0, -5], np.float32), np.array([1, 5], np.float32)),
    spaces.Box(-1, 1, (2, 3), np.float64),
    spaces.Box(-np.inf, np.inf, (2,)),
    spaces.Box(0, np.inf, (2,)),
]


def make(name, space=ACTION_SPACES[0], n_envs=4, seed=0):
    return make_warm_up(name, space, n_envs, np.random.default_rng(seed))


def run(warm_up, n_steps, n_envs=4, length=10):
    """Actions of ``n_steps`` steps in episodes of ``length`` steps, ``(n_steps, n_envs, *action_shape)``."""
    rng = np.random.default_rng(1)
    starts = [np.full(n_envs, t % length == 0) for t in range(n_steps)]
    return np.stack([warm_up(rng.standard_normal((n_envs, 3)), start) for start in starts])


@pytest.mark.parametrize("space", ACTION_SPACES, ids=str)
@pytest.mark.parametrize("name", WARM_UPS)
def test_every_action_belongs_to_the_space(name, space):
    actions = run(make(name, space), 100)
    assert actions.shape == (100, 4, *space.shape)
    for action in actions.reshape(400, *space.shape):
        assert space.contains(action if space.shape else np.int64(action))


@pytest.mark.parametrize("space", ACTION_SPACES, ids=str)
@pytest.mark.parametrize("name", WARM_UPS)
def test_every_component_varies(name, space):
    actions = run(make(name, space), 300, length=5).reshape(1200, -1)
    assert (actions.max(0) > actions.min(0)).all()


def test_uniform_draws_are_uniform():
    rng = np.random.default_rng(0)
    drawn = uniform_actions(spaces.Discrete(4, start=2), 8_000, rng)
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 8_000, [0, 0, 0.25, 0.25, 0.25, 0.25], atol=0.02)
    drawn = uniform_actions(spaces.Box(-2, 6, (1,)), 8_000, rng)
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), [0, 2, 4], atol=0.2)
    drawn = uniform_actions(spaces.Box(-np.inf, np.inf, (1,)), 8_000, rng)
    assert drawn.mean() == pytest.approx(0, abs=0.05) and drawn.std() == pytest.approx(1, abs=0.05)


def test_normal_draws_are_small():
    drawn = run(make("normal", spaces.Box(-2, 6, (1,))), 2_000)
    assert drawn.mean() == pytest.approx(2, abs=0.05) and drawn.std() == pytest.approx(0.8, abs=0.03)
    drawn = run(make("normal", spaces.Box(-np.inf, np.inf, (1,))), 2_000)
    assert drawn.mean() == pytest.approx(0, abs=0.01) and drawn.std() == pytest.approx(0.2, abs=0.01)
    uneven = run(make("normal", spaces.Box(np.array([0, -5], np.float32), np.array([1, 5], np.float32))), 2_000)
    np.testing.assert_allclose(uneven.std((0, 1)), [0.1, 1.0], rtol=0.05)
    whole = run(make("normal", spaces.Box(100, 200, (1,), np.uint8)), 2_000)  # whose sum is no uint8
    assert whole.mean() == pytest.approx(150, abs=1) and whole.std() == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3)], ids=str)
def test_normal_means_uniform_where_actions_are_not_continuous(space):
    np.testing.assert_array_equal(run(make("normal", space), 20), run(make("uniform", space), 20))


def test_sticky_actions_repeat():
    actions = run(make("sticky", spaces.Box(-1, 1, (1,))), 2_000, length=50)[..., 0]
    repeats = actions[1:] == actions[:-1]
    within = np.arange(1, 2_000) % 50 != 0
    assert 0.8 < repeats[within].mean() < 0.98
    assert not repeats[~within].any()  # a new episode starts with a new action


def test_sticky_stickiness_differs_between_episodes():
    warm_up = make("sticky", n_envs=200)
    warm_up(np.zeros((200, 1)), np.ones(200, bool))
    assert warm_up.stickiness.min() < 0.88 and warm_up.stickiness.max() > 0.95
    before = warm_up.stickiness.copy()
    warm_up(np.zeros((200, 1)), np.arange(200) < 100)
    assert (warm_up.stickiness[:100] != before[:100]).all()
    np.testing.assert_array_equal(warm_up.stickiness[100:], before[100:])


def test_returned_actions_do_not_change_later():
    warm_up = make("sticky", spaces.Box(-1, 1, (1,)))
    first = warm_up(np.zeros((4, 1)), np.ones(4, bool))
    kept = first.copy()
    for _ in range(50):
        warm_up(np.zeros((4, 1)), np.ones(4, bool))
    np.testing.assert_array_equal(first, kept)


def test_random_networks_act_on_what_they_see():
    n_envs = 20
    warm_up = NetworkWarmUp(spaces.Box(-1, 1, (1,)), n_envs, np.random.default_rng(0))
    rng, later, half = np.random.default_rng(1), np.zeros(n_envs, bool), np.arange(n_envs) < n_envs // 2
    warm_up(rng.standard_normal((n_envs, 3)), np.ones(n_envs, bool))
    for _ in range(200):
        warm_up(rng.standard_normal((n_envs, 3)), later)
    seen = rng.standard_normal((n_envs, 3))
    first = warm_up(seen, later)
    np.testing.assert_allclose(warm_up(seen, later), first, atol=0.05)  # the same network, the same action
    others = [warm_up(rng.standard_normal((n_envs, 3)), later) for _ in range(50)]
    assert (np.std(others, axis=0) > 0.05).all()  # other observations, other actions
    renewed = np.abs(warm_up(seen, half) - first)[:, 0]  # new networks in one half
    assert np.median(renewed[half]) > 0.2 and renewed[~half].max() < 0.05


def test_random_networks_differ_where_nothing_is_ever_seen():
    """An observation that never changes must not always lead to the first action."""
    warm_up = NetworkWarmUp(spaces.Discrete(3), 30, np.random.default_rng(0))
    assert len(np.unique(warm_up(np.ones((30, 1)), np.ones(30, bool)))) == 3


def test_random_networks_take_dictionaries_images_and_numbers():
    warm_up = NetworkWarmUp(spaces.Discrete(3), 2, np.random.default_rng(0))
    seen = {"image": np.zeros((2, 1, 4, 4), np.uint8), "number": np.array([1, 2])}
    assert warm_up(seen, np.ones(2, bool)).shape == (2,)


def test_mixed_takes_turns_over_environments_and_episodes():
    """With three behaviors, an environment shows each of them within three episodes, and neighbours differ."""
    space = spaces.Box(-1, 1, (1,))
    warm_up = make("mixed", space, n_envs=3)
    turns = []
    for _ in range(3):
        warm_up(np.zeros((3, 2)), np.ones(3, bool))
        turns.append(warm_up.turns % 3)
    assert all(sorted(row) == [0, 1, 2] for row in turns)
    assert all(sorted(column) == [0, 1, 2] for column in np.transpose(turns))
    kinds = [type(behavior) for behavior in warm_up.behaviors]
    assert StickyWarmUp in kinds and NetworkWarmUp in kinds


@pytest.mark.parametrize("name", WARM_UPS)
def test_the_same_seed_acts_the_same(name):
    np.testing.assert_array_equal(run(make(name), 50), run(make(name), 50))
    assert (run(make(name), 50) != run(make(name, seed=1), 50)).any()


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"warm_up='random': choose one of \['mixed', .* or pass a function"):
        tiny_model(make_vec(Scripted), warm_up="random")


def played_actions(model, n_steps, **kwargs):
    taken = []
    model.learn(n_steps, callback=Recorder(lambda callback: taken.append(callback.locals["actions"].copy())), **kwargs)
    return np.array(taken)


def test_a_callable_decides_what_is_done():
    calls = []

    def alternate(observations, starts):
        calls.append((observations.copy(), starts.copy()))
        return observations[:, 1].astype(int) % 2

    model = tiny_model(make_vec(Scripted, 2, lengths=(3, 5)), learning_starts=1000, warm_up=alternate)
    actions = played_actions(model, 32)
    observations, starts = (np.array(column) for column in zip(*calls, strict=True))
    np.testing.assert_array_equal(actions, observations[..., 1] % 2)
    np.testing.assert_array_equal(starts, observations[..., 1] == 0)


def test_warm_up_lasts_until_there_is_something_to_act_on():
    """Every episode that begins before the first training is played without a command, and to its end."""
    model = tiny_model(
        make_vec(Scripted, lengths=(7,)), learning_starts=20, train_freq=20, warm_up=lambda obs, starts: np.array([1])
    )
    actions = played_actions(model, 200)[:, 0]
    assert (actions[:21] == 1).all()  # the third episode ends after 21 steps
    assert (actions[21:] == 0).any()


@pytest.mark.parametrize("seed", range(4))
def test_warm_up_does_not_share_its_random_numbers_with_the_environment(seed):
    """Seeded alike, both would draw the same bits, and chance would always pick the paying arm (or never)."""
    model = tiny_model(make_vec(TellingArms), learning_starts=1000, seed=seed).learn(300)
    assert model.replay_buffer.returns.mean() == pytest.approx(0.5, abs=0.15)


def test_zero_temperature_acts_greedily_and_full_epsilon_randomly():
    def share_of_greedy(**kwargs):
        model = tiny_model(make_vec(Scripted, 2), learning_starts=20, train_freq=10, gradient_steps=1, **kwargs)
        agreed = []

        def compare(callback):
            if not model._running.warm_up.any():
                greedy = model.predict(model._last_obs, deterministic=True, command=model._running.command)[0]
                agreed.append(greedy == callback.locals["actions"])

        model.learn(600, callback=Recorder(compare))
        return np.mean(agreed, axis=0)

    np.testing.assert_array_equal(share_of_greedy(temperature=0.0), [1, 1])
    first, second = share_of_greedy(temperature=[0.0, 1.0])  # dealt out over the environments
    assert first == 1 and second < 0.9
    first, second = share_of_greedy(temperature=0.0, epsilon=[0.0, 1.0])
    assert first == 1 and 0.35 < second < 0.65


def test_box_actions_that_are_collected_respect_the_bounds():
    space = spaces.Box(-0.01, 0.02, (2,))  # the environment complains otherwise
    policy_kwargs = {"box_head": "gaussian"}
    env = make_vec(Scripted, 2, action_space=space)
    actions = played_actions(tiny_model(env, policy_kwargs=policy_kwargs, epsilon=0.3), 200)
    assert actions.min() >= space.low[0] and actions.max() <= space.high[0]


# While all episodes are alike


@pytest.mark.parametrize(("lengths", "goes_on"), [((4,), True), ((4, 4, 4, 5), False), (range(3, 30), False)])
def test_the_warm_up_goes_on_while_all_episodes_are_alike(lengths, goes_on):
    """No command could ask for more; learning begins as it would otherwise."""
    model = tiny_model(make_vec(Scripted, lengths=lengths, rewards=(0,)), learning_starts=20).learn(200)
    assert model._n_updates > 0
    assert model._running.warm_up.all() == goes_on
    assert (len(model.outcomes) == 0) == goes_on


def test_a_warm_up_that_was_left_does_not_come_back():
    """Five episodes differ from all that come later, and are forgotten soon."""
    env = make_vec(Scripted, lengths=(*[3] * 5, *[4] * 100), rewards=(0,))
    model = tiny_model(env, learning_starts=8, replay_buffer_kwargs={"max_episodes": 12}).learn(200)
    assert not model.replay_buffer.has_differences() and not model._running.warm_up.any()


def test_uniform_actions_are_mixed_with_others_when_the_warm_up_goes_on():
    """Networks, which always do the same in the same situation, and sticky actions play two of three episodes."""
    env = make_vec(Scripted, lengths=(20,), rewards=(0,))
    model = tiny_model(env, learning_starts=200, replay_buffer_kwargs={"max_episodes": 30}).learn(1_200)
    episodes = [model.replay_buffer.episode(i).actions for i in range(30)]
    changes = [np.count_nonzero(np.diff(actions)) for actions in episodes]
    assert sum(count <= 5 for count in changes) >= 15  # 2 % of the uniform ones
    assert sum(count > 5 for count in changes) >= 5


def test_a_warm_up_of_the_user_s_own_is_kept():
    model = tiny_model(make_vec(Scripted, rewards=(0,)), learning_starts=20, warm_up=lambda obs, starts: np.zeros(1, int))
    model.learn(200)
    assert (model.hindsight.transitions(np.arange(40)).actions == 0).all()


def test_what_uniform_actions_never_find_is_found_all_the_same():
    env, learning = make_vec(Perseverance, 4), {"train_freq": 50, "gradient_steps": 0.5, "learning_rate": 3e-3}
    model = tiny_model(env, commands="relative", learning_starts=100, **learning).learn(8_000)
    assert model.replay_buffer.returns[-50:].mean() > 0.5


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([2, 0], r"warm_up returned the action 2, which is not in Discrete\(2\)"),
        (np.array([1]), r"warm_up returned actions of shape \(1,\): .* needs \(2,\)"),
    ],
)
def test_a_callable_that_decides_for_what_there_is_not_is_refused(returned, message):
    model = tiny_model(make_vec(Scripted, 2), warm_up=lambda observations, starts: returned)
    with pytest.raises(ValueError, match=message):
        model.learn(10)


def test_a_callable_may_return_a_list():
    model = tiny_model(make_vec(Scripted, 2), learning_starts=1000, warm_up=lambda observations, starts: [1, 0])
    assert (played_actions(model, 8) == [1, 0]).all()
