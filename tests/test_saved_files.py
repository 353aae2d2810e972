"""Files of strangers: no code of theirs runs, nothing unbounded is built, and what is damaged is refused in one way."""

from __future__ import annotations

import base64
import io
import pickle
import sys
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers import DEVICE, TINY, make_vec, tiny_model
from probe_envs import AnySpaces, Scripted
from saved_models import members_of, with_setting, write
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecNormalize
from test_forest_policy import ACTIONS, OBSERVATIONS

from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.commands import FixedCommands
from sb3_udrl.saving.trust import Untrusted

RAN = []


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return RAN.append, (1,)


# What we write


class Refusal:
    """Takes the place of what unpickles; a class, since some libraries derive from it."""

    def __init__(self, *args, **kwargs):
        raise AssertionError("a pickle was loaded")


@pytest.fixture
def no_pickles(monkeypatch):
    for name in ("pickle.loads", "pickle.load", "pickle.Unpickler", "cloudpickle.loads", "joblib.load"):
        monkeypatch.setattr(name, Refusal)


@pytest.mark.usefixtures("no_pickles")
@pytest.mark.parametrize("observation_space", OBSERVATIONS.values(), ids=OBSERVATIONS)
@pytest.mark.parametrize("action_space", ACTIONS.values(), ids=ACTIONS)
def test_saving_loading_and_resuming_unpickle_nothing(tmp_path, observation_space, action_space):
    env = make_vec(AnySpaces, observation_space=observation_space, action_space=action_space)
    if observation_space is OBSERVATIONS["vector"]:
        env = VecNormalize(env)
    kwargs = {"commands": "any", "warm_up": "mixed", "gradient_steps": 1, "learning_starts": 10, "train_freq": (2, "episode")}
    model = tiny_model(env, **kwargs).learn(60)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE)
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert loaded.num_timesteps == model.num_timesteps
    assert loaded.replay_buffer.n_episodes == model.replay_buffer.n_episodes > 0
    loaded.learn(30, reset_num_timesteps=False)


@pytest.mark.usefixtures("no_pickles")
def test_forests_and_policies_alone_unpickle_nothing(tmp_path):
    model = UDRL("ForestPolicy", make_vec(Scripted), commands="absolute", **TINY).learn(64)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    expected = model.policy.learned.estimator.n_estimators
    assert UDRL.load(tmp_path / "model", device="cpu").policy.learned.estimator.n_estimators == expected
    assert type(model.policy).load(tmp_path / "policy").learned.estimator.n_estimators == expected


def test_no_member_is_a_pickle_but_what_holds_tensors(saved):
    model = tiny_model(make_vec(Scripted)).learn(64)
    model.save_replay_buffer(saved.with_name("buffer.pkl"))
    for path in (saved, saved.with_name("buffer.pkl")):
        for name, content in members_of(path).items():
            assert b":serialized:" not in content
            assert name.endswith((".pth", ".npy", ".txt")) or name in ("data", "_stable_baselines3_version")
            if name.endswith(".npy"):
                np.load(io.BytesIO(content), allow_pickle=False)


def test_the_tools_of_sb3_read_it(saved):
    data, parameters, _ = load_from_zip_file(saved)
    assert data["num_timesteps"] == 64 and data["train_freq"] == 32
    model = tiny_model(make_vec(Scripted))
    model.set_parameters(str(saved))
    for name, tensor in parameters["policy"].items():
        th.testing.assert_close(model.get_parameters()["policy"][name], tensor)


def rate_of_a_user(progress):
    return progress * 1e-3


class CommandsOfAUser(FixedCommands):
    pass


def test_functions_and_classes_of_users_are_named_unless_they_are_given_or_trusted(tmp_path):
    kwargs = {"command_sampler": CommandsOfAUser, "command_sampler_kwargs": {"desired_return": 3, "desired_horizon": 2}}
    tiny_model(make_vec(Scripted), learning_rate=rate_of_a_user, **kwargs).save(tmp_path / "model")
    names = [f"{__name__}.CommandsOfAUser", f"{__name__}.rate_of_a_user"]
    for trusted in (None, [], ["os.system"], names[:1]):
        with pytest.raises(Untrusted, match=r"rate_of_a_user.*learning_rate") as caught:
            UDRL.load(tmp_path / "model", device=DEVICE, trusted=trusted)
        assert set(caught.value.names) == set(names) - set(trusted or ())
    for given in (
        {"trusted": names},
        {"custom_objects": {"learning_rate": rate_of_a_user, "command_sampler": CommandsOfAUser}},
        {"learning_rate": rate_of_a_user, "command_sampler": CommandsOfAUser},
        {"learning_rate": rate_of_a_user, "trusted": names[:1]},
    ):
        loaded = UDRL.load(tmp_path / "model", make_vec(Scripted), device=DEVICE, **given).learn(64)
        assert loaded.lr_schedule(0.5) == 5e-4
        assert loaded.policy.eval_command.tolist() == [3, 2]


# What others write


def test_files_with_pickles_load_with_one_warning_and_are_refused_where_trust_is_named(saved):
    pickled = base64.b64encode(pickle.dumps(Bomb())).decode()
    with_setting(saved, "warm_up", {":type:": "x", ":serialized:": pickled})
    for trusted in ([], ["builtins.list"]):
        with pytest.raises(
            ValueError, match=r"it holds pickles \(warm_up\), which can run any code; nothing of them was read"
        ):
            UDRL.load(saved, device=DEVICE, trusted=trusted)
        with open(saved, "rb") as file, pytest.raises(ValueError, match="nothing of them was read"):
            UDRL.load(file, device=DEVICE, trusted=trusted)
    assert RAN == []


def test_an_old_buffer_is_loaded_only_by_name(tmp_path):
    (tmp_path / "buffer.pkl").write_bytes(pickle.dumps(Bomb()))
    model = tiny_model(make_vec(Scripted))
    with pytest.raises(ValueError, match="allow_pickle=True"):
        model.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(ValueError, match="allow_pickle=True"):
        model.load_replay_buffer(tmp_path / "buffer.pkl", allow_pickle=False)
    assert RAN == []


def test_nothing_that_a_file_names_is_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in (
        ("learning_rate", {":type:": "name", "name": "stranger.rate"}),
        ("command_sampler", {":type:": "object", "class": "stranger.Thing", "state": {}}),
        ("policy_class", {":type:": "name", "name": "stranger.Policy"}),
        ("policy_kwargs", {"estimator": "stranger.Forest", "net_arch": [16]}),
        ("warm_up", {":type:": "estimator", "class": "stranger.Forest", "arguments": {}}),
    ):
        content = saved.read_bytes()
        with_setting(saved, name, value)
        with pytest.raises(ValueError, match="stranger"):
            UDRL.load(saved, device=DEVICE)
        saved.write_bytes(content)
    assert "stranger" not in sys.modules


def test_environments_and_folders_that_a_file_names_are_not_taken(saved, tmp_path):
    for name, value in (("env", "CartPole-v1"), ("tensorboard_log", str(tmp_path / "elsewhere"))):
        with_setting(saved, name, value)
    loaded = UDRL.load(saved, device=DEVICE)
    assert loaded.env is None and loaded.tensorboard_log is None
    loaded = UDRL.load(saved, make_vec(Scripted), device=DEVICE, tensorboard_log=str(tmp_path / "own"))
    assert loaded.tensorboard_log == str(tmp_path / "own")


def test_files_that_would_fill_the_memory_are_refused(saved):
    members = members_of(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("zeros.npy", bytes(50_000_000))
    with pytest.raises(ValueError, match="would unpack to"):
        UDRL.load(saved, device=DEVICE)
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("policy/data/0", bytes(50_000_000))
    write(saved, {**members, "policy.pth": weights.getvalue()})
    with pytest.raises(ValueError, match=r"its member 'policy.pth' would unpack to"):
        UDRL.load(saved, device=DEVICE)


def test_two_members_of_one_name_are_refused(saved):
    with zipfile.ZipFile(saved, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("data", "{}")
    with pytest.raises(ValueError, match="several members of the name 'data'"):
        UDRL.load(saved, device=DEVICE)


def test_arrays_that_claim_more_than_they_hold_are_refused(saved):
    members = members_of(saved)
    name = next(name for name in members if name.endswith(".npy"))
    for shape in ("(1000000000000,)", "(-1,)", "(2, 2)"):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        write(saved, {**members, name: b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(8)})
        with pytest.raises(ValueError, match=r"does not hold|damaged"):
            UDRL.load(saved, device=DEVICE)
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    write(saved, {**members, name: objects.getvalue()})
    with pytest.raises(ValueError, match=name):
        UDRL.load(saved, device=DEVICE)
    assert RAN == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    model = tiny_model(make_vec(Scripted))
    with th.no_grad():
        next(model.policy.parameters())[0, 0] = value
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"the weights policy.* not finite"):
        UDRL.load(tmp_path / "model", device=DEVICE)


def test_damaged_policies_alone_are_refused(tmp_path):
    policy = tiny_model(make_vec(Scripted)).policy
    policy.save(tmp_path / "policy")
    content = (tmp_path / "policy").read_bytes()
    for damaged in (b"", content[:100], content[:-50], b"\x80\x04." + content):
        (tmp_path / "damaged").write_bytes(damaged)
        if damaged.endswith(content):  # zip files are read from their end
            CommandPolicy.load(tmp_path / "damaged", trusted=[])
            continue
        with pytest.raises(ValueError, match="is not a policy that CommandPolicy can load"):
            CommandPolicy.load(tmp_path / "damaged", trusted=[])


# Damage


def damaged(content, rng):
    """A copy with a random damage: bytes that differ, a part cut off, or a part twice."""
    content = bytearray(content)
    kind, at = rng.integers(4), int(rng.integers(len(content)))
    if kind == 0:
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        content[at : at + 16] = rng.bytes(16)
    elif kind == 2:
        del content[at : at + int(rng.integers(1, 1000))]
    else:
        content[at:at] = content[max(0, at - 100) : at]
    return bytes(content)


@pytest.mark.parametrize("trusted", [None, []], ids=["default", "nobody"])
def test_damaged_models_give_one_error_or_decide_alike(saved, trusted):
    content, rng = saved.read_bytes(), np.random.default_rng(0)
    observations = rng.uniform(-3, 3, (20, 2)).astype(np.float32)
    expected = UDRL.load(saved, device=DEVICE).predict(observations, deterministic=True)[0]
    n_refused = 0
    for _ in range(300):
        file = io.BytesIO(damaged(content, rng))
        try:
            loaded = UDRL.load(file, device=DEVICE, trusted=trusted)
        except ValueError as error:
            assert "\n" not in str(error)
            n_refused += 1
        else:
            np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)
    assert n_refused > 200


def test_damaged_buffers_give_one_error_and_leave_the_model_as_it_was(tmp_path):
    model = tiny_model(make_vec(Scripted), commands="any", warm_up="network").learn(200)
    model.save_replay_buffer(tmp_path / "buffer")
    content, rng = (tmp_path / "buffer.pkl").read_bytes(), np.random.default_rng(0)
    hindsight, obedience, state = model.hindsight, model.obedience, model.rng.bit_generator.state
    returns, n_refused = model.replay_buffer.returns.copy(), 0
    for _ in range(150):
        try:
            model.load_replay_buffer(io.BytesIO(damaged(content, rng)))
        except ValueError as error:
            assert "\n" not in str(error)
            assert model.hindsight is hindsight and model.obedience is obedience
            n_refused += 1
        else:
            hindsight, obedience = model.hindsight, model.obedience
        assert model.rng.bit_generator.state == state
        np.testing.assert_array_equal(model.replay_buffer.returns, returns)
    assert n_refused > 100


@pytest.mark.parametrize("setting", ["hindsight", "rng", "torch_rng", "further", "running", "commands", "observation_space"])
def test_buffers_with_a_part_exchanged_are_refused(tmp_path, setting):
    model = tiny_model(make_vec(Scripted), warm_up="sticky").learn(100)
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    hindsight, warm_up = model.hindsight, model._exploration.warm_up
    for value in (None, [], {}, {"a": 1}, "text", 3):
        members = members_of(tmp_path / "buffer.pkl")
        with_setting(tmp_path / "buffer.pkl", setting, value)
        with pytest.raises(ValueError, match="is not a replay buffer that UDRL can load"):
            model.load_replay_buffer(tmp_path / "buffer.pkl")
        write(tmp_path / "buffer.pkl", members)
    assert model.hindsight is hindsight and model._exploration.warm_up is warm_up


def test_errors_of_files_that_are_not_there_are_pythons(tmp_path):
    model = tiny_model(make_vec(Scripted))
    with pytest.raises(FileNotFoundError):
        UDRL.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        model.load_replay_buffer(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        UDRL.load(tmp_path)


def test_another_environment_is_said(saved):
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        UDRL.load(saved, gym.make("CartPole-v1"), device=DEVICE)


class ActivationOfAUser(th.nn.Tanh):
    pass


def test_what_a_policy_alone_names_can_be_trusted(tmp_path):
    policy = tiny_model(make_vec(Scripted), policy_kwargs={"activation_fn": ActivationOfAUser}).policy
    policy.save(tmp_path / "policy")
    name = f"{__name__}.ActivationOfAUser"
    with pytest.raises(Untrusted, match=rf"{name} \(arguments/activation_fn\).*trusted=\['{name}'\]\)$"):
        CommandPolicy.load(tmp_path / "policy")
    assert CommandPolicy.load(tmp_path / "policy", trusted=[name]).activation_fn is ActivationOfAUser
