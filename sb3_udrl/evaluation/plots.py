"""Pictures of what other functions returned (extra ``plots``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sb3_udrl.evaluation.following import PartFollowing


def new_axes(title: str, x_label: str, y_label: str) -> Any:
    """
    An empty picture.

    :param title: title of the picture
    :param x_label: what the horizontal axis shows
    :param y_label: what the vertical axis shows
    :raises ImportError: if matplotlib is missing
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install sb3-udrl[plots]") from error
    axes = Figure(figsize=(6, 4), layout="constrained").add_subplot()  # a figure of its own: no display, no global state
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def legend_outside(axes: Any) -> None:
    """
    A legend beside the plot, where it covers no data: below it, or to the right if there are many entries.

    :param axes: a plot of :func:`new_axes` with labelled lines
    """
    handles, labels = axes.get_legend_handles_labels()
    few = len(labels) <= 4
    if not few:
        width, height = axes.figure.get_size_inches()
        axes.figure.set_size_inches(width + 0.075 * max(map(len, labels)), max(height, 0.2 * len(labels) + 1))
    place = {"loc": "outside lower center", "ncols": 2} if few else {"loc": "outside right upper", "fontsize": "small"}
    axes.figure.legend(handles, labels, frameon=False, **place)


def plot_command_following(
    following: PartFollowing, path: str | Path | BinaryIO, title: str = "Command following", part: str = "return"
) -> None:
    """
    Achieved against desired values: one dot per episode, a line through the means, and the diagonal of perfect obedience.

    :param following: what ``command_following(...).of(part)`` returned
    :param path: picture to write; its suffix decides the format, PNG for a stream
    :param title: title of the picture
    :param part: what was asked for
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, f"desired {part}", f"achieved {part}")
    desired = following.desired
    order = np.argsort(desired)
    limits = [desired.min(), desired.max()]
    axes.plot(limits, limits, "--", color="gray", label="perfect obedience")
    spread = np.repeat(desired, following.achieved.shape[1])
    axes.plot(spread, following.achieved.ravel(), ".", color="tab:blue", alpha=0.3)
    label = f"mean (error {following.mean_abs_error:.1f}, rank correlation {following.rank_correlation:.2f})"
    axes.plot(desired[order], following.achieved.mean(1)[order], "o-", color="tab:blue", label=label)
    legend_outside(axes)
    axes.figure.savefig(path, dpi=150)


def plot_relative_commands(
    asked: NDArray[Any], achieved: NDArray[Any], path: str | Path | BinaryIO, title: str = "Relative commands"
) -> None:
    """
    Achieved return against what was asked for: one dot per episode, and a line through the means.

    :param asked: standard deviations above the usual, ``(n_commands,)``
    :param achieved: returns, ``(n_commands, n_episodes)``
    :param path: picture to write; its suffix decides the format, PNG for a stream
    :param title: title of the picture
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, "asked for: standard deviations above the usual", "achieved return")
    axes.plot(np.repeat(asked, achieved.shape[1]), achieved.ravel(), ".", color="tab:blue", alpha=0.3)
    axes.plot(asked, achieved.mean(1), "o-", color="tab:blue", label="mean")
    legend_outside(axes)
    axes.figure.savefig(path, dpi=150)


def plot_learning_curve(
    timesteps: NDArray[Any], returns: NDArray[Any], path: str | Path | BinaryIO, title: str = "Learning curve"
) -> None:
    """
    Returns of evaluation episodes over training: their mean, and the range from the worst to the best.

    :param timesteps: environment steps at each evaluation, ``(n,)``
    :param returns: returns of each evaluation's episodes, ``(n, n_episodes)``
    :param path: picture to write; its suffix decides the format, PNG for a stream
    :param title: title of the picture
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, "environment steps", "evaluation return")
    axes.fill_between(timesteps, returns.min(1), returns.max(1), color="tab:blue", alpha=0.2, linewidth=0, label="range")
    axes.plot(timesteps, returns.mean(1), "o-", color="tab:blue", label="mean")
    legend_outside(axes)
    axes.figure.savefig(path, dpi=150)
