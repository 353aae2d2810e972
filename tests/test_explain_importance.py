"""Importance and command grids of behavior functions whose answers are known."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import make_vec, tiny_model
from probe_envs import AnySpaces, Scripted
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from test_explain_contributions import examples, forest, situations

from sb3_udrl import UDRL
from sb3_udrl.commands import Command, make_command
from sb3_udrl.explain import command_grid, impurity_importance, permutation_importance
from sb3_udrl.explain.decisions import action_outputs, decide
from sb3_udrl.policies import BehaviorPolicy, FitReport

OBSERVATIONS = spaces.Box(-9, 9, (3,))


class Rule(BehaviorPolicy):
    """Does what a function of observations and commands says."""

    def __init__(self, rule, action_space, observation_space=OBSERVATIONS):
        super().__init__(observation_space, action_space)
        self.rule = rule

    def act(self, observation, command, deterministic=False, temperature=None):
        return self.rule(observation, command)

    def fit(self, hindsight, options):
        return FitReport(0, {})


def random_situations(n=400):
    rng = np.random.default_rng(0)
    command = make_command(rng.permutation(n) - n / 2, 1.0 + rng.permutation(n), n)
    return situations(rng.normal(size=(n, 3)).astype(np.float32), command, np.zeros(n))


def test_only_what_the_policy_looks_at_matters():
    policy = Rule(lambda observation, command: (observation[:, 1] > 0).long().numpy(), spaces.Discrete(2))
    found = permutation_importance(policy, random_situations(), ["a", "b", "c"], n_repeats=3)
    assert found.names == ["a", "b", "c", "desired return", "desired horizon", "command"]
    assert found.changes.shape == (6, 3)
    assert not found.changes[[0, 2, 3, 4, 5]].any()
    np.testing.assert_allclose(found.changes[1], 0.5, atol=0.1)  # positive or not, half and half


def test_the_command_matters():
    def both(observation, command):
        return ((command.desired_return > 0) & (command.desired_horizon > 0)).astype(int)

    found = permutation_importance(Rule(both, spaces.Discrete(2)), random_situations())
    by_name = dict(zip(found.names, found.changes, strict=True))
    assert not by_name["desired horizon"].any() and not by_name["observation[0]"].any()
    np.testing.assert_allclose(by_name["desired return"], 0.5, atol=0.1)
    np.testing.assert_allclose(by_name["command"], 0.5, atol=0.1)


def test_return_and_horizon_are_shuffled_together():
    """In these situations, both always agree: only shuffled alone they do not."""
    command = make_command(np.arange(50.0), 1 + np.arange(50.0), 50)
    seen = situations(np.zeros((50, 3), np.float32), command, np.zeros(50))
    policy = Rule(lambda _, c: (c.desired_horizon - c.desired_return != 1).astype(int), spaces.Discrete(2))
    by_name = dict(zip(*permutation_importance(policy, seen), strict=True))
    assert by_name["desired return"].min() > 0.8 and by_name["desired horizon"].min() > 0.8
    assert not by_name["command"].any()


def test_continuous_actions_change_by_an_amount():
    policy = Rule(lambda observation, _: 10 * observation[:, :1].numpy(), spaces.Box(-99, 99, (1,)))
    seen = random_situations(2000)
    found = permutation_importance(policy, seen)
    # The mean distance of two independent standard normal numbers is 2 / sqrt(pi)
    np.testing.assert_allclose(found.changes[0], 20 / np.sqrt(np.pi), rtol=0.05)
    assert not found.changes[1:].any()


def test_components_are_counted_one_by_one():
    policy = Rule(
        lambda observation, _: np.stack(((observation[:, 0] > 0).numpy(), np.ones(len(observation))), 1), spaces.MultiBinary(2)
    )
    np.testing.assert_allclose(permutation_importance(policy, random_situations()).changes[0], 0.25, atol=0.05)


def test_images_are_shuffled_as_a_whole():
    space = spaces.Dict({"image": spaces.Box(0, 255, (1, 4, 4), np.uint8), "number": spaces.Discrete(5)})
    policy = Rule(lambda o, _: (o["image"].float().mean((1, 2, 3)) > 128).long().numpy(), spaces.Discrete(2), space)
    rng = np.random.default_rng(0)
    observations = {"image": rng.integers(2, size=(200, 1, 1, 1), dtype=np.uint8) * np.full((1, 4, 4), 255, np.uint8)}
    observations["number"] = rng.integers(5, size=200)
    seen = situations(np.zeros((200, 1)), make_command(0, 1, 200), np.zeros(200))
    kept = {key: part.copy() for key, part in observations.items()}
    by_name = dict(zip(*permutation_importance(policy, seen._replace(observations=observations)), strict=True))
    assert list(by_name)[:2] == ["image", "number"]
    np.testing.assert_allclose(by_name["image"], 0.5, atol=0.12)
    assert not by_name["number"].any()
    assert all((kept[key] == part).all() for key, part in observations.items())  # nothing is changed


def test_relative_commands_have_no_horizon():
    model = tiny_model(make_vec(Scripted, lengths=(8,)), commands="relative").learn(200)
    command = Command({"advantage": np.linspace(-2, 2, 40)})
    seen = situations(np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32), command, np.zeros(40))
    assert permutation_importance(model, seen).names == ["observation[0]", "observation[1]", "desired advantage"]
    grid = command_grid(model, seen.observations[0], {"advantage": [-1, 1]})
    assert {name: values.tolist() for name, values in grid.axes.items()} == {"advantage": [-1, 1]}
    assert grid.outputs.shape == (1, 2, 1, 2)
    assert command_grid(model, seen.observations[0]).axes["advantage"][[0, -1]].tolist() == [-3, 3]
    with pytest.raises(ValueError, match="asks for horizon, return: this model takes advantage"):
        command_grid(model, seen.observations[0], {"return": [1], "horizon": [2]})


def test_a_grid_of_one_part_is_completed_as_predict_completes_it():
    model = tiny_model(make_vec(Scripted, lengths=(8,)), commands="absolute").learn(200)
    here, returns = np.zeros(2, np.float32), [1.0, 5.0]
    command = model.policy.initial_command(2, {"return": np.array(returns)})
    expected = action_outputs(model.policy, np.stack((here, here)), command)
    np.testing.assert_allclose(command_grid(model, here, {"return": returns}).outputs[0], expected)


def test_wrong_input():
    policy = Rule(lambda observation, _: np.zeros(len(observation)), spaces.Discrete(2))
    with pytest.raises(ValueError, match="names has 2 entries, and an observation 3 numbers"):
        permutation_importance(policy, random_situations(), ["a", "b"])
    with pytest.raises(ValueError, match="n_repeats=0: must be at least 1"):
        permutation_importance(policy, random_situations(), n_repeats=0)
    with pytest.raises(ValueError, match=r"Rule has no feature_importances_.*permutation_importance"):
        impurity_importance(policy)
    neighbors, _ = forest(KNeighborsClassifier(3), spaces.Discrete(2), *examples(0, spaces.Discrete(2)))
    with pytest.raises(ValueError, match="KNeighborsClassifier has no feature_importances_"):
        impurity_importance(neighbors)
    here = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"horizon=0.0: must be at least 1"):
        command_grid(policy, here, {"return": [1], "horizon": [0]})
    with pytest.raises(ValueError, match="the desired horizon is missing: this model takes return and horizon together"):
        command_grid(policy, here, {"return": [1]})
    with pytest.raises(ValueError, match=r"axes=\['return', 'horizon', 'advantage'\]: give one part or two"):
        command_grid(policy, here, {"return": [1], "horizon": [1], "advantage": [1]})
    with pytest.raises(ValueError, match=r"axes=\[\]: give one part or two"):
        command_grid(policy, here, {})


def test_impurity_importance_is_that_of_the_estimator():
    observations, desired_return, desired_horizon, _ = examples(0, spaces.Discrete(2))
    actions = (observations[:, 1] > 0).astype(int)
    policy, _ = forest(
        RandomForestClassifier(5, random_state=0), spaces.Discrete(2), observations, desired_return, desired_horizon, actions
    )
    found = impurity_importance(policy)
    assert found.shape == (5,) and found.argmax() == 1 and found.sum() == pytest.approx(1)


def test_a_grid_of_commands():
    """Action 1 where more is asked for than there are steps."""
    policy = Rule(lambda _, command: (command.desired_return > command.desired_horizon).astype(int), spaces.Discrete(2))
    grid = command_grid(policy, np.zeros(3, np.float32), {"return": [0, 2, 4], "horizon": [1, 3]})
    assert grid.outputs.shape == (2, 3, 1, 2)
    assert grid.outputs[:, :, 0, 1].tolist() == [[0, 1, 1], [0, 0, 1]]
    assert (grid.outputs.sum(3) == 1).all()
    policy.set_command(-10, 20)
    grid = command_grid(policy, np.zeros(3, np.float32))
    # nothing is known of what else was achieved
    assert grid.axes["return"].tolist() == [-10] and grid.axes["horizon"].tolist() == [20]


@pytest.mark.parametrize(
    "action_space",
    [spaces.Discrete(3, start=2), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3), spaces.Box(-1, 1, (2,))],
    ids=lambda space: type(space).__name__,
)
def test_what_networks_say(action_space):
    """Probabilities add up to one, and the most likely values are what the network does."""
    env = make_vec(AnySpaces, observation_space=OBSERVATIONS, action_space=action_space)
    policy = tiny_model(env, policy_kwargs={"ortho_init": False}).policy
    seen = random_situations(50)
    outputs = action_outputs(policy, seen.observations, seen.command)
    actions = decide(policy, seen.observations, seen.command).reshape(50, -1)
    if isinstance(action_space, spaces.Box):
        np.testing.assert_array_equal(outputs[:, :, 0], actions)
        return
    np.testing.assert_allclose(outputs.sum(2), 1, rtol=1e-6)
    np.testing.assert_array_equal(outputs.argmax(2) + np.ravel(getattr(action_space, "start", 0)), actions)
    assert outputs.min() > 0 or isinstance(action_space, spaces.MultiDiscrete)
    frequencies = np.mean([policy.act(*_tensors(policy, seen)).reshape(50, -1) for _ in range(2000)], axis=0)
    values = np.arange(outputs.shape[2]) + np.ravel(getattr(action_space, "start", 0))[:, None]
    np.testing.assert_allclose((outputs * values).sum(2), frequencies, atol=0.12)


@pytest.mark.parametrize(
    "action_space",
    [spaces.Discrete(4), spaces.MultiDiscrete([3, 2]), spaces.Box(-1, 1, (2,))],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("policy", ["CommandPolicy", "ForestPolicy"])
def test_of_two_side_by_side_the_one_that_decides_has_the_say(policy, action_space):
    env = make_vec(AnySpaces, observation_space=OBSERVATIONS, action_space=action_space)
    if policy == "CommandPolicy":
        both = tiny_model(env, commands="any", policy_kwargs={"ortho_init": False}).policy
    else:
        few = {"estimator_kwargs": {"n_estimators": 2}}
        both = UDRL(policy, env, learning_starts=50, train_freq=50, policy_kwargs=few, seed=0).learn(100).policy
    observations = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    none = np.full(6, np.nan)
    command = Command({"return": none.copy(), "horizon": none.copy(), "advantage": np.arange(6.0)})
    command["return"][[1, 4]], command["horizon"][3] = 2.0, 5.0
    obeys = np.isin(np.arange(6), [1, 3, 4])
    outputs = action_outputs(both, observations, command)
    for one, rows in ((both.obedient, obeys), (both.striving, ~obeys)):
        np.testing.assert_allclose(outputs[rows], action_outputs(one, observations, command)[rows], rtol=1e-5)


def test_a_grid_of_the_usual_model_has_probabilities_of_the_one_that_obeys():
    policy = tiny_model(make_vec(Scripted, lengths=(8,)), commands="any", policy_kwargs={"ortho_init": False}).policy
    observation, axes = np.ones(2, np.float32), {"return": [0, 2, 4], "horizon": [1, 3]}
    grid = command_grid(policy, observation, axes)
    np.testing.assert_allclose(grid.outputs, command_grid(policy.obedient, observation, axes).outputs, rtol=1e-5)
    assert ((grid.outputs > 0) & (grid.outputs < 1)).all()


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_outputs_are_those_under_guidance(guidance):
    """Without guidance, commands change nothing; with more, what they change grows in proportion."""
    env = make_vec(Scripted, lengths=(8,))
    policy = tiny_model(env, commands=["return", "horizon"], policy_kwargs={"ortho_init": False}).policy
    observations = np.ones((4, 2), np.float32)
    command = policy.command_space.make({"return": np.arange(4.0), "horizon": 3.0}, 4)

    def odds(asked):
        outputs = action_outputs(policy, observations, asked)[:, 0]
        return np.log(outputs[:, 1] / outputs[:, 0])

    unasked, usual = odds(policy.command_space.nothing(4)), odds(command)
    assert (usual != unasked).all()
    policy.guidance = guidance
    np.testing.assert_allclose(odds(command), unasked + guidance * (usual - unasked), atol=1e-5)


def _tensors(policy, seen):
    return th.as_tensor(seen.observations, device=policy.device), seen.command


def test_each_number_needs_a_name_of_its_own():
    policy = Rule(lambda observation, command: (observation[:, 1] > 0).long().numpy(), spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"names=\['x', 'x', 'y'\]: give each number a name of its own"):
        permutation_importance(policy, random_situations(), ["x", "x", "y"])
