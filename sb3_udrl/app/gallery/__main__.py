"""``python -m sb3_udrl.app.gallery [NAME ...]``: train the models of the gallery anew."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from sb3_udrl import UDRL
from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.common.command_lines import what_it_does
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation import run_commands
from sb3_udrl.evaluation.environments import make_evaluation_env
from sb3_udrl.obedience.score_card import make_score_card

FOLDER = Path(__file__).parent


class Recipe(NamedTuple):
    """
    How a model is made.

    :param env_id: its environment
    :param arguments: of ``python -m rl_zoo3.train``, besides algorithm, environment and seed
    :param teacher: name of the model that it is distilled from, instead of being trained
    :param algo: name of the algorithm
    """

    env_id: str
    arguments: tuple[str, ...] = ()
    teacher: str | None = None
    algo: str = "udrl"

    def command(self, name: str) -> list[str]:
        """
        The command that makes the model.

        :param name: of the model
        """
        if self.teacher is not None:
            return ["python", "-m", "sb3_udrl.app.gallery", name]
        return ["python", "-m", "rl_zoo3.train", "--algo", self.algo, "--env", self.env_id, "--seed", "1", *self.arguments]


_SMALL_FOREST = "policy_kwargs:dict(estimator_kwargs=dict(n_estimators=10, max_leaf_nodes=100))"
RECIPES = {
    "cartpole_network": Recipe("CartPole-v1", ("--eval-freq", "-1")),
    "cartpole_forest": Recipe("CartPole-v1", ("--eval-freq", "-1", "-params", "policy:'ForestPolicy'", _SMALL_FOREST)),
    "cartpole_tree": Recipe("CartPole-v1", teacher="cartpole_network"),
    "cartpole_generator": Recipe("CartPole-v1", ("--eval-freq", "-1"), algo="udrlpg"),
    "acrobot_network": Recipe("Acrobot-v1", ("--eval-freq", "-1")),
    "lunarlander_network": Recipe("LunarLander-v3", ("-n", "300000", "--eval-freq", "-1")),
    "hopper_network": Recipe("Hopper-v5", ("-n", "300000", "--eval-freq", "-1")),
}


def main(arguments: list[str] | None = None) -> None:
    """
    Train the models of the gallery by the commands that the demo shows; one that is there already is made anew.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.app.gallery", description=what_it_does(main))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the models; by default that of the gallery")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.names if name not in RECIPES]
    if unknown:
        parser.error(f"{', '.join(unknown)}: choose of {', '.join(RECIPES)}")
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.names or RECIPES:
        recipe = RECIPES[name]
        if recipe.teacher is not None:
            teacher = UDRL.load(args.output / recipe.teacher, device="cpu", trusted=[])
            model: CommandedAlgorithm = distilled(teacher, recipe.env_id)
        else:
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([sys.executable, *recipe.command(name)[1:], "-f", folder], check=True)
                saved = next(Path(folder).rglob(f"{recipe.env_id}.zip"))
                model = ALGORITHMS[recipe.algo].load(saved, device="cpu", trusted=[])
        keep(model, args.output / name, recipe)


def keep(model: CommandedAlgorithm, path: Path, recipe: Recipe) -> None:
    """
    Save a model as small as can be, with a note of how it was made.

    :param model: the model
    :param path: its name in the gallery, in a folder, without suffix
    :param recipe: how it was made
    """
    for optimizer in model.policy.optimizers.values():  # of use to those alone who go on training
        optimizer.state.clear()
    model.save(path)
    deflate(path.with_suffix(".zip"))
    noted = {"algo": recipe.algo, "env_id": recipe.env_id, "made_by": shlex.join(recipe.command(path.name))}
    path.with_suffix(".json").write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")


def deflate(path: Path) -> None:
    """
    Make a saved model smaller. SB3 stores members as they are.

    :param path: the file
    """
    with zipfile.ZipFile(path) as stored:
        members = {info: stored.read(info) for info in stored.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as deflated:
        for info, content in members.items():
            deflated.writestr(info.filename, content)


def distilled(teacher: UDRL, env_id: str, max_leaf_nodes: int = 64, n_rounds: int = 8, n_episodes: int = 8) -> UDRL:
    """
    One tree that imitates the behavior function that obeys, over the returns that this one has experience with.

    :param teacher: takes returns, horizons and advantages
    :param env_id: its environment
    :param max_leaf_nodes: size of the tree
    :param n_rounds: number of trees, of which the best is kept
    :param n_episodes: episodes per round
    """
    from sb3_udrl.explain import distill
    from sb3_udrl.forest.policy import Progress
    from sb3_udrl.policies.side_by_side import SideBySide

    env = make_evaluation_env(env_id, 0)
    obedient = cast(SideBySide, teacher.policy).obedient
    commands = {"return": obedient.experienced("return", env.num_envs)}
    result = distill(obedient, env, max_leaf_nodes, n_rounds, n_episodes, n_eval_episodes=8, command=commands)
    model = UDRL("ForestPolicy", env, commands=list(obedient.command_space.names), device="cpu", seed=0)
    policy: Any = model.policy
    assert result.policy.learned is not None and policy.experience is not None and obedient.experience is not None
    policy.take_over(result.policy.learned, Progress(0, 0, 0))
    policy.experience.load_state_dict(obedient.experience.state_dict())
    policy.set_command({"return": float(commands["return"][-1])})
    rows = []
    for greedy in (True, False):
        asked = policy.initial_command(32, {"return": np.repeat(obedient.experienced("return", 8), 4)})
        achieved = run_commands(model, env, asked, greedy)
        for i in range(len(asked)):
            wanted = {name: float(asked[name][i]) for name in model.command_space.names}
            rows.append((wanted, {name: float(achieved[name][i]) for name in model.command_space.names}, greedy))
    model.score_card = make_score_card(rows)
    return model


if __name__ == "__main__":
    main()
