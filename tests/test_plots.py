"""Pictures are drawn from what other functions returned."""

import sys

import numpy as np
import pytest

from sb3_udrl.evaluation.following import PartFollowing
from sb3_udrl.evaluation.plots import plot_command_following, plot_learning_curve, plot_relative_commands

FOLLOWING = PartFollowing(np.array([3.0, 1.0, 2.0]), np.array([[3.0, 2.0], [1.0, 1.0], [2.0, 4.0]]))


def drawn(monkeypatch):
    """The axes that were saved."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    saved = []
    original = figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda self, *args, **kw: saved.append(self) or original(self, *args, **kw))
    return saved


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files_are_written(tmp_path, suffix, start):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture.{suffix}"
    plot_command_following(FOLLOWING, path)
    assert path.read_bytes().startswith(start)
    plot_learning_curve(np.array([10, 20]), np.array([[1.0, 2.0], [3.0, 4.0]]), str(path))
    assert path.read_bytes().startswith(start)


def test_what_is_drawn_of_command_following(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    plot_command_following(FOLLOWING, tmp_path / "picture.png", "A title")
    (axes,) = saved[0].axes
    diagonal, episodes, means = axes.lines
    np.testing.assert_array_equal(diagonal.get_xydata(), [[1, 1], [3, 3]])
    np.testing.assert_array_equal(episodes.get_xydata(), [[3, 3], [3, 2], [1, 1], [1, 1], [2, 2], [2, 4]])
    np.testing.assert_array_equal(means.get_xydata(), [[1, 1], [2, 3], [3, 2.5]])  # in order
    assert axes.get_title() == "A title" and axes.get_xlabel() == "desired return"


def test_what_is_drawn_of_relative_commands(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    plot_relative_commands(np.array([-1.0, 1.0]), np.array([[3.0, 2.0], [5.0, 7.0]]), tmp_path / "picture.png", "A title")
    (axes,) = saved[0].axes
    episodes, means = axes.lines
    np.testing.assert_array_equal(episodes.get_xydata(), [[-1, 3], [-1, 2], [1, 5], [1, 7]])
    np.testing.assert_array_equal(means.get_xydata(), [[-1, 2.5], [1, 6]])
    assert axes.get_title() == "A title" and "standard deviations" in axes.get_xlabel()


def test_what_is_drawn_of_learning_curves(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    plot_learning_curve(np.array([10, 20]), np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 5.0]]), tmp_path / "picture.png")
    (axes,) = saved[0].axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[10, 3], [20, 4]])
    (band,) = axes.collections
    assert band.get_datalim(axes.transData).extents.tolist() == [10, 1, 20, 6]


def test_no_global_figure_is_left_behind(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    plot_command_following(FOLLOWING, tmp_path / "picture.png")
    assert pyplot.get_fignums() == []


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install sb3-udrl\[plots\]"):
        plot_command_following(FOLLOWING, tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()
