"""Any behavior function as one small decision tree, by imitation with dataset aggregation (VIPER, arXiv 1805.08328)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command import CommandLike
from sb3_udrl.evaluation.evaluate import evaluate_policy
from sb3_udrl.explain.decisions import action_outputs, decide, discrete_head, policy_of
from sb3_udrl.explain.rules import checked_input_names
from sb3_udrl.explain.situations import Situations, play
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.forest.examples import Examples, to_inputs
from sb3_udrl.forest.policy import Progress
from sb3_udrl.forest.scaling import make_scaling
from sb3_udrl.policies import BehaviorPolicy

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm

_N_FINALISTS = 5  # the best return of few episodes is mostly luck
_FINAL_SHARE = 4  # times as many episodes decide among them
_MOST_NUMBERS = 20_000_000  # in all lessons together
_FEWEST = 100  # situations of a lesson
_SMALLEST = 1e-6  # probabilities below have one logarithm: trees are certain of what they are not


class Distillation(NamedTuple):
    """
    A tree, and how it compares with its teacher.

    :param policy: the tree as a policy with ``predict``; it takes the commands of the teacher, and corrects none
    :param returns: greedy returns of the tree, on episodes that had no part in its choice, ``(n_eval_episodes,)``
    :param teacher_returns: greedy returns of the teacher, ``(n_eval_episodes,)``
    :param random_returns: returns of uniformly random actions, ``(n_eval_episodes,)``
    :param round_returns: mean return of the tree of each round, ``(n_rounds,)``
    :param n_situations: situations that the teacher was asked about
    """

    policy: ForestPolicy
    returns: NDArray[np.float64]
    teacher_returns: NDArray[np.float64]
    random_returns: NDArray[np.float64]
    round_returns: NDArray[np.float64]
    n_situations: int

    @property
    def kept(self) -> float:
        """Share of the teacher's mean return that the tree keeps, a random policy's counted as zero."""
        zero = self.random_returns.mean()
        lost = self.teacher_returns.mean() - self.returns.mean()
        return float(1 - lost / (self.teacher_returns.mean() - zero)) if lost else 1.0


def distill(
    model: CommandedAlgorithm | BehaviorPolicy,
    env: VecEnv,
    max_leaf_nodes: int = 64,
    n_rounds: int = 40,
    n_episodes: int = 16,
    n_eval_episodes: int = 100,
    command: CommandLike | None = None,
    seed: int = 0,
    inputs: Sequence[int] | None = None,
) -> Distillation:
    """
    Imitate a behavior function by one decision tree.

    In each round, the tree of the round before plays (in the first one, the teacher does), the teacher says what it would have
    done, and a new tree is fitted to all situations so far. The five trees whose episodes returned most then play four times
    as many, and the best one is kept.

    Differs from the paper in four ways. Situations are weighted instead of drawn by their weights. The weight there is what
    the worst action costs by the Q-function; behavior functions have none, so here it is the distance between the
    log-probabilities of most and least likely action, as for policies of maximum entropy. It is divided by the length of the
    episode: bad trees often play the longest ones, until the time limit, which are all alike. And Discrete actions are taught
    with their probabilities, not only the most likely one. Continuous actions differ in weight by the length alone.

    :param model: the teacher, a model or its policy
    :param env: the environment
    :param max_leaf_nodes: size of the tree
    :param n_rounds: number of trees
    :param n_episodes: episodes per round
    :param n_eval_episodes: episodes at the end, of the tree, of the teacher and of random actions each
    :param command: what is asked for, as for ``predict``; by default the teacher's own. Trees correct no commands, so they are
        asked for what the teacher asks itself for
    :param seed: of the environment and the trees
    :param inputs: indices of the inputs that the tree may look at, as in :func:`~sb3_udrl.explain.input_names`; all if None
    :raises ValueError: if an argument is out of its range
    """
    numbers = {"n_rounds": n_rounds, "n_episodes": n_episodes, "n_eval_episodes": n_eval_episodes}
    for name, value, least in (("max_leaf_nodes", max_leaf_nodes, 2), *((name, n, 1) for name, n in numbers.items())):
        if value < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
    teacher = policy_of(model)
    n_inputs = len(_columns(teacher, None))
    if inputs is not None and not (len(inputs) and all(0 <= i < n_inputs for i in inputs)):
        raise ValueError(f"inputs={list(inputs)}: give at least one index, each from 0 to {n_inputs - 1}")
    env.seed(seed)
    rng = np.random.default_rng(seed)
    situations = play(teacher, env, n_episodes, command=command)
    asked = teacher.initial_command(env.num_envs, command, deterministic=True)  # of itself, corrected: trees correct nothing
    lessons: list[Examples] = []
    trees: list[ForestPolicy] = []
    round_returns, n_situations = np.empty(n_rounds), 0
    for number in range(n_rounds):
        n_situations += len(situations.steps)
        lessons.append(_lesson(teacher, situations, _MOST_NUMBERS // n_rounds, inputs, rng))
        trees.append(_fit_tree(teacher, lessons, max_leaf_nodes, seed, inputs))
        situations = play(trees[-1], env, n_episodes, command=asked)
        round_returns[number] = situations.returns.mean()
    finalists = [trees[i] for i in np.argsort(-round_returns, kind="stable")[:_N_FINALISTS]]
    best = max(finalists, key=lambda tree: play(tree, env, _FINAL_SHARE * n_episodes, command=asked).returns.mean())
    of_tree, of_teacher, of_random = (
        _returns(player, env, n_eval_episodes, of_it)
        for player, of_it in ((best, asked), (teacher, command), (_Random(env, seed), command))
    )
    return Distillation(best, of_tree, of_teacher, of_random, round_returns, n_situations)


def _lesson(
    teacher: BehaviorPolicy, situations: Situations, most: int, looked_at: Sequence[int] | None, rng: np.random.Generator
) -> Examples:
    """What the teacher would have done, and how much it matters, in at most so many numbers."""
    weights = 1 / np.bincount(situations.episodes)[situations.episodes]  # every episode counts the same
    n, width = len(weights), len(_columns(teacher, looked_at))
    if n * width > most:
        rows = np.sort(rng.permutation(n)[: max(_FEWEST, most // width)])
        situations, weights = situations.rows(rows), weights[rows]
    observations, command = situations.observations, situations.command
    inputs = to_inputs(observations, teacher.command_space.inputs(command), teacher.observation_space)
    inputs = inputs[:, _columns(teacher, looked_at)]
    actions = decide(teacher, observations, command)
    if not isinstance(teacher.action_space, spaces.Box):
        head, probabilities = discrete_head(teacher), action_outputs(teacher, observations, command)
        logs = np.log(np.maximum(probabilities, _SMALLEST))
        spread = np.where(head.uniform > 0, logs, -np.inf).max(2) - np.where(head.uniform > 0, logs, np.inf).min(2)
        weights *= spread.sum(1) + _SMALLEST  # (n,)
        if len(head.n_values) == 1:  # all actions, each with its probability: of two that are equally good, either is right
            n, n_values = probabilities.shape[0], probabilities.shape[2]
            inputs, actions = np.repeat(inputs, n_values, axis=0), np.tile(np.arange(n_values) + head.start, n)
            weights = (weights[:, None] * probabilities[:, 0]).ravel()
            inputs, actions, weights = inputs[weights > 0], actions[weights > 0], weights[weights > 0]
    return Examples(inputs, actions, weights, np.zeros(len(inputs), dtype=bool))


def _columns(teacher: BehaviorPolicy, looked_at: Sequence[int] | None) -> NDArray[np.int64]:
    n_inputs = len(checked_input_names(teacher, None))
    return np.arange(n_inputs) if looked_at is None else np.asarray(looked_at, dtype=np.int64)


def _widen(tree: Any, columns: NDArray[np.int64], n_inputs: int) -> None:
    """Let a tree that was fitted to some columns read all inputs."""
    state = tree.tree_.__getstate__()
    nodes = state["nodes"].copy()
    splits = nodes["left_child"] >= 0
    nodes["feature"][splits] = columns[nodes["feature"][splits]]
    wide = Tree(n_inputs, tree.tree_.n_classes, tree.tree_.n_outputs)
    wide.__setstate__({**state, "nodes": nodes})
    tree.tree_, tree.n_features_in_ = wide, n_inputs


def _fit_tree(
    teacher: BehaviorPolicy, lessons: list[Examples], max_leaf_nodes: int, seed: int, looked_at: Sequence[int] | None
) -> ForestPolicy:
    kind = DecisionTreeRegressor if isinstance(teacher.action_space, spaces.Box) else DecisionTreeClassifier
    template = kind(max_leaf_nodes=max_leaf_nodes, random_state=seed)
    policy = ForestPolicy(
        teacher.observation_space,
        teacher.action_space,
        lambda _: 0.0,
        estimator=template,
        command_space=teacher.command_space,
    )
    examples = Examples(*(np.concatenate(parts) for parts in zip(*lessons, strict=True)))
    learned = policy.head.fit(clone(template), examples, make_scaling(examples.inputs))
    if looked_at is not None and isinstance(learned.estimator, kind):  # else there is one action, whatever is seen
        columns, n_inputs = _columns(teacher, looked_at), len(_columns(teacher, None))
        _widen(learned.estimator, columns, n_inputs)
        if learned.scaling is not None:
            learned = learned._replace(scaling=learned.scaling.of_more(columns, n_inputs))
    policy.take_over(learned, Progress(0, 0, len(examples.inputs)))
    policy.set_command(teacher.initial_command(1, deterministic=True))
    if policy.experience is not None and teacher.experience is not None:  # what is asked for is completed in the same way
        policy.experience.load_state_dict(teacher.experience.state_dict())
    return policy


class _Random:
    """Uniformly random actions, with the ``predict`` of a policy."""

    def __init__(self, env: VecEnv, seed: int) -> None:
        self.env = env
        env.action_space.seed(seed)

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[NDArray[Any], None]:
        return np.stack([self.env.action_space.sample() for _ in range(self.env.num_envs)]), None


def _returns(player: Any, env: VecEnv, n_episodes: int, command: Any) -> NDArray[np.float64]:
    returns, _ = evaluate_policy(player, env, n_episodes, return_episode_rewards=True, warn=False, command=command)
    return np.asarray(returns, dtype=np.float64)
