"""Forests as behavior functions: they learn, at their own pace, and keep every action possible."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import TINY, hindsight, make_vec, tiny_model
from probe_envs import AnySpaces, CostlySteps, Scripted, TellingArms, TwoArms, TwoPaths
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.commands import make_command
from sb3_udrl.evaluation import evaluate_policy
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.policies import FitOptions
from sb3_udrl.zoo import __main__ as zoo_main

OPTIONS = FitOptions(1, 1, 0.0)
FEW_TREES = {"estimator_kwargs": {"n_estimators": 10, "min_samples_leaf": 5}}
ACTIONS = {
    "discrete": spaces.Discrete(3),
    "shifted discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "table of multi-discrete": spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[4, -2], [0, 1]]),
    "table of binary": spaces.MultiBinary([2, 2]),
    "box": spaces.Box(-2, 3, (2,)),
    "double box": spaces.Box(-2, 3, (2,), np.float64),
    "table box": spaces.Box(-2, 3, (2, 3)),
    "scalar box": spaces.Box(-1, 1, ()),
}
OBSERVATIONS = {
    "vector": spaces.Box(-5, 5, (3,)),
    "discrete": spaces.Discrete(7),
    "binary": spaces.MultiBinary(4),
    "image": spaces.Box(0, 255, (3, 8, 8), np.uint8),
    "dict": spaces.Dict({"vector": spaces.Box(-5, 5, (3,), np.float64), "number": spaces.Discrete(3)}),
}


def forest_model(env, estimator=None, **kwargs):
    policy_kwargs = {**FEW_TREES, **kwargs.pop("policy_kwargs", {})}
    if estimator is not None:
        policy_kwargs |= {"estimator": estimator, "estimator_kwargs": None}
    settings = {"commands": "absolute", "learning_starts": 64, "train_freq": 16, "seed": 0, "device": "cpu", **kwargs}
    return UDRL("ForestPolicy", env, policy_kwargs=policy_kwargs, **settings)


def policy(action_space, n_inputs=1, **kwargs):
    return ForestPolicy(spaces.Box(-1e6, 1e6, (n_inputs,)), action_space, lambda _: 0.0, **{**FEW_TREES, **kwargs})


def buffer_of(actions, action_space, observations=None, rewards=None, **kwargs):
    """Episodes of ten steps; observations count up."""
    actions = np.asarray(actions)
    n = len(actions)
    observations = np.arange(n, dtype=np.float32)[:, None] if observations is None else observations
    rewards = np.zeros(n, np.float32) if rewards is None else rewards
    buffer = EpisodicReplayBuffer(n, spaces.Box(-1e6, 1e6, observations.shape[1:]), action_space, seed=0, **kwargs)
    for start in range(0, n, 10):
        steps = slice(start, start + 10)
        buffer.add(Episode(observations[steps], actions[steps], rewards[steps]))
    return buffer


def examples_of(*args, **kwargs):
    """The same with what the episodes show."""
    return hindsight(buffer_of(*args, **kwargs))


def command_of(n, desired_return=0.0):
    return make_command(desired_return, 5, n)


# Learning


def probabilities(forest, observations, command):
    return forest.outputs(np.concatenate((observations, forest.command_space.inputs(command)), axis=1, dtype=np.float32))


def solves(env_class, commands_and_achieved, **kwargs):
    settings = {"estimator_kwargs": {"n_estimators": 20, "min_samples_leaf": 1}}
    model = UDRL(
        "ForestPolicy",
        make_vec(env_class),
        learning_starts=300,
        train_freq=100,
        command_sampler="quantile",
        command_sampler_kwargs={"low": 0.0},
        policy_kwargs=settings,
        seed=0,
        device="cpu",
    ).learn(900)
    env = make_vec(env_class)
    for command, achieved in commands_and_achieved:
        assert evaluate_policy(model, env, 10, command=command)[0] == achieved, command


def test_it_obeys_commands_for_return():
    solves(TwoArms, [((0, 1), 0), ((1, 1), 1)])


def test_it_looks_at_observation_and_command():
    solves(TellingArms, [((0, 1), 0), ((1, 1), 1)])


def test_it_obeys_commands_for_horizon():
    solves(TwoPaths, [((1, 2), 1), ((5, 6), 5)])


def test_it_follows_the_remaining_command():
    solves(CostlySteps, [((-1, 1), -1), ((-3, 3), -3)])


def test_it_learns_from_relative_commands():
    model = forest_model(
        make_vec(TellingArms), commands="relative", learning_starts=300, label_kwargs={"advantage": {"n_neighbors": 20}}
    )
    model.learn(600)
    assert model.policy.command_space.names == ("advantage",)
    assert evaluate_policy(model, make_vec(TellingArms), 20)[0] == 1


def test_it_fits_all_transitions():
    actions = np.arange(200) // 100
    forest = policy(spaces.Discrete(2), estimator_kwargs={"n_estimators": 10, "min_samples_leaf": 1})
    report = forest.fit(examples_of(actions, spaces.Discrete(2)), OPTIONS)
    assert report.n_updates == 1
    assert report.metrics == {"accuracy": 1.0, "n_examples": 200}
    done = forest.act(np.arange(200, dtype=np.float32)[:, None], command_of(200), deterministic=True)
    assert (done == actions).mean() > 0.95  # commands differ from those that were learned


def test_max_transitions():
    forest = policy(spaces.Discrete(2), max_transitions=50)
    assert forest.fit(examples_of(np.arange(200) % 2, spaces.Discrete(2)), OPTIONS).metrics["n_examples"] == 50


@pytest.mark.parametrize("estimator", [None, KNeighborsClassifier(n_neighbors=40)], ids=["weighted", "drawn"])
def test_the_sampling_of_the_buffer_decides_what_counts(estimator):
    """The same situation everywhere; action 1 in episodes that are worth more."""
    actions = (np.arange(400) // 10) % 2
    observations, rewards = np.zeros((400, 1), np.float32), np.zeros(400, np.float32)
    kwargs = {} if estimator is None else {"estimator": estimator, "estimator_kwargs": None}
    shares = {}
    for sampling in ("transitions", "return"):
        rewards = actions.astype(np.float32) * 1e-6  # too little for the commands to tell
        buffer = buffer_of(actions, spaces.Discrete(2), observations, rewards, sampling=sampling, sampling_temperature=0.5)
        forest = policy(spaces.Discrete(2), **kwargs, max_transitions=None)
        forest._template.set_params(**({"max_depth": 1} if estimator is None else {}))
        forest.fit(hindsight(buffer), OPTIONS)
        commands = [command_of(1, desired_return=value) for value in (0, 1e-5)]
        shares[sampling] = np.mean([probabilities(forest, observations[:1], command)[0, 0, 1] for command in commands])
    assert shares["return"] > shares["transitions"] + 0.2


# Its own pace


def paces(buffer_sizes, **kwargs):
    """After which sizes of the buffer it was fitted."""
    space = spaces.Discrete(2)
    buffer = EpisodicReplayBuffer(60, spaces.Box(-1e6, 1e6, (1,)), space, seed=0)
    forest, fitted = policy(space, **kwargs), []
    for size in range(10, max(buffer_sizes) + 1, 10):
        buffer.add(Episode(np.full((10, 1), size, np.float32), np.arange(10) % 2, np.zeros(10)))
        if forest.fit(hindsight(buffer), OPTIONS).n_updates:
            fitted.append(size)
    return fitted


def test_it_is_fitted_again_when_the_data_grew_by_a_share():
    assert paces(range(150), refit_share=1.0) == [10, 20, 40, 80, 140]  # 60 are kept
    assert paces(range(60), refit_share=0.01) == [10, 20, 30, 40, 50]


def test_it_is_fitted_again_after_so_many_episodes():
    assert paces(range(100), refit_episodes=4) == [10, 50, 90]


def test_new_trees_take_the_place_of_the_oldest():
    forest = policy(spaces.Discrete(3), new_trees=3)
    forest.fit(examples_of(np.arange(100) % 2, spaces.Discrete(3)), OPTIONS)
    before = forest.learned.estimator
    old = list(before.estimators_)
    forest.fit(examples_of(np.arange(200) // 100, spaces.Discrete(3)), OPTIONS)
    after = forest.learned.estimator
    assert before.estimators_ == old and len(after.estimators_) == after.n_estimators == 10
    assert after.estimators_[:7] == old[3:] and not set(after.estimators_[7:]) & set(old)
    situations = np.arange(200, dtype=np.float32)[:, None]
    new = np.mean([tree.predict_proba(np.c_[situations, np.zeros((200, 2))])[:, 1] for tree in after.estimators_[7:]], axis=0)
    assert new[:90].max() < 0.2 and new[110:].min() > 0.8  # they learned from the present data
    # and none is kept that knows other actions
    forest.fit(examples_of(np.arange(300) % 3, spaces.Discrete(3)), OPTIONS)
    assert not set(forest.learned.estimator.estimators_) & set(after.estimators_)


def test_more_new_trees_than_there_are():
    forest = policy(spaces.Discrete(2), new_trees=1000)
    for _ in range(2):
        forest.fit(examples_of(np.arange(100) % 2, spaces.Discrete(2)), OPTIONS)
        assert len(forest.learned.estimator.estimators_) == 10


def test_only_forests_exchange_trees():
    for unsuitable in ({"estimator": "sklearn.tree.DecisionTreeClassifier", "estimator_kwargs": None}, {"standardize": True}):
        with pytest.raises(ValueError, match="new_trees=5: only random forests and extra trees of discrete actions"):
            policy(spaces.Discrete(2), new_trees=5, **unsuitable)
    with pytest.raises(ValueError, match="new_trees=5: only random forests and extra trees of discrete actions"):
        policy(spaces.Box(-1, 1, (1,)), new_trees=5)


def test_a_loaded_model_without_its_buffer_waits_for_data():
    forest = policy(spaces.Discrete(2), refit_share=0.5)
    forest.fit(examples_of(np.arange(100) % 2, spaces.Discrete(2)), OPTIONS)
    assert forest.fit(examples_of(np.arange(40) % 2, spaces.Discrete(2)), OPTIONS).n_updates == 0
    assert forest.fit(examples_of(np.arange(50) % 2, spaces.Discrete(2)), OPTIONS).n_updates == 1


def test_same_seed_same_forest():
    first, second, other = (forest_model(make_vec(Scripted), seed=seed).learn(150) for seed in (1, 1, 2))
    assert first._n_updates > 1

    def trees(model):
        return [tree.tree_.threshold.tolist() for tree in model.policy.learned.estimator.estimators_]

    assert trees(first) == trees(second) != trees(other)


# Actions


def test_actions_that_the_data_lack_keep_a_place():
    space = spaces.Discrete(4, start=10)
    forest = policy(space, smoothing=0.2)
    forest.fit(examples_of(np.where(np.arange(300) % 3, 11, 13), space), OPTIONS)
    observations, command = np.zeros((40_000, 1), np.float32), command_of(40_000)
    raw = probabilities(forest, observations[:1], command.rows(slice(1)))[0, 0]
    assert raw[[0, 2]].tolist() == [0, 0] and raw.sum() == pytest.approx(1)
    drawn = forest.act(observations, command)
    frequencies = np.bincount(drawn - 10, minlength=4) / len(drawn)
    np.testing.assert_allclose(frequencies, 0.8 * raw + 0.2 / 4, atol=0.01)
    assert set(forest.act(observations, command, deterministic=True)) == {10 + raw.argmax()}


def test_components_of_different_size():
    space = spaces.MultiDiscrete([2, 4])
    actions = np.stack((np.arange(200) % 2, 3 * (np.arange(200) % 2)), axis=1)
    forest = policy(space, smoothing=1.0)
    forest.fit(examples_of(actions, space), OPTIONS)
    drawn = forest.act(np.zeros((4000, 1), np.float32), command_of(4000))
    assert drawn.dtype == space.dtype
    for column, n in zip(drawn.T, (2, 4), strict=True):
        np.testing.assert_allclose(np.bincount(column, minlength=n) / 4000, 1 / n, atol=0.04)


def test_temperature():
    space = spaces.Discrete(2)
    forest = policy(space, smoothing=0.0, estimator_kwargs={"n_estimators": 5, "max_depth": 1})
    observations = np.zeros((1000, 1), np.float32)
    forest.fit(examples_of((np.arange(1000) % 4 == 0).astype(int), space, observations), OPTIONS)
    draw = forest.actor(np.random.default_rng(0))
    share = {t: draw(observations, command_of(1000), np.full((1000, 1), t)).mean() for t in (0.0, 0.5, 1.0)}
    assert share[0.0] == 0
    assert share[0.5] == pytest.approx(0.1, abs=0.04)  # 1 : 9 instead of 1 : 3
    assert share[1.0] == pytest.approx(0.25, abs=0.06)


def test_the_deviation_of_continuous_actions_is_measured():
    space = spaces.Box(-100, 100, (2,))
    rng = np.random.default_rng(0)
    position = rng.uniform(-1, 1, 4000)
    means = np.stack((10 * np.sign(position), np.full(4000, 3.0)), axis=1)
    actions = (means + rng.normal(0, [0.5, 4.0], (4000, 2))).astype(np.float32)
    forest = policy(space, estimator_kwargs={"n_estimators": 20, "min_samples_leaf": 100})
    observations = position[:, None].astype(np.float32)
    report = forest.fit(examples_of(actions, space, observations), OPTIONS)
    assert report.metrics["n_examples"] == 4000
    learned = forest.learned.deviation
    assert learned[1] == pytest.approx(4.0, rel=0.1)
    assert 0.5 < learned[0] < 2  # the edge at zero is blurred
    there = np.full((2000, 1), 0.9, np.float32)
    drawn = forest.act(there, command_of(2000))
    np.testing.assert_allclose(drawn.mean(0), [10, 3], atol=0.5)
    np.testing.assert_allclose(drawn.std(0), learned, rtol=0.1)
    greedy = forest.act(there, command_of(2000), deterministic=True)
    assert np.ptp(greedy, axis=0).tolist() == [0, 0]


def test_overfitting_does_not_hide_the_deviation():
    """Trees that remember every example err on the ones that they have not seen."""
    space = spaces.Box(-100, 100, (1,))
    rng = np.random.default_rng(0)
    actions = rng.normal(0, 2, (2000, 1)).astype(np.float32)
    observations = rng.uniform(-1, 1, (2000, 1)).astype(np.float32)
    forest = policy(space, estimator_kwargs={"n_estimators": 10, "min_samples_leaf": 1})
    forest.fit(examples_of(actions, space, observations), OPTIONS)
    assert forest.learned.deviation[0] > 2


@pytest.mark.parametrize("action_space", ACTIONS.values(), ids=ACTIONS)
def test_before_the_first_fit_all_actions_are_possible(action_space):
    forest = ForestPolicy(OBSERVATIONS["vector"], action_space, lambda _: 0.0)
    actions, _ = forest.predict(np.zeros((200, 3), np.float32))
    assert all(action_space.contains(action if action.shape else action[()]) for action in actions)
    assert len(np.unique(actions)) > 1
    forest.predict(np.zeros(3, np.float32), deterministic=True)


def check_spaces(observation_space, action_space):
    arguments = {"observation_space": observation_space, "action_space": action_space, "length": 8}
    model = forest_model(make_vec(AnySpaces, 2, **arguments), warm_up="mixed", epsilon=0.2).learn(160)
    assert model._n_updates > 1
    env = make_vec(AnySpaces, 2, **arguments)
    evaluate_policy(model, env, 2)
    evaluate_policy(model, env, 2, deterministic=False)
    action, _ = model.predict(observation_space.sample())
    assert action_space.contains(action if action.shape else np.asarray(action)[()])


@pytest.mark.parametrize("action_space", ACTIONS.values(), ids=ACTIONS)
def test_action_spaces(action_space):
    check_spaces(OBSERVATIONS["vector"], action_space)


@pytest.mark.parametrize("observation_space", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_observation_spaces(observation_space):
    check_spaces(observation_space, ACTIONS["discrete"])


# Bad input


def test_a_single_action():
    """It is learned as a constant; the others keep their share of the smoothing."""
    forest = policy(spaces.Discrete(2), smoothing=0.02)
    forest.fit(hindsight(buffer_of(np.ones(100, int), spaces.Discrete(2))), OPTIONS)
    assert (forest.predict(np.zeros((50, 1), np.float32), deterministic=True)[0] == 1).all()
    drawn, _ = forest.predict(np.zeros((10_000, 1), np.float32))
    assert (drawn == 0).mean() == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite(value):
    model = forest_model(make_vec(Scripted)).learn(100)
    with pytest.raises(ValueError, match=rf"observation\[1\] is {value}: it must be finite"):
        model.predict(np.array([0, value], np.float32))
    with pytest.raises(ValueError, match="observation or the command holds NaN or infinity"):
        model.policy.act(np.array([[0, value]], np.float32), model.policy.own_command())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"refit_share": 0}, "refit_share=0: must be positive"),
        ({"refit_episodes": 0}, "refit_episodes=0: must be at least 1, or None"),
        ({"new_trees": 0}, "new_trees=0: must be at least 1, or None"),
        ({"max_transitions": 0}, "max_transitions=0: must be at least 1, or None"),
        ({"smoothing": 1.5}, "smoothing=1.5: must be between 0 and 1"),
        ({"n_jobs": 0}, "n_jobs=0: must be at least 1, or -1"),
    ],
)
def test_arguments_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message):
        forest_model(make_vec(Scripted), policy_kwargs=kwargs)


def test_an_instance_is_left_as_it_was():
    estimator = RandomForestClassifier(3)
    model = forest_model(make_vec(Scripted), estimator).learn(100)
    assert not hasattr(estimator, "estimators_") and estimator.random_state is None
    assert len(model.policy.learned.estimator.estimators_) == 3


def test_other_policies_are_still_found_by_name():
    assert type(tiny_model(make_vec(Scripted)).policy).__name__ == "CommandPolicy"
    with pytest.raises(ValueError, match="Policy TreePolicy unknown"):
        UDRL("TreePolicy", make_vec(Scripted))


def test_through_the_zoo(monkeypatch, tmp_path):
    """Its arguments as the Zoo's command line and YAML files give them."""
    monkeypatch.chdir(tmp_path)
    policy_kwargs = "dict(estimator='sklearn.ensemble.ExtraTreesClassifier', estimator_kwargs=dict(n_estimators=3))"
    settings = ["policy:'ForestPolicy'", f'policy_kwargs:"{policy_kwargs}"', "n_envs:2", "learning_starts:100"]
    zoo = ["--algo", "udrl", "--env", "CartPole-v1", "-f", "logs"]
    zoo_main.main(["train", *zoo, "-n", "400", "--eval-freq", "-1", "--device", "cpu", "-params", *settings])
    zoo_main.main(["enjoy", *zoo, "-n", "20", "--no-render", "--device", "cpu"])
    model = UDRL.load(tmp_path / "logs/udrl/CartPole-v1_1/CartPole-v1.zip", trusted=[])
    striving = model.policy.striving
    assert isinstance(striving, ForestPolicy) and len(striving.learned.estimator.estimators_) == 3


class AlwaysOne(ForestPolicy):
    def act(self, observation, command, deterministic=False, temperature=None):
        return np.ones_like(super().act(observation, command, deterministic, temperature))


def test_a_forest_that_acts_in_its_own_way_does_so_while_collecting():
    model = UDRL(AlwaysOne, make_vec(TwoArms), **{**TINY, "policy_kwargs": FEW_TREES}).learn(64)
    before = model.replay_buffer.n_episodes
    model.learn(32, reset_num_timesteps=False)
    played = [model.replay_buffer.episode(i).actions for i in range(before, model.replay_buffer.n_episodes)]
    assert len(played) > 4 and all((actions == 1).all() for actions in played)
