"""What the constructor accepts."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.model import CommandedModel, HindsightModel
from sb3_udrl.policies import BehaviorPolicy


def check_arguments(model: CommandedModel) -> None:
    """
    Refuse arguments that are out of their range.

    :param model: a model whose attributes hold the arguments of its constructor
    :raises ValueError: naming the argument, its value and what would do
    """
    if not issubclass(model.policy_class, BehaviorPolicy):
        raise ValueError(
            f"policy={model.policy_class.__name__} is not a BehaviorPolicy: it takes no commands. "
            "If this is a saved model, load it with the algorithm that saved it"
        )
    check_at_least(model, {"gradient_steps": -1, "learning_starts": 0})
    check_at_least(model, {"batch_size": 1, "buffer_size": 1, "max_episode_steps": 1, "collectors": 0}, whole=True)
    check_collectors(model.collectors, model.collector_kwargs)
    if -1 < model.gradient_steps < 0 or (model.gradient_steps > 1 and model.gradient_steps % 1):
        raise ValueError(f"gradient_steps={model.gradient_steps}: give a whole number, or a share between 0 and 1")
    check_policy_kwargs(model.policy_class, model.policy_kwargs)


def check_at_least(model: Any, least: Mapping[str, float], whole: bool = False) -> None:
    """
    Refuse arguments that are too small, or no finite numbers.

    :param model: its attributes are the arguments
    :param least: what is enough, by the name of the argument
    :param whole: whether they must be whole numbers, which they are as integers from then on
    :raises ValueError: naming the argument, its value and what would do
    """
    for name, minimum in least.items():
        value = getattr(model, name)
        number = float(value) if isinstance(value, Real) else np.nan
        if not minimum <= number < np.inf or (whole and number % 1 > 0):
            raise ValueError(f"{name}={value!r}: must be at least {minimum}{', a whole number' * whole}")
        if whole:
            setattr(model, name, int(number))


def check_policy_kwargs(policy_class: type[Any], kwargs: Mapping[str, Any]) -> None:
    """
    Refuse arguments that the policy does not take.

    :param policy_class: class of the policy
    :param kwargs: its arguments
    :raises ValueError: naming those that it does not take, and those that it does
    """
    check_kwargs("policy_kwargs", kwargs, policy_class, hint="; the Zoo's -optimize searches the arguments of CommandPolicy")


def check_kwargs(
    argument: str, kwargs: Mapping[str, Any], made: type[Any], ours: Collection[str] = (), hint: str = ""
) -> None:
    """
    Refuse arguments that a class does not take.

    :param argument: name of the constructor's argument that holds them
    :param kwargs: arguments by name
    :param made: the class
    :param ours: arguments of it that the model gives
    :param hint: what to say besides
    :raises ValueError: naming those that it does not take, and those that it does
    """
    parameters = inspect.signature(made).parameters
    known = sorted(set(parameters) - set(ours))
    unknown = sorted(set(kwargs) - set(known))
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise ValueError(f"{argument}={kwargs}: {made.__name__} takes no {', '.join(unknown)}, but {', '.join(known)}{hint}")


def check_collectors(collectors: int, kwargs: dict[str, Any] | None) -> None:
    """
    Refuse arguments that no collectors can be made with.

    :param collectors: how many
    :param kwargs: further arguments of :class:`~sb3_udrl.collectors.Collectors`
    :raises ValueError: naming what would do
    """
    given, known = kwargs or {}, ("backend", "address", "synchronous")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"collector_kwargs={kwargs}: there is no {', '.join(unknown)}, but {', '.join(known)}")
    if given and collectors == 0:
        raise ValueError(f"collector_kwargs={kwargs}: is for collectors of at least 1, with collectors=0 leave it at None")
    backend = given.get("backend", "processes")
    if backend not in ("processes", "ray"):
        raise ValueError(f'collector_kwargs={kwargs}: backend={backend!r} must be "processes" or "ray"')
    if given.get("address") is not None and backend != "ray":
        raise ValueError(f'collector_kwargs={kwargs}: an address is for backend="ray"')


def make_replay_buffer(model: HindsightModel) -> EpisodicReplayBuffer:
    """
    An empty buffer of the class and with the arguments that were given.

    :param model: a model whose attributes hold the arguments of its constructor
    :raises ValueError: if an argument is out of its range or unknown
    """
    if model.replay_buffer_class is not None and not issubclass(model.replay_buffer_class, EpisodicReplayBuffer):
        raise ValueError(
            f"replay_buffer_class={model.replay_buffer_class.__name__} stores transitions, UDRL learns from whole episodes: "
            "leave it away, or derive it from EpisodicReplayBuffer"
        )
    trailing = (model.replay_buffer_kwargs or {}).get("trailing_probability", 1)
    if "advantage" in model.command_space and trailing != 1:
        raise ValueError(
            f"trailing_probability={trailing}: labels of advantages have no segments, leave it at 1 and set "
            "label_kwargs=dict(advantage=dict(gamma=...)) instead"
        )
    buffer_class = model.replay_buffer_class or EpisodicReplayBuffer
    kwargs = model.replay_buffer_kwargs or {}
    ours: dict[str, Any] = {
        "buffer_size": model.buffer_size,
        "observation_space": model.observation_space,
        "action_space": model.action_space,
        "recorded": model.command_space.recorded,
        "seed": model.rng,
    }
    check_kwargs("replay_buffer_kwargs", kwargs, buffer_class, ours)
    try:
        return buffer_class(**ours, **kwargs)
    except TypeError as error:
        raise ValueError(f"replay_buffer_kwargs={kwargs} do not fit {buffer_class.__name__}: {error}") from error


def count_gradient_steps(gradient_steps: int | float, n_collected: int) -> int:
    """
    The number of gradient steps of one training.

    :param gradient_steps: as given to the constructor
    :param n_collected: transitions that were collected since the last training
    """
    if gradient_steps < 0:
        return n_collected
    return int(gradient_steps) if gradient_steps >= 1 or gradient_steps == 0 else max(1, round(gradient_steps * n_collected))


def parse_train_freq(train_freq: int | tuple[int, str] | TrainFreq) -> TrainFreq:
    """
    The ``train_freq`` of a constructor in SB3's own form.

    :param train_freq: a number of steps, or a pair of a number and ``"step"`` or ``"episode"``
    :raises ValueError: if it is neither, or not positive
    """
    try:
        value, unit = train_freq if isinstance(train_freq, tuple | list) else (train_freq, "step")
        parsed = TrainFreq(int(value), TrainFrequencyUnit(unit))
        if parsed.frequency != value:
            raise ValueError("it is no whole number")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'train_freq={train_freq!r}: give a number, (n, "step") or (n, "episode")') from error
    if parsed.frequency < 1:
        raise ValueError(f"train_freq={train_freq!r}: must be at least 1")
    return parsed
