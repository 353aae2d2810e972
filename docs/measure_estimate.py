"""What is lost where ``predict`` must estimate rewards: ``python docs/measure_estimate.py MODEL --env ENV``."""

from __future__ import annotations

import argparse

import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy as evaluate_with_estimate

from sb3_udrl import UDRL
from sb3_udrl.evaluation import evaluate_policy


def main() -> None:
    """Print the row of the table in ``docs/modules/udrl.md``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", help="saved model (.zip)")
    parser.add_argument("--env", required=True, help="environment id")
    parser.add_argument("--episodes", type=int, default=100, help="episodes per evaluation")
    args = parser.parse_args()

    model = UDRL.load(args.model, device="cpu")
    column = model.command_space.names.index("return")  # in the state of ``predict``
    errors: list[float] = []

    def compare(local: dict, _: dict) -> None:
        """Remaining return as ``predict`` estimates it against what is really left, once per step and environment."""
        asked, i = model.policy.own_command()["return"][0], local["i"]
        left = asked - (local["current_rewards"][i] - local["rewards"][i])  # before this step's reward
        errors.append(abs(local["states"][0][i, column] - left))

    rows = []
    for evaluate, callback in ((evaluate_policy, None), (evaluate_with_estimate, compare)):
        env = make_vec_env(args.env, n_envs=8, seed=0, env_kwargs={"render_mode": None})
        returns, _ = evaluate(model, env, args.episodes, callback=callback, return_episode_rewards=True)
        rows.append((np.mean(returns), np.std(returns)))
    exact, estimated = (f"{mean:.1f} ± {std:.1f}" for mean, std in rows)
    print(f"| {args.env} | {exact} | {estimated} | {np.mean(errors):.2f} |")


if __name__ == "__main__":
    main()
