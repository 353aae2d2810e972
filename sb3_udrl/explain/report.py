"""A Markdown report with pictures: why a saved model does what it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.buffers.arrays import map_observation
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import describe
from sb3_udrl.evaluation.following import experienced_commands
from sb3_udrl.explain import plots
from sb3_udrl.explain.command_grid import command_grid
from sb3_udrl.explain.contributions import contributions, explainable, over_time
from sb3_udrl.explain.distillation import distill
from sb3_udrl.explain.feature_names import feature_names, input_names
from sb3_udrl.explain.importance import impurity_importance, permutation_importance
from sb3_udrl.explain.rules import rules, tree_of
from sb3_udrl.explain.situations import Situations, play

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy

_MOST_SITUATIONS = 2000  # behind the permutation importance
_MOST_NUMBERS = 5_000_000  # of decisions times inputs, behind the contributions


def _say(stage: str) -> None:
    print(f"{stage} ...", flush=True)


class Report:
    """
    Collects Markdown and pictures in a folder.

    :param model: the model
    :param env: its environment
    :param folder: where to write
    :param n_episodes: episodes to look at
    """

    def __init__(self, model: CommandedAlgorithm, env: VecEnv, folder: Path, n_episodes: int) -> None:
        self.model, self.env, self.folder, self.n_episodes = model, env, folder, n_episodes
        self.names, self.inputs = feature_names(env), input_names(env, model.command_space)
        self.deciding = model.policy.decides_under(model.policy.own_command())
        self.deciding_inputs = input_names(env, self.deciding.command_space)
        self.text: list[str] = []
        self.looked_at: list[int] | None = None  # inputs that matter, where there are too many to look at all

    def write(self, title: str, distills: bool, max_leaf_nodes: int, seed: int) -> None:
        """
        Write ``report.md`` and its pictures.

        :param title: heading
        :param distills: whether to distill the behavior function into one tree
        :param max_leaf_nodes: size of that tree
        :param seed: of the distillation
        """
        self.text = [f"# {title}"]
        _say(f"playing {self.n_episodes} episodes")
        situations = play(self.model, self.env, self.n_episodes)
        asked = describe(self.model.policy.own_command())
        mean, std = situations.returns.mean(), situations.returns.std()
        self.text.append(f"Asked for {asked}; greedy return of {self.n_episodes} episodes: {mean:.1f} +- {std:.1f}.")
        if len(self.model.policy.deciding()) > 1:
            self.text.append(
                f"Two behavior functions lie side by side. Under this command, the one that takes "
                f"{' and '.join(self.deciding.command_space.names)} decides; trees are its own."
            )
        if explainable(self.deciding):
            _say("what contributed to decisions")
            self._contributions(situations)
        _say("what decisions depend on")
        self._importance()
        _say("what commands change")
        self._command_grid(situations)
        if explainable(self.deciding) and not getattr(self.deciding, "standardize", False):
            self._tree("The first tree", self.deciding, "tree", self.deciding_inputs)
        if distills:
            _say("imitating it by one tree, which takes longest")
            self._distillation(max_leaf_nodes, seed)
        (self.folder / "report.md").write_text("\n\n".join(self.text) + "\n", encoding="utf-8")

    def _picture(self, name: str, caption: str) -> Path:
        self.text.append(f"![{caption}]({name})")
        return self.folder / name

    def _contributions(self, situations: Situations) -> None:
        situations = _first_episodes(situations, max(1, _MOST_NUMBERS // len(self.deciding_inputs)))
        found = contributions(self.deciding, situations)
        continuous = isinstance(self.model.action_space, spaces.Box)
        quantity = "the mean action" if continuous else "the probability of the action taken"
        self.text.append("## What contributed to the decisions")
        self.text.append(
            f"Contributions to {quantity} along the decision paths: mean over the episodes, and one standard deviation to "
            f"both sides. They add up to what the forest says, {found.outputs.mean():.2f} on average, minus what "
            f"it says before it looks at anything, {found.base.mean():.2f}."
        )
        for component in range(found.signed.shape[1]):
            suffix = f"_{component}" if found.signed.shape[1] > 1 else ""
            caption = f"Contributions to {quantity}{f', component {component}' if suffix else ''}"
            values = over_time(found.signed[:, component], situations)
            plots.plot_over_time(values, self.deciding_inputs, self._picture(f"contributions{suffix}.png", caption), caption)
        self.text.append("By how much the impurity of the data fell along the paths, at the splits of each input:")
        caption = "Impurity decrease along the decision paths"
        values = over_time(found.impurity_decrease, situations)
        plots.plot_over_time(
            values, self.deciding_inputs, self._picture("impurity_decrease.png", caption), caption, "impurity decrease"
        )

    def _importance(self) -> None:
        self.text.append("## What matters")
        continuous = isinstance(self.model.action_space, spaces.Box)
        meaning = "Mean change of the action" if continuous else "Share of greedy decisions that change"
        self.text.append(
            f"{meaning} when an input is shuffled over the situations of {self.n_episodes} episodes under different commands."
        )
        under_all = _sample(
            play(self.model, self.env, self.n_episodes, command=_several_commands(self.model, self.env.num_envs))
        )
        found = permutation_importance(self.model, under_all, self.names, most=plots.MOST_INPUTS)
        picture = self._picture("permutation_importance.png", "Permutation importance")
        plots.plot_importance(found.changes, found.names, picture, "Permutation importance", meaning.lower())
        of_observation = [self.names.index(name) for name in found.names if name in self.names]
        if len(of_observation) == plots.MOST_INPUTS < len(self.names):  # pictures count as one part, and stay as they are
            self.looked_at = [*of_observation, *range(len(self.names), len(self.inputs))]
            self.text.append(
                f"Of {len(self.names)} numbers of an observation, these are the {plots.MOST_INPUTS} that change most."
            )
        if explainable(self.deciding):
            self.text.append("Share of each input in the decrease of impurity, over the data that the forest was fitted to:")
            picture = self._picture("impurity_importance.png", "Impurity importance")
            plots.plot_importance(
                impurity_importance(self.deciding), self.deciding_inputs, picture, "Impurity importance", "share"
            )

    def _command_grid(self, situations: Situations) -> None:
        self.text.append("## What commands change")
        middle = int(np.flatnonzero(situations.episodes == 0)[-1]) // 2
        observation = map_observation(lambda part: part[middle], situations.observations)
        self.text.append(
            f"At step {situations.steps[middle]} of the first episode{_observation_text(observation, self.names)}:"
        )
        grid = command_grid(self.model, observation)
        first = np.ravel(getattr(self.model.action_space, "start", 0))
        for component in range(grid.outputs.shape[2]):
            suffix = f"_{component}" if grid.outputs.shape[2] > 1 else ""
            title = f"What commands change{f', component {component}' if suffix else ''}"
            start = int(first[component % len(first)])
            plots.plot_command_grid(grid, self._picture(f"command_grid{suffix}.png", title), title, component, start)

    def _tree(self, heading: str, policy: BehaviorPolicy, name: str, inputs: list[str]) -> None:
        text = rules(policy, inputs)
        (self.folder / f"{name}.txt").write_text(text, encoding="utf-8")
        self.text.append(f"## {heading}")
        self.text.append(f"The upper levels; all {text.count(chr(10))} lines of its rules are in [{name}.txt]({name}.txt).")
        plots.plot_tree(policy, self._picture(f"{name}.png", heading), inputs)
        self.text.append(f"```\n{rules(policy, inputs, max_depth=4)}```")

    def _distillation(self, max_leaf_nodes: int, seed: int) -> None:
        fewer: dict[str, Any] = (
            {} if self.looked_at is None else {"inputs": self.looked_at, "n_rounds": 10, "n_eval_episodes": 30}
        )
        found = distill(self.model, self.env, max_leaf_nodes, seed=seed, **fewer)
        self._tree("The policy as one tree", found.policy, "distilled_tree", self.inputs)
        rows = [("policy", found.teacher_returns), ("tree", found.returns), ("random actions", found.random_returns)]
        lines = [f"| {who} | {returns.mean():.1f} +- {returns.std():.1f} |" for who, returns in rows]
        self.text.append(
            f"{tree_of(found.policy).get_n_leaves()} leaves, fitted to {found.n_situations} situations that the policy was "
            f"asked about. It keeps {found.kept:.0%} of the policy's return, that of random actions counted as zero. Greedy "
            f"returns of {len(found.returns)} episodes each:"
        )
        self.text.append("\n".join(["| | return |", "|---|---|", *lines]))


def _several_commands(model: CommandedAlgorithm, n_envs: int) -> Command:
    """One per environment: advantages from -3 to 3, or what episodes achieved."""
    experience = model.policy.experience
    if experience is None:
        return model.command_space.make({"advantage": np.linspace(-3, 3, n_envs)}, n_envs)
    if len(experience.known()):
        return experienced_commands(model, n_envs)
    return model.command_space.make({name: model.policy.experienced(name, n_envs) for name in experience.names}, n_envs)


def _sample(situations: Situations) -> Situations:
    return situations.rows(np.random.default_rng(0).permutation(len(situations.steps))[:_MOST_SITUATIONS])


def _first_episodes(situations: Situations, most: int) -> Situations:
    """As many complete episodes as have at most so many steps, or the first one."""
    ends = np.cumsum(np.bincount(situations.episodes))
    return situations.rows(np.arange(max([ends[0], *ends[ends <= most]])))


def _observation_text(observation: Any, names: list[str]) -> str:
    if len(names) > 10:
        return ""
    parts = list(observation.values()) if isinstance(observation, dict) else [observation]
    numbers = np.concatenate([np.ravel(part) for part in parts])
    return " (" + ", ".join(f"{name} {number:.3g}" for name, number in zip(names, numbers, strict=True)) + ")"
