"""What is compared: a suite is a YAML file, which expands to runs, one per environment, algorithm and seed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TypeVar, get_type_hints

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_udrl.algorithms import LEARN_FROM_RECORDINGS
from sb3_udrl.benchmark.checks import check_hyperparams, check_texts, fits
from sb3_udrl.benchmark.hyperparams import Params, default_arguments, merge, read_hyperparams, without_nulls, zoo_algorithms
from sb3_udrl.benchmark.offline.recording import recording_of
from sb3_udrl.evaluation.environments import read_yaml

SUITES = Path(__file__).parent / "suites"
D3RLPY = "d3rlpy."  # begins the names of its algorithms
Grid = dict[str, list[float]]  # commands: values by part, as many of each as there are commands
T = TypeVar("T")


@dataclass(frozen=True)
class Environment:
    """
    An environment of a suite.

    :param n_timesteps: budget of every algorithm that has none of its own
    :param eval_freq: steps between evaluations
    :param threshold: greedy mean return that counts as solved
    :param report_at: further steps at which the report compares scores, besides the end
    :param hyperparams_of: environment whose tuned hyperparameters are used by algorithms that have none for this one
    :param hyperparams: changes to the section for every algorithm, whose own changes win
    :param commands: grids by name, which finished models are asked for
    :param seeds: those of the suite's seeds that are used here; all if None
    :param literature: what others report on it, in Markdown, for the report
    :param recording: what is learned from instead of the environment: fields of
        :class:`~sb3_udrl.benchmark.offline.recording.Recording`; then the name is free, and budgets are gradient steps
    """

    n_timesteps: int
    eval_freq: int
    threshold: float | None = None
    report_at: list[int] = field(default_factory=list)
    hyperparams_of: str | None = None
    hyperparams: Params = field(default_factory=dict)
    commands: dict[str, Grid] = field(default_factory=dict)
    seeds: list[int] | None = None
    literature: str = ""
    recording: Params | None = None


@dataclass(frozen=True)
class Algorithm:
    """
    An algorithm of a suite, under a name of its own.

    :param algo: name in the Zoo; on recordings, an algorithm of this package or ``d3rlpy.NAME``
    :param section: section of the Zoo's hyperparameter file; by default that of the environment
    :param hyperparams: changes to the section; dictionaries are merged, null leaves an argument at its default
    :param n_timesteps: budget, or budgets by environment
    :param environments: environments that it is trained on; all if None
    :param seeds: those of the suite's seeds that it is trained from; all if None
    :param learn_from: arguments of ``learn_from``, on recordings
    """

    algo: str
    section: str | None = None
    hyperparams: Params = field(default_factory=dict)
    n_timesteps: int | dict[str, int] | None = None
    environments: list[str] | None = None
    seeds: list[int] | None = None
    learn_from: Params = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """
    One training: all that decides its result, but for the versions of the code.

    :param environment: environment id
    :param algo: name of the algorithm in the Zoo
    :param seed: seed of the training; that of the evaluation follows from it
    :param n_timesteps: budget
    :param eval_freq: steps between evaluations
    :param n_eval_episodes: episodes per evaluation, greedy and sampled each
    :param n_final_episodes: the same for the last evaluation
    :param n_eval_envs: environments that share these episodes
    :param section: section of the hyperparameter file that was used
    :param hyperparams: what the Zoo reads, after all changes
    :param commands: grids by name, which the finished model is asked for if it takes such commands
    :param n_command_episodes: episodes per command, greedy and sampled each
    :param recording: what is learned from instead of the environment, if anything
    :param learn_from: arguments of ``learn_from``
    """

    environment: str
    algo: str
    seed: int
    n_timesteps: int
    eval_freq: int
    n_eval_episodes: int
    n_final_episodes: int
    n_eval_envs: int
    section: str
    hyperparams: Params
    commands: dict[str, Grid] = field(default_factory=dict)
    n_command_episodes: int = 20
    recording: Params | None = None
    learn_from: Params | None = None

    @property
    def run_id(self) -> str:
        """A name that changes with every setting that may change the result, defaults included, but not with the code."""
        left_out = {"section"} if self.commands else {"section", "commands", "n_command_episodes"}
        left_out |= {"recording", "learn_from"} if self.recording is None else set()
        definition = {name: value for name, value in asdict(self).items() if name not in left_out}
        if not self.algo.startswith(D3RLPY):  # whose defaults are in an environment of its own
            defaults = default_arguments(self.algo, str(self.hyperparams.get("policy")))
            definition["hyperparams"] = merge(defaults, self.hyperparams)
        digest = hashlib.sha256(json.dumps(definition, sort_keys=True, default=repr).encode()).hexdigest()[:10]
        return f"{re.sub('[^A-Za-z0-9.]', '_', self.environment)}-{self.algo}-{self.seed}-{digest}"

    @property
    def cost(self) -> int:
        """Steps, ten times as many where every few of them cost a gradient step: long runs are started first."""
        if self.recording is not None:
            return self.n_timesteps * (1000 if self.algo.startswith(D3RLPY) else 10)
        return self.n_timesteps * (10 if issubclass(zoo_algorithms()[self.algo], OffPolicyAlgorithm) else 1)


@dataclass(frozen=True)
class Suite:
    """
    A comparison.

    :param name: name of the file
    :param environments: by id
    :param algorithms: by the name that the report shows
    :param seeds: seeds of the trainings
    :param description: what is asked, for the report
    :param baseline: name of the algorithm that the others are compared with
    :param n_eval_episodes: episodes per evaluation, greedy and sampled each
    :param n_final_episodes: the same for the last evaluation, whose mean is the score
    :param n_eval_envs: environments that share these episodes
    :param n_command_episodes: episodes per command, greedy and sampled each, where environments have commands
    """

    name: str
    environments: dict[str, Environment]
    algorithms: dict[str, Algorithm]
    seeds: list[int]
    description: str = ""
    baseline: str = "UDRL"
    n_eval_episodes: int = 20
    n_final_episodes: int = 100
    n_eval_envs: int = 20
    n_command_episodes: int = 20

    def pairs(self) -> list[tuple[str, str]]:
        """Environment and name of algorithm of everything that is compared."""
        return [
            (environment, name)
            for environment in self.environments
            for name, algorithm in self.algorithms.items()
            if algorithm.environments is None or environment in algorithm.environments
        ]

    def seeds_of(self, environment: str, name: str, seeds: list[int]) -> list[int]:
        """
        :param environment: id of an environment
        :param name: name of an algorithm
        :param seeds: seeds to choose from
        :return: those that neither the environment nor the algorithm leaves out
        """
        limits = [limit for limit in (self.environments[environment].seeds, self.algorithms[name].seeds) if limit is not None]
        return [seed for seed in seeds if all(seed in limit for limit in limits)]

    def run(self, environment: str, name: str, seed: int) -> Run:
        """
        :param environment: id of an environment
        :param name: name of an algorithm
        :param seed: seed of the training
        :raises ValueError: if there is no such environment or algorithm, or hyperparameters are wrong
        """
        conditions, algorithm = self.environments[environment], self.algorithms[name]
        own_budget = algorithm.n_timesteps
        if isinstance(own_budget, dict):
            own_budget = own_budget.get(environment)
        if conditions.recording is not None:
            return self._offline_run(environment, name, seed, own_budget or conditions.n_timesteps)
        section, hyperparams = read_hyperparams(
            algorithm.algo, [algorithm.section] if algorithm.section else [environment, conditions.hyperparams_of], environment
        )
        hyperparams.pop("n_timesteps", None)
        for where, changes in ((environment, conditions.hyperparams), (name, algorithm.hyperparams)):
            check_hyperparams(where, changes, zoo_algorithms()[algorithm.algo])
            check_texts(where, changes, hyperparams)
        return Run(
            environment=environment,
            algo=algorithm.algo,
            seed=seed,
            n_timesteps=own_budget or conditions.n_timesteps,
            eval_freq=conditions.eval_freq,
            n_eval_episodes=self.n_eval_episodes,
            n_final_episodes=self.n_final_episodes,
            n_eval_envs=self.n_eval_envs,
            section=section,
            hyperparams=without_nulls(merge(merge(hyperparams, conditions.hyperparams), algorithm.hyperparams)),
            commands=conditions.commands,
            n_command_episodes=self.n_command_episodes,
        )

    def _offline_run(self, environment: str, name: str, seed: int, n_gradient_steps: int) -> Run:
        """A run on a recording. Hyperparameters are the defaults of the class, with the changes of the suite."""
        conditions, algorithm = self.environments[environment], self.algorithms[name]
        hyperparams = algorithm.hyperparams
        if not algorithm.algo.startswith(D3RLPY):
            if algorithm.algo not in LEARN_FROM_RECORDINGS:
                ours = ", ".join(LEARN_FROM_RECORDINGS)
                raise ValueError(f"{name}: algo={algorithm.algo!r}: on recordings, choose one of {ours} or {D3RLPY}NAME")
            hyperparams = merge({"policy": "CommandPolicy"}, merge(conditions.hyperparams, hyperparams))
            check_hyperparams(name, hyperparams, LEARN_FROM_RECORDINGS[algorithm.algo])
        return Run(
            environment=environment,
            algo=algorithm.algo,
            seed=seed,
            n_timesteps=n_gradient_steps,
            eval_freq=n_gradient_steps,
            n_eval_episodes=self.n_eval_episodes,
            n_final_episodes=self.n_final_episodes,
            n_eval_envs=self.n_eval_envs,
            section="",
            hyperparams=without_nulls(hyperparams),
            commands=conditions.commands,
            n_command_episodes=self.n_command_episodes,
            recording=asdict(recording_of(environment, conditions.recording or {})),
            learn_from=algorithm.learn_from,
        )


def parse(cls: type[T], where: str, values: object) -> T:
    """
    A dataclass from a section of YAML.

    :param cls: the dataclass
    :param where: name of the section, for errors
    :param values: the section
    :raises ValueError: if the section has unknown keys or lacks some, or a value is of another type or below one
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} must be a section with keys {[f.name for f in fields(cls)]}")  # type: ignore[arg-type]
    unknown = values.keys() - {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{where}: unknown {sorted(unknown)}, choose from {[f.name for f in fields(cls)]}")  # type: ignore[arg-type]
    for name, hint in get_type_hints(cls).items():
        if name in values and not fits(values[name], hint):
            raise ValueError(f"{where}: {name}={values[name]!r:.100}: must be {str(hint).replace('typing.', '')}")
        number = isinstance(values.get(name), int | float)
        if number and name != "threshold" and values[name] < 1:
            raise ValueError(f"{where}: {name}={values[name]}: must be at least 1")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def check_grid(where: str, grid: object) -> None:
    """
    :param where: names of the environment and the grid, for errors
    :param grid: its commands
    :raises ValueError: if it has no commands, or not as many values of each part
    """
    lengths = {len(v) if isinstance(v, list) else 0 for v in grid.values()} if isinstance(grid, dict) else set()
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{where}: {grid!r} must be lists of values by part, all of the same length")


def check_algorithm(key: str, algorithm: Algorithm, environments: dict[str, Environment]) -> None:
    """
    :param key: name of the algorithm, for errors
    :param algorithm: the algorithm
    :param environments: those of the suite
    :raises ValueError: if it names others, a budget is below one, or what it is to learn from is nowhere
    """
    budgets = algorithm.n_timesteps if isinstance(algorithm.n_timesteps, dict) else {}
    if unknown := {*(algorithm.environments or []), *budgets} - environments.keys():
        raise ValueError(f"{key}: environments {sorted(unknown)} are not in the suite")
    if min(budgets.values(), default=1) < 1:
        raise ValueError(f"{key}: n_timesteps={budgets}: must be at least 1")
    recordings = [environments[name].recording for name in algorithm.environments or environments]
    if algorithm.learn_from and not any(recordings):
        raise ValueError(f"{key}: learn_from={algorithm.learn_from}: none of its environments has a recording")


def load_suite(name: str | Path) -> Suite:
    """
    :param name: name of a suite that comes with the package, or path of a YAML file
    :raises ValueError: if there is no such suite, or it is not well formed
    """
    path = SUITES / f"{name}.yml"
    path = path if path.is_file() else Path(name)
    if not path.is_file():
        available = sorted(found.stem for found in SUITES.glob("*.yml"))
        raise ValueError(f"suite {str(name)!r} is neither one of {available} nor a YAML file")
    suite = parse(Suite, path.name, {"name": path.name.removesuffix(".yml"), **read_yaml(path)})
    if not suite.environments or not suite.algorithms or not suite.seeds or min(suite.seeds) < 0:
        raise ValueError(f"{path.name}: give at least one environment, algorithm and seed, and no seed below 0")
    environments = {key: parse(Environment, key, value) for key, value in suite.environments.items()}
    algorithms = {key: parse(Algorithm, key, value) for key, value in suite.algorithms.items()}
    suite = Suite(**{**vars(suite), "environments": environments, "algorithms": algorithms})
    sections: list[tuple[str, Environment | Algorithm]] = [*environments.items(), *algorithms.items()]
    for key, section in sections:
        if beyond := set(section.seeds or []) - set(suite.seeds):
            raise ValueError(f"{key}: seeds {sorted(beyond)} are not in the suite")
        if "n_timesteps" in section.hyperparams:
            raise ValueError(f"{key}: n_timesteps is among hyperparams: the budget stands beside them")
    for key, conditions in environments.items():
        for grid_name, grid in conditions.commands.items():
            check_grid(f"{key}, {grid_name}", grid)
        if conditions.recording is not None:
            recording_of(key, conditions.recording)
    for key, algorithm in algorithms.items():
        check_algorithm(key, algorithm, environments)
    if suite.baseline not in {*algorithms, Suite.baseline}:
        raise ValueError(f"baseline={suite.baseline!r}: is none of {sorted(algorithms)}")
    return suite
