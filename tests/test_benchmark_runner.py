"""Suites on this machine and on clusters: resuming, failing, the command line."""

import gzip
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sb3_udrl.benchmark import __main__ as command_line
from sb3_udrl.benchmark import runner
from sb3_udrl.benchmark.backends import BACKENDS
from sb3_udrl.benchmark.data import COMMAND_COLUMNS, ResultFolder, read_commands, read_data
from sb3_udrl.benchmark.runner import run_suite
from sb3_udrl.benchmark.suite import load_suite

TINY = {
    "seeds": [1, 2],
    "n_eval_episodes": 2,
    "n_final_episodes": 2,
    "n_eval_envs": 2,
    "environments": {"CartPole-v1": {"n_timesteps": 300, "eval_freq": 100}},
    "algorithms": {
        "UDRL": {"algo": "udrl", "hyperparams": {"learning_starts": 100, "train_freq": 20}},
        "PPO": {"algo": "ppo"},
    },
}
RESULTS = ["environment", "algorithm", "seed", "step", "mode", "episode", "return", "length"]


@pytest.fixture
def suite_path(tmp_path):
    path = tmp_path / "tiny.yml"
    path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    return path


class Trainings:
    """Takes the place of training: counts, and fails or is interrupted where it is told to."""

    def __init__(self):
        self.n_calls = Counter()
        self.fails, self.interrupted = {}, set()
        self.commands = []  # what UDRL was asked and what it did

    def __call__(self, run):
        self.n_calls[run.run_id] += 1
        if run.run_id in self.interrupted:
            raise KeyboardInterrupt
        error = None
        if self.fails.get(run.run_id, 0) >= self.n_calls[run.run_id]:
            error = "Traceback ...\nValueError: no luck\n"
        episodes = {"returns": [run.seed, run.seed + 1], "lengths": [3, 4]}
        evaluation = {"step": 300, "cpu_seconds": 1.5, "wall_seconds": 2.5, "greedy": episodes, "sampled": episodes}
        return {
            "run": run.run_id,
            "seed": run.seed,
            "status": "failed" if error else "complete",
            "error": error,
            "started": "2026-01-01",
            "versions": {},
            "machine": "m",
            "git_revision": "abc",
            "evaluations": [] if error else [evaluation],
            **({"commands": self.commands} if run.algo == "udrl" and self.commands else {}),
        }


@pytest.fixture
def trainings(monkeypatch):
    trainings = Trainings()
    monkeypatch.setattr(runner, "execute", trainings)
    return trainings


def start(suite_path, *options):
    command_line.main([str(suite_path), "--output", str(suite_path.parent / "out"), "--n-jobs", "1", *options])


def data_of(suite_path):
    return read_data(suite_path.parent / "out", "tiny")


def run_ids(suite_path, algorithm):
    suite = load_suite(suite_path)
    return [suite.run("CartPole-v1", algorithm, seed).run_id for seed in suite.seeds]


def test_every_run_is_executed_once(suite_path, trainings, capsys):
    start(suite_path)
    assert sorted(trainings.n_calls.values()) == [1, 1, 1, 1]
    suite, episodes, runs = data_of(suite_path)
    assert suite == load_suite(suite_path)
    assert len(episodes) == 4 * 2 * 2 and len(runs) == 4
    row = episodes.query("algorithm == 'PPO' and seed == 2 and mode == 'sampled' and episode == 1").iloc[0]
    assert (row["return"], row["length"], row["step"], row["cpu_seconds"]) == (3, 4, 300, 1.5)
    assert row["run"] in set(runs["run"])
    assert runs["command"].iloc[0].startswith("python -m sb3_udrl.benchmark ")
    assert "4 runs, 0 of them complete" in capsys.readouterr().out


def test_restarting_goes_on_where_it_stopped(suite_path, trainings, capsys):
    last = run_ids(suite_path, "PPO")[1]
    trainings.interrupted.add(last)
    with pytest.raises(KeyboardInterrupt):
        start(suite_path)
    assert len(data_of(suite_path)[2]) == 3  # what was complete has been collected
    trainings.interrupted.clear()
    start(suite_path)
    assert trainings.n_calls.pop(last) == 2
    assert set(trainings.n_calls.values()) == {1}
    assert len(data_of(suite_path)[2]) == 4
    output = capsys.readouterr().out
    assert "3 of them complete" in output and "revision abc" in output


def test_suite_can_be_run_in_parts(suite_path, trainings):
    start(suite_path, "--algorithms", "PPO", "--seeds", "2")
    assert trainings.n_calls.keys() == {run_ids(suite_path, "PPO")[1]}
    start(suite_path, "--algorithms", "UDRL", "--environments", "CartPole-v1")
    assert len(data_of(suite_path)[2]) == 3


def test_further_seeds_are_added(suite_path, trainings):
    start(suite_path)
    start(suite_path, "--seeds", "7")
    assert sorted(data_of(suite_path)[2]["seed"].unique()) == [1, 2, 7]
    start(suite_path, "--seeds", "8")
    start(suite_path)
    assert sorted(data_of(suite_path)[2]["seed"].unique()) == [1, 2, 7, 8]


def test_changed_runs_are_executed_again(suite_path, trainings):
    start(suite_path)
    changed = {**TINY, "algorithms": {**TINY["algorithms"], "PPO": {"algo": "ppo", "hyperparams": {"n_epochs": 1}}}}
    suite_path.write_text(yaml.safe_dump(changed, sort_keys=False))
    start(suite_path)
    assert len(trainings.n_calls) == 6 and set(trainings.n_calls.values()) == {1}
    runs = data_of(suite_path)[2]
    assert len(runs) == 4  # the old ones are not of this suite
    assert {hyperparams["n_epochs"] for hyperparams in runs.query("algorithm == 'PPO'")["hyperparams"]} == {1}


def test_names_that_stand_for_the_same_run_share_it(suite_path, trainings):
    shared = {**TINY, "algorithms": {"PPO": {"algo": "ppo"}, "PPO again": {"algo": "ppo", "section": "CartPole-v1"}}}
    suite_path.write_text(yaml.safe_dump(shared, sort_keys=False))
    start(suite_path)
    assert len(trainings.n_calls) == 2
    assert data_of(suite_path)[1].groupby("algorithm").size().to_dict() == {"PPO": 8, "PPO again": 8}


GRIDS = {"both": {"return": [5, 5, 9], "horizon": [7, 8, 9]}, "return": {"return": [4, 6]}}
DONE = [
    {
        "name": "both",
        "mode": "greedy",
        "asked": {"return": [5.0, 5.0, 9.0], "horizon": [7.0, 8.0, 9.0]},
        "achieved": {"return": [[1.5, 2.0], [3.0, 4.0], [5.0, 6.0]], "horizon": [[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]},
    },
    {"name": "return", "mode": "sampled", "asked": {"return": [4.0, 6.0]}, "achieved": {"return": [[0.0, 1.0], [2.0, 3.0]]}},
]


@pytest.fixture
def commanded_path(suite_path, trainings):
    """A suite whose UDRL is asked for commands."""
    trainings.commands = DONE
    environments = {"CartPole-v1": {**TINY["environments"]["CartPole-v1"], "commands": GRIDS}}
    suite_path.write_text(yaml.safe_dump({**TINY, "environments": environments, "n_command_episodes": 2}, sort_keys=False))
    return suite_path


def test_every_episode_under_a_command_is_a_row_per_part(commanded_path):
    start(commanded_path)
    rows = read_commands(commanded_path.parent / "out", "tiny")
    assert list(rows.columns) == COMMAND_COLUMNS
    assert len(rows) == 2 * (3 * 2 * 2 + 2 * 2)  # two seeds of UDRL, none of PPO
    assert set(rows["algorithm"]) == {"UDRL"} and set(rows["suite"]) == {"tiny"}
    own = rows[rows["seed"] == 2].set_index(["commands", "mode", "episode", "part"])[["asked", "achieved"]]
    assert own.index.is_unique
    assert own.loc["both", "greedy", 3, "return"].tolist() == [5, 4]  # the second episode of the second command
    assert own.loc["both", "greedy", 3, "horizon"].tolist() == [8, 40]
    assert own.loc["return", "sampled", 2, "return"].tolist() == [6, 2]
    runs = data_of(commanded_path)[2]
    assert (runs["commands"] == GRIDS).all() and (runs["n_command_episodes"] == 2).all()


def test_suites_without_commands_have_three_files(suite_path, commanded_path, trainings):
    start(commanded_path)
    out = suite_path.parent / "out"
    assert (out / "tiny.commands.csv.gz").is_file()
    suite_path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    trainings.commands = []
    start(suite_path)
    assert sorted(path.name for path in out.glob("tiny.*")) == ["tiny.csv.gz", "tiny.runs.jsonl.gz", "tiny.yml"]
    assert len(read_commands(out, "tiny")) == 0


def test_what_was_done_under_commands_is_taken_over(commanded_path, trainings, tmp_path):
    start(commanded_path)
    published = (tmp_path / "out").rename(tmp_path / "published")
    kept = {file.name: file.read_bytes() for file in published.iterdir() if file.is_file()}
    assert len(kept) == 4
    trainings.n_calls.clear()
    start(commanded_path, "--published", str(published))
    assert not trainings.n_calls
    assert {name: (tmp_path / "out" / name).read_bytes() for name in kept} == kept
    folder, suite = ResultFolder(tmp_path / "out"), load_suite(commanded_path)
    assert folder.read(suite.run("CartPole-v1", "UDRL", 1))["commands"] == DONE
    assert folder.read(suite.run("CartPole-v1", "PPO", 1))["commands"] == []


def test_published_runs_are_taken_over(suite_path, trainings, tmp_path):
    shared = {**TINY, "algorithms": {**TINY["algorithms"], "PPO again": {"algo": "ppo", "section": "CartPole-v1"}}}
    suite_path.write_text(yaml.safe_dump(shared, sort_keys=False))
    first, _ = run_ids(suite_path, "PPO")
    trainings.fails[first] = 2  # a run without evaluations
    with pytest.raises(SystemExit):
        start(suite_path)
    published = (tmp_path / "out").rename(tmp_path / "published")
    kept = {file.name: file.read_bytes() for file in published.iterdir() if file.is_file()}
    for record in (published / "runs").iterdir():
        record.unlink()
    trainings.n_calls.clear()
    trainings.fails.clear()
    start(suite_path, "--published", str(published), "--algorithms", "UDRL", "--seeds", "1")
    assert not trainings.n_calls
    assert {name: (tmp_path / "out" / name).read_bytes() for name in kept} == kept
    start(suite_path)  # what failed is tried again, all else is there
    assert trainings.n_calls == {first: 1}


def test_runs_of_this_folder_are_not_replaced_by_published_ones(suite_path, trainings, tmp_path):
    start(suite_path)
    (tmp_path / "out").rename(tmp_path / "published")
    run_id = run_ids(suite_path, "PPO")[0]
    record = {**trainings(load_suite(suite_path).run("CartPole-v1", "PPO", 1)), "machine": "mine"}
    ResultFolder(tmp_path / "out").write(record)
    start(suite_path, "--published", str(tmp_path / "published"))
    assert data_of(suite_path)[2].set_index("run")["machine"][run_id] == "mine"


def test_failure_is_retried_once(suite_path, trainings):
    first = run_ids(suite_path, "PPO")[0]
    trainings.fails[first] = 1
    start(suite_path)
    assert trainings.n_calls[first] == 2
    runs = data_of(suite_path)[2].set_index("run")
    assert (runs["status"] == "complete").all()
    assert runs["attempt"].to_dict() == {**dict.fromkeys(runs.index, 1), first: 2}


def test_second_failure_is_recorded_and_named(suite_path, trainings, capsys):
    first = run_ids(suite_path, "PPO")[0]
    trainings.fails[first] = 2
    with pytest.raises(SystemExit, match=r"1 runs failed:\nCartPole-v1 PPO 1: ValueError: no luck"):
        start(suite_path)
    assert trainings.n_calls[first] == 2
    failed = data_of(suite_path)[2].query("status == 'failed'")
    assert failed["error"].item().startswith("Traceback") and failed["seed"].item() == 1
    trainings.fails.clear()
    start(suite_path)  # the next command tries again
    assert trainings.n_calls[first] == 3
    assert (data_of(suite_path)[2]["status"] == "complete").all()


def killed_once(run):
    """Kills its process the first time."""
    marker = Path(os.environ["KILLED"])
    if run.seed == 2 and not marker.exists():
        marker.touch()
        os._exit(1)
    return Trainings()(run)


@pytest.mark.slow
def test_runs_whose_process_was_killed_start_again(suite_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "execute", killed_once)
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    start(suite_path, "--n-jobs", "2")
    assert "process was killed" in capsys.readouterr().out
    assert (data_of(suite_path)[2]["status"] == "complete").all()


def test_runs_that_are_killed_again_and_again_are_recorded(commanded_path, monkeypatch, trainings):
    suite_path = commanded_path
    n_calls = 0

    def in_parallel(runs):
        """All of UDRL's runs end before PPO's kill their process."""
        nonlocal n_calls
        n_calls += 1
        yield from (trainings(run) for run in runs if run.algo == "udrl")
        raise runner.WorkersLost("killed")

    monkeypatch.setattr(runner, "in_parallel", in_parallel)
    with pytest.raises(SystemExit, match="2 runs failed:\nCartPole-v1 PPO 1: killed\nCartPole-v1 PPO 2: killed"):
        start(suite_path)
    assert n_calls == 3  # the first time, some runs ended
    runs = data_of(suite_path)[2]
    assert runs.groupby("algorithm")["status"].unique().map(list).to_dict() == {"PPO": ["failed"], "UDRL": ["complete"]}


@pytest.mark.parametrize(
    "options, message",
    [
        (["clasic"], "suite 'clasic' is neither"),
        (["smoke", "--algorithms", "PPOO"], "--algorithms PPOO: the suite has UDRL, UDRL default, PPO, DQN"),
        (["smoke", "--environments", "Pong"], "--environments Pong: the suite has CartPole-v1"),
        (["smoke", "--address", "here"], "--address here: only the backends ray and dask have one"),
        (["smoke", "--published", "here"], "--published here: here/smoke.csv.gz is missing; name the folder of smoke.csv.gz"),
    ],
)
def test_mistakes_are_named(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command_line.main(options)
    assert message in capsys.readouterr().err


def results_of(folder, n_jobs, backend):
    """The tiny suite, trained for real."""
    path = folder / "tiny.yml"
    path.write_text(yaml.safe_dump({**TINY, "seeds": [1]}, sort_keys=False))
    suite = load_suite(path)
    assert run_suite(suite, ResultFolder(folder), runner.all_runs(suite, suite.seeds), n_jobs, backend) == []
    return pd.read_csv(folder / "tiny.csv.gz")[RESULTS]


@pytest.fixture(scope="module")
def local_results(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("local"), 1, "loky")


@pytest.mark.slow
@pytest.mark.parametrize("backend, package", [("ray", "ray"), ("dask", "distributed")])
def test_cluster_of_two_processes_has_the_same_results(backend, package, local_results, tmp_path):
    pytest.importorskip(package)
    pd.testing.assert_frame_equal(results_of(tmp_path, 2, backend), local_results)


@pytest.mark.parametrize("backend, package", [("ray", "ray"), ("dask", "distributed")])
def test_missing_package_is_named(backend, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install sb3-udrl\[{backend}\]"), BACKENDS[backend](2, None):
        pass


def test_commands_in_one_folder_keep_what_the_other_makes(suite_path, trainings, monkeypatch):
    """While one trains seed 2, another one trains seed 3 and ends."""

    def meanwhile(run):
        if run.seed == 2:
            monkeypatch.setattr(runner, "execute", trainings)
            start(suite_path, "--seeds", "3")
        return trainings(run)

    monkeypatch.setattr(runner, "execute", meanwhile)
    start(suite_path, "--algorithms", "PPO", "--seeds", "2")
    assert sorted(data_of(suite_path)[2]["seed"].unique()) == [2, 3]


@pytest.mark.parametrize("name", ["../../escaped", None, ""])
def test_published_runs_stay_in_the_folder(suite_path, trainings, tmp_path, name):
    start(suite_path, "--algorithms", "PPO")
    published = (tmp_path / "out").rename(tmp_path / "published")
    facts = gzip.decompress((published / "tiny.runs.jsonl.gz").read_bytes()).decode()
    first = {**json.loads(facts.splitlines()[0]), "run": name}
    (published / "tiny.runs.jsonl.gz").write_bytes(gzip.compress(json.dumps(first).encode()))
    with pytest.raises(ValueError, match=r"tiny.runs.jsonl.gz: run=.* is no name of a run"):
        ResultFolder(tmp_path / "out").take_over(published, "tiny")
    assert not list(tmp_path.rglob("escaped*"))
