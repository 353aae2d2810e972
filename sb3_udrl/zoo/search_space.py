"""
What Optuna may change: the search space of ``python -m rl_zoo3.train --algo udrl -optimize``.

The Zoo keeps only the suggested values of a trial, and asks for a converter when that trial is trained again
(``--trial-id``). So the sampler is the converter, applied to what it suggested, and the two cannot drift apart.
"""

from collections.abc import Callable
from typing import Any

import optuna

Params = dict[str, Any]

_OF_THE_BUFFER = ("sampling", "sampling_temperature")
_OF_THE_LABELS = ("gamma", "gae_lambda", "local_scale", "redistribute_rewards")


def _shown(trial: optuna.Trial, arguments: Params, *names: str) -> Params:
    """The arguments; Optuna shows those of these names instead of the logarithms that were suggested."""
    for name in names:
        trial.set_user_attr(name, arguments[name])
    return arguments


def sample_udrl_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: Params) -> Params:
    """
    Suggest hyperparameters. The ranges hold the defaults and what was tuned by hand, with room on both sides.

    :param trial: the trial of the study
    :param n_actions: number of action dimensions of a ``Box`` space, 0 for other spaces
    :param n_envs: number of environments, unused, as ``additional_args``: the Zoo passes both to every sampler
    :param additional_args: what the Zoo knows about a HER buffer
    :return: arguments of :class:`~sb3_udrl.UDRL`
    """
    warm_ups = ["uniform", "sticky", "network", "mixed"]
    if n_actions > 0:  # elsewhere it is the uniform one
        warm_ups.append("normal")
    suggested: Params = {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 6, 10),
        "buffer_size": trial.suggest_categorical("buffer_size", [15_000, 30_000, 100_000, 200_000]),
        "train_freq": trial.suggest_categorical("train_freq", [32, 64, 125, 250, 500]),
        "updates_per_step": trial.suggest_categorical("updates_per_step", [0.25, 0.5, 1.0, 2.0]),
        "sampling": trial.suggest_categorical("sampling", ["transitions", "episodes", "return", "rank"]),
        "sampling_temperature": trial.suggest_float("sampling_temperature", 0.1, 3.0, log=True),
        "warm_up": trial.suggest_categorical("warm_up", warm_ups),
        "temperature": trial.suggest_float("temperature", 0.5, 1.5),
        "optimism": trial.suggest_float("optimism", 0.3, 30.0, log=True),
        "net_width_pow": trial.suggest_int("net_width_pow", 5, 8),
        "net_depth": trial.suggest_int("net_depth", 1, 3),
        "conditioning": trial.suggest_categorical("conditioning", ["gating", "linear"]),
        "commands": trial.suggest_categorical("commands", ["absolute", "relative", "any"]),
    }
    if suggested["commands"] != "absolute":
        suggested["gamma"] = trial.suggest_categorical("gamma", [0.95, 0.98, 0.99, 0.995])
        suggested["gae_lambda"] = trial.suggest_categorical("gae_lambda", [0.8, 0.9, 0.95, 1.0])
        suggested["local_scale"] = trial.suggest_categorical("local_scale", [True, False])
        suggested["redistribute_rewards"] = trial.suggest_categorical("redistribute_rewards", [False, True])
    else:
        suggested["n_elites"] = trial.suggest_categorical("n_elites", [10, 20, 50, 100])
    if n_actions > 0:
        suggested["box_head"] = trial.suggest_categorical("box_head", ["gaussian", "squashed", "beta", "discretized"])
        if suggested["box_head"] in ("gaussian", "squashed"):
            suggested["min_std"] = trial.suggest_float("min_std", 0.02, 0.5, log=True)
            suggested["min_std_left"] = trial.suggest_float("min_std_left", 0.1, 1.0, log=True)  # at the end, as a share
            suggested["sde_share"] = trial.suggest_float("sde_share", 0.0, 0.8)
    return _shown(trial, convert_udrl_params(suggested), "batch_size", "gradient_steps", "policy_kwargs")


def convert_udrl_params(sampled_params: Params) -> Params:
    """
    Turn suggested values into arguments of :class:`~sb3_udrl.UDRL`.

    The Zoo puts these over what its file says of the environment. So arguments that other suggested values would refuse are
    among them always, as their defaults.

    :param sampled_params: ``trial.params`` of a trial of :func:`sample_udrl_params`
    :return: arguments of :class:`~sb3_udrl.UDRL`
    """
    params = dict(sampled_params)
    net_arch = [2 ** params.pop("net_width_pow")] * params.pop("net_depth")
    policy_kwargs: Params = {"net_arch": net_arch, "conditioning": params.pop("conditioning")}
    if "box_head" in params:
        policy_kwargs["box_head"] = params.pop("box_head")
    if "min_std" in params:
        min_std, left = params.pop("min_std"), params.pop("min_std_left")
        policy_kwargs["box_head_kwargs"] = {"min_std": min_std, "final_min_std": left * min_std}
    labels = {name: params.pop(name) for name in _OF_THE_LABELS if name in params}
    if params["commands"] != "any":
        params["obedience_kwargs"] = None
    return {
        "batch_size": 2 ** params.pop("batch_size_pow"),
        # Per step of the vectorized environment, so that training as often is not also training more
        "gradient_steps": max(1, round(params["train_freq"] * params.pop("updates_per_step"))),
        "replay_buffer_kwargs": {name: params.pop(name) for name in _OF_THE_BUFFER if name in params},
        "command_sampler": "joint",
        "command_sampler_kwargs": {name: params.pop(name) for name in ("n_elites", "optimism") if name in params},
        "policy_kwargs": policy_kwargs,
        "label_kwargs": {"advantage": labels} if labels else None,
        "sde_share": params.pop("sde_share", 0.0),
        **params,
    }


def sample_udrlpg_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: Params) -> Params:
    """
    Suggest hyperparameters of UDRLPG.

    :param trial: the trial of the study
    :param n_actions: number of action dimensions, unused, as the others: the Zoo passes them to every sampler
    :param n_envs: number of environments
    :param additional_args: what the Zoo knows about a HER buffer
    :return: arguments of :class:`~sb3_udrl.UDRLPG`
    """
    suggested: Params = {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 5, 9),
        "train_freq": trial.suggest_categorical("train_freq", [16, 32, 64, 125, 250]),
        "gradient_steps": trial.suggest_float("gradient_steps", 0.003, 0.1, log=True),
        "noise": trial.suggest_float("noise", 0.05, 2.0, log=True),
        "reevaluation": trial.suggest_float("reevaluation", 0.0, 0.5),
        "sampling": trial.suggest_categorical("sampling", ["weighted_bands", "even_bands", "weighted"]),
        "net_width": trial.suggest_categorical("net_width", [0, 16, 32]),
    }
    return _shown(trial, convert_udrlpg_params(suggested), "batch_size", "policy_kwargs")


def convert_udrlpg_params(sampled_params: Params) -> Params:
    """
    Turn suggested values into arguments of :class:`~sb3_udrl.UDRLPG`.

    :param sampled_params: ``trial.params`` of a trial of :func:`sample_udrlpg_params`
    :return: arguments of :class:`~sb3_udrl.UDRLPG`
    """
    params = dict(sampled_params)
    width = params.pop("net_width")
    return {
        "batch_size": 2 ** params.pop("batch_size_pow"),
        "policy_kwargs": {"net_arch": [width] if width else []},  # linear policies do best in most environments
        **params,
    }


# Name of the algorithm -> what suggests its hyperparameters, and what turns suggested values into arguments
SEARCH_SPACES: dict[str, tuple[Callable[..., Params], Callable[[Params], Params]]] = {
    "udrl": (sample_udrl_params, convert_udrl_params),
    "udrlpg": (sample_udrlpg_params, convert_udrlpg_params),
}
