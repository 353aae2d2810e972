"""Curves: from rows of episodes to scores, and from scores, and from what commands led to, to pictures."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sb3_udrl.benchmark.statistics import interquartile_band
from sb3_udrl.benchmark.suite import Environment

RUN = ["environment", "algorithm", "seed"]


def scores_of(episodes: pd.DataFrame) -> pd.DataFrame:
    """
    :param episodes: one row per episode
    :return: one row per evaluation, with the mean returns ``greedy`` and ``sampled``
    """
    evaluation = [*RUN, "step", "cpu_seconds", "wall_seconds"]
    means = episodes.groupby([*evaluation, "mode"], sort=False)["return"].mean().unstack("mode")
    return means.reset_index().sort_values([*RUN, "step"], kind="stable", ignore_index=True)


def curve(scores: pd.DataFrame, eval_freq: int) -> pd.DataFrame:
    """
    A learning curve over seeds. Evaluations are put together that belong to the same multiple of ``eval_freq``: how far
    beyond it they are depends on the number of environments, and at the end on the length of a rollout.

    :param scores: rows of :func:`scores_of` for one environment and algorithm
    :param eval_freq: steps between evaluations
    :return: a row per evaluation: ``step`` and ``cpu_seconds`` (medians over seeds), and the interquartile mean of the
        greedy scores, ``score``, with its interval, ``low`` to ``high``
    """
    scores = scores.assign(due=scores["step"] // eval_freq * eval_freq)
    last = scores.groupby(["seed", "due"]).tail(1)  # the finished model's comes after that of the last rollout
    points = last.set_index(["seed", "due"]).unstack("seed").dropna()  # evaluations that all seeds have
    score, low, high = interquartile_band(points["greedy"].to_numpy().T)
    return pd.DataFrame(
        {
            "step": np.median(points["step"], axis=1),
            "cpu_seconds": np.median(points["cpu_seconds"], axis=1),
            "score": score,
            "low": low,
            "high": high,
        }
    )


def plot_curves(
    curves: dict[str, pd.DataFrame],
    environment: str,
    conditions: Environment,
    styles: dict[str, dict[str, Any]],
    path: str | Path,
) -> None:
    """
    Greedy scores over environment steps and over CPU seconds.

    :param curves: curves by name of algorithm
    :param environment: id, for the title
    :param conditions: threshold
    :param styles: color and linestyle by name of algorithm
    :param path: picture to write
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(11, max(4, 0.25 * len(curves))), layout="constrained")  # room for all names in the legend
    figure.suptitle(environment)
    over_steps, over_seconds = figure.subplots(1, 2, sharey=True)
    for name, points in curves.items():
        for axes, x in ((over_steps, "step"), (over_seconds, "cpu_seconds")):
            marker = "." if len(points) == 1 else None
            axes.plot(points[x], points["score"], **styles[name], label=name, linewidth=1.8, marker=marker)
            color = styles[name]["color"]
            axes.fill_between(points[x], points["low"], points["high"], color=color, alpha=0.15, linewidth=0)
    first, shortest = (min(points["cpu_seconds"].iloc[end] for points in curves.values()) for end in (0, -1))
    # Warm-up costs next to nothing, and would take up most of the picture
    over_seconds.set_xlim(left=max(0.9 * first, 0.02 * shortest))
    over_steps.set(xlabel="environment steps", ylabel="greedy return")
    over_steps.xaxis.set_major_formatter(EngFormatter(sep=""))
    over_seconds.set(xlabel="CPU seconds of training", xscale="log")
    over_seconds.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    over_seconds.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    over_seconds.xaxis.set_minor_formatter(NullFormatter())  # within two decades, matplotlib would name every line
    for axes in (over_steps, over_seconds):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if conditions.threshold is not None:
            axes.axhline(conditions.threshold, color="gray", linestyle="--", linewidth=1)
    figure.legend(*over_steps.get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def plot_obedience(means: pd.DataFrame, title: str, styles: dict[str, dict[str, Any]], path: str | Path) -> None:
    """
    Achieved against asked: medians over seeds, bands from their lower to their upper quartiles, and the diagonal of perfect
    obedience. A row of plots per mode, a column per part.

    :param means: rows of :func:`~sb3_udrl.benchmark.obedience.mean_achieved` for one environment and grid
    :param title: title of the picture
    :param styles: color and linestyle by name of algorithm
    :param path: picture to write
    """
    from matplotlib.figure import Figure

    modes, parts = (list(means[name].unique()) for name in ("mode", "part"))
    figure = Figure(figsize=(2 + 4.5 * len(parts), 3.5 * len(modes)), layout="constrained")
    figure.suptitle(title)
    plots = figure.subplots(len(modes), len(parts), squeeze=False, sharey="col")
    for (mode, part), axes in zip(product(modes, parts), plots.flat, strict=True):
        own = means[(means["mode"] == mode) & (means["part"] == part)].sort_values("asked", kind="stable")
        diagonal = [own["asked"].min(), own["asked"].max()]
        axes.plot(diagonal, diagonal, color="gray", linestyle="--", linewidth=1, label="as asked")
        for name, style in styles.items():
            of_name = own[own["algorithm"] == name]
            if len(of_name):
                of_command = of_name.groupby("command", sort=False)
                asked, achieved = of_command["asked"].first(), of_command["achieved"]
                axes.plot(asked, achieved.median(), **style, linewidth=2.2, label=name)
                low, high = achieved.quantile(0.25), achieved.quantile(0.75)
                axes.fill_between(asked, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.set(title=mode, xlabel=f"asked {part}", ylabel=f"achieved {part}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*plots.flat[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)
