"""The tables of results on the pages below, from the published data: ``python docs/results_table.py`` writes them anew."""

from pathlib import Path

import pandas as pd

from sb3_udrl.benchmark.curves import scores_of
from sb3_udrl.benchmark.data import read_commands, read_data
from sb3_udrl.benchmark.obedience import obedience_figures
from sb3_udrl.benchmark.statistics import probability_of_improvement, score_estimate
from sb3_udrl.benchmark.tables import final_scores, markdown, number, with_interval

ROOT = Path(__file__).parents[1]
SUITES = ("classic", "lunar", "mujoco", "pixels")
DATA = ROOT / "docs" / "results" / "data"
PAGES = (ROOT / "README.md", ROOT / "docs" / "guide" / "why.md")
START, END = "<!-- {name}: python docs/results_table.py -->\n", "\n<!-- end of {name} -->"
ALGORITHMS, MODES = ("UDRL", "PPO"), ("greedy", "sampled")
CLEAR = 0.6  # share of pairs of runs that one must win to be ahead


def results() -> str:
    """A row per environment, with the kind of commands, and who is ahead greedily and sampled."""
    rows = [["environment", "commands", "seeds", "steps"]]
    rows[0] += [f"{name}, {mode}" for name in ALGORITHMS for mode in MODES] + ["ahead: greedy, sampled"]
    for name in SUITES:
        suite, episodes, runs = read_data(DATA, name)
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


def obedience() -> str:
    """A row per grid of commands that one model for all commands was asked for, where it was."""
    suite, episodes, _ = read_data(DATA, "obedience")
    rows = read_commands(DATA, "obedience")
    scores = scores_of(episodes)
    table = [["environment", "asked for", "seeds", "error, greedy", "error, sampled", "rank correlation, sampled"]]
    table[0] += ["score, greedy", "score, sampled"]
    for environment, grid in rows[["environment", "commands"]].drop_duplicates().itertuples(index=False):
        own = rows[(rows["environment"] == environment) & (rows["commands"] == grid) & (rows["algorithm"] == "UDRL")]
        figures = obedience_figures(own, suite.n_command_episodes).groupby("mode").median(numeric_only=True)
        finals = final_scores(scores[(scores["environment"] == environment) & (scores["algorithm"] == "UDRL")])
        asked = f"{grid}, {own['asked'].min():.0f} to {own['asked'].max():.0f}"
        cells = [number(figures.loc[mode, "error"]) for mode in MODES]
        cells += [number(figures.loc["sampled", "rank_correlation"])]
        estimates = [with_interval(score_estimate(finals[mode])) for mode in MODES]
        table.append([environment, asked, str(len(finals)), *cells, *estimates])
    return markdown(table)


def recordings() -> str:
    """A row per recording, with the greedy score of each algorithm, and from how many seeds where these are not five."""
    suite, episodes, _ = read_data(DATA, "offline")
    scores = scores_of(episodes)
    table = [["recording", *suite.algorithms]]
    for environment in suite.environments:
        finals = final_scores(scores[scores["environment"] == environment])
        by_name = [finals.loc[finals["algorithm"] == name, "greedy"] for name in suite.algorithms]
        cells = [
            f"{number(score_estimate(own).value)}{f' ({len(own)})' * (len(own) != 5)}" if len(own) else "-" for own in by_name
        ]
        table.append([environment, *cells])
    return markdown(table)


TABLES = {"results": results, "obedience": obedience, "recordings": recordings}


def written(text: str, tables: dict[str, str]) -> str:
    """
    :param text: a page
    :param tables: by name; they take the place of those that the page has
    """
    for name, table in tables.items():
        start, end = START.format(name=name), END.format(name=name)
        if start in text:
            text = text[: text.index(start) + len(start)] + table + text[text.index(end) :]
    return text


if __name__ == "__main__":
    tables = {name: make() for name, make in TABLES.items()}
    for page in PAGES:
        page.write_text(written(page.read_text(), tables))
