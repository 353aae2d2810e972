"""Settings of strangers: what could run code is named, and nothing of it is run."""

import base64
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from helpers import DEVICE, make_vec, tiny_model
from probe_envs import AnySpaces
from stable_baselines3.common.vec_env import VecNormalize
from test_forest_policy import ACTIONS, OBSERVATIONS

from sb3_udrl import UDRL
from sb3_udrl.common.trust import refuse_untrusted, trusting, untrusted_in_pickle

RAN = []


class Bomb:
    """Runs code when it is loaded."""

    def __reduce__(self):
        return RAN.append, (1,)


class Call:
    """Calls any function when it is loaded."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def with_setting(path, value):
    """Put a pickled setting into a saved model."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    settings = json.loads(members["data"])
    settings["warm_up"] = {":type:": "str", ":serialized:": base64.b64encode(pickle.dumps(value)).decode()}
    members["data"] = json.dumps(settings).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("observation_space", OBSERVATIONS.values(), ids=OBSERVATIONS)
@pytest.mark.parametrize("action_space", ACTIONS.values(), ids=ACTIONS)
def test_what_we_save_ourselves_is_known(tmp_path, observation_space, action_space):
    env = make_vec(AnySpaces, observation_space=observation_space, action_space=action_space)
    if observation_space is OBSERVATIONS["vector"]:
        env = VecNormalize(env)
    model = tiny_model(env, gradient_steps=1, learning_starts=10, train_freq=(2, "episode")).learn(30)
    model.save(tmp_path / "model")
    assert UDRL.load(tmp_path / "model", device=DEVICE, trusted=[]).num_timesteps == model.num_timesteps


@pytest.mark.parametrize(
    ("bomb", "name"),
    [
        (Call(os.getenv, "HOME"), "os.getenv"),
        (Call(eval, "1"), "builtins.eval"),
        (Call(getattr, [], "append"), "builtins.getattr"),
        ([Call(os.getenv, "HOME"), {"deep": Call(print, "hello")}], "builtins.print, os.getenv"),
    ],
    ids=["call", "eval", "getattr", "several"],
)
def test_bombs_are_refused(tmp_path, bomb, name, capsys):
    tiny_model(make_vec(AnySpaces, observation_space=OBSERVATIONS["vector"], action_space=ACTIONS["discrete"])).save(
        tmp_path / "model"
    )
    with_setting(tmp_path / "model.zip", bomb)
    with pytest.raises(TypeError, match=f"the settings of this file would build {name}, which could run code"):
        UDRL.load(tmp_path / "model", device=DEVICE, trusted=[])
    with open(tmp_path / "model.zip", "rb") as file, pytest.raises(TypeError, match="could run code"):
        UDRL.load(file, device=DEVICE, trusted=[])
    assert "hello" not in capsys.readouterr().out
    UDRL.load(tmp_path / "model", device=DEVICE, trusted=[], custom_objects={"warm_up": "uniform"})


def test_looking_runs_nothing():
    assert untrusted_in_pickle(pickle.dumps(Bomb())) == {"builtins.getattr"}  # how a method is pickled
    assert RAN == []


def test_plain_data_is_known():
    plain = [np.arange(3), {"a": {1, 2}}, np.float32(1), np.random.default_rng(0), range(3)]
    assert untrusted_in_pickle(pickle.dumps(plain)) == set()


def test_what_is_trusted():
    with trusting(["os.getenv"]):
        assert untrusted_in_pickle(pickle.dumps(Call(os.getenv, "HOME"))) == set()
        refuse_untrusted(["os.getenv"], "this")
        with pytest.raises(TypeError, match=r"would build os.system,.*trusted=\['os.system'\]"):
            refuse_untrusted(["os.getenv", "os.system"], "this")
    with pytest.raises(TypeError, match=r"os\.getenv"):
        refuse_untrusted(["os.getenv"], "this")
