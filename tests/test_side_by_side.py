"""Two behavior functions in one model: which one acts, what they share, and how they come back."""

import inspect

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import DEVICE, CommandSpy, assert_same_parameters, episode, make_vec, parameters_of, tiny_model
from probe_envs import AnySpaces, FixedStart, TwoArms
from stable_baselines3.common.utils import obs_as_tensor

from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.buffers import Episode
from sb3_udrl.commands.command import Command
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.common.hindsight_algorithm import HindsightAlgorithm
from sb3_udrl.labels import LABELERS, SumLabeler
from sb3_udrl.policies.side_by_side import SideBySide

NAN = np.nan
VECTOR = spaces.Box(-1, 1, (3,))
DICT = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)})
# One row each: nothing, advantage, return, horizon, return and horizon, all of them
MIXED = np.array([[NAN, NAN, NAN], [NAN, NAN, 2], [5, NAN, NAN], [NAN, 4, NAN], [5, 4, NAN], [5, 4, 2]])
OBEYS = [False, False, True, True, True, True]


def random_model(observation_space=VECTOR, action_space=None, commands="any", **kwargs):
    """Weights are large enough for decisions to depend on everything."""
    env = make_vec(AnySpaces, observation_space=observation_space, action_space=action_space or spaces.Discrete(7))
    model = tiny_model(env, commands=commands, **kwargs)
    generator = th.Generator().manual_seed(0)
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.copy_(th.randn(parameter.shape, generator=generator))
    return model


def rows_of(space, n):
    space.seed(0)
    samples = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([sample[key] for sample in samples]) for key in space.spaces}
    return np.stack(samples)


def tensors(observations):
    return obs_as_tensor(observations, th.device(DEVICE))


def mixed_commands(model, n=20):
    return model.command_space.from_rows(np.tile(MIXED, (n, 1)))


# Which one acts


@pytest.mark.parametrize("observation_space", [VECTOR, DICT], ids=["vector", "dict"])
@pytest.mark.parametrize(
    "action_space",
    [spaces.Discrete(7), spaces.Box(-9, 9, (2,)), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(2)],
    ids=["discrete", "box", "multi-discrete", "binary"],
)
def test_what_is_asked_for_decides_row_by_row(observation_space, action_space):
    model = random_model(observation_space, action_space)
    policy, command = model.policy, mixed_commands(model)
    observations = rows_of(observation_space, len(command))
    obeys = np.tile(OBEYS, 20)
    np.testing.assert_array_equal(policy.asks_to_obey(command), obeys)
    strives, follows = (side.act(tensors(observations), command, True) for side in (policy.striving, policy.obedient))
    assert (strives != follows).any()
    mixed = policy.act(tensors(observations), command, deterministic=True)
    assert mixed.dtype == action_space.dtype and mixed.shape == strives.shape
    np.testing.assert_array_equal(mixed[obeys], follows[obeys])
    np.testing.assert_array_equal(mixed[~obeys], strives[~obeys])


@pytest.mark.parametrize("observation_space", [VECTOR, DICT], ids=["vector", "dict"])
@pytest.mark.parametrize("action_space", [spaces.Discrete(7), spaces.Box(-9, 9, (2,))], ids=["discrete", "box"])
def test_acting_fast_is_acting_the_same(observation_space, action_space):
    """At a temperature of zero, draws are the most likely actions."""
    kwargs = {"policy_kwargs": {"box_head": "gaussian"}} if isinstance(action_space, spaces.Box) else {}
    model = random_model(observation_space, action_space, **kwargs)
    command = mixed_commands(model)
    observations = rows_of(observation_space, len(command))
    greedy = model.policy.act(tensors(observations), command, deterministic=True)
    draw = model.policy.actor(np.random.default_rng(0))
    drawn = draw(observations, command, np.zeros((len(command), 1), np.float32))
    np.testing.assert_allclose(drawn, greedy, rtol=1e-3, atol=1e-3)


def test_all_rows_alike():
    model = random_model()
    observations = rows_of(VECTOR, 50)
    for asked, side in (({"advantage": 1}, "striving"), ({"return": 5, "horizon": 3}, "obedient")):
        command = model.command_space.make(asked, 50)
        chosen = model.policy.act(tensors(observations), command, deterministic=True)
        np.testing.assert_array_equal(chosen, getattr(model.policy, side).act(tensors(observations), command, True))


def test_nothing_asked_is_as_usual():
    model = random_model()
    observations = rows_of(VECTOR, 50)
    actions, state = model.predict(observations, deterministic=True, command={})
    usual, usual_state = model.predict(observations, deterministic=True, command={"advantage": 0})
    np.testing.assert_array_equal(actions, usual)
    np.testing.assert_array_equal(state[0], usual_state[0])
    np.testing.assert_array_equal(state[0][0], [NAN, NAN, 0])


def test_draws_of_the_second_one_do_not_disturb_the_first_one():
    model = random_model()
    observations = rows_of(VECTOR, 40)
    usual = model.command_space.make({"advantage": 1}, 40)
    half = np.arange(40) % 2 == 0
    mixed = usual.where(half, model.command_space.make({"return": 5}, 40))
    temperature = np.ones((40, 1), np.float32)

    def draws(command):
        draw = model.policy.actor(np.random.default_rng(0), obedient_rng=np.random.default_rng(1))
        return np.stack([draw(observations, command, temperature) for _ in range(5)])

    np.testing.assert_array_equal(draws(mixed)[:, ~half], draws(usual)[:, ~half])


def test_temperature_of_the_one_that_obeys():
    model = random_model(obedience_kwargs={"temperature": 0.0})
    observations = rows_of(VECTOR, 50)
    command = {"return": 5, "horizon": 3}
    greedy = model.predict(observations, deterministic=True, command=command)[0]
    np.testing.assert_array_equal(model.predict(observations, command=command)[0], greedy)
    assert (model.predict(observations, command={})[0] != model.predict(observations, deterministic=True, command={})[0]).any()


# The first one is a relative model


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.Box(-1, 1, (1,))], ids=["discrete", "box"])
def test_advantages_are_learned_as_by_a_model_that_takes_nothing_else(action_space):
    def learned(**kwargs):
        env = make_vec(AnySpaces, 2, observation_space=VECTOR, action_space=action_space)
        return tiny_model(env, **kwargs).learn(320)

    both = learned(commands="any", obedience_kwargs={"practice_share": 0.0, "gradient_steps": 0.5})
    relative = learned(commands="relative")
    assert both.obedience.n_updates > 0
    striving, alone = both.policy.striving.state_dict(), relative.policy.state_dict()
    del striving["eval_command"], alone["eval_command"]  # of its own, the first one has none
    assert_same_parameters(striving, alone)
    np.testing.assert_array_equal(both.replay_buffer.returns, relative.replay_buffer.returns)
    assert both.policy.eval_command.tolist()[2:] == relative.policy.eval_command.tolist()
    observations = rows_of(VECTOR, 50)
    for command, same in ((None, None), ({"advantage": 2.0}, {"advantage": 2.0}), ({}, {"advantage": 0.0})):
        ours = both.predict(observations, deterministic=True, command=command)[0]
        np.testing.assert_array_equal(ours, relative.predict(observations, deterministic=True, command=same)[0])


def test_what_is_practiced_changes_nothing_in_how_labels_are_made():
    model = tiny_model(make_vec(FixedStart), commands="any").learn(320)
    assert model.hindsight.command_space.names == ("advantage",)
    assert model.obedience.hindsight.command_space.names == ("return", "horizon")
    assert not np.isnan(model.hindsight.sample(500).command["advantage"]).any()


class Shares(SumLabeler):
    """Labels in units of one's own."""

    def __init__(self, name, unit=1.0):
        super().__init__(name)
        self.unit = unit


def test_labels_of_both_have_their_arguments(monkeypatch):
    monkeypatch.setitem(LABELERS, "return", Shares)
    model = tiny_model(make_vec(TwoArms), commands="any", label_kwargs={"advantage": {"gamma": 0.5}, "return": {"unit": 2.0}})
    assert [labeler.gamma for labeler in model.hindsight.labelers] == [0.5]
    assert model.obedience.hindsight.labelers[0].unit == 2


def test_the_second_one_sees_some_examples_that_ask_for_nothing():
    model = tiny_model(make_vec(FixedStart), commands="any").learn(320)
    command = model.obedience.hindsight.sample(5_000).command
    np.testing.assert_array_equal(np.isnan(command["return"]), np.isnan(command["horizon"]))
    assert 0.07 < np.isnan(command["return"]).mean() < 0.13


@pytest.mark.parametrize(
    ("kwargs", "sizes", "conditionings"),
    [
        ({}, ([16], [16]), ("gating", "concat_gating")),
        ({"obedience_kwargs": {"policy_kwargs": {"net_arch": [8, 8]}}}, ([16], [8, 8]), ("gating", "concat_gating")),
        ({"obedience_kwargs": {"policy_kwargs": {"conditioning": "gating"}}}, ([16], [16]), ("gating", "gating")),
        ({"policy_kwargs": {"conditioning": "masked", "net_arch": [16]}}, ([16], [16]), ("masked", "masked")),
    ],
    ids=["defaults", "size", "conditioning", "cloning"],
)
def test_arguments_of_the_second_one(kwargs, sizes, conditionings):
    policy = tiny_model(make_vec(FixedStart), commands="any", **kwargs).policy
    sides = policy.striving, policy.obedient
    assert tuple(side.net_arch for side in sides) == sizes
    assert tuple(side.conditioning for side in sides) == conditionings


class SizedByItself(CommandPolicy):
    """A policy of a user that sets an argument by itself, as in the documentation of SB3."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, net_arch=[8])


class OfFewArguments(CommandPolicy):
    """A policy of a user that takes no more than it must."""

    def __init__(self, observation_space, action_space, lr_schedule, command_space=None):
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[8], command_space=command_space)


@pytest.mark.parametrize("policy_class", [SizedByItself, OfFewArguments])
@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.Box(-1, 1, (1,))], ids=["discrete", "box"])
def test_policies_of_users_get_the_arguments_that_they_take(policy_class, action_space):
    env = make_vec(AnySpaces, observation_space=VECTOR, action_space=action_space)
    policy = UDRL(policy_class, env, commands="any", device=DEVICE, seed=0).policy
    assert policy.striving.net_arch == policy.obedient.net_arch == [8]


# Guidance


@pytest.mark.parametrize("commands", ["any", ["return", "horizon"]], ids=str)
def test_guidance_of_one_is_none(commands):
    model = random_model(commands=commands)
    observations = rows_of(VECTOR, 50)
    command = {"return": np.linspace(-3, 3, 50), "horizon": np.linspace(1, 9, 50)}
    plain = model.predict(observations, deterministic=True, command=command)[0]
    np.testing.assert_array_equal(model.predict(observations, deterministic=True, command=command, guidance=1)[0], plain)
    assert (model.predict(observations, deterministic=True, command=command, guidance=0)[0] != plain).any()
    assert (model.predict(observations, deterministic=True, command=command, guidance=5)[0] != plain).any()
    assert model.policy.guidance == 1  # that of a call is for that call


@pytest.mark.parametrize("commands", ["any", ["return", "horizon"]], ids=str)
def test_guidance_of_zero_is_as_if_nothing_was_asked_for(commands):
    model = random_model(commands=commands)
    obedient = getattr(model.policy, "obedient", model.policy)
    observations = rows_of(VECTOR, 50)
    command = model.command_space.make({"return": 5, "horizon": 3}, 50)
    nothing = obedient.command_space.nothing(50)
    expected = obedient.act(tensors(observations), nothing, deterministic=True)
    asked = {"return": 5, "horizon": 3}
    np.testing.assert_array_equal(model.predict(observations, deterministic=True, command=asked, guidance=0)[0], expected)
    model.policy.guidance = 0
    draw = model.policy.actor(np.random.default_rng(0))
    np.testing.assert_array_equal(draw(observations, command, np.zeros((50, 1), np.float32)), expected)


def test_more_guidance_goes_on_in_the_direction_of_the_command():
    model = random_model(commands=["return", "horizon"])
    policy = model.policy
    observations = rows_of(VECTOR, 50)
    command = model.command_space.make({"return": 5, "horizon": 3}, 50)
    with th.no_grad():
        asked, unasked = (
            policy(tensors(observations), policy.command_tensor(each)).cpu().numpy()
            for each in (command, model.command_space.nothing(50))
        )
    for guidance in (0.5, 3.0):
        expected = (unasked + guidance * (asked - unasked)).argmax(1)
        chosen = model.predict(observations, deterministic=True, command=command, guidance=guidance)[0]
        np.testing.assert_array_equal(chosen, expected)
        policy.guidance = guidance
        drawn = policy.actor(np.random.default_rng(0))(observations, command, np.zeros((50, 1), np.float32))
        np.testing.assert_array_equal(drawn, expected)
        policy.guidance = 1


def test_advantages_are_not_guided():
    model = random_model()
    observations = rows_of(VECTOR, 50)
    for command in ({}, {"advantage": 2}):
        plain, guided = (
            model.predict(observations, deterministic=True, command=command, guidance=guidance)[0] for guidance in (1, 4)
        )
        np.testing.assert_array_equal(plain, guided)


@pytest.mark.parametrize("commands", ["absolute", "relative"])
def test_models_that_were_always_asked_for_something_refuse_guidance(commands):
    model = tiny_model(make_vec(FixedStart), commands=commands, guidance=1.0)
    observation = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"guidance=2.*leave it at 1"):
        model.predict(observation, guidance=2)
    with pytest.raises(ValueError, match=r"guidance=2.*leave it at 1"):
        model.set_command(None, guidance=2)
    with pytest.raises(ValueError, match=r"guidance=0.*leave it at 1"):
        tiny_model(make_vec(FixedStart), commands=commands, guidance=0.0)
    model.predict(observation, guidance=1)


@pytest.mark.parametrize("commands", ["any", ["return", "horizon"]], ids=str)
def test_forests_refuse_guidance(commands):
    model = UDRL("ForestPolicy", make_vec(FixedStart), commands=commands, seed=0)
    with pytest.raises(ValueError, match=r"guidance=2: .*not those of forests"):
        model.predict(np.zeros(2, np.float32), guidance=2)
    assert model.policy.guidance == 1


@pytest.mark.parametrize("guidance", [-1, np.inf, NAN])
def test_guidance_out_of_its_range(guidance):
    model = random_model()
    with pytest.raises(ValueError, match="must be a finite number, at least 0"):
        model.predict(np.zeros(3, np.float32), guidance=guidance)
    with pytest.raises(ValueError, match="must be a finite number, at least 0"):
        random_model(guidance=guidance)


def test_guidance_is_saved_with_the_weights(tmp_path):
    model = random_model(guidance=2.0)
    assert model.policy.guidance == 2
    model.set_command({"return": 5, "horizon": 3}, guidance=1.5)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    for policy in (loaded.policy, SideBySide.load(tmp_path / "policy", device=DEVICE)):
        assert policy.guidance == 1.5
    assert UDRL.load(tmp_path / "model", device=DEVICE, guidance=3.0).policy.guidance == 3
    observations = rows_of(VECTOR, 50)
    np.testing.assert_array_equal(*(each.predict(observations, deterministic=True)[0] for each in (model, loaded)))


# Files


@pytest.mark.parametrize("observation_space", [VECTOR, DICT], ids=["vector", "dict"])
def test_saved_models_and_policies_decide_the_same(observation_space, tmp_path):
    env = make_vec(AnySpaces, observation_space=observation_space, action_space=spaces.Discrete(3))
    model = tiny_model(env, commands="any", obedience_kwargs={"gradient_steps": 0.3}).learn(320)
    assert model.obedience.n_updates > 0 and len(model.policy.experience.known())
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded, policy = UDRL.load(tmp_path / "model", device=DEVICE), SideBySide.load(tmp_path / "policy", device=DEVICE)
    assert_same_parameters(
        *({name: value.nan_to_num() for name, value in parameters_of(each).items()} for each in (model, loaded))
    )
    command = Command(mixed_commands(model).parts)
    observations = rows_of(observation_space, len(command))
    expected, state = model.predict(observations, deterministic=True, command=command)
    for each in (loaded, policy):
        actions, its_state = each.predict(observations, deterministic=True, command=command)
        np.testing.assert_array_equal(actions, expected)
        np.testing.assert_array_equal(its_state[0], state[0])
        np.testing.assert_array_equal(*(m.predict(observations, deterministic=True)[0] for m in (model, each)))


def test_both_optimizers_come_back(tmp_path):
    model = tiny_model(make_vec(FixedStart), commands="any", obedience_kwargs={"gradient_steps": 0.3}).learn(320)
    assert set(model.get_parameters()) == {"policy", "policy.striving.optimizer", "policy.obedient.optimizer"}
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    for side in ("striving", "obedient"):
        before, after = (getattr(m.policy, side).optimizer.state_dict()["state"] for m in (model, loaded))
        assert before and before.keys() == after.keys()
        for key in before:
            assert (before[key]["exp_avg"] == after[key]["exp_avg"]).all()


def test_the_settings_of_both_come_back(tmp_path):
    obedience_kwargs = {"practice_share": 0.3, "policy_kwargs": {"net_arch": [8]}, "temperature": 0.5}
    model = tiny_model(make_vec(FixedStart), commands="any", obedience_kwargs=obedience_kwargs)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE)
    assert loaded.obedience_kwargs == obedience_kwargs and loaded.obedience.practice_share == 0.3
    for policy in (loaded.policy, SideBySide.load(tmp_path / "policy", device=DEVICE)):
        assert policy.obedient.net_arch == [8] and policy.striving.net_arch == [16]
        assert float(policy.obedient_temperature) == 0.5
    loaded.learn(64)


# Without an environment


@pytest.mark.parametrize("commands", ["absolute", "relative", "any", ["return", "horizon"]], ids=str)
def test_models_without_an_environment_learn_from_a_buffer_that_was_filled(commands, tmp_path):
    model = tiny_model(None, commands=commands, observation_space=spaces.Box(-99, 99, (1,)), action_space=spaces.Discrete(2))
    for i in range(30):
        model.replay_buffer.add(episode([1.0] * (1 + i % 3), first=i % 5))
    before = parameters_of(model)
    model.train(10, 32)
    assert model._n_updates == 10
    assert any((before[name] != value).any() for name, value in parameters_of(model).items() if "weight" in name)
    observation = np.zeros(1, np.float32)
    action, _ = model.predict(observation, deterministic=True)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    assert loaded.predict(observation, deterministic=True)[0] == action


def test_an_environment_can_be_set_later():
    model = tiny_model(None, commands="any", observation_space=FixedStart.observation_space, action_space=spaces.Discrete(3))
    model.set_env(make_vec(FixedStart))
    assert model.learn(64).num_timesteps == 64


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        (None, {}),
        (None, {"observation_space": VECTOR}),
        (None, {"action_space": spaces.Discrete(2)}),
        ("env", {"observation_space": VECTOR, "action_space": spaces.Discrete(2)}),
    ],
)
def test_either_an_environment_or_both_spaces(env, kwargs):
    with pytest.raises(ValueError, match="give env, or observation_space and action_space and env=None"):
        tiny_model(make_vec(FixedStart) if env else None, **kwargs)


# Collecting


def test_rows_of_several_environments_are_asked_for_different_things():
    env = make_vec(FixedStart, 3)
    model = tiny_model(
        env, commands="any", obedience_kwargs={"practice_share": 0.5, "practice_start": 0.0, "gradient_steps": 0.3}
    )
    model.learn(480)
    with CommandSpy(model) as spy:
        model.learn(320, reset_num_timesteps=False)
    commands = np.stack(spy.commands)
    obeys = ~np.isnan(commands[..., 0])
    assert (obeys.any(1) & ~obeys.all(1)).any()
    np.testing.assert_array_equal(obeys, np.isnan(commands[..., 2]))
    assert isinstance(model.obedience.hindsight.buffer.episode(0), Episode)


def test_a_given_temperature_holds_for_every_row_of_a_mixed_batch():
    env = make_vec(TwoArms, 2)
    policy = tiny_model(env, commands="any").policy
    n = 40
    command = policy.command_space.make(
        Command(
            {
                "return": np.where(np.arange(n) % 2, 1.0, np.nan),
                "horizon": np.where(np.arange(n) % 2, 1.0, np.nan),
                "advantage": np.where(np.arange(n) % 2, np.nan, 1.0),
            }
        ),
        n,
    )
    observations = th.ones(n, 1, device=policy.device)
    cold = policy.act(observations, command, temperature=th.zeros(n, 1, device=policy.device))
    np.testing.assert_array_equal(cold, policy.act(observations, command, deterministic=True))


def test_the_defaults_of_the_base_are_those_of_udrl():
    ours, loop, steps = (inspect.signature(cls.__init__).parameters for cls in (UDRL, CommandedAlgorithm, HindsightAlgorithm))
    base = {**loop, **steps}
    shared = [name for name in base if name in ours and base[name].default is not inspect.Parameter.empty]
    assert len(shared) > 10
    assert {name: base[name].default for name in shared} == {name: ours[name].default for name in shared}


def test_a_policy_of_two_functions_is_not_loaded_as_one(tmp_path):
    model = tiny_model(make_vec(TwoArms), commands="any")
    model.policy.save(tmp_path / "policy")
    with pytest.raises(ValueError, match=r"that CommandPolicy can load: .* save a sb3_udrl\.policies\.SideBySide"):
        CommandPolicy.load(tmp_path / "policy", device=DEVICE)


def test_which_function_decides():
    policy = tiny_model(make_vec(TwoArms), commands="any").policy
    assert policy.decides_under(policy.command_space.make({"advantage": 1})) is policy.striving
    assert policy.decides_under(policy.command_space.make({})) is policy.striving
    assert policy.decides_under(policy.command_space.make({"return": 5, "advantage": 1})) is policy.obedient
    assert policy.striving.decides_under(policy.command_space.make({"return": 5})) is policy.striving
