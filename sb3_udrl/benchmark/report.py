"""``python -m sb3_udrl.benchmark.report FOLDER``: tables and learning curves from the data of one or more suites."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import pandas as pd

from sb3_udrl.benchmark.curves import curve, plot_curves, plot_obedience, scores_of
from sb3_udrl.benchmark.data import COMMANDS, read_commands, read_data
from sb3_udrl.benchmark.obedience import mean_achieved, obedience_figures
from sb3_udrl.benchmark.suite import Suite
from sb3_udrl.benchmark.tables import (
    final_scores,
    improvement_table,
    markdown,
    obedience_table,
    score_table,
    scores_at,
    speed_table,
)
from sb3_udrl.evaluation.command_line import fail
from sb3_udrl.evaluation.environments import one_line

COLORS = ("#d62728", "#ff9d5c", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#e377c2", "#7f7f7f", "#bcbd22")
STYLES = [{"color": color, "linestyle": linestyle} for linestyle in ("-", "--", ":") for color in COLORS]
PROTOCOL = """\
A score is the mean return of {n_final} episodes of the finished model ({n_eval} during training), in environments seeded
apart from those of the training. Greedy actions are the most likely ones, sampled ones are drawn as in training. IQM is the
interquartile mean over seeds; intervals and bands are 95 % percentile bootstraps over seeds. CPU seconds are those of
training on one thread, without evaluations, as medians over seeds. The probability that one algorithm is better is the share
of pairs of runs in which its score is higher, ties counting one half. Budgets may differ: see the steps."""

OBEDIENCE = """\
Finished models were asked for the commands of a grid, {n_episodes} episodes each. The error is the mean distance between what
was asked and the mean of what was achieved under it: its median over seeds, and its range. The rank correlation is
Spearman's, of asked and mean achieved: its median and its least value; a model that does the same whatever is asked counts
as 0. The reach is the share of the range of the commands that the means cover: its median. Pictures draw the median of the
means over seeds, and a band from their lower to their upper quartile. The last column counts the seeds whose score card, made
of training alone, chose this mode."""
DATA = """\
The data: [a row per episode](data/{name}.csv.gz), [a line per run](data/{name}.runs.jsonl.gz), with all hyperparameters,
and [the suite](data/{name}.yml). Hyperparameters are from these sections of the files of the RL Zoo or, for UDRL, of this
package, with the changes that the suite names:"""
COMMAND_DATA = "What was asked and what was done: [a row per episode and part](data/{name}.commands.csv.gz)."


def main(arguments: list[str] | None = None) -> None:
    """
    Write a page and pictures per suite, and a page that lists them; the data are copied beside them.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.benchmark.report", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of results, as from python -m sb3_udrl.benchmark")
    parser.add_argument(
        "--output", type=Path, default=Path("docs/results"), help="folder of the report (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    found = [
        (folder, path.name.removesuffix(".csv.gz"))
        for folder in args.folders
        for path in sorted(folder.glob("*.csv.gz"))
        if not path.name.endswith(COMMANDS)
    ]
    if not found:
        fail(parser, f"no results (*.csv.gz) in {', '.join(map(str, args.folders))}")
    for folder, name in found:
        try:
            write_page(folder, name, args.output)
        except (OSError, EOFError, ValueError) as error:
            fail(parser, f"{folder / name}.csv.gz, {name}.runs.jsonl.gz or {name}.yml: {one_line(error)}")
        print(f"{args.output / name}.md")
    write_index(args.output)


def write_page(folder: Path, name: str, output: Path) -> None:
    """
    Report on one suite.

    :param folder: folder of its data
    :param name: name of the suite
    :param output: folder of the report
    """
    suite, episodes, runs = read_data(folder, name)
    pictures, data = output / name, output / "data"
    for target in (pictures, data):
        target.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != data.resolve():
        for suffix in ("csv.gz", "runs.jsonl.gz", "yml"):
            shutil.copy(folder / f"{name}.{suffix}", data)
        (data / f"{name}{COMMANDS}").unlink(missing_ok=True)  # those of an earlier report
        if (folder / f"{name}{COMMANDS}").is_file():
            shutil.copy(folder / f"{name}{COMMANDS}", data)
    scores, commands = scores_of(episodes), read_commands(folder, name)
    styles = dict(zip(suite.algorithms, STYLES, strict=False))
    parts = [f"# {name}", suite.description, PROTOCOL.format(n_final=suite.n_final_episodes, n_eval=suite.n_eval_episodes)]
    if len(commands):
        parts.append(OBEDIENCE.format(n_episodes=suite.n_command_episodes))
    for environment in suite.environments:
        own = scores[scores["environment"] == environment]
        if len(own):
            parts.append(environment_part(suite, environment, own, styles, pictures))
            asked = commands[commands["environment"] == environment]
            parts += [
                obedience_part(suite, environment, grid, asked[asked["commands"] == grid], runs, styles, pictures)
                for grid in suite.environments[environment].commands
                if (asked["commands"] == grid).any()
            ]
            if literature := suite.environments[environment].literature:
                parts.append(f"### What others report on {environment}\n\n{literature.strip()}")
    parts.append(provenance_part(suite, runs, len(commands) > 0))
    (output / f"{name}.md").write_text("\n\n".join(part for part in parts if part) + "\n")


def environment_part(
    suite: Suite, environment: str, scores: pd.DataFrame, styles: dict[str, dict[str, str]], pictures: Path
) -> str:
    """
    Tables and picture of one environment.

    :param suite: the suite
    :param environment: id of the environment
    :param scores: its rows, one per evaluation
    :param styles: color and linestyle by name of algorithm
    :param pictures: folder for the picture
    """
    conditions = suite.environments[environment]
    names = [name for name in suite.algorithms if (scores["algorithm"] == name).any()]
    picture = pictures / f"{file_name(environment)}.png"
    curves = {name: curve(scores[scores["algorithm"] == name], conditions.eval_freq) for name in names}
    plot_curves(curves, environment, conditions, styles, picture)
    finals = final_scores(scores)
    parts = [f"## {environment}", f"![Learning curves on {environment}]({pictures.name}/{picture.name})"]
    parts += ["Scores at the end of training:", markdown(score_table(finals, names))]
    for step in conditions.report_at:
        parts += [f"Scores after {step:,} steps:", markdown(score_table(scores_at(scores, step), names))]
    if conditions.threshold is not None:
        parts += [
            f"First greedy evaluation with a mean of {conditions.threshold:g} or more, looked at every "
            f"{conditions.eval_freq:,} steps:",
            markdown(speed_table(scores, conditions, names)),
        ]
    improvements = improvement_table(finals, suite.baseline, names)
    if len(improvements) > 1:
        parts += ["Final greedy scores compared:", markdown(improvements)]
    return "\n\n".join(parts)


def obedience_part(
    suite: Suite,
    environment: str,
    grid: str,
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    styles: dict[str, dict[str, str]],
    pictures: Path,
) -> str:
    """
    Table and picture of one grid of commands.

    :param suite: the suite
    :param environment: id of the environment
    :param grid: name of the grid
    :param rows: what was asked and what was done, one row per episode and part
    :param runs: one row per run, of all environments
    :param styles: color and linestyle by name of algorithm
    :param pictures: folder for the picture
    """
    picture = pictures / f"{file_name(environment)}-{re.sub('[^A-Za-z0-9.]', '_', grid)}.png"
    title = f"What was asked and what was done on {environment}: {grid}"
    plot_obedience(mean_achieved(rows, suite.n_command_episodes), title, styles, picture)
    own = runs[runs["environment"] == environment]
    modes = own.get("chosen_mode", pd.Series(index=own.index, dtype=object))  # no model has a score card
    chosen = {
        (name, seed): mode
        for name, seed, mode in zip(own["algorithm"], own["seed"], modes, strict=True)
        if isinstance(mode, str)
    }
    table = obedience_table(obedience_figures(rows, suite.n_command_episodes), list(suite.algorithms), chosen)
    parts = [f"### What was asked and what was done: {grid}", f"![{title}]({pictures.name}/{picture.name})", markdown(table)]
    return "\n\n".join(parts)


def provenance_part(suite: Suite, runs: pd.DataFrame, has_commands: bool = False) -> str:
    """
    How the data were made, and what is missing.

    :param suite: the suite
    :param runs: one row per run
    :param has_commands: whether there are data of commands
    """
    ended = set(runs[["environment", "algorithm", "seed"]].itertuples(index=False, name=None))
    missing = [
        (*pair, seed) for pair in suite.pairs() for seed in suite.seeds_of(*pair, suite.seeds) if (*pair, seed) not in ended
    ]
    complete = runs[runs["status"] == "complete"]
    failed = runs[runs["status"] != "complete"]
    facts = [
        ("commands", sorted(f"`{command}`" for command in complete["command"].unique())),
        ("seeds", [", ".join(map(str, sorted(complete["seed"].unique())))]),
        ("git revision", sorted(map(str, complete["git_revision"].unique()))),
        ("machine", sorted(complete["machine"].unique())),
        ("versions", sorted({", ".join(map(" ".join, versions.items())) for versions in complete["versions"]})),
        ("started", [f"{complete['started'].min()} to {complete['started'].max()}"]),
    ]
    sections = complete.drop_duplicates(["environment", "algorithm"])[["environment", "algorithm", "algo", "section"]]
    parts = [
        "## How this was made",
        markdown([["", ""], *[[name, "<br>".join(values)] for name, values in facts]]),
        *([COMMAND_DATA.format(name=suite.name)] if has_commands else []),
        DATA.format(name=suite.name),
        markdown([list(sections.columns), *sections.to_numpy().tolist()]),
    ]
    for title, keys in (("Failed", failed[["environment", "algorithm", "seed"]].to_numpy().tolist()), ("Missing", missing)):
        if keys:
            parts += [f"{title} runs:", "\n".join(f"- {' '.join(map(str, key))}" for key in keys)]
    return "\n\n".join(parts)


def file_name(environment: str) -> str:
    """
    :param environment: id of an environment, perhaps with namespace and module
    """
    return re.sub("[/:]", "_", environment)


def write_index(output: Path) -> None:
    """
    List the pages that are there.

    :param output: folder of the report
    """
    folders = [f"{path.parent.name}/index" for path in output.glob("*/index.md")]
    pages = sorted([*(path.stem for path in output.glob("*.md") if path.stem != "index"), *folders])
    lines = ["# Results", ""]
    lines += ["What `python -m sb3_udrl.benchmark` measured ([how](../guide/benchmark.md)), and studies of the Zoo."]
    lines += ["", "```{toctree}", ":maxdepth: 1", "", *pages, "```"]
    (output / "index.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
