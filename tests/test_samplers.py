"""Which command each episode gets."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import DEFAULT_SAMPLER, CommandSpy, episode, make_vec, obeying_model, small_buffer, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.callbacks import CallbackList, EveryNTimesteps

from sb3_udrl import Command
from sb3_udrl.commands import (
    COMMAND_SAMPLERS,
    AdaptiveCommands,
    CommandSampler,
    CurriculumCommands,
    FixedCommands,
    JointCommands,
    MeanPlusStdCommands,
    Outcome,
    Outcomes,
    QuantileCommands,
    SummedPart,
    make_command,
    make_command_space,
)

# Returns 1, 4, 9 and 16, with lengths that grow differently
FOUR = [[1], [2, 2], [3, 3, 3], [8, 8]]
FIRST = np.zeros((1000, 1))  # first observations of 1,000 episodes


def attached(sampler, episodes=FOUR, progress_remaining=1.0):
    """A sampler that sees a buffer, without any training."""
    buffer = small_buffer(1000)
    for rewards in episodes:
        buffer.add(episode(rewards))
    rng = np.random.default_rng(0)
    sampler.model = SimpleNamespace(
        replay_buffer=buffer,
        rng=rng,
        outcomes=Outcomes(1000),
        command_space=make_command_space("absolute"),
        _current_progress_remaining=progress_remaining,
    )
    return sampler


def pairs(command):
    return set(zip(command.desired_return, command.desired_horizon, strict=True))


def test_mean_plus_std_follows_the_paper():
    sampler = attached(MeanPlusStdCommands(n_elites=2))  # returns 9 and 16, lengths 3 and 2
    command = sampler.sample(FIRST)
    np.testing.assert_array_equal(command.desired_horizon, 2.5)
    assert 12.5 <= command.desired_return.min() < 12.7
    assert 15.8 < command.desired_return.max() <= 16
    assert command.desired_return.mean() == pytest.approx(12.5 + 3.5 / 2, abs=0.1)
    assert pairs(sampler.best()) == {(12.5, 2.5)}


def test_joint_takes_return_and_length_of_the_same_episode():
    sampler = attached(JointCommands(n_elites=3, optimism=0.0))
    assert pairs(sampler.sample(FIRST)) == {(4, 2), (9, 3), (16, 2)}
    best = sampler.best()
    assert 4 <= best.desired_return[0] <= 16 and 2 <= best.desired_horizon[0] <= 3


def test_joint_asks_for_more_than_was_achieved():
    episodes = [[0, 0], [8, 8], [8.5, 8]]
    command = attached(JointCommands(n_elites=2, optimism=1.0), episodes).sample(FIRST)
    spread = 0.1 * 16.25  # more than their standard deviation of 0.25
    assert 16 <= command.desired_return.min() < 16.1 and 16.5 + 0.9 * spread < command.desired_return.max() <= 16.5 + spread
    np.testing.assert_array_equal(command.desired_horizon, 2)


@pytest.mark.parametrize("constant", [1000, -1000])
def test_joint_asks_for_no_more_where_a_constant_is_added_to_rewards(constant):
    """Of eight steps each: the best return 36, the others nothing to 35."""
    episodes = [[constant] * 7 + [constant + best] for best in range(37)]
    command = attached(JointCommands(n_elites=5, optimism=3.0), episodes).sample(FIRST)
    beyond = command.desired_return - 8 * constant
    assert 36 < beyond.max() < 36 + 3 * 11 and beyond.min() >= 32  # three deviations of all returns at the most


def test_joint_asks_for_no_more_where_the_best_are_all_alike():
    assert pairs(attached(JointCommands(optimism=20.0), [[1, 1], [2], [2]]).sample(FIRST)) == {(2, 1), (2, 2)}


def test_joint_raises_lengths_along_their_trend():
    longer = attached(JointCommands(optimism=1.0), [[1] * 4, [1] * 8]).best()  # better is longer: half a deviation of 2
    assert pairs(longer) == {(7, 7)}
    shorter = attached(JointCommands(optimism=1.0), [[-1] * 4, [-1] * 8]).best()
    assert pairs(shorter) == {(-5, 5)}


def test_joint_commands_stay_valid_when_returns_are_negative():
    command = attached(JointCommands(n_elites=4, optimism=5.0), [[-1] * 9, [-1], [-3, -3], [-2]]).sample(FIRST)
    assert (command.desired_horizon >= 1).all()
    assert command.desired_return.min() >= -9


OF_UDRL = [name for name in COMMAND_SAMPLERS if name != "beyond_best"]  # that one starts from stored policies: test_udrlpg.py
EPISODES = {
    "one": [[2]],
    "all alike": [[1, 1]] * 20,
    "all lost": [[0, 0, 0]] * 20,
    "negative": [[-1] * n for n in range(1, 20)],
    "reaching a goal": [[0] * n + [1] for n in range(20)],
    "large": [[1e6 * n] for n in range(20)],
}


@pytest.mark.parametrize("episodes", EPISODES.values(), ids=EPISODES)
@pytest.mark.parametrize("name", [name for name in OF_UDRL if name != "fixed"])
def test_commands_are_valid_whatever_is_stored(name, episodes):
    sampler = attached(COMMAND_SAMPLERS[name](), episodes)
    for command in (sampler.sample(FIRST), sampler.best()):
        make_command(command.desired_return, command.desired_horizon, len(command))  # complains otherwise
    assert len(sampler.sample(FIRST[:3]).desired_return) == 3
    returns = [sum(rewards) for rewards in episodes]
    assert sampler.sample(FIRST).desired_return.max() >= np.median(returns)


@pytest.mark.parametrize("best_band", range(4))
def test_adaptive_asks_as_was_worth_asking(best_band):
    """A hundred episodes under commands in each of its bands; those in one of them achieved far more."""
    sampler = attached(AdaptiveCommands(bands=(0, 1, 3, 10, 30)), [[8], [9], [10], [11], [12]])
    mean, spread = 10, np.std([8, 9, 10, 11, 12])
    sampler.model.outcomes.rows.extend(
        Outcome({"return": mean + middle * spread, "horizon": 1}, {"return": 5.0 * (band == best_band) + noise, "horizon": 1})
        for band, middle in enumerate([0.5, 2, 6, 20])
        for noise in np.linspace(-1, 1, 100)
    )
    elites = sampler.baseline()
    assert (elites.returns.mean(), elites.return_spread) == pytest.approx((mean, spread))
    optimism = sampler.draw_optimism(elites, 1000)
    bands = sampler.bands(elites)
    assert optimism.min() >= bands[best_band] and optimism.max() <= bands[best_band + 1]
    assert sampler.best_optimism(elites) == [0.5, 2, 6.5, 20][best_band]


@pytest.mark.parametrize(
    "looks_again", [lambda sampler: sampler.on_rollout_start(), lambda sampler: sampler.init_callback(sampler.model)]
)
@pytest.mark.parametrize("parent", [JointCommands, AdaptiveCommands])
def test_the_best_are_looked_up_anew_by_every_rollout_and_by_learn(parent, looks_again):
    class Own(parent):
        def _on_rollout_start(self):
            pass  # without a call of the parent's, as is usual with SB3's callbacks

    sampler = attached(Own(), [[1]])
    assert sampler.sample(FIRST).desired_return.max() == 1
    sampler.replay_buffer.add(episode([1000]))
    assert sampler.sample(FIRST).desired_return.max() == 1
    looks_again(sampler)
    assert sampler.sample(FIRST).desired_return.max() >= 1000


@pytest.mark.parametrize("bands", [(0, 1, 3, 10, 30), [0, 2, 5], np.array([0, 2, 5])])
def test_adaptive_tries_every_band_at_first(bands):
    sampler = attached(AdaptiveCommands(bands=bands))
    elites = sampler.baseline()
    optimism = sampler.draw_optimism(elites, 1000)
    np.testing.assert_array_equal(sampler.bands(elites), bands)
    assert (np.histogram(optimism, bands)[0] > 100).all()


@pytest.mark.parametrize(("relative", "highest"), [(False, 30), (True, 3)])
def test_adaptive_asks_for_less_under_relative_commands(relative, highest):
    sampler = attached(AdaptiveCommands())
    sampler.model.command_space = make_command_space("relative" if relative else "absolute")
    optimism = sampler.draw_optimism(sampler.baseline(), 1000)
    assert 0.8 * highest < optimism.max() <= highest


@pytest.mark.parametrize("bands", [(0,), (1, 2), (0, 2, 2), (0, 2, 1)])
def test_adaptive_needs_ascending_bands(bands):
    with pytest.raises(ValueError, match=r"bands=\(.*: give at least two edges, ascending from 0"):
        AdaptiveCommands(bands=bands)


@pytest.mark.parametrize(("argument", "value"), [("n_elites", 0), ("elite_share", 0.0), ("elite_share", 2.0)])
def test_joint_arguments_out_of_range(argument, value):
    with pytest.raises(ValueError, match=f"{argument}={value}: must be"):
        JointCommands(**{argument: value})
    with pytest.raises(ValueError, match="optimism=-1: must be at least 0"):
        JointCommands(optimism=-1)


def test_fixed_asks_for_the_same():
    sampler = attached(FixedCommands(7, 3))
    assert pairs(sampler.sample(FIRST)) == {(7, 3)}
    assert pairs(sampler.best()) == {(7, 3)}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"desired_return": np.inf}, "return=inf: a command must be finite"),
        ({"desired_return": 1, "desired_horizon": np.inf}, "horizon=inf: a command must be finite"),
        ({"desired_return": 1, "desired_horizon": 0}, "horizon=0.0: must be at least 1"),
        ({"advantage": np.nan}, "the desired advantage is NaN"),
    ],
)
def test_fixed_commands_are_checked_at_once(kwargs, message):
    with pytest.raises(ValueError, match=message):
        FixedCommands(**kwargs)


def test_quantiles_are_those_of_the_stored_returns():
    assert pairs(attached(QuantileCommands(0, 1)).sample(FIRST)) == {(1, 1), (4, 2), (9, 3), (16, 2)}
    assert pairs(attached(QuantileCommands(0.8, 1)).sample(FIRST)) == {(9, 3), (16, 2)}
    assert pairs(attached(QuantileCommands(1, 1)).sample(FIRST)) == {(16, 2)}
    assert pairs(attached(QuantileCommands(0, 0)).sample(FIRST)) == {(1, 1)}


def test_quantiles_of_a_single_episode():
    assert pairs(attached(QuantileCommands(), [[3]]).sample(FIRST)) == {(3, 1)}


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1), (0.5, 0.4), (0, 1.1)])
def test_quantiles_out_of_range(low, high):
    with pytest.raises(ValueError, match=f"low={low}, high={high}: must be 0 <= low <= high <= 1"):
        QuantileCommands(low, high)


@pytest.mark.parametrize(
    ("progress_remaining", "returns"), [(1.0, (50, 60)), (0.5, (75, 85)), (0.2, (90, 100)), (0.0, (90, 100))]
)
def test_the_curriculum_rises_with_progress(progress_remaining, returns):
    sampler = attached(CurriculumCommands(start=0.5, width=0.1), [[r] for r in range(101)], progress_remaining)
    sampler.on_rollout_start()
    drawn = sampler.sample(FIRST).desired_return
    assert (drawn.min(), drawn.max()) == returns


def test_by_default_the_best_is_the_mean_of_the_ten_best():
    class Own(CommandSampler):
        def sample(self, observations):
            raise NotImplementedError

    best = attached(Own(), [[r] for r in range(30)]).best()
    assert pairs(best) == {(24.5, 1)}


@pytest.mark.parametrize("name", OF_UDRL)
def test_every_sampler_trains_by_its_name(name):
    kwargs = {"desired_return": 3, "desired_horizon": 2} if name == "fixed" else {}
    model = tiny_model(make_vec(Scripted, 2), command_sampler=name, command_sampler_kwargs=kwargs).learn(200)
    assert type(model._command_sampler) is COMMAND_SAMPLERS[name]
    expected = model._command_sampler.best()
    np.testing.assert_allclose(model.policy.eval_command.cpu(), model.command_space.to_rows(expected)[0], rtol=1e-6)


def test_one_is_installed_by_default():
    model = tiny_model(make_vec(Scripted)).learn(40)
    assert type(model._command_sampler) is COMMAND_SAMPLERS[DEFAULT_SAMPLER]


def test_arguments_reach_the_sampler():
    model = tiny_model(make_vec(Scripted), command_sampler="joint", command_sampler_kwargs={"n_elites": 3}).learn(40)
    assert model._command_sampler.n_elites == 3


class AscendingCommands(CommandSampler):
    """What a user writes: ask for the best so far and a bit more, in as many steps."""

    def sample(self, observations):
        n = len(observations)
        best = self.replay_buffer.best(1)
        more = 1 + self.rng.random(n)
        return make_command(self.replay_buffer.returns[best] + more, self.replay_buffer.lengths[best], n)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: [s], lambda s: CallbackList([EveryNTimesteps(10, s)])])
def test_a_sampler_of_ones_own_takes_the_place_of_the_default(wrap):
    """Alone, in a list, or inside of other callbacks; what it asks for is what the network gets to see."""
    sampler = AscendingCommands()
    asked = []
    sample = sampler.sample
    sampler.sample = lambda observations: asked.append((observations.copy(), sample(observations))) or asked[-1][1]
    model = obeying_model(make_vec(Scripted, 2, lengths=(4,), rewards=(1,)))
    with CommandSpy(model) as spy:
        model.learn(120, callback=wrap(sampler))
    assert model._command_sampler is sampler
    # the first commands are drawn when the episodes end that ran while there was nothing to act on
    firsts = [rows for rows in spy.commands if (rows[:, 1] == 4).all()]
    assert len(firsts) >= 5
    for (observations, command), rows in zip(asked, firsts, strict=False):
        np.testing.assert_array_equal(model.command_space.to_rows(command), rows)
        np.testing.assert_array_equal(observations[:, 1], 0)  # first observations
        assert (rows[:, 0] >= 5).all() and (rows[:, 0] < 6).all()


def test_a_sampler_is_asked_only_for_the_episodes_that_start():
    counts = []

    class Counting(FixedCommands):
        def sample(self, observations):
            counts.append(len(observations))
            return super().sample(observations)

    lengths = iter([(4,), (8,)])
    env = make_vec(Scripted, 2)
    for wrapped in env.envs:
        wrapped.unwrapped.lengths = next(lengths)
    tiny_model(env, learning_starts=16, train_freq=8).learn(64, callback=Counting(1, 1))
    assert counts == [1, 2, 1, 2, 1, 2] or counts == [2, 1, 2, 1, 2, 1, 2]


def test_collection_advances_commands_by_raw_rewards():
    model = obeying_model(make_vec(Scripted, lengths=(3,), rewards=(5, -2, 1)), learning_starts=6, train_freq=6)
    with CommandSpy(model) as spy:
        model.learn(60, callback=FixedCommands(10, 2))
    played = np.concatenate(spy.commands).reshape(-1, 3, 2)
    assert len(played) > 5
    for rows in played:
        np.testing.assert_array_equal(rows, [[10, 2], [5, 1], [7, 1]])


def test_two_samplers_are_an_error():
    with pytest.raises(ValueError, match=r"2 command samplers.*pass one"):
        tiny_model(make_vec(Scripted)).learn(40, callback=[FixedCommands(1, 1), QuantileCommands()])


def test_an_unknown_name_is_refused_at_once():
    with pytest.raises(ValueError, match=r"command_sampler='best': choose one of \[.*'fixed', 'joint'"):
        tiny_model(make_vec(Scripted), command_sampler="best")


def test_arguments_that_do_not_fit_are_refused_at_once():
    with pytest.raises(ValueError, match=r"command_sampler_kwargs=\{'desired': 1\} do not fit QuantileCommands"):
        tiny_model(make_vec(Scripted), command_sampler="quantile", command_sampler_kwargs={"desired": 1})
    for kwargs, message in (
        ({"desired": 1}, r"command=\{'desired': 1\} asks for desired: this model takes return, horizon"),
        ({"advantage": 1}, r"command=\{'advantage': 1\} asks for advantage: this model takes return, horizon"),
        ({"desired_return": 1}, "the desired horizon is missing: this model takes return and horizon together"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_model(make_vec(Scripted), command_sampler="fixed", command_sampler_kwargs=kwargs)


def test_a_class_is_as_good_as_a_name():
    model = tiny_model(make_vec(Scripted), command_sampler=AscendingCommands).learn(100)
    assert isinstance(model._command_sampler, AscendingCommands)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "the desired return is missing"), (np.inf, "must be finite")])
def test_a_sampler_that_returns_nonsense_is_noticed(value, message):
    class Broken(CommandSampler):
        def sample(self, observations):
            return Command({"return": np.array([value]), "horizon": np.array([1.0])})

    with pytest.raises(ValueError, match=message):
        tiny_model(make_vec(Scripted)).learn(100, callback=Broken())


def test_a_sampler_that_returns_nothing_is_noticed():
    class Forgetful(CommandSampler):
        def sample(self, observations):
            make_command(1, 1, len(observations))

        def best(self):
            return make_command(1, 1)

    with pytest.raises(ValueError, match=r"Forgetful.sample\(\) returned None: return a Command"):
        tiny_model(make_vec(Scripted)).learn(100, callback=Forgetful())


def test_a_forgotten_return_in_best_is_named():
    class Forgetful(QuantileCommands):
        def best(self):
            super().best()

    with pytest.raises(ValueError, match=r"Forgetful.best\(\) returned None: return a Command"):
        tiny_model("CartPole-v1", command_sampler=Forgetful).learn(300)


def test_a_sampler_may_return_what_is_taken_elsewhere():
    class Plain(CommandSampler):
        def sample(self, observations):
            return {"return": np.full(len(observations), 2.0), "horizon": 3.0, "energy": 1.0}

        def best(self):
            return 2.0, 3.0

    model = tiny_model(make_vec(Scripted, 2))
    model.learn(100, callback=Plain())
    own = model.policy.own_command()
    assert (own["return"], own["horizon"]) == ([2], [3])


@pytest.mark.parametrize("sampler", ["adaptive", "joint", "mean_plus_std", "quantile", "curriculum"])
def test_a_sampler_of_other_parts_is_refused_before_anything_is_collected(sampler):
    class Turns(SummedPart):
        name = "turns"

        def amounts(self, step):
            return np.ones(len(step.rewards))

    with pytest.raises(ValueError, match="horizon, return, this model takes turns: choose command_sampler"):
        tiny_model(make_vec(Scripted), commands=[Turns()], command_sampler=sampler)
    tiny_model(make_vec(Scripted), commands=["return", Turns()], command_sampler=sampler).learn(40)
