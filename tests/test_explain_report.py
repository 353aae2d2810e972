"""``python -m sb3_udrl.explain``, and its pictures."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from helpers import tiny_model
from sklearn.tree import DecisionTreeClassifier
from test_explain_contributions import examples, forest
from test_plots import drawn

from sb3_udrl import UDRL
from sb3_udrl.explain import CommandGrid, OverTime, __main__, plots
from sb3_udrl.explain import report as report_module

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def few_episodes(monkeypatch):
    """Of the distillation, which plays hundreds."""
    few = {"n_rounds": 1, "n_episodes": 2, "n_eval_episodes": 2}
    distill = report_module.distill
    monkeypatch.setattr(report_module, "distill", lambda *args, **kwargs: distill(*args, **few, **kwargs))


def explain(folder, model, env="CartPole-v1", *arguments):
    model.save(folder / "model.zip")
    __main__.main([str(folder / "model.zip"), "--env", env, "--episodes", "2", *arguments])
    files = {file.name for file in (folder / "explanation").iterdir()}
    text = (folder / "explanation" / "report.md").read_text()
    assert all(f"({name})" in text for name in files - {"report.md"})
    assert all((folder / "explanation" / name).stat().st_size > 0 for name in files)
    return files, text


def test_a_network(tmp_path, capsys):
    model = tiny_model("CartPole-v1").learn(300)
    model.set_command(20, 20)
    files, text = explain(tmp_path, model, "CartPole-v1", "--max-leaf-nodes", "3")
    assert files == {"report.md", "permutation_importance.png", "command_grid.png", "distilled_tree.png", "distilled_tree.txt"}
    assert "asked for a return of 20.0 in 20 steps" in text.lower()
    assert "| random actions |" in text and " leaves, fitted to " in text
    assert "The report is" in capsys.readouterr().out


def test_a_forest(tmp_path):
    policy_kwargs = {"estimator_kwargs": {"n_estimators": 3, "min_samples_leaf": 5}}
    model = UDRL("ForestPolicy", "CartPole-v1", commands="relative", learning_starts=200, policy_kwargs=policy_kwargs, seed=0)
    files, text = explain(tmp_path, model.learn(400))
    assert files == {
        "report.md",
        "contributions.png",
        "impurity_decrease.png",
        "impurity_importance.png",
        "permutation_importance.png",
        "command_grid.png",
        "tree.png",
        "tree.txt",
    }
    assert "standard deviations above the usual" in text and "pole angle" in text and "random actions" not in text


def test_continuous_actions_and_no_distillation(tmp_path):
    files, text = explain(tmp_path, tiny_model("Pendulum-v1"), "Pendulum-v1", "--no-distill")
    assert files == {"report.md", "permutation_importance.png", "command_grid.png"}
    assert "Mean change of the action" in text and "cos theta" in text


def test_a_forest_can_be_distilled_too(tmp_path):
    policy_kwargs = {"estimator": "sklearn.tree.DecisionTreeClassifier", "estimator_kwargs": {}, "standardize": True}
    model = UDRL("ForestPolicy", "CartPole-v1", learning_starts=100, policy_kwargs=policy_kwargs, seed=0).learn(200)
    files, _ = explain(tmp_path, model, "CartPole-v1", "--distill")  # rules would speak of standardized inputs
    assert "distilled_tree.txt" in files and "contributions.png" in files and "tree.txt" not in files


@pytest.mark.parametrize(
    ("model", "env", "message"),
    [
        ("missing.zip", "CartPole-v1", "missing.zip"),
        ("model.zip", "CartPole-v99", "CartPole-v99"),
        ("model.zip", "Pendulum-v1", "Observation spaces do not match"),
        ("other.zip", "CartPole-v1", "other.zip wasn't a zip-file"),
    ],
)
def test_wrong_input(tmp_path, capsys, model, env, message):
    tiny_model("CartPole-v1").save(tmp_path / "model.zip")
    (tmp_path / "other.zip").write_text("this is no zip")
    with pytest.raises(SystemExit) as exit_info:
        __main__.main([str(tmp_path / model), "--env", env])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "explanation").exists()


@pytest.mark.parametrize(("option", "least"), [("--episodes", 1), ("--max-leaf-nodes", 2)])
def test_numbers_out_of_range(capsys, option, least):
    with pytest.raises(SystemExit):
        __main__.main(["model.zip", "--env", "CartPole-v1", option, str(least - 1)])
    assert f"{option} {least - 1}: must be at least {least}" in capsys.readouterr().err


def test_as_a_command():
    command = [sys.executable, "-m", "sb3_udrl.explain", "--help"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--distill" in done.stdout, done.stderr


def test_the_error_without_scikit_learn():
    code = "import sys; sys.modules['treelite'] = None\nimport sb3_udrl.explain"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert "explanations need scikit-learn, treelite and skops: pip install sb3-udrl[explain]" in done.stderr


# Pictures


def test_what_is_drawn_over_time(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    values = OverTime(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[0.5, 0], [1, 0]]), np.array([2, 1]))
    plots.plot_over_time(values, ["a", "never used"], tmp_path / "picture.png", "A title")
    (axes,) = saved[0].axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1], [1, 3]])
    assert line.get_label() == "a" and axes.get_title() == "A title"
    (band,) = axes.collections
    assert {0.5, 1.5, 2.0, 4.0} <= set(band.get_paths()[0].vertices[:, 1])


def test_what_is_drawn_of_importance(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    plots.plot_importance(np.array([[1.0, 3.0], [0.0, 0.0]]), ["a", "b"], tmp_path / "picture.png")
    (axes,) = saved[0].axes
    assert [bar.get_width() for bar in axes.patches] == [2, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_what_is_drawn_of_command_grids(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    outputs = np.array([[[[0.9, 0.1]], [[0.2, 0.8]], [[0.3, 0.7]]]])
    relative = CommandGrid({"advantage": np.array([-1.0, 0.0, 1.0])}, outputs)
    plots.plot_command_grid(relative, tmp_path / "lines.png", first_action=4)
    first, second = saved[-1].axes[0].lines
    np.testing.assert_array_equal(first.get_xydata(), [[-1, 0.9], [0, 0.2], [1, 0.3]])
    assert second.get_label() == "action 5"
    absolute = CommandGrid(
        {"return": np.array([1.0, 2.0, 3.0]), "horizon": np.array([4.0, 5.0])}, np.concatenate((outputs, outputs))
    )
    plots.plot_command_grid(absolute, tmp_path / "maps.png")
    left, right, _ = saved[-1].axes  # and the scale of colors
    assert right.get_title() == "action 1"
    np.testing.assert_array_equal(left.collections[0].get_array(), [[0.9, 0.2, 0.3]] * 2)


def test_what_is_drawn_of_a_tree(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    policy, _ = forest(DecisionTreeClassifier(max_depth=2), spaces.Discrete(3, start=7), *examples(0, spaces.Discrete(3)))
    plots.plot_tree(policy, tmp_path / "tree.png", ["a", "b", "c", "r", "h"], max_depth=None, title="A title")
    texts = " ".join(text.get_text() for text in saved[-1].axes[0].texts)
    assert "action" in texts and " <= " in texts
    assert saved[-1].axes[0].get_title() == "A title"
