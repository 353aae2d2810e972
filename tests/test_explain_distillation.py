"""Behavior functions as one tree: what it learns, what it is compared with, and its rules."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import make_vec, probe_model, tiny_model
from probe_envs import AnySpaces, Scripted, TellingArms
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from test_explain_contributions import examples, forest
from test_explain_importance import Rule

from sb3_udrl.commands import make_command
from sb3_udrl.commands.calibration import N_KNOTS
from sb3_udrl.evaluation import evaluate_policy
from sb3_udrl.explain import contributions, distill, fired_rule, play, rules
from sb3_udrl.explain.distillation import _lesson
from sb3_udrl.explain.situations import Situations
from sb3_udrl.forest import ForestPolicy

FEW = {"n_rounds": 2, "n_episodes": 4, "n_eval_episodes": 6}


def test_a_network_on_a_probe_environment():
    """The network has learned which arm pays; one split says so."""
    env = make_vec(TellingArms)
    model = probe_model(env)
    model.set_command(1, 1)
    found = distill(model, env, max_leaf_nodes=2, n_rounds=2, n_episodes=20, n_eval_episodes=50)
    assert found.teacher_returns.mean() == 1 and found.returns.mean() == 1
    assert 0.2 < found.random_returns.mean() < 0.8 and found.kept == 1
    assert found.n_situations == 40 and found.round_returns.tolist() == [1, 1]
    assert rules(found.policy, ["arm", "r", "h"]) == "arm <= 0: action 0\narm >  0: action 1\n"
    # It acts like any policy
    assert evaluate_policy(found.policy, env, 20)[0] == 1
    assert sb3_evaluate_policy(found.policy, env, 20)[0] == 1
    np.testing.assert_array_equal(found.policy.eval_command, model.policy.eval_command.cpu())
    assert contributions(found.policy, play(found.policy, env, 5)).signed[:, 0, 1:].any() == 0


def test_the_tree_is_asked_for_what_the_teacher_asks_itself_for():
    env = make_vec(TellingArms)
    model = tiny_model(env, commands="any").learn(64)
    model.policy.correct(True, np.stack((np.linspace(0, 10, N_KNOTS), np.linspace(0, 20, N_KNOTS))))
    model.set_command({"return": 3.0})
    found = distill(model, env, **FEW)
    assert model.policy.initial_command(1, deterministic=True)["return"][0] == 6
    assert found.policy.initial_command(1, deterministic=True)["return"][0] == 6


def test_kept_is_measured_from_a_random_policy():
    env = make_vec(TellingArms)
    found = distill(Rule(lambda o, _: (o[:, 0] > 0).long().numpy(), spaces.Discrete(2), spaces.Box(-1, 1, (1,))), env, **FEW)
    halfway = found._replace(returns=np.full(4, 5.0), teacher_returns=np.full(4, 9.0), random_returns=np.full(4, 1.0))
    assert halfway.kept == 0.5


def test_the_tree_reads_the_command():
    """Under half of the commands, the rule wants the arm that does not pay."""
    env = make_vec(TellingArms, 2)
    teacher = Rule(
        lambda o, command: ((o[:, 0].numpy() > 0) == (command.desired_return > 0.5)).astype(int),
        spaces.Discrete(2),
        spaces.Box(-1, 1, (1,)),
    )
    found = distill(teacher, env, n_rounds=1, n_episodes=100, n_eval_episodes=20, command=([0, 1], [1, 1]))
    assert evaluate_policy(found.policy, env, 20, command=(0, 1))[0] == 0
    assert evaluate_policy(found.policy, env, 20, command=(1, 1))[0] == 1


@pytest.mark.parametrize("commands", ["absolute", "any"])
def test_the_tree_completes_commands_as_its_teacher_does(commands):
    """A return alone says nothing of a horizon."""
    env = make_vec(Scripted, lengths=(3, 6))
    model = tiny_model(env, commands=commands).learn(200)
    tree = distill(model, env, command=20, **FEW).policy
    np.testing.assert_array_equal(tree.experience.known(), model.policy.experience.known())
    completed = [policy.initial_command(1, 20.0)["horizon"].tolist() for policy in (tree, model.policy)]
    assert completed[0] == completed[1] and np.isfinite(completed[0]).all()


def test_situations_of_the_tree_are_asked_about():
    """The teacher never gets to the second step of these episodes by itself; its pupil of the first round does."""

    class Detour(Scripted):
        def step(self, action):
            observation, reward, done, truncated, info = super().step(action)
            return observation, reward, done or action == 0, truncated, info

    env = make_vec(Detour, lengths=(3,))
    asked = []

    def rule(observation, command):
        asked.append(observation.numpy().copy())
        return (observation[:, 0] % 4 == 3).long().numpy()  # now and then one goes on, so that there are two actions

    found = distill(Rule(rule, spaces.Discrete(2), Scripted.observation_space), env, max_leaf_nodes=2, **FEW)
    assert found.n_situations >= 2 * FEW["n_episodes"]
    assert max(batch[:, 1].max() for batch in asked) >= 1


@pytest.mark.parametrize("action_space", [spaces.Discrete(2), spaces.Box(-1, 1)], ids=lambda space: type(space).__name__)
def test_long_episodes_teach_no_more_than_short_ones(action_space):
    teacher = Rule(
        lambda o, _: np.ones((len(o), *action_space.shape), action_space.dtype), action_space, spaces.Box(-1, 1, (1,))
    )
    episodes = np.array([0, 1, 1, 1])
    command = make_command(1, 1, 4)
    seen = Situations(np.zeros((4, 1), np.float32), command, np.ones(4, int), episodes, np.array([0, 0, 1, 2]), np.zeros(2))
    weights = _lesson(teacher, seen, 1_000, None, np.random.default_rng(0)).weights
    np.testing.assert_allclose(weights / weights[0], [1, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize(
    "action_space",
    [spaces.Discrete(3, start=-1), spaces.MultiDiscrete([3, 2], start=[1, 0]), spaces.MultiBinary(2), spaces.Box(-1, 1, (2,))],
    ids=lambda space: type(space).__name__,
)
def test_action_spaces(action_space):
    env = make_vec(AnySpaces, 2, observation_space=spaces.Box(-5, 5, (3,)), action_space=action_space)
    model = tiny_model(env, policy_kwargs={"ortho_init": False})
    found = distill(model, env, max_leaf_nodes=4, **FEW)
    assert found.policy.learned.estimator.get_n_leaves() <= 4
    text = rules(found.policy)
    assert "observation[" in text and ("action [" in text) == bool(action_space.shape)
    assert len(found.returns) == len(found.teacher_returns) == len(found.random_returns) == 6


def test_the_same_seed_gives_the_same_tree():
    space = {"observation_space": spaces.Box(-5, 5, (3,)), "action_space": spaces.Discrete(2)}
    first, second, other = (
        rules(distill(tiny_model(env), env, seed=seed, **FEW).policy)
        for env, seed in ((make_vec(AnySpaces, **space), seed) for seed in (1, 1, 2))
    )
    assert first == second != other


def test_forests_can_be_teachers_too():
    env = make_vec(TellingArms)
    estimator = RandomForestClassifier(5, random_state=0)
    rng = np.random.default_rng(0)
    arms = rng.choice([-1.0, 1.0], (50, 1)).astype(np.float32)
    policy, _ = forest(estimator, spaces.Discrete(2), arms, np.ones(50), np.ones(50), (arms[:, 0] > 0).astype(int))
    assert distill(policy, env, **FEW).returns.mean() == 1


def test_a_teacher_that_always_does_the_same():
    env = make_vec(TellingArms)
    teacher = Rule(lambda o, _: np.ones(len(o), int), spaces.Discrete(2), spaces.Box(-1, 1, (1,)))
    found = distill(teacher, env, **FEW)
    assert rules(found.policy) == "action 1\n"
    assert found.policy.predict(np.zeros((3, 1), np.float32), deterministic=True)[0].tolist() == [1, 1, 1]


def test_wrong_input():
    env = make_vec(TellingArms)
    model = tiny_model(env)
    with pytest.raises(ValueError, match="max_leaf_nodes=1: must be at least 2"):
        distill(model, env, max_leaf_nodes=1)
    for name in ("n_rounds", "n_episodes", "n_eval_episodes"):
        with pytest.raises(ValueError, match=f"{name}=0: must be at least 1"):
            distill(model, env, **{name: 0})
    for inputs in ([-1], [0, 99], []):
        with pytest.raises(ValueError, match=r"inputs=\[.*\]: give at least one index, each from 0 to"):
            distill(model, env, inputs=inputs)


# Rules


def test_rules_by_hand():
    """Leaves that decide alike are one line; what lies deeper than asked for is summed up."""
    position = np.array([[0.0], [1], [2], [3]], dtype=np.float32)
    policy, _ = forest(
        DecisionTreeClassifier(random_state=0),
        spaces.Discrete(9, start=1),
        position,
        np.zeros(4),
        np.ones(4),
        np.array([3, 5, 5, 3]),
    )
    names = ["position", "desired return", "desired horizon"]
    assert rules(policy, names) == (
        "position <= 0.5: action 3\nposition >  0.5\n    position <= 2.5: action 5\n    position >  2.5: action 3\n"
    )
    assert rules(policy, names, max_depth=1) == "position <= 0.5: action 3\nposition >  0.5: mostly action 5\n"
    assert rules(policy).startswith("observation[0] <= 0.5")
    zero = np.zeros(1, dtype=np.int64)
    for place, expected in (
        (0.0, ["position <= 0.5", "action 3"]),
        (2.0, ["0.5 < position <= 2.5", "action 5"]),
        (3.0, ["position > 2.5", "action 3"]),
    ):
        seen = np.array([[place]], dtype=np.float32)
        situation = Situations(seen, make_command(0, 1), np.array([expected[-1][-1]]).astype(int), zero, zero, np.zeros(1))
        assert fired_rule(policy, situation, names) == expected
    with pytest.raises(ValueError, match="names has 1 entries, and there are 3 inputs, those of the command included"):
        rules(policy, ["position"])
    with pytest.raises(ValueError, match="tree=1: there are trees from 0 to 0"):
        rules(policy, tree=1)


def test_branches_that_decide_alike_are_one_line():
    """Of a regression tree with two splits, the second between equal values: a single rule is left."""
    position = np.array([[0.0], [1], [2]], dtype=np.float32)
    policy, _ = forest(
        DecisionTreeRegressor(), spaces.Box(-9, 9, (1,)), position, np.zeros(3), np.ones(3), np.array([[1.0], [2], [2.0001]])
    )
    assert policy.learned.estimator.get_n_leaves() == 3
    assert rules(policy, ["x", "r", "h"]) == "x <= 0.5: action 1\nx >  0.5: action 2\n"


def test_which_tree_of_a_forest():
    policy, _ = forest(RandomForestClassifier(3, random_state=0), spaces.Discrete(2), *examples(0, spaces.Discrete(2)))
    assert len({rules(policy, tree=i) for i in range(3)}) == 3
    with pytest.raises(ValueError, match="tree=3: there are trees from 0 to 2"):
        rules(policy, tree=3)


def test_rules_of_standardized_inputs():
    env = make_vec(TellingArms)
    model = probe_model_of_forest(env)
    with pytest.raises(ValueError, match="with standardize=True, rules speak of standardized inputs"):
        rules(model)


def probe_model_of_forest(env):
    from sb3_udrl import UDRL

    policy_kwargs = {"estimator_kwargs": {"n_estimators": 2}, "standardize": True}
    return UDRL("ForestPolicy", env, commands="absolute", learning_starts=50, policy_kwargs=policy_kwargs, seed=0).learn(300)


def test_the_tree_is_a_forest_policy():
    """So it can be saved and exported as one."""
    env = make_vec(TellingArms)
    tree = distill(probe_model(env), env, **FEW).policy
    assert isinstance(tree, ForestPolicy)
    restored = ForestPolicy(tree.observation_space, tree.action_space, lambda _: 0.0)
    restored.load_state_dict(tree.state_dict())
    assert rules(restored) == rules(tree)
