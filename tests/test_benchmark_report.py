"""The report of the benchmark, from results made up so that its figures can be computed by hand."""

import gzip
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from sb3_udrl.benchmark import report
from sb3_udrl.benchmark.curves import curve, plot_curves, scores_of
from sb3_udrl.benchmark.data import ResultFolder
from sb3_udrl.benchmark.runner import all_runs
from sb3_udrl.benchmark.suite import Environment, load_suite
from sb3_udrl.benchmark.tables import (
    final_scores,
    improvement_table,
    markdown,
    number,
    score_table,
    scores_at,
    speed_table,
)

SUITE = {
    "description": "Made up.",
    "seeds": [1, 2, 3, 4],
    "environments": {"CartPole-v1": {"n_timesteps": 300, "eval_freq": 100, "threshold": 20, "report_at": [200]}},
    "algorithms": {"UDRL": {"algo": "udrl"}, "PPO": {"algo": "ppo"}},
}
GREEDY = {  # a row per seed, a column per evaluation
    "UDRL": [[0, 20, 30], [0, 10, 40], [0, 30, 50], [0, 40, 60]],
    "PPO": [[0, 0, 10], [0, 0, 10], [0, 0, 30], [0, 0, 10]],
}
STEPS = {"UDRL": [100, 200, 300], "PPO": [104, 208, 312]}


def record(run, name):
    evaluations = []
    for step, seconds, score in zip(STEPS[name], (1.0, 2.0, 3.0), GREEDY[name][run.seed - 1], strict=True):
        greedy = {"returns": [score - 1, score + 1], "lengths": [1, 1]}
        sampled = {"returns": [score - 5, score - 5], "lengths": [1, 1]}
        times = {"step": step, "cpu_seconds": run.seed * seconds, "wall_seconds": 9.0}
        evaluations.append({**times, "greedy": greedy, "sampled": sampled})
    where = {"machine": "a machine", "git_revision": "abcdef", "versions": {"torch": "2"}, "started": "2026-01-01"}
    facts = {"run": run.run_id, "status": "complete", "error": None, "command": "python -m benchmark"}
    return {**facts, **where, "evaluations": evaluations}


@pytest.fixture
def results(tmp_path):
    """A folder of results: PPO's last seed failed, and its third is missing."""
    path = tmp_path / "made_up.yml"
    path.write_text(yaml.safe_dump(SUITE, sort_keys=False))
    suite, folder = load_suite(path), ResultFolder(tmp_path / "out")
    runs = all_runs(suite, suite.seeds)
    for (_, name, seed), run in runs.items():
        if (name, seed) == ("PPO", 4):
            folder.write({**record(run, name), "status": "failed", "error": "no", "evaluations": []})
        elif (name, seed) != ("PPO", 3):
            folder.write(record(run, name))
    folder.collect(suite, runs)
    return folder.path


def frame(greedy):
    """Rows as of ``scores_of``, for one environment."""
    rows = [
        {"environment": "E", "algorithm": name, "seed": seed, "step": step, "cpu_seconds": seed * k, "greedy": score}
        for name, runs in greedy.items()
        for seed, scores in enumerate(runs, start=1)
        for k, (step, score) in enumerate(zip(STEPS[name], scores, strict=True), start=1)
    ]
    return pd.DataFrame(rows).assign(sampled=lambda rows: rows["greedy"] - 5, wall_seconds=9.0)


def test_scores_are_means_over_episodes(results):
    episodes = pd.read_csv(results / "made_up.csv.gz")
    scores = scores_of(episodes)
    assert len(scores) == (4 + 2) * 3
    udrl = scores.query("algorithm == 'UDRL'")
    np.testing.assert_array_equal(udrl["greedy"].to_numpy().reshape(4, 3), GREEDY["UDRL"])
    np.testing.assert_array_equal(udrl["sampled"], udrl["greedy"] - 5)


def test_same_results_same_bytes(results):
    before = (results / "made_up.csv.gz").read_bytes()
    suite = load_suite(results / "made_up.yml")
    ResultFolder(results).collect(suite, all_runs(suite, suite.seeds))
    assert (results / "made_up.csv.gz").read_bytes() == before


def test_curve_is_the_interquartile_mean_over_seeds():
    points = curve(frame({"UDRL": GREEDY["UDRL"]}), 100)
    assert points["step"].tolist() == [100, 200, 300]
    assert points["score"].tolist() == [0, 25, 45]
    assert points["cpu_seconds"].tolist() == [2.5, 5, 7.5]
    assert (points["low"] <= points["score"]).all() and (points["score"] <= points["high"]).all()
    assert points["low"][0] == points["high"][0] == 0


def test_curve_takes_the_last_evaluation_of_a_multiple_and_leaves_out_what_some_seeds_lack():
    scores = frame({"PPO": [[0, 0, 10], [0, 0, 30]]})
    finished = scores.query("step == 312").assign(step=350, greedy=99)
    unfinished = scores.query("step == 104 and seed == 1").assign(step=400)
    points = curve(pd.concat([scores, finished, unfinished]), 100)
    assert points["step"].tolist() == [104, 208, 350]
    assert points["score"].tolist() == [0, 0, 99]


def test_score_table():
    scores = frame(GREEDY)
    table = score_table(final_scores(scores), ["UDRL", "PPO", "DQN"])
    assert [row[0] for row in table[1:]] == ["UDRL", "PPO"]
    _, seeds, steps, iqm, median, edges, sampled, seconds = table[1]
    assert (seeds, steps, median, edges, seconds) == ("4", "300", "45.0", "30.0 to 60.0", "7.50")
    assert iqm.startswith("45.0 [") and sampled.startswith("40.0 [")
    assert [row[3].split()[0] for row in score_table(scores_at(scores, 200), ["UDRL", "PPO"])[1:]] == ["25.0", "0.00"]
    assert len(score_table(scores_at(scores, 400), ["UDRL"])) == 1  # no run was that long


def test_speed_table():
    table = speed_table(frame(GREEDY), Environment(300, 100, threshold=20), ["UDRL", "PPO"])
    # UDRL needs 200, 300, 200 and 200 steps, in 1 * 2, 2 * 3, 3 * 2 and 4 * 2 seconds
    assert table[1] == ["UDRL", "4 of 4", "200", "200 to 300", "6.00", "-"]
    assert table[2] == ["PPO", "1 of 4, not 1, 2, 4", "not reached", "312 to not reached", "not reached", "-"]
    table = speed_table(frame(GREEDY), Environment(300, 100, threshold=10), ["UDRL", "PPO"])
    # Seconds of UDRL 2, 4, 6, 8; those of PPO 3, 6, 9, 12
    assert [row[-1] for row in table] == ["CPU seconds / PPO's", "0.67", "1.00"]
    assert len(speed_table(frame({"UDRL": GREEDY["UDRL"]}), Environment(300, 100, 10), ["UDRL"])[0]) == 5


def test_improvement_table():
    finals = final_scores(frame(GREEDY))
    # 30 ties with 30; all other pairs are won
    assert improvement_table(finals, "UDRL", ["UDRL", "PPO"])[1][0] == "PPO"
    assert improvement_table(finals, "UDRL", ["UDRL", "PPO"])[1][1].startswith("0.97 [")
    assert improvement_table(finals, "DQN", ["UDRL", "PPO"])[1:] == []


def test_numbers():
    assert [number(value) for value in (1.234, -9.999, 10.04, -1234.56)] == ["1.23", "-10.00", "10.0", "-1,234.6"]
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_page(results, tmp_path, capsys):
    output = tmp_path / "docs"
    (output / "notes").mkdir(parents=True)
    (output / "notes" / "index.md").write_text("# Written by hand")
    report.main([str(results), "--output", str(output)])
    page = (output / "made_up.md").read_text()
    assert "Made up." in page
    assert "![Learning curves on CartPole-v1](made_up/CartPole-v1.png)" in page
    assert (output / "made_up" / "CartPole-v1.png").stat().st_size > 10_000
    assert "| UDRL | 4 | 300 | 45.0 [" in page
    assert "Scores after 200 steps:" in page and "| UDRL | 4 | 200 | 25.0 [" in page
    assert "Failed runs:\n\n- CartPole-v1 PPO 4" in page
    assert "Missing runs:\n\n- CartPole-v1 PPO 3" in page
    for fact in ("`python -m benchmark`", "1, 2, 3, 4", "abcdef", "a machine", "torch 2", "2026-01-01"):
        assert fact in page
    assert "| CartPole-v1 | PPO | ppo | CartPole-v1 |" in page
    assert {"made_up", "notes/index"} <= set((output / "index.md").read_text().splitlines())
    assert str(output / "made_up.md") in capsys.readouterr().out


def picture_of(names, cpu_seconds, monkeypatch):
    """The figure that is saved of algorithms with equal curves of two evaluations."""
    rows = pd.DataFrame({"seed": [1, 1], "step": [100, 200], "cpu_seconds": cpu_seconds, "greedy": [0.0, 1.0]})
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))
    styles = dict(zip(names, report.STYLES, strict=False))
    plot_curves({name: curve(rows, 100) for name in names}, "CartPole-v1", Environment(300, 100), styles, "unused.png")
    figures[0].draw_without_rendering()
    return figures[0]


@pytest.mark.parametrize("cpu_seconds", [[3.1, 62.0], [0.9, 2.2], [12.0, 900.0]], ids=str)
def test_seconds_under_the_picture_do_not_run_into_each_other(cpu_seconds, monkeypatch):
    axis = picture_of(["UDRL"], cpu_seconds, monkeypatch).axes[1].xaxis
    labels = [label for label in axis.get_ticklabels(which="both") if label.get_text()]
    low, high = axis.get_view_interval()
    extents = sorted(
        (label.get_window_extent() for label in labels if low <= label.get_position()[0] <= high), key=lambda e: e.x0
    )
    assert len(extents) >= 2
    assert all(left.x1 < right.x0 for left, right in pairwise(extents))


def test_legend_of_many_algorithms_fits_into_the_picture(monkeypatch):
    figure = picture_of([f"algorithm {number}" for number in range(22)], [1.0, 2.0], monkeypatch)
    legend, picture = figure.legends[0].get_window_extent(), figure.bbox
    assert picture.y0 <= legend.y0 and legend.y1 <= picture.y1
    assert picture.x0 <= legend.x0 and legend.x1 <= picture.x1


def test_report_can_be_made_again_from_its_own_data(results, tmp_path):
    output = tmp_path / "docs"
    report.main([str(results), "--output", str(output)])
    page = (output / "made_up.md").read_text()
    (output / "made_up.md").unlink()
    report.main([str(output / "data"), "--output", str(output)])
    assert (output / "made_up.md").read_text() == page


def test_empty_folder(tmp_path, capsys):
    with pytest.raises(SystemExit):
        report.main([str(tmp_path)])
    assert "no results" in capsys.readouterr().err


def test_runs_of_the_data_say_all_but_the_evaluations(results):

    with gzip.open(results / "made_up.runs.jsonl.gz", "rt") as lines:
        facts = [json.loads(line) for line in lines]
    assert len(facts) == 7
    assert facts[0]["algorithm"] == "UDRL" and facts[0]["hyperparams"]["policy"] == "CommandPolicy"
    assert "evaluations" not in facts[0]
