"""The model card: what the model does, and how to install, load and make it."""

from __future__ import annotations

import re
from typing import NamedTuple

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from sb3_udrl.evaluation.following import PartFollowing

_FROM_SB3 = ("Monitor", "VecTransposeImage")  # which it puts around environments by itself
_EXTRAS = {"classic_control": "classic-control", "toy_text": "toy-text", "box2d": "box2d", "mujoco": "mujoco"}


class Facts(NamedTuple):
    """
    What the card says.

    :param repo_id: ``user/name`` on the Hub
    :param algorithm: name of its class
    :param env_id: what the environment is called
    :param is_forest: whether the extra ``forest`` is needed
    :param parts: what the model can be asked for
    :param mean: of returns under its own command
    :param std: of these returns
    :param deterministic: whether the most likely actions were taken
    :param part: what was asked for in the curve
    :param curve: what was asked for and achieved
    :param shown: the commands of the video, in words
    :param made_by: the command that made the model, if it is known
    :param wrappers: import paths of the wrappers that were put on the environment, the innermost first
    :param trusted: import paths that the file names, which have to be trusted
    """

    repo_id: str
    algorithm: str
    env_id: str
    is_forest: bool
    parts: tuple[str, ...]
    mean: float
    std: float
    deterministic: bool
    part: str
    curve: PartFollowing
    shown: list[str]
    made_by: str | None
    wrappers: list[str]
    trusted: list[str]


def model_card(facts: Facts) -> str:
    """
    The card as Markdown, with the data that the Hub reads in its head.

    :param facts: what it says
    """
    from huggingface_hub import EvalResult, ModelCardData

    data = ModelCardData(
        library_name="stable-baselines3",
        license="mit",
        pipeline_tag="reinforcement-learning",
        tags=["reinforcement-learning", "deep-reinforcement-learning", "upside-down-rl", "sb3-udrl", facts.env_id],
        model_name=facts.algorithm,
        eval_results=[
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=facts.env_id,
                dataset_name=facts.env_id,
                metric_type="mean_reward",
                metric_value=f"{facts.mean:.2f} +/- {facts.std:.2f}",
            )
        ],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{_text(facts)}"


def install_line(env_id: str, is_forest: bool) -> str:
    """
    What installs all that the model and its environment need.

    :param env_id: what the environment is called
    :param is_forest: whether the model is a forest
    """
    extras = "forest,hub" if is_forest else "hub"
    spec = gym.envs.registry.get(env_id)
    found = re.match(r"gymnasium\.envs\.(\w+)", str(spec.entry_point)) if spec is not None else None
    extra = _EXTRAS.get(found.group(1)) if found is not None else None
    return f'pip install "sb3-udrl[{extras}]"' + (f' "gymnasium[{extra}]"' if extra else "")


def id_with_module(env_id: str) -> str:
    """
    The id as ``gymnasium.make`` finds it in a new process.

    :param env_id: what the environment is called
    """
    return f"sb3_udrl.envs:{env_id}" if "sb3_udrl." in repr(gym.envs.registry.get(env_id)) else env_id


def wrappers_of(env: VecEnv) -> list[str]:
    """
    Import paths of the wrappers that the user put on an environment, the innermost first.

    :param env: the environment
    """
    spec = env.get_attr("spec", 0)[0] if env.has_attr("spec") else None
    paths = [wrapper.entry_point.replace(":", ".") for wrapper in (spec.additional_wrappers if spec is not None else ())]
    around = []
    while isinstance(env, VecEnvWrapper):
        around.append(f"{type(env).__module__}.{type(env).__qualname__}")
        env = env.venv
    return [path for path in [*paths, *reversed(around)] if path.rpartition(".")[2] not in _FROM_SB3]


def _text(facts: Facts) -> str:
    actions = "the most likely actions" if facts.deterministic else "drawn actions"
    rows = "\n".join(
        f"| {desired:.1f} | {achieved.mean():.1f} | {achieved.std():.1f} |"
        for desired, achieved in zip(facts.curve.desired, facts.curve.achieved, strict=True)
    )
    unit = facts.part if facts.part != "advantage" else "advantage, in standard deviations"
    achieved_part = facts.part if facts.part != "advantage" else "return"
    paths = ", then ".join(f"`{path}`" for path in facts.wrappers)
    wrapped = f"Wrap the environment as in training before you load the model: by {paths}.\n\n" if paths else ""
    further = f', algo="{facts.algorithm.lower()}"' if facts.algorithm != "UDRL" else ""
    further += f", trusted={facts.trusted}" if facts.trusted else ""
    but = " but that of what is trusted" if facts.trusted else ""
    made_by = f"```bash\n{facts.made_by}\n```" if facts.made_by else "It was not recorded which command made it."
    return f"""# {facts.algorithm} on {facts.env_id}

An agent of [Upside-Down Reinforcement Learning](https://arxiv.org/abs/1912.02877) that takes commands: it can be asked for
{", ".join(facts.parts)}. Under its own command it gets a return of {facts.mean:.1f} +- {facts.std:.1f}, by {actions}.

## Use

```bash
{install_line(facts.env_id, facts.is_forest)}
```

```python
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import hub
from sb3_udrl.evaluation import evaluate_policy

env = make_vec_env("{id_with_module(facts.env_id)}")
model = hub.load("{facts.repo_id}", env{further})
print(evaluate_policy(model, env, 10, deterministic={facts.deterministic}))
```

{wrapped}The file holds no pickles, and loading it runs no code{but}.

## Does it obey?

![Command following](command_following.png)

| asked for: {unit} | achieved {achieved_part} | deviation |
|---|---|---|
{rows}

By {actions}, {facts.curve.achieved.shape[1]} episodes per command; all numbers, and the score card, are in `results.json`.
The video shows {", then ".join(facts.shown)}.

## How it was made

{made_by}
"""
