"""``python -m sb3_udrl.explain``, and its pictures."""

import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import make_vec, tiny_model
from sklearn.base import clone
from sklearn.tree import DecisionTreeClassifier
from test_explain_contributions import examples, forest
from test_plots import drawn

from sb3_udrl import UDRL
from sb3_udrl.commands import make_command
from sb3_udrl.explain import CommandGrid, OverTime, __main__, plots
from sb3_udrl.explain import report as report_module
from sb3_udrl.explain.situations import Situations
from sb3_udrl.forest.examples import Examples
from sb3_udrl.forest.policy import Progress

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


def test_the_forest_that_decides_under_the_models_own_command(tmp_path):
    policy_kwargs = {"estimator_kwargs": {"n_estimators": 3, "min_samples_leaf": 5}}
    settings = {"learning_starts": 200, "policy_kwargs": policy_kwargs, "seed": 0}
    model = UDRL("ForestPolicy", "CartPole-v1", **settings).learn(2_000)
    for command, takes, others in ((20, "return and horizon", "advantage"), ({"advantage": 1}, "advantage", "horizon")):
        model.set_command(command)
        folder = tmp_path / takes
        folder.mkdir()
        files, text = explain(folder, model)
        assert f"the one that takes {takes} decides" in text and "tree.txt" in files and "contributions.png" in files
        assert others not in next(folder.rglob("tree.txt")).read_text()


def test_continuous_actions_and_no_distillation(tmp_path):
    files, text = explain(tmp_path, tiny_model("Pendulum-v1"), "Pendulum-v1", "--no-distill")
    assert files == {"report.md", "permutation_importance.png", "command_grid.png"}
    assert "Mean change of the action" in text and "cos theta" in text


def test_a_forest_can_be_distilled_too(tmp_path):
    policy_kwargs = {"estimator": "sklearn.tree.DecisionTreeClassifier", "estimator_kwargs": {}, "standardize": True}
    model = UDRL("ForestPolicy", "CartPole-v1", learning_starts=100, policy_kwargs=policy_kwargs, seed=0).learn(200)
    files, text = explain(tmp_path, model, "CartPole-v1", "--distill")  # rules would speak of standardized inputs
    assert "the one that takes" in text
    assert "distilled_tree.txt" in files and "contributions.png" in files and "tree.txt" not in files


@pytest.mark.parametrize(
    ("model", "env", "message"),
    [
        ("missing.zip", "CartPole-v1", "missing.zip"),
        ("model.zip", "CartPole-v99", "CartPole-v99"),
        ("model.zip", "Pendulum-v1", "Observation spaces do not match"),
        ("other.zip", "CartPole-v1", "it is no zip file"),
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


# Many inputs


class Many(gym.Env):
    """Three hundred numbers, of which one tells the action that pays."""

    observation_space, action_space = spaces.Box(-1, 1, (300,)), spaces.Discrete(2)
    pays_for = 123

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action):
        reward = float(action == int(self.seen[self.pays_for] > 0))
        self.t += 1
        return self._observation(), reward, self.t == 5, False, {}

    def _observation(self):
        self.seen = self.np_random.uniform(-1, 1, 300).astype(np.float32)
        return self.seen


@pytest.fixture(scope="module")
def knowing():
    """A forest that has learned which of many inputs matters."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1, 1, (600, 302)).astype(np.float32)
    policy_kwargs = {"estimator_kwargs": {"n_estimators": 20, "max_features": None}}
    model = UDRL(
        "ForestPolicy",
        make_vec(Many, 2),
        commands="absolute",
        learning_starts=50,
        train_freq=50,
        policy_kwargs=policy_kwargs,
        seed=0,
    )
    head = model.policy.head
    actions = (inputs[:, 123] > 0).astype(np.int64)
    learned = head.fit(clone(model.policy._template), Examples(inputs, actions, np.ones(600), np.zeros(600, dtype=bool)))
    model.policy.take_over(learned, Progress(0, 0, 600))
    model.policy.experience.remember(np.array([[0.0, 5.0], [5.0, 5.0]]))
    return model


def test_of_many_inputs_twenty_are_looked_at(knowing, tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    folder = tmp_path / "explanation"
    folder.mkdir()
    found = []
    distill = report_module.distill
    monkeypatch.setattr(
        report_module,
        "distill",
        lambda *args, n_rounds, n_eval_episodes, **kwargs: found.append(distill(*args, **kwargs)) or found[0],
    )
    report_module.Report(knowing, knowing.env, folder, 16).write("Many", True, 4, 0)
    text = (folder / "report.md").read_text()
    assert "these are the 20 that change most" in text
    importance = next(figure for figure in saved if figure.axes[0].get_title() == "Permutation importance")
    bars = dict(
        zip([label.get_text() for label in importance.axes[0].get_yticklabels()], importance.axes[0].patches, strict=True)
    )
    assert len(bars) == 20 and max(bars, key=lambda name: bars[name].get_width()) == "observation[123]"
    assert text.split("The policy as one tree")[-1].count("observation[123]") >= 2  # the tree found the one that matters
    assert found[0].returns.mean() > 4  # and reads it at its place
    assert all(len(figure.axes[0].lines) <= 20 for figure in saved)


def test_a_tree_of_some_inputs_reads_all(knowing):
    found = report_module.distill(knowing, knowing.env, 4, inputs=[5, 123, 300])
    assert found.policy.learned.estimator.n_features_in_ == 302
    assert set(found.policy.learned.estimator.tree_.feature) <= {5, 123, 300, -2}
    assert found.returns.mean() == found.teacher_returns.mean() == 5


def test_complete_episodes_are_kept():
    situations = Situations(
        np.zeros((9, 1)), make_command(1, 1, 9), np.zeros(9), np.repeat([0, 1, 2], [4, 2, 3]), np.arange(9), np.zeros(3)
    )
    kept = [len(report_module._first_episodes(situations, most).steps) for most in (1, 4, 5, 6, 9, 99)]
    assert kept == [4, 4, 4, 6, 9, 9]


# Nothing covers anything


def boxes_of(figure):
    figure.draw_without_rendering()
    return [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts if text.get_bbox_patch() is not None]


@pytest.mark.parametrize("max_depth", [1, 3, 5, None])
@pytest.mark.parametrize("name", ["x", "a name of an input that is rather long, " * 3])
def test_boxes_of_trees_do_not_overlap(tmp_path, monkeypatch, max_depth, name):
    saved = drawn(monkeypatch)
    tree = DecisionTreeClassifier(max_depth=5, random_state=0)
    policy, _ = forest(tree, spaces.Discrete(6), *examples(0, spaces.Discrete(6)))
    plots.plot_tree(policy, tmp_path / "tree.png", [f"{name}{i}" for i in range(5)], max_depth=max_depth)
    boxes = boxes_of(saved[-1])
    assert len(boxes) >= 3
    assert not [1 for i, box in enumerate(boxes) for other in boxes[:i] if box.overlaps(other)]


@pytest.mark.parametrize("n", [2, 12, 3000])
def test_legends_cover_no_data(tmp_path, monkeypatch, n):
    saved = drawn(monkeypatch)
    values = np.random.default_rng(0).normal(size=(10, n))
    plots.plot_over_time(
        OverTime(values, np.ones_like(values), np.ones(10, int)), [f"input {i}" for i in range(n)], tmp_path / "a.png"
    )
    plots.plot_command_grid(CommandGrid({"advantage": np.arange(3.0)}, np.ones((1, 3, 1, min(n, 30)))), tmp_path / "b.png")
    for figure in saved[-2:]:
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box, axes = legend.get_window_extent(), figure.axes[0].get_window_extent()
        assert not box.overlaps(axes) and axes.width > 200 and axes.height > 150
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


def test_bars_of_many_inputs_can_be_read(tmp_path, monkeypatch):
    saved = drawn(monkeypatch)
    plots.plot_importance(np.arange(3000.0), [f"input {i}" for i in range(3000)], tmp_path / "a.png")
    figure = saved[-1]
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"input {i}" for i in range(2999, 2979, -1)]
    boxes = [label.get_window_extent() for label in labels]
    assert not [1 for i, box in enumerate(boxes) for other in boxes[:i] if box.overlaps(other)]


def test_a_tree_reads_all_numbers_of_a_picture(tmp_path, monkeypatch):
    """A picture is one part of what is shuffled, so it leaves nothing out."""
    drawn(monkeypatch)
    asked = []
    distill = report_module.distill
    monkeypatch.setattr(report_module, "distill", lambda *args, **kwargs: asked.append(kwargs) or distill(*args, **kwargs))
    model = tiny_model("sb3_udrl.envs:Catch-v0", "CnnPolicy").learn(64)
    report_module.Report(model, model.env, tmp_path, 2).write("Catch", True, 4, 0)
    assert "inputs" not in asked[0]
    assert "that change most" not in (tmp_path / "report.md").read_text()
