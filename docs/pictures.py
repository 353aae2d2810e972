"""
All pictures of README and documentation, drawn anew from the gallery's models and the published data:
``python docs/pictures.py [NAME ...]``. ``make pictures`` does it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL
from sb3_udrl.app.models import GALLERY
from sb3_udrl.evaluation import command_following
from sb3_udrl.evaluation.environments import Settings, make_evaluation_env
from sb3_udrl.evaluation.plots import plot_command_following
from sb3_udrl.evaluation.report import film_commands
from sb3_udrl.explain import (
    command_grid,
    contributions,
    distill,
    feature_names,
    input_names,
    over_time,
    permutation_importance,
    play,
)
from sb3_udrl.explain import plots as explained

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pages import all_pages  # noqa: E402

PICTURES = ROOT / "docs" / "_static"
RESULTS = ROOT / "docs" / "results"


def film() -> None:
    """Three commands side by side, the first thing that README shows."""
    env = make_evaluation_env("CartPole-v1", 0, Settings(env_kwargs={"render_mode": "rgb_array"}))
    model = UDRL.load(GALLERY / "cartpole_network", env, trusted=[])
    film_commands(model, env, PICTURES / "three_commands.gif", model.command_space.make({"return": [50, 150, 400]}, 3))


def obedience() -> None:
    """Achieved against desired return."""
    env = make_vec_env("CartPole-v1", 8, seed=0)
    model = UDRL.load(GALLERY / "cartpole_network", env, trusted=[])
    following = command_following(model, env, [50, 100, 150, 200, 250, 300, 350, 400, 450], n_episodes=20, deterministic=False)
    plot_command_following(
        following.of("return"), PICTURES / "any_command.png", "CartPole-v1: commands and what comes of them"
    )


def explanations() -> None:
    """What a forest looks at, and a tree of eight leaves that imitates a network."""
    env = make_vec_env("CartPole-v1", 8, seed=0)
    forest = UDRL("ForestPolicy", env, commands="relative", buffer_size=30_000, seed=1).learn(10_000)
    names = input_names(env, forest.command_space)
    several = play(forest, env, 16, command={"advantage": np.linspace(-3, 3, 8)})
    importance = permutation_importance(forest, several, names=feature_names(env))
    explained.plot_importance(importance.changes, importance.names, PICTURES / "explain_importance.png")
    explained.plot_command_grid(command_grid(forest, several.observations[0]), PICTURES / "explain_command_grid.png")
    situations = play(forest, env, 8)
    signed = over_time(contributions(forest, situations).signed[:, 0], situations)
    explained.plot_over_time(signed, names, PICTURES / "explain_contributions.png")
    tree = distill(UDRL.load(GALLERY / "cartpole_network", env, trusted=[]), env, max_leaf_nodes=8).policy
    explained.plot_tree(tree, PICTURES / "explain_distilled_tree.png", input_names(env, tree.command_space))


def demo() -> None:
    """The demo in a browser, as its test sees it."""
    environment = {**os.environ, "SB3_UDRL_PICTURES": str(PICTURES)}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/test_app_browser.py"], cwd=ROOT, env=environment, check=True)


def results() -> None:
    """Tables and learning curves of the suites, and the table of README."""
    subprocess.run([sys.executable, "-m", "sb3_udrl.benchmark.report", RESULTS / "data", "--output", RESULTS], check=True)
    subprocess.run([sys.executable, "docs/results_table.py"], cwd=ROOT, check=True)


def words() -> None:
    """Print how long the pages are, the longest first, and how fast the demo was."""
    pages = sorted(all_pages(), key=lambda page: -page.n_words())
    for page in pages:
        print(f"{page.n_words():6} {page.name}{' (generated)' if page.is_generated else ''}")
    written = sum(page.n_words() for page in pages if page.name.startswith("docs/") and not page.is_generated)
    print(f"{written:6} in docs/, without generated pages")
    for figures in sorted(PICTURES.glob("app_figures*.json")):
        print(figures.read_text(), end="")


ALL = {draw.__name__: draw for draw in (film, obedience, explanations, demo, results, words)}

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        ALL[name]()
