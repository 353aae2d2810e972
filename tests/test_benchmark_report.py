"""The report of the benchmark, from results made up so that its figures can be computed by hand."""

import gzip
import json
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from sb3_udrl.benchmark import report
from sb3_udrl.benchmark.curves import curve, plot_curves, plot_obedience, scores_of
from sb3_udrl.benchmark.data import ResultFolder
from sb3_udrl.benchmark.obedience import mean_achieved, obedience_figures
from sb3_udrl.benchmark.runner import all_runs
from sb3_udrl.benchmark.suite import Environment, load_suite
from sb3_udrl.benchmark.tables import (
    final_scores,
    improvement_table,
    markdown,
    number,
    obedience_table,
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
    assert "Failed runs:\n\n- CartPole-v1 PPO: 4" in page
    assert "Missing runs:\n\n- CartPole-v1 PPO: 3" in page
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


@pytest.mark.parametrize("name", ["64", "None", "nan", "1e3"])
def test_names_are_texts_whatever_they_look_like(name, tmp_path):
    path = tmp_path / "named.yml"
    path.write_text(yaml.safe_dump({**SUITE, "algorithms": {name: SUITE["algorithms"]["UDRL"]}}))
    suite, folder = load_suite(path), ResultFolder(tmp_path / "out")
    runs = all_runs(suite, suite.seeds)
    for run in runs.values():
        folder.write(record(run, "UDRL"))
    folder.collect(suite, runs)
    report.main([str(folder.path), "--output", str(tmp_path / "report")])
    assert f"| {name} | 4 |" in (tmp_path / "report" / "named.md").read_text()


def test_suites_without_a_complete_run_have_no_page(results, tmp_path, capsys):
    suite = load_suite(results / "made_up.yml")
    ResultFolder(tmp_path / "none").collect(suite, {})
    report.main([str(tmp_path / "none"), "--output", str(tmp_path / "report")])
    assert "made_up: no run is complete yet" in capsys.readouterr().out
    assert [page.name for page in (tmp_path / "report").glob("*.md")] == ["index.md"]


def test_a_suite_in_two_folders_is_refused(results, tmp_path, capsys):
    shutil.copytree(results, tmp_path / "copy")
    with pytest.raises(SystemExit):
        report.main([str(results), str(tmp_path / "copy"), "--output", str(tmp_path / "report")])
    assert "made_up is in" in capsys.readouterr().err and not (tmp_path / "report").exists()


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


GRIDS = {"return": {"return": [10, 20, 30]}, "both/two": {"return": [10, 20, 30], "horizon": [30, 20, 10]}}
ACHIEVED = {  # mean returns by seed: as asked, a third off, the same throughout, and backwards
    1: [10, 20, 30],
    2: [12, 20, 24],
    3: [20, 20, 20],
    4: [30, 20, 10],
}


def obedience_rows(grid="return", algorithm="UDRL", mode="greedy", part="return", asked=(10, 20, 30), achieved=ACHIEVED):
    """Two episodes per command, one below and one above the mean."""
    rows = [
        {"algorithm": algorithm, "mode": mode, "seed": seed, "part": part, "commands": grid}
        | {"episode": 2 * i + k, "asked": asked[i], "achieved": mean + 2 * k - 1}
        for seed, means in achieved.items()
        for i, mean in enumerate(means)
        for k in range(2)
    ]
    return pd.DataFrame(rows).assign(environment="CartPole-v1")


def test_obedience_figures():
    rows = obedience_rows().sample(frac=1, random_state=0)  # in any order
    figures = obedience_figures(rows, 2).sort_values("seed")
    np.testing.assert_allclose(figures["error"], [0, (2 + 0 + 6) / 3, 20 / 3, 40 / 3])
    np.testing.assert_allclose(figures["rank_correlation"], [1, 1, 0, -1])  # the same throughout: does not listen
    np.testing.assert_allclose(figures["r_squared"], [1 - 6 / 406, 1 - 86 / (466 / 3), 1 - 406 / 6, 1 - 1606 / 406])
    np.testing.assert_allclose(figures["reach"], [1, 12 / 20, 0, 1])
    means = mean_achieved(rows, 2).sort_values(["seed", "command"])
    assert means["achieved"].to_numpy().reshape(4, 3).tolist() == list(ACHIEVED.values())
    assert means["asked"].tolist() == 4 * [10, 20, 30]


def test_single_command_has_an_error_alone():
    figures = obedience_figures(obedience_rows(asked=(10,), achieved={1: [12], 2: [7]}), 2)
    assert figures["error"].tolist() == [2, 3]
    assert figures[["rank_correlation", "r_squared", "reach"]].isna().all(axis=None)
    assert obedience_table(figures, ["UDRL"], {})[1] == ["UDRL", "greedy", "2", "2.50 [2.00 to 3.00]", "-", "-", "-", "-"]


def test_equal_values_of_one_part_are_commands_of_their_own():
    rows = obedience_rows(asked=(10, 10, 30), achieved={1: [10, 14, 30]})
    assert mean_achieved(rows, 2)["achieved"].tolist() == [10, 14, 30]
    assert obedience_figures(rows, 2)["error"].item() == pytest.approx(4 / 3)


def test_obedience_table():
    horizon = obedience_rows(part="horizon", asked=(30, 20, 10), achieved={1: [30, 20, 10], 2: [33, 20, 10]})
    rows = pd.concat(
        [
            obedience_rows(mode="sampled", achieved={1: [11, 20, 30], 2: [11, 20, 33]}),
            obedience_rows(achieved={seed: ACHIEVED[seed] for seed in (1, 2)}),
            horizon,
            horizon.assign(mode="sampled"),
            obedience_rows(algorithm="other", achieved={1: [20, 20, 20]}),
            horizon[horizon["seed"] == 1].assign(algorithm="other"),
        ]
    )
    chosen = {("UDRL", 1): "greedy", ("UDRL", 2): "sampled", ("UDRL", 3): "sampled"}
    table = obedience_table(obedience_figures(rows, 2), ["other", "PPO", "UDRL"], chosen)
    assert table[0] == [
        "algorithm",
        "mode",
        "seeds",
        *("return: error [range]", "return: rank correlation [least]", "return: R² [least]", "return: reach"),
        *("horizon: error [range]", "horizon: rank correlation [least]", "horizon: R² [least]", "horizon: reach"),
        "chosen by the score card",
    ]
    other_cells = ["0.00 [0.00 to 0.00]", "1.00 [1.00]", "0.99 [0.99]", "1.00"]
    horizon_cells = ["0.50 [0.00 to 1.00]", "1.00 [1.00]", "0.97 [0.96]", "1.00"]
    assert table[1:] == [
        ["other", "greedy", "1", "6.67 [6.67 to 6.67]", "0.00 [0.00]", "-66.7 [-66.7]", "0.00", *other_cells, "-"],
        ["UDRL", "greedy", "2", "1.33 [0.00 to 2.67]", "1.00 [1.00]", "0.72 [0.45]", "0.80", *horizon_cells, "1 of 2"],
        ["UDRL", "sampled", "2", "0.83 [0.33 to 1.33]", "1.00 [1.00]", "0.96 [0.95]", "0.95", *horizon_cells, "1 of 2"],
    ]


def test_picture_of_obedience(monkeypatch):
    rows = pd.concat([obedience_rows(mode=mode) for mode in ("greedy", "sampled")])
    rows = pd.concat([rows, obedience_rows(part="horizon"), obedience_rows(part="horizon", mode="sampled")])
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))
    plot_obedience(mean_achieved(rows, 2), "a title", {"PPO": report.STYLES[1], "UDRL": report.STYLES[0]}, "unused.png")
    plots = figures[0].axes
    assert [axes.get_xlabel() for axes in plots] == 2 * ["asked return", "asked horizon"]
    assert [axes.get_title() for axes in plots] == ["greedy", "greedy", "sampled", "sampled"]
    diagonal, median = plots[0].get_lines()
    assert diagonal.get_xydata().tolist() == [[10, 10], [30, 30]]
    assert median.get_ydata().tolist() == [16, 20, 22]  # medians of 10, 12, 20, 30 and of 30, 24, 20, 10
    (band,) = plots[0].collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert corners == {(10, 11.5), (20, 20), (30, 17.5), (10, 22.5), (30, 25.5)}  # quartiles
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["as asked", "UDRL"]


@pytest.fixture
def obedient_results(tmp_path):
    """UDRL was asked for two grids, with a score card for all seeds but the last; PPO was not."""
    path = tmp_path / "made_up.yml"
    environments = {"CartPole-v1": {**SUITE["environments"]["CartPole-v1"], "commands": GRIDS, "literature": "Others *win*."}}
    algorithms = {**SUITE["algorithms"], "PPO": {"algo": "ppo", "seeds": [2, 4]}}
    values = {**SUITE, "environments": environments, "algorithms": algorithms, "n_command_episodes": 2}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    suite, folder = load_suite(path), ResultFolder(tmp_path / "out")
    runs = all_runs(suite, suite.seeds)
    for (_, name, seed), run in runs.items():
        means = ACHIEVED[seed]
        done = {"return": [[mean - 1, mean + 1] for mean in means], "horizon": [[mean, mean] for mean in means[::-1]]}
        entries = [
            {"name": grid, "mode": mode, "asked": parts, "achieved": {part: done[part] for part in parts}}
            for grid, parts in GRIDS.items()
            for mode in ("greedy", "sampled")
        ]
        if name == "UDRL":
            card = {"chosen_mode": "greedy" if seed == 1 else "sampled"} if seed < 4 else {}
            folder.write({**record(run, name), "commands": entries, "own_command": "nothing", **card})
        elif seed != 4:
            folder.write({**record(run, name), "commands": []})
    folder.collect(suite, runs)
    return folder.path


def test_page_says_what_was_asked_and_what_was_done(obedient_results, tmp_path):
    output = tmp_path / "docs"
    report.main([str(obedient_results), "--output", str(output)])
    assert {path.name for path in output.glob("*.md")} == {"made_up.md", "index.md"}  # the commands are no suite
    page = (output / "made_up.md").read_text()
    assert page.index("## CartPole-v1") < page.index("### What was asked and what was done: return")
    assert page.index("| UDRL | greedy | 4 |") < page.index("### What others report on CartPole-v1\n\nOthers *win*.\n")
    assert "2 episodes each" in page and "(data/made_up.commands.csv.gz)" in page
    row = "| UDRL | greedy | 4 | 4.67 [0.00 to 13.3] | 0.50 [-1.00] | -1.25 [-66.7] | 0.80 |"  # two episodes differ by 2
    assert f"{row} 1 of 3 |" in page
    assert f"{row} 4.67 [0.00 to 13.3] | 0.50 [-1.00] | 0.23 [-3.00] | 0.80 | 1 of 3 |" in page  # not in length
    assert page.count("| sampled | 4 |") == 2 and page.count("2 of 3") == 2
    for picture in ("made_up/CartPole-v1-return.png", "made_up/CartPole-v1-both_two.png"):
        assert f"]({picture})" in page and (output / picture).stat().st_size > 10_000
    # PPO was to have two seeds, one of which is there
    assert "Missing runs:\n\n- CartPole-v1 PPO: 4\n" in page and page.count("- CartPole-v1 PPO") == 1
    report.main([str(output / "data"), "--output", str(output)])
    assert (output / "made_up.md").read_text() == page


def test_page_without_commands_does_not_speak_of_them(results, tmp_path):
    data = tmp_path / "docs" / "data"
    data.mkdir(parents=True)
    (data / "made_up.commands.csv.gz").write_bytes(b"of an earlier report")
    report.main([str(results), "--output", str(data.parent)])
    page = (data.parent / "made_up.md").read_text()
    assert "asked" not in page and "others report" not in page and "commands.csv.gz" not in page
    assert not (data / "made_up.commands.csv.gz").exists()


def test_a_run_that_ends_in_nothing_is_not_reported_with_an_earlier_score():
    scores = pd.DataFrame(
        {
            "algorithm": ["PPO"] * 4,
            "seed": [1, 1, 2, 2],
            "step": [100, 200] * 2,
            "greedy": [500.0, np.nan, np.nan, 3.0],
            "sampled": [400.0, np.nan, 1.0, 2.0],
            "cpu_seconds": [1.0, 2.0, 1.0, 2.0],
        }
    )
    np.testing.assert_array_equal(final_scores(scores)["greedy"], [np.nan, 3])
    np.testing.assert_array_equal(scores_at(scores, 100)["greedy"], [500, np.nan])
    assert "nan" in score_table(final_scores(scores), ["PPO"])[1][3]
    points = curve(scores, 100)
    assert points["step"].tolist() == [] and not points["score"].isna().any()  # at no step have both seeds a score
