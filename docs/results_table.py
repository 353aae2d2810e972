"""The table of results on the pages below, from the published data: ``python docs/results_table.py`` writes it anew."""

from pathlib import Path

import pandas as pd

from sb3_udrl.benchmark.curves import scores_of
from sb3_udrl.benchmark.data import read_data
from sb3_udrl.benchmark.statistics import probability_of_improvement, score_estimate
from sb3_udrl.benchmark.tables import final_scores, markdown, with_interval

ROOT = Path(__file__).parents[1]
SUITES = ("classic", "lunar", "mujoco", "pixels")
PAGES = (ROOT / "README.md", ROOT / "docs" / "guide" / "why.md")
START, END = "<!-- results: python docs/results_table.py -->\n", "\n<!-- end of results -->"
ALGORITHMS, MODES = ("UDRL", "PPO"), ("greedy", "sampled")
CLEAR = 0.6  # share of pairs of runs that one must win to be ahead


def results() -> str:
    """A row per environment, with the kind of commands, and who is ahead greedily and sampled."""
    rows = [["environment", "commands", "seeds", "steps"]]
    rows[0] += [f"{name}, {mode}" for name in ALGORITHMS for mode in MODES] + ["ahead: greedy, sampled"]
    for name in SUITES:
        suite, episodes, runs = read_data(ROOT / "docs" / "results" / "data", name)
        scores = scores_of(episodes)
        for environment in suite.environments:
            finals = final_scores(scores[scores["environment"] == environment])
            own = runs[(runs["environment"] == environment) & (runs["algorithm"] == "UDRL")]
            commands = own["hyperparams"].iloc[0].get("commands", "absolute")
            rows.append([environment, commands, *row(finals)])
    return markdown(rows)


def row(finals: pd.DataFrame) -> list[str]:
    """
    :param finals: one row per run of one environment
    :return: seeds, steps, scores, and who is ahead
    """
    by_name = {name: finals[finals["algorithm"] == name] for name in ALGORITHMS}
    ours, theirs = by_name.values()
    cells = [str(len(ours)), f"{ours['step'].median():,.0f}"]
    cells += [with_interval(score_estimate(own[mode])) for own in by_name.values() for mode in MODES]
    wins = [probability_of_improvement(ours[mode], theirs[mode]).value for mode in MODES]
    ahead = ["UDRL" if share > CLEAR else "PPO" if share < 1 - CLEAR else "nobody" for share in wins]
    return [*cells, ", ".join(ahead)]


def written_into(text: str, table: str) -> str:
    """
    :param text: a page
    :param table: takes the place of the one in there
    """
    return text[: text.index(START) + len(START)] + table + text[text.index(END) :]


if __name__ == "__main__":
    table = results()
    for page in PAGES:
        page.write_text(written_into(page.read_text(), table))
