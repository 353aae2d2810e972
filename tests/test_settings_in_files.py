"""Settings and states of optimizers that a file holds: what no model has is refused by its name."""

from __future__ import annotations

import copy
import io
import json

import numpy as np
import pytest
import torch as th
from helpers import DEVICE, TINY, make_vec, tiny_model
from probe_envs import Scripted
from saved_models import members_of, with_setting, write

from sb3_udrl import UDRL, UDRLPG


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("policy_kwargs", {"net_arch": [2**40]}),
        ("policy_kwargs", {"net_arch": [16] * 1000}),
        ("policy_kwargs", {"net_arch": {"pi": ["wide"]}}),
        ("policy_kwargs", {"net_arch": [16_000] * 4}),
        ("policy_kwargs", {"features_extractor_kwargs": {"features_dim": 10**10}}),
        ("policy_kwargs", {"box_head_kwargs": {"n_bins": 10**10}}),
        ("policy_kwargs", {"features_extractor_kwargs": {"channels": [16_000, 16_000]}}),
        ("obedience_kwargs", {"policy_kwargs": {"net_arch": [10**9]}}),
        ("n_envs", 10**9),
        ("n_envs", -1),
        ("batch_size", 10**15),
        ("batch_size", 1e300),
        ("gradient_steps", 1e300),
        ("collectors", 10**15),
        ("_stats_window_size", 10**15),
        ("action_space", {":type:": "Discrete", "n": 10**12, "start": 0}),
        ("observation_space", {":type:": "Discrete", "n": 10**9, "start": 0}),
        ("observation_space", {":type:": "MultiBinary", "n": 10**12}),
        ("observation_space", {":type:": "MultiBinary", "n": [10**5, 10**5]}),
    ],
)
def test_sizes_beyond_all_use_are_refused(saved, setting, value):
    with_setting(saved, setting, value)
    with pytest.raises(ValueError, match=rf"{setting}|observation_space and action_space"):
        UDRL.load(saved, device=DEVICE)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *[("num_timesteps", value) for value in ("x", -1, 1.5, None, True)],
        ("_n_updates", "x"),
        ("outcomes", 5),
        ("outcomes", {":type:": "object", "class": "sb3_udrl.commands.outcomes.Outcomes", "state": {"a": 1}}),
        (
            "outcomes",
            {
                ":type:": "object",
                "class": "sb3_udrl.commands.outcomes.Outcomes",
                "state": {"rows": {":type:": "deque", "items": [1], "maxlen": 9}},
            },
        ),
        ("ep_info_buffer", 5),
        *[(name, value) for name in ("batch_size", "_stats_window_size") for value in ("x", -1, 1.5, None, True, [], {})],
        *[("action_noise", value) for value in ("x", 0, 1e300, [], {})],
        *[("_measured", value) for value in (None, "x", [], {"asked": 3}, {"speed": {}}, {"asked": {"return": [1.0]}})],
        *[("use_sde", value) for value in (True, 1, "x")],
        *[(name, 5) for name in ("_vec_normalize_env", "_logger", "_custom_logger", "device")],
        ("ep_info_buffer", {":type:": "deque", "items": [{"r": 1}], "maxlen": 9}),
        *[(name, 5) for name in ("learn", "predict", "_setup_model", "__class__", "__dict__")],
    ],
    ids=str,
)
def test_settings_that_no_model_has_are_refused(saved, setting, value):
    with_setting(saved, setting, value)
    with pytest.raises(ValueError, match=f"is not a model that UDRL can load: .*{setting}"):
        UDRL.load(saved, device=DEVICE, trusted=[])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["UDRL", "UDRLPG"])
def test_a_setting_of_another_kind_is_refused_by_its_name_or_changes_nothing_that_breaks_training(tmp_path, kind):
    env = make_vec(Scripted)
    model = tiny_model(env, commands="any").learn(64) if kind == "UDRL" else UDRLPG("MlpPolicy", env, **TINY).learn(64)
    model.save(tmp_path / "model.zip")
    content, n_refused = (tmp_path / "model.zip").read_bytes(), 0
    for name in json.loads(members_of(tmp_path / "model.zip")["data"]):
        for value in ("x", -1, 2.5, {}):
            with_setting(tmp_path / "model.zip", name, value)
            try:
                loaded = type(model).load(tmp_path / "model.zip", env, device=DEVICE, trusted=[])
            except ValueError as error:
                said = str(error).partition("can load:")[2]
                named = name in said or name.replace("_", " ") in said.lower()
                assert "Error" not in said and (named or (name == "policy_kwargs" and "other parameters" in said))
                n_refused += 1
            else:
                loaded.predict(np.zeros(2), deterministic=True, command=1e6)
                loaded.learn(20)
            (tmp_path / "model.zip").write_bytes(content)
    assert n_refused > 100


def change(state, name, value):
    for moments in state["state"].values():
        moments[name] = value(moments[name])


STATES = {
    "too small, beyond which fused steps write": lambda state: change(state, "exp_avg", lambda _: th.zeros(3)),
    "a view of more than there is": lambda state: change(state, "exp_avg", lambda _: th.zeros(1).expand(10**11)),
    "no tensor": lambda state: change(state, "exp_avg", lambda _: "x"),
    "whole numbers": lambda state: change(state, "exp_avg", th.Tensor.int),
    "variances below zero": lambda state: change(state, "exp_avg_sq", lambda value: -1 - value),
    "steps below zero": lambda state: change(state, "step", lambda value: -1 - value),
    "further groups": lambda state: state["param_groups"].append(state["param_groups"][0]),
    "no parameters": lambda state: state["param_groups"][0].update(params=[]),
    "a list": lambda state: state.update(state=[]),
    "of one more parameter": lambda state: state["state"].update({99: state["state"][0]}),
}


@pytest.mark.parametrize("damage", STATES)
def test_states_of_optimizers_are_those_of_their_parameters(saved, damage):
    members = members_of(saved)
    state = th.load(io.BytesIO(members["policy.optimizer.pth"]), weights_only=True)
    STATES[damage](state)
    content = io.BytesIO()
    th.save(state, content)
    write(saved, {**members, "policy.optimizer.pth": content.getvalue()})
    with pytest.raises(ValueError, match="state of the optimizer"):
        UDRL.load(saved, device=DEVICE, trusted=[])


@pytest.mark.parametrize("optimizer", ["Adafactor", "SGD", "RMSprop", "NAdam", "AdamW"])
def test_optimizers_of_all_kinds_go_on(tmp_path, optimizer):
    kwargs = {"optimizer_class": getattr(th.optim, optimizer), "net_arch": [8]}
    model = tiny_model(make_vec(Scripted), policy_kwargs=kwargs).learn(100)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(Scripted), device=DEVICE, trusted=[])
    for now, then in zip(
        loaded.policy.optimizer.state_dict()["state"].values(),
        model.policy.optimizer.state_dict()["state"].values(),
        strict=True,
    ):
        assert now.keys() == then.keys() and all(th.as_tensor(now[name] == then[name]).all() for name in now)
    loaded.learn(40, reset_num_timesteps=False)


def test_what_optimizers_do_is_said_by_the_settings_alone(saved):
    members = members_of(saved)
    state = th.load(io.BytesIO(members["policy.optimizer.pth"]), weights_only=True)
    expected = copy.deepcopy(state["param_groups"])
    state["param_groups"][0].update(betas=(5,), eps=None, weight_decay=-1e9, maximize=True)
    content = io.BytesIO()
    th.save(state, content)
    write(saved, {**members, "policy.optimizer.pth": content.getvalue()})
    assert UDRL.load(saved, device=DEVICE, trusted=[]).policy.optimizer.state_dict()["param_groups"] == expected


def test_what_the_caller_gives_has_no_limits(saved):
    with_setting(saved, "n_envs", 10**9)
    assert UDRL.load(saved, device=DEVICE, custom_objects={"n_envs": 1}).n_envs == 1
