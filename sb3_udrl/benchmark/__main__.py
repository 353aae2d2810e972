"""``python -m sb3_udrl.benchmark SUITE``: run a suite of benchmarks, or go on with it."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from sb3_udrl.benchmark.backends import BACKENDS
from sb3_udrl.benchmark.data import ResultFolder
from sb3_udrl.benchmark.offline.recording import FOLDER, Recording, make_recordings
from sb3_udrl.benchmark.offline.training import PYTHON
from sb3_udrl.benchmark.runner import all_runs, complete_record, run_suite
from sb3_udrl.benchmark.suite import D3RLPY, SUITES, load_suite
from sb3_udrl.evaluation.command_line import fail
from sb3_udrl.evaluation.environments import one_line
from sb3_udrl.remote.command_line import add_save_to, saving_to

DESCRIPTION = """
Train algorithms on environments from several seeds, and evaluate all of them in the same way. Runs that are complete in
the output folder are kept, so the same command goes on where it was stopped, and a suite can be run in parts.
"""


def main(arguments: list[str] | None = None) -> None:
    """
    Run a suite; exit with status 1 if a run failed twice, with 2 and one line if the suite or an option is wrong.

    :param arguments: command line, by default that of the process
    """
    available = ", ".join(sorted(path.stem for path in SUITES.glob("*.yml")))
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.benchmark", description=DESCRIPTION)
    parser.add_argument("suite", help=f"one of {available}; or a YAML file")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of results (default: %(default)s)")
    parser.add_argument("--n-jobs", type=int, default=-1, help="runs at a time (default: as many as there are cores)")
    parser.add_argument("--backend", choices=list(BACKENDS), default="loky", help="where to compute (default: %(default)s)")
    parser.add_argument("--address", help="address of a running Ray or Dask cluster; by default one is started here")
    parser.add_argument("--environments", nargs="+", metavar="ID", help="only these environments of the suite")
    parser.add_argument("--algorithms", nargs="+", metavar="NAME", help="only these algorithms of the suite")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="these seeds instead of those of the suite")
    parser.add_argument("--published", type=Path, metavar="FOLDER", help="data of a report, whose runs are taken over")
    add_save_to(parser)
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="recordings of offline suites (OUTPUT/recordings)")
    parser.add_argument(
        "--d3rlpy", type=Path, metavar="PYTHON", help="Python of an environment with d3rlpy, for its algorithms"
    )
    args = parser.parse_args(arguments)

    try:
        if args.n_jobs == 0 or args.n_jobs < -1:
            raise ValueError(f"--n-jobs {args.n_jobs}: must be at least 1, or -1 for all cores")
        if args.seeds and min(args.seeds) < 0:
            raise ValueError(f"--seeds {min(args.seeds)}: no seed is below 0")
        folder = ResultFolder(args.output)
        suite = load_suite(args.suite)
        check_names("--environments", args.environments, list(suite.environments))
        check_names("--algorithms", args.algorithms, list(suite.algorithms))
        if args.address is not None and args.backend == "loky":
            raise ValueError(f"--address {args.address}: only the backends ray and dask have one")
        if args.published is not None:
            folder.take_over(args.published, suite.name)
        selected = {
            key: run
            for key, run in all_runs(suite, args.seeds or suite.seeds).items()
            if key[0] in (args.environments or key) and key[1] in (args.algorithms or key)
        }
        if args.d3rlpy is None and any(run.algo.startswith(D3RLPY) for run in selected.values()):
            raise ValueError(
                "--d3rlpy PYTHON is missing: the suite has algorithms of d3rlpy; or leave them out by --algorithms"
            )
        args.output.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        fail(parser, f"--published {args.published}: {error.filename} is missing; name the folder of {suite.name}.csv.gz")
    except (OSError, EOFError, ValueError) as error:
        fail(parser, one_line(error))
    runs = {run.run_id: run for run in selected.values()}
    complete = [record for run in runs.values() if (record := complete_record(folder, run))]
    print(f"{suite.name}: {len(runs)} runs, {len(complete)} of them complete in {args.output}", flush=True)
    if complete:
        print("These were made with revision", ", ".join(sorted({str(record["git_revision"]) for record in complete})))
    command = shlex.join(["python", "-m", "sb3_udrl.benchmark", *(sys.argv[1:] if arguments is None else arguments)])
    os.environ[FOLDER] = str((args.recordings or args.output / "recordings").resolve())  # for the processes of the runs
    os.environ[PYTHON] = str(args.d3rlpy or "")
    missing = [run for run in runs.values() if complete_record(folder, run) is None]
    try:
        make_recordings([Recording(**run.recording) for run in missing if run.recording is not None], args.n_jobs)
    except subprocess.CalledProcessError as error:
        fail(parser, f"a recording could not be made: {one_line(error)}")
    try:
        with saving_to(parser, args.output, args.save_to):
            failed = run_suite(suite, folder, selected, args.n_jobs, args.backend, args.address, command)
    except ImportError as error:  # of the backend
        fail(parser, one_line(error))
    print(f"Results are in {args.output / suite.name}.csv.gz")
    if failed:
        sys.exit("\n".join([f"{len(failed)} runs failed:", *failed]))


def check_names(option: str, chosen: list[str] | None, available: list[str]) -> None:
    """
    :param option: name of the option
    :param chosen: its values
    :param available: what they may be
    :raises ValueError: if one is unknown
    """
    unknown = sorted(set(chosen or []) - set(available))
    if unknown:
        raise ValueError(f"{option} {' '.join(unknown)}: the suite has {', '.join(available)}")


if __name__ == "__main__":
    main()
