"""
One row of the results tables, from models that the RL Zoo trained.

    python docs/collect_results.py logs/udrl/CartPole-v1_* --env CartPole-v1 [--threshold 475]

Each folder holds one seed: ``ENV.zip`` and, from training with ``--eval-freq``, ``evaluations.npz``.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL
from sb3_udrl.evaluation import evaluate_policy


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """
    Mean of the middle half.

    :param values: one per seed along ``axis``
    :param axis: the axis of the seeds
    """
    return stats.trim_mean(values, 0.25, axis=axis)


def describe(values: np.ndarray) -> str:
    """
    Median, interquartile mean and its 95 % bootstrap interval over seeds, worst and best.

    :param values: one per seed
    """
    interval = stats.bootstrap((values,), interquartile_mean, method="percentile", rng=0).confidence_interval
    return (
        f"median {np.median(values):.1f}, IQM {interquartile_mean(values):.1f} [{interval.low:.1f}, {interval.high:.1f}], "
        f"mean {values.mean():.1f}, range {values.min():.1f} to {values.max():.1f}"
    )


def main() -> None:
    """Evaluate the models and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--env", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--threshold", type=float)
    args = parser.parse_args()

    env = make_vec_env(args.env, n_envs=10, seed=10_000, env_kwargs={"render_mode": None})
    scores: dict[str, list[float]] = {"greedy": [], "sampled": []}
    reached, during = [], []
    for folder in args.folders:
        model = UDRL.load(folder / f"{args.env}.zip", device="cpu")
        for name, deterministic in (("greedy", True), ("sampled", False)):
            scores[name].append(evaluate_policy(model, env, args.episodes, deterministic=deterministic)[0])
        if (folder / "evaluations.npz").exists():
            with np.load(folder / "evaluations.npz") as logged:
                means = logged["results"].mean(1)
                during.append(means[-1])
                hits = logged["timesteps"][means >= (np.inf if args.threshold is None else args.threshold)]
                reached.append(hits[0] if len(hits) else np.inf)
    print(f"{args.env}, {len(args.folders)} seeds, {args.episodes} episodes per model after training")
    for name, values in scores.items():
        print(f"  {name:8} {describe(np.array(values))}")
    if during:
        print(f"  last greedy evaluation during training: {describe(np.array(during))}")
    if args.threshold is not None and reached:
        steps = np.array(reached)
        print(
            f"  {args.threshold:g} first reached by {np.isfinite(steps).sum()} of {len(steps)}: "
            f"median {np.median(steps):.0f} steps, range {steps.min():.0f} to {steps.max():.0f}"
        )


if __name__ == "__main__":
    main()
