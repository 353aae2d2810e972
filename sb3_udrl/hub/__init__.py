"""Trained models on the Hugging Face Hub: ``push`` and ``load`` (extra ``hub``)."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.hub.contents import MODEL, check_can_be_pushed, write_contents

__all__ = ["load", "push"]


def push(
    model: CommandedAlgorithm,
    repo_id: str,
    env: VecEnv,
    env_id: str,
    *,
    made_by: str | None = None,
    n_episodes: int = 5,
    deterministic: bool = True,
    private: bool = False,
    token: str | None = None,
) -> str:
    """
    Put a model on the Hub, with a picture of how it follows commands, its score card, a video of three commands, and a model
    card that says how to install, load and make it.

    :param model: a trained model
    :param repo_id: ``user/name`` on the Hub; it is made if it does not exist
    :param env: where the model is looked at; made with ``render_mode="rgb_array"``, for the video
    :param env_id: what the environment is called in Gymnasium
    :param made_by: the exact command that made the model; the card says that it is not recorded if None
    :param n_episodes: episodes per command
    :param deterministic: look at the most likely actions instead of draws
    :param private: whether a new repository is private
    :param token: of the Hub; by default that of ``hf auth login``
    :return: address of the commit
    :raises ImportError: if a package of the extra ``hub`` is missing
    :raises ValueError: if the environment does not render arrays, or statistics of ``VecNormalize`` belong to the model
    """
    check_can_be_pushed(model, env)
    api = _api(token)
    with tempfile.TemporaryDirectory() as folder:
        write_contents(model, env, env_id, Path(folder), repo_id, made_by, n_episodes, deterministic)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit: Any = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=f"{type(model).__name__} on {env_id}"
        )
    return str(commit.commit_url)


def load(
    repo_id: str,
    env: GymEnv | None = None,
    *,
    algo: str = "udrl",
    revision: str | None = None,
    trusted: Collection[str] = (),
    token: str | None = None,
    **kwargs: Any,
) -> Any:
    """
    Load a model that :func:`push` put on the Hub, the safe way: nothing in the file is run, and pickles are refused.

    :param repo_id: ``user/name`` on the Hub
    :param env: the environment to go on with; without one, the model can predict
    :param algo: name of the algorithm
    :param revision: a branch, tag or commit; only a commit says what you get tomorrow
    :param trusted: import paths that the file may name, see :meth:`UDRL.load <sb3_udrl.UDRL.load>`; by default none
    :param token: of the Hub; by default that of ``hf auth login``
    :param kwargs: further arguments of ``load``
    :return: the model
    :raises ImportError: if a package of the extra ``hub`` is missing
    :raises ValueError: if the algorithm is unknown, or the file is damaged or names what is not trusted
    """
    if algo not in ALGORITHMS:
        raise ValueError(f"algo={algo!r}: choose one of {sorted(ALGORITHMS)}")
    path = _api(token).hf_hub_download(repo_id, MODEL, revision=revision)
    return ALGORITHMS[algo].load(path, env, trusted=list(trusted), **kwargs)


def _api(token: str | None) -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ImportError("the Hub needs huggingface_hub: pip install sb3-udrl[hub]") from error
    return HfApi(token=token, library_name="sb3-udrl")
