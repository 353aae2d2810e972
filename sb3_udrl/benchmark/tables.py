"""The tables of the report, as lists of cells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sb3_udrl.benchmark.statistics import Estimate, first_reached, probability_of_improvement, score_estimate
from sb3_udrl.benchmark.suite import Environment
from sb3_udrl.benchmark.training import MODES

Table = list[list[str]]


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """
    :param scores: one row per evaluation, for one environment
    :return: the last row of each run
    """
    return scores.groupby(["algorithm", "seed"], sort=False).tail(1)  # last() would skip what is NaN


def scores_at(scores: pd.DataFrame, step: int) -> pd.DataFrame:
    """
    :param scores: one row per evaluation, for one environment
    :param step: number of steps
    :return: the row of each run that is the first at or after this step; none for runs that ended before
    """
    return scores[scores["step"] >= step].groupby(["algorithm", "seed"], sort=False).head(1)


def score_table(rows: pd.DataFrame, names: list[str]) -> Table:
    """
    Scores over seeds, greedy and sampled apart.

    :param rows: one row per run, for one environment
    :param names: names of algorithms, in the order of the table
    """
    table = [
        [
            "algorithm",
            "seeds",
            "steps",
            "greedy IQM [95 %]",
            "greedy median",
            "greedy range",
            "sampled IQM [95 %]",
            "CPU seconds",
        ]
    ]
    for name in names:
        own = rows[rows["algorithm"] == name]
        if len(own) == 0:
            continue
        greedy = own["greedy"]
        table.append(
            [
                name,
                str(len(own)),
                f"{own['step'].median():,.0f}",
                with_interval(score_estimate(greedy)),
                number(greedy.median()),
                f"{number(greedy.min())} to {number(greedy.max())}",
                with_interval(score_estimate(own["sampled"])),
                number(own["cpu_seconds"].median()),
            ]
        )
    return table


def speed_table(scores: pd.DataFrame, conditions: Environment, names: list[str], reference: str = "PPO") -> Table:
    """
    What it takes to reach the threshold for the first time.

    :param scores: one row per evaluation, for one environment
    :param conditions: the threshold
    :param names: names of algorithms, in the order of the table
    :param reference: name of the algorithm whose CPU seconds the others are divided by
    """
    assert conditions.threshold is not None
    costs: dict[str, pd.DataFrame] = {}  # by name, a row per seed
    for name in names:
        runs = scores[scores["algorithm"] == name].groupby("seed")
        costs[name] = pd.DataFrame(
            {
                cost: {seed: first_reached(run["greedy"], run[cost], conditions.threshold) for seed, run in runs}
                for cost in ("step", "cpu_seconds")
            }
        )
    medians = {name: cost.median() for name, cost in costs.items() if len(cost)}
    table = [["algorithm", "seeds that reached it", "steps, median", "steps, range", "CPU seconds, median"]]
    if reference in medians:
        table[0].append(f"CPU seconds / {reference}'s")
    for name, median in medians.items():
        steps = costs[name]["step"]
        missed = [str(seed) for seed in steps.index[np.isinf(steps)]]
        row = [
            name,
            f"{len(steps) - len(missed)} of {len(steps)}" + (f", not {', '.join(missed)}" if missed else ""),
            reached(median["step"], f"{median['step']:,.0f}"),
            " to ".join(reached(edge, f"{edge:,.0f}") for edge in sorted({steps.min(), steps.max()})),
            reached(median["cpu_seconds"], number(median["cpu_seconds"])),
        ]
        if reference in medians:
            seconds = (median["cpu_seconds"], medians[reference]["cpu_seconds"])
            row.append(f"{seconds[0] / seconds[1]:.2f}" if np.isfinite(seconds).all() else "-")
        table.append(row)
    return table


def improvement_table(finals: pd.DataFrame, baseline: str, names: list[str]) -> Table:
    """
    How likely a run of the baseline is better than one of each other algorithm, by final greedy score.

    :param finals: one row per run, for one environment
    :param baseline: name of an algorithm
    :param names: names of algorithms, in the order of the table
    """
    table = [["compared with", f"P({baseline} is better) [95 %]"]]
    own = finals.loc[finals["algorithm"] == baseline, "greedy"].to_numpy()
    for name in names:
        other = finals.loc[finals["algorithm"] == name, "greedy"].to_numpy()
        if name != baseline and len(own) and len(other):
            table.append([name, with_interval(probability_of_improvement(own, other), digits=2)])
    return table


def obedience_table(figures: pd.DataFrame, names: list[str], chosen: Mapping[tuple[str, int], str]) -> Table:
    """
    How far from what was asked, in what order, and over how much of the range: over seeds, greedy and sampled apart.

    :param figures: rows of :func:`~sb3_udrl.benchmark.obedience.obedience_figures` for one environment and grid
    :param names: names of algorithms, in the order of the table
    :param chosen: the mode that the score card of a model shows to obey better, by name of algorithm and seed
    """
    parts = list(figures["part"].unique())
    columns = [
        f"{part}: {column}"
        for part in parts
        for column in ("error [range]", "rank correlation [least]", "R² [least]", "reach")
    ]
    table = [["algorithm", "mode", "seeds", *columns, "chosen by the score card"]]
    for name in names:
        for mode in MODES:
            own = figures[(figures["algorithm"] == name) & (figures["mode"] == mode)]
            if len(own) == 0:
                continue
            row = [name, mode, str(own["seed"].nunique())]
            for part in parts:
                of_part = own[own["part"] == part]
                error, reach = of_part["error"], of_part["reach"]
                row += [
                    f"{number(error.median())} [{number(error.min())} to {number(error.max())}]",
                    *(_with_least(of_part[column]) for column in ("rank_correlation", "r_squared")),
                    number(reach.median()) if len(reach.dropna()) else "-",
                ]
            choices = [chosen[name, seed] for seed in own["seed"].unique() if (name, seed) in chosen]
            table.append([*row, f"{choices.count(mode)} of {len(choices)}" if choices else "-"])
    return table


def _with_least(values: pd.Series) -> str:
    return f"{number(values.median())} [{number(values.min())}]" if len(values.dropna()) else "-"


def number(value: float) -> str:
    """
    :param value: a figure
    :return: with one decimal, and with two below ten
    """
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"


def reached(value: float, text: str) -> str:
    """
    :param value: a cost, infinite if the threshold was not reached
    :param text: how it is written
    """
    return text if np.isfinite(value) else "not reached"


def with_interval(estimate: Estimate, digits: int | None = None) -> str:
    """
    :param estimate: a figure and its interval
    :param digits: number of decimals, chosen by the size of the figure if None
    """
    figures = [number(value) if digits is None else f"{value:.{digits}f}" for value in estimate]
    return figures[0] if np.isnan(estimate.low) else f"{figures[0]} [{figures[1]}, {figures[2]}]"


def markdown(table: Table) -> str:
    """
    :param table: header and rows
    """
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
