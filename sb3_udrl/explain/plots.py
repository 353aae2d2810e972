"""Pictures of what the other functions returned (extra ``explain``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.evaluation.plots import new_axes

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.explain.command_grid import CommandGrid
    from sb3_udrl.explain.contributions import OverTime
    from sb3_udrl.policies import BehaviorPolicy


def plot_over_time(
    values: OverTime, names: Sequence[str], path: str | Path, title: str = "Contributions", label: str = "contribution"
) -> None:
    """
    A line per input through its means, with one standard deviation to both sides; inputs that are always zero are left out.

    :param values: result of ``over_time``
    :param names: of the inputs
    :param path: picture to write; its suffix decides the format
    :param title: title of the picture
    :param label: of the vertical axis
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, "time step", label)
    steps = np.arange(len(values.mean))
    for i in np.flatnonzero(np.abs(values.mean).max(0)).tolist():
        (line,) = axes.plot(steps, values.mean[:, i], linewidth=1, label=names[i])
        low, high = values.mean[:, i] - values.std[:, i], values.mean[:, i] + values.std[:, i]
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.legend(frameon=False, fontsize="small")
    axes.figure.savefig(path, dpi=100)


def plot_importance(
    values: NDArray[Any], names: Sequence[str], path: str | Path, title: str = "Importance", label: str = "importance"
) -> None:
    """
    A bar per input, with the range from the smallest to the largest value if there are several.

    :param values: ``(n_inputs,)``, or with repeats, ``(n_inputs, n_repeats)``
    :param names: of the inputs
    :param path: picture to write; its suffix decides the format
    :param title: title of the picture
    :param label: of the horizontal axis
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, label, "")
    repeats = values.reshape(len(values), -1)
    means = repeats.mean(1)
    ranges = np.stack((means - repeats.min(1), repeats.max(1) - means))
    axes.barh(np.arange(len(means)), means, xerr=ranges if repeats.shape[1] > 1 else None, color="tab:blue")
    axes.set_yticks(np.arange(len(means)), names)
    axes.invert_yaxis()
    axes.figure.savefig(path, dpi=100)


def plot_command_grid(
    grid: CommandGrid, path: str | Path, title: str = "What commands change", component: int = 0, first_action: int = 0
) -> None:
    """
    Over one part of commands, a line per action; over two, the probability of each action, side by
    side. For continuous actions, the action itself.

    :param grid: result of ``command_grid``
    :param path: picture to write; its suffix decides the format
    :param title: title of the picture
    :param component: which component of the action
    :param first_action: number of the first discrete action
    :raises ImportError: if matplotlib is missing
    """
    outputs = grid.outputs[:, :, component]  # (n_y, n_x, n_values)
    n_values = outputs.shape[2]
    labels = [f"action {i + first_action}" for i in range(n_values)] if n_values > 1 else ["action"]
    quantity = "probability" if n_values > 1 else "action"
    (x_part, x), *further = grid.axes.items()
    if not further:
        axes = new_axes(title, f"desired {x_part}", quantity)
        for i, label in enumerate(labels):
            axes.plot(x, outputs[0, :, i], label=label)
        axes.legend(frameon=False)
        axes.figure.savefig(path, dpi=100)
        return
    ((y_part, y),) = further
    figure = new_axes("", "", "").figure
    figure.clear()
    figure.set_size_inches(1 + 3 * n_values, 3.5)
    every = figure.subplots(1, n_values, sharey=True, squeeze=False)[0]
    limits = {"vmin": 0.0, "vmax": 1.0} if n_values > 1 else {}
    for i, axes in enumerate(every):
        mesh = axes.pcolormesh(x, y, outputs[:, :, i], shading="nearest", **limits)
        axes.set(title=labels[i], xlabel=f"desired {x_part}")
    every[0].set_ylabel(f"desired {y_part}")
    figure.suptitle(title)
    figure.colorbar(mesh, ax=list(every), label=quantity)
    figure.savefig(path, dpi=100)


def plot_tree(
    model: CommandedAlgorithm | BehaviorPolicy,
    path: str | Path,
    names: list[str] | None = None,
    tree: int = 0,
    max_depth: int | None = 3,
    title: str = "",
) -> None:
    """
    The first levels of one tree: in each node the share of the examples, and the shares of the actions among them or the mean
    action.

    :param model: as in ``rules``
    :param path: picture to write; its suffix decides the format
    :param names: of all inputs; by default indices
    :param tree: which tree of a forest
    :param max_depth: number of levels below the root; all if None
    :param title: title of the picture
    :raises ImportError: if matplotlib is missing
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from sklearn import tree as sklearn_tree

    from sb3_udrl.explain.decisions import policy_of
    from sb3_udrl.explain.rules import checked_input_names, class_names, tree_of

    shown = tree_of(model, tree)
    axes = new_axes("", "", "")
    FigureCanvasAgg(axes.figure)  # scikit-learn measures the texts before it draws
    levels = shown.get_depth() if max_depth is None else min(max_depth, shown.get_depth())
    axes.figure.set_size_inches(max(6, 1.9 * 2 ** min(levels, 5)), 2 + 1.3 * levels)
    sklearn_tree.plot_tree(
        shown,
        ax=axes,
        max_depth=max_depth,
        feature_names=checked_input_names(policy_of(model), names),
        class_names=class_names(model),
        label="none",
        proportion=True,
        impurity=False,
        filled=True,
        rounded=True,
        precision=2,
        fontsize=9,
    )
    axes.set_title(title)
    axes.figure.savefig(path, dpi=80)
