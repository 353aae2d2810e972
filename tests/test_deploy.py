"""Exported networks decide as the model does: TorchScript for all kinds, ONNX through ``ExportedAgent``."""

import json
import sys

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_udrl.commands import COMMAND_SPACES, CommandPart, CommandSpace, SummedPart
from sb3_udrl.deploy import ExportedAgent, export_policy
from sb3_udrl.deploy.actions import Actions
from sb3_udrl.deploy.books import CommandBooks
from sb3_udrl.policies import CnnPolicy, CommandPolicy, MultiInputPolicy
from sb3_udrl.policies.side_by_side import SideBySide

N = 64
VECTOR = spaces.Box(-5, 5, (3,))
PICTURE = spaces.Box(0, 255, (3, 40, 36), np.uint8)
PARTS = spaces.Dict(
    {
        "command": spaces.Box(-1, 1, (2, 2), np.float64),
        "a key.": spaces.Discrete(3, start=-1),
        "buttons": spaces.MultiBinary(4),
        "levels": spaces.MultiDiscrete([2, 3]),
        "picture": PICTURE,
        "counts": spaces.Box(0, 60_000, (2,), np.uint16),
    }
)
DISCRETE = spaces.Discrete(4, start=-2)
BOX = spaces.Box(np.float32([-1, 0]), np.float32([3, 0.5]))
# observation space, action space, arguments
KINDS = {
    "discrete": (VECTOR, DISCRETE, {}),
    "multi discrete": (VECTOR, spaces.MultiDiscrete([[2, 5]], start=[[0, 7]]), {}),
    "multi binary": (VECTOR, spaces.MultiBinary((2, 2)), {}),
    "gaussian": (VECTOR, BOX, {"box_head": "gaussian"}),
    "squashed": (VECTOR, BOX, {"box_head": "squashed"}),
    "beta": (VECTOR, BOX, {"box_head": "beta"}),
    "discretized": (VECTOR, BOX, {"box_head": "discretized"}),
    "unbounded": (VECTOR, spaces.Box(-np.inf, np.inf, (2,)), {}),
    "doubles": (VECTOR, spaces.Box(-1e6, 2e6, (2,), np.float64), {}),
    "whole numbers": (VECTOR, spaces.Box(-5, 90, (), np.int8), {"box_head": "gaussian"}),
    "a number": (spaces.Box(-1, 1, ()), DISCRETE, {}),
    "a choice": (spaces.Discrete(5, start=3), DISCRETE, {}),
    "pictures": (PICTURE, DISCRETE, {"policy": CnnPolicy, "features_extractor_class": None}),
    "parts": (PARTS, DISCRETE, {"policy": MultiInputPolicy}),
    "scales": (VECTOR, DISCRETE, {"return_scale": 0.1, "horizon_scale": 0.02}),
    "not standardized": (VECTOR, DISCRETE, {"standardize_observations": False}),
    **{
        name: (VECTOR, DISCRETE, {"conditioning": name})
        for name in ("first_gating", "prelu", "bilinear", "concat", "concat_gating", "linear", "masked")
    },
    "partial": (VECTOR, DISCRETE, {"command_space": CommandSpace(["return", "horizon"])}),
    "relative": (VECTOR, DISCRETE, {"command_space": COMMAND_SPACES["relative"]}),
    "guided": (VECTOR, BOX, {"command_space": CommandSpace(["return", "horizon"]), "guidance": 1.7, "box_head": "gaussian"}),
    "side by side": (VECTOR, DISCRETE, {"policy": SideBySide}),
    "side by side, continuous": (VECTOR, BOX, {"policy": SideBySide, "guidance": 0.5}),
    "side by side, one number": (VECTOR, spaces.Box(-2, 2, ()), {"policy": SideBySide}),
}
IN_ONNX = [
    "multi discrete",
    "squashed",
    "beta",
    "whole numbers",
    "pictures",
    "parts",
    "bilinear",
    "partial",
    "side by side, continuous",
]


def observations_of(space, n=N):
    rng = np.random.default_rng(0)

    def rows(part):
        if isinstance(part, spaces.Box) and part.dtype.kind == "f":
            return rng.uniform(part.low, part.high, (n, *part.shape)).astype(part.dtype)
        part.seed(0)
        return np.stack([part.sample() for _ in range(n)])

    return {key: rows(part) for key, part in space.spaces.items()} if isinstance(space, spaces.Dict) else rows(space)


def commands_of(space, n=N):
    rng = np.random.default_rng(1)
    values = {
        "return": rng.uniform(-50, 200, n),
        "horizon": rng.integers(1, 90, n).astype(float),
        "advantage": rng.normal(size=n),
    }
    return {name: values[name] for name in space.names}


def trained(observation_space, action_space, policy=CommandPolicy, guidance=1.0, **kwargs):
    """A policy whose statistics, weights and experience are as if it had learned something."""
    th.manual_seed(0)
    if policy is SideBySide:
        kwargs |= {"make": CommandPolicy, "command_space": COMMAND_SPACES["any"]}
    elif kwargs.get("features_extractor_class", 1) is None:
        kwargs = {"features_extractor_class": None}
    made = policy(observation_space, action_space, lambda _: 1e-3, net_arch=[16, 16], **kwargs)
    observations = observations_of(observation_space)
    tensors = (
        {key: th.as_tensor(rows) for key, rows in observations.items()}
        if isinstance(observations, dict)
        else th.as_tensor(observations)
    )
    for decides in made.deciding():
        own = decides.policy
        command = own.command_tensor(own.command_space.make(commands_of(own.command_space), N))
        own.update_statistics(tensors, command)
        th.nn.init.normal_(own.action_head.linear.weight, std=1.0)
        with th.no_grad():  # so that not all decisions are the same
            own.action_head.linear.bias -= own(tensors, command).mean(0)
    if made.experience is not None:
        made.experience.remember(np.random.default_rng(2).uniform(1, 90, (40, len(made.experience.names))))
    made.guidance = guidance
    return made.eval()


def asked_in_all_ways(policy):
    """Commands with and without gaps, one after the other."""
    space = policy.command_space
    whole = commands_of(space)
    if not space.partial:
        return [whole]
    first = {space.names[0]: whole[space.names[0]]}
    return [whole, first, {space.names[-1]: whole[space.names[-1]]}, {}]


@pytest.mark.parametrize("kind", KINDS)
def test_torchscript(tmp_path, kind):
    observation_space, action_space, kwargs = KINDS[kind]
    policy = trained(observation_space, action_space, **kwargs)
    export_policy(policy, tmp_path / "agent.pt")
    files = {"sb3_udrl": "", "outputs": ""}
    exported = th.jit.load(tmp_path / "agent.pt", _extra_files=files)
    observations = observations_of(observation_space)
    parts = list(observations.values()) if isinstance(observations, dict) else [observations]
    about = json.loads(files["sb3_udrl"])
    parts = [th.as_tensor(part.astype(entry["dtype"])) for part, entry in zip(parts, about["observation"], strict=True)]
    for asked in asked_in_all_ways(policy):
        command = policy.initial_command(N, asked)
        with th.no_grad():
            outputs = exported(*parts, th.as_tensor(policy.command_space.to_rows(command)))
        actions = dict(zip(json.loads(files["outputs"]), outputs, strict=True))["action"].numpy()
        decided, _ = policy.predict(observations, deterministic=True, command=asked)
        np.testing.assert_allclose(actions, decided, rtol=1e-5, atol=1e-5)
        assert len(np.unique(decided)) > 1


@pytest.mark.parametrize("kind", IN_ONNX)
@pytest.mark.slow
def test_onnx(tmp_path, kind):
    observation_space, action_space, kwargs = KINDS[kind]
    policy = trained(observation_space, action_space, **kwargs)
    export_policy(policy, tmp_path / "agent.onnx")
    agent = ExportedAgent(tmp_path / "agent.onnx", seed=0)
    observations = observations_of(observation_space)
    for asked in asked_in_all_ways(policy):
        decided, (rows, _) = policy.predict(observations, deterministic=True, command=asked)
        same, state = agent.predict(observations, deterministic=True, command=asked)
        np.testing.assert_allclose(same, decided, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(state, rows)
        assert same.dtype == decided.dtype
        few = 2000 if kind != "pictures" and kind != "parts" else 200
        one = (
            {key: rows[:1].repeat(few, 0) for key, rows in observations.items()}
            if kind == "parts"
            else observations[:1].repeat(few, 0)
        )
        first = {name: values[0] for name, values in asked.items()}
        drawn, _ = agent.predict(one, command=first)
        own, _ = policy.predict(one, command=first)
        assert drawn.dtype == own.dtype and drawn.shape == own.shape and action_space.contains(drawn[0])
        drawn, own = drawn.astype(np.float64), own.astype(np.float64)
        spread = own.std(0) + 0.02 * np.abs(own).max()
        assert (np.abs(drawn.mean(0) - own.mean(0)) < 5 * spread / np.sqrt(few)).all()
        assert (np.abs(drawn.std(0) - own.std(0)) < 0.25 * spread).all()


@pytest.mark.parametrize("n", [1, 50])
def test_choices_are_drawn_as_often_as_their_logits_say(n):
    """Few logits are compared in another way than many."""
    rule = {"kind": "categorical", "prefix": "", "parts": ["return"], "temperature": 0.5, "start": [2, -7]}
    space = {"shape": [2], "dtype": "int64", "low": None}
    actions = Actions({"parts": [{"name": "return"}], "action": space, "deciders": [rule]}, seed=0)
    logits = np.array([[[0.0, 0.3, -np.inf], [0.2, 0.0, -0.4]]], dtype=np.float32)
    outputs = {"logits": logits.repeat(n, 0)}
    drawn = np.concatenate([actions.draw(outputs, np.ones((n, 1))) for _ in range(10_000 // n)])
    odds = np.exp(logits[0] / 0.5)
    for column, start in enumerate(rule["start"]):
        often = np.bincount(drawn[:, column] - start, minlength=3) / len(drawn)
        np.testing.assert_allclose(often, odds[column] / odds[column].sum(), atol=0.02)


def test_one_row_is_paid_off_as_each_of_many():
    parts = [("return", "less reward"), ("advantage", "stays"), ("horizon", "less one"), ("cost", "less reward")]
    about = {"parts": [{"name": name, "rule": rule, "lowest": None} for name, rule in parts], "partial": True}
    about |= {"command": [None] * 4, "corrections": [None, None], "corrected_part": None, "experience": None}
    books = CommandBooks(about)
    rows = np.array([[5.0, np.nan, 3.0, 0.1], [np.nan, 2.0, 1.0, -7.5], [-1e300, 0.0, np.nan, np.nan]])
    many = books.advance(rows, 3, 0.3, None)
    np.testing.assert_array_equal(many[0], [5.0 - 0.3, np.nan, 2.0, 0.1 - 0.3])
    for row, same in zip(rows, many, strict=True):
        before = row.copy()
        np.testing.assert_array_equal(books.advance(row[None], 1, 0.3, None), same[None])
        np.testing.assert_array_equal(row, before)


class OwnWay(CommandPolicy):
    def act(self, observation, command, deterministic=False, temperature=None):
        return np.zeros(len(command), dtype=np.int64)


class OwnNetwork(CommandPolicy):
    def forward(self, observation, command):
        return 2 * super().forward(observation, command)


class Speed(CommandPart):
    name = "speed"

    def advance(self, values, step):
        return values / 2

    def achieved(self, episode):
        return 0.0


class Energy(SummedPart):
    name = "energy"

    def amounts(self, step):
        return np.array([info["energy"] for info in step.infos])


def test_a_network_of_ones_own_is_exported(tmp_path):
    policy = trained(VECTOR, DISCRETE, policy=OwnNetwork)
    export_policy(policy, tmp_path / "agent.pt")
    exported = th.jit.load(tmp_path / "agent.pt")
    command = policy.initial_command(N, commands_of(policy.command_space))
    observations = th.as_tensor(observations_of(VECTOR))
    with th.no_grad():
        _, logits = exported(observations, th.as_tensor(policy.command_space.to_rows(command)))
        np.testing.assert_allclose(logits[:, 0], policy(observations, policy.command_tensor(command)), atol=1e-4)


def test_what_is_learned_later_does_not_change_the_file(tmp_path):
    policy = trained(VECTOR, DISCRETE)
    export_policy(policy, tmp_path / "before.pt")
    with th.no_grad():
        policy.action_head.linear.bias.fill_(0)
    inputs = (th.zeros(1, 3), th.ones(1, 2, dtype=th.float64))
    export_policy(policy, tmp_path / "after.pt")
    before, after = (th.jit.load(tmp_path / f"{name}.pt")(*inputs)[1] for name in ("before", "after"))
    assert (before != after).any()


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"path='.*agent.zip': name it .onnx, or .pt for TorchScript"):
        export_policy(trained(VECTOR, DISCRETE), tmp_path / "agent.zip")
    with pytest.raises(ValueError, match=r"policy=OwnWay: it acts in a way of its own, by its own act\(\)"):
        export_policy(OwnWay(VECTOR, DISCRETE, lambda _: 1e-3), tmp_path / "agent.onnx")
    with pytest.raises(ValueError, match=r"the part 'speed' of commands has its own advance\(\)"):
        space = CommandSpace(["return", Speed()])
        export_policy(CommandPolicy(VECTOR, DISCRETE, lambda _: 1e-3, command_space=space), tmp_path / "agent.pt")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install sb3-udrl\[onnx\]"):
        export_policy(trained(VECTOR, DISCRETE), tmp_path / "agent.onnx")
    assert not list(tmp_path.iterdir())


def test_sums_of_ones_own_are_paid_off_by_what_is_told(tmp_path):
    space = CommandSpace(["return", Energy(), "horizon"])
    policy = CommandPolicy(VECTOR, DISCRETE, lambda _: 1e-3, net_arch=[8], command_space=space)
    export_policy(policy, tmp_path / "agent.pt")
    files = {"sb3_udrl": ""}
    th.jit.load(tmp_path / "agent.pt", _extra_files=files)
    books = CommandBooks(json.loads(files["sb3_udrl"]))
    rows = books.begin(2, {"return": [1.0, 2.0], "energy": 5.0, "horizon": 9}, deterministic=True)
    told = books.advance(rows, 2, 0.5, {"energy": [1.0, 2.0]})
    np.testing.assert_array_equal(told, [[0.5, 4, 8], [1.5, 3, 8]])
    np.testing.assert_array_equal(books.advance(told, 2, None, None)[:, 1], [4, 3])  # as the model's without infos
