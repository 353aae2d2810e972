"""Pictures of what the other functions returned (extra ``explain``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.evaluation.plots import legend_outside, new_axes

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.explain.command_grid import CommandGrid
    from sb3_udrl.explain.contributions import OverTime
    from sb3_udrl.policies import BehaviorPolicy

MOST_INPUTS = 20  # that a picture shows
_LONGEST = 40  # letters of a name


def plot_over_time(
    values: OverTime, names: Sequence[str], path: str | Path, title: str = "Contributions", label: str = "contribution"
) -> None:
    """
    A line per input through its means, with one standard deviation to both sides; of the twenty inputs with the largest means,
    without those that are always zero.

    :param values: result of ``over_time``
    :param names: of the inputs
    :param path: picture to write; its suffix decides the format
    :param title: title of the picture
    :param label: of the vertical axis
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, "time step", label)
    steps = np.arange(len(values.mean))
    size = np.abs(values.mean).mean(0)
    for i in [i for i in largest(size) if size[i] > 0]:
        (line,) = axes.plot(steps, values.mean[:, i], linewidth=1, label=_short(names[i]))
        low, high = values.mean[:, i] - values.std[:, i], values.mean[:, i] + values.std[:, i]
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    legend_outside(axes)
    axes.figure.savefig(path, dpi=100)


def plot_importance(
    values: NDArray[Any], names: Sequence[str], path: str | Path, title: str = "Importance", label: str = "importance"
) -> None:
    """
    A bar per input, with the range from the smallest to the largest value if there are several; of more than twenty inputs,
    the twenty with the largest means.

    :param values: ``(n_inputs,)``, or with repeats, ``(n_inputs, n_repeats)``
    :param names: of the inputs
    :param path: picture to write; its suffix decides the format
    :param title: title of the picture
    :param label: of the horizontal axis
    :raises ImportError: if matplotlib is missing
    """
    axes = new_axes(title, label, "")
    repeats = values.reshape(len(values), -1)
    shown = largest(np.abs(repeats.mean(1)))
    repeats = repeats[shown]
    means = repeats.mean(1)
    ranges = np.stack((means - repeats.min(1), repeats.max(1) - means))
    axes.barh(np.arange(len(means)), means, xerr=ranges if repeats.shape[1] > 1 else None, color="tab:blue")
    axes.set_yticks(np.arange(len(means)), [_short(names[i]) for i in shown])
    axes.invert_yaxis()
    axes.figure.set_size_inches(6, max(4, 0.25 * len(means) + 1))
    axes.figure.savefig(path, dpi=100)


def largest(values: NDArray[Any]) -> list[int]:
    """
    Which inputs a picture shows: all in their order, or the twenty largest, the first one first.

    :param values: of each input, ``(n_inputs,)``
    """
    if len(values) <= MOST_INPUTS:
        return list(range(len(values)))
    return np.argsort(-values, kind="stable")[:MOST_INPUTS].tolist()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def plot_command_grid(
    grid: CommandGrid,
    path: str | Path | BinaryIO,
    title: str = "What commands change",
    component: int = 0,
    first_action: int = 0,
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
        legend_outside(axes)
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
    from sb3_udrl.explain.rules import class_names, read_names, tree_of

    policy: Any = policy_of(model)
    shown = tree_of(policy, tree)
    axes = new_axes("", "", "")
    FigureCanvasAgg(axes.figure)  # scikit-learn measures the texts before it draws
    levels = shown.get_depth() if max_depth is None else min(max_depth, shown.get_depth())
    axes.figure.set_size_inches(max(6, 1.9 * 2 ** min(levels, 5)), 2 + 1.3 * levels)
    sklearn_tree.plot_tree(
        shown,
        ax=axes,
        max_depth=max_depth,
        feature_names=[_short(name) for name in read_names(policy, names)],
        class_names=class_names(policy),
        label="none",
        proportion=True,
        impurity=False,
        filled=True,
        rounded=True,
        precision=2 if policy.learned.scaling is None else policy.learned.scaling.decimals,
        fontsize=9,
    )
    axes.set_title(title)
    _make_room(axes)
    axes.figure.savefig(path, dpi=80)


def _make_room(axes: Any) -> None:
    """Enlarge a picture of a tree until its boxes, whose texts keep their size, do not touch."""
    figure = axes.figure
    figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in axes.texts if text.get_bbox_patch() is not None]
    middles = np.array([[(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2] for box in boxes])
    sizes = np.array([[box.width, box.height] for box in boxes])
    wider = higher = 1.0
    for i in range(len(boxes)):
        apart, room = np.abs(middles[i + 1 :] - middles[i]), (sizes[i + 1 :] + sizes[i]) / 2
        beside = apart[:, 1] < 1  # on the same level
        wider = max([wider, *(room[beside, 0] / np.maximum(apart[beside, 0], 1))])
        higher = max([higher, *(room[~beside, 1] / apart[~beside, 1])])
    width, height = figure.get_size_inches()
    figure.set_size_inches(1.05 * width * wider, 1.05 * height * higher)
