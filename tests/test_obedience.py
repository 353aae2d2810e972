"""How a model learns to obey while it learns to do better: archive, practice, and going on later."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import DEVICE, CommandSpy, Recorder, make_vec, parameters_of, tiny_model
from probe_envs import FixedStart, Shift, TwoArms, TwoPaths
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode
from sb3_udrl.buffers.bands import N_BANDS
from sb3_udrl.commands.parts import SummedPart
from sb3_udrl.obedience.archive import MAX_BYTES, bytes_per_transition, make_archive
from sb3_udrl.obedience.practice import practice_weights

OFTEN = {"practice_share": 0.5, "practice_start": 0.0, "gradient_steps": 0.3}


class Energy(SummedPart):
    """Nothing that the environment says: two for each step."""

    name = "energy"

    def amounts(self, step):
        return np.full(len(step.rewards), 2.0)


def model_of(env=None, commands="any", epsilon=0.0, **obedience_kwargs):
    env = make_vec(FixedStart) if env is None else env
    return tiny_model(env, commands=commands, epsilon=epsilon, obedience_kwargs=obedience_kwargs)


def practicing_over_time(model, n_timesteps, **kwargs):
    """Number of steps so far, and in how many environments the running episodes practice, at every step."""
    seen = []
    look = Recorder(lambda c: seen.append((c.num_timesteps, c.model._running.practicing.sum())))
    model.learn(n_timesteps, callback=look, **kwargs)
    return np.array(seen)


# The archive


def test_every_episode_goes_to_the_archive():
    model = model_of(make_vec(FixedStart, 2), practice_share=0.0).learn(320)
    archive = model.obedience.hindsight.buffer
    assert archive.n_episodes == model.replay_buffer.n_episodes == 40  # warm-up included
    np.testing.assert_array_equal(archive.returns, model.replay_buffer.returns)
    for i in (0, 17, 39):
        np.testing.assert_array_equal(archive.episode(i).observations, model.replay_buffer.episode(i).observations)
        np.testing.assert_array_equal(archive.episode(i).actions, model.replay_buffer.episode(i).actions)


def test_the_archive_keeps_what_the_replay_buffer_forgets():
    seen = []

    def remember(callback):
        seen.extend(info["episode"]["r"] for info in callback.locals["infos"] if "episode" in info)

    model = tiny_model(make_vec(FixedStart), commands="any", buffer_size=40, obedience_kwargs={"archive_size": 400})
    model.learn(1_600, callback=Recorder(remember))
    archive = model.obedience.hindsight.buffer
    assert model.replay_buffer.n_episodes == 5 and archive.n_episodes == 50 and len(seen) == 200
    assert (archive.retention, archive.sampling) == ("bands", "bands")
    assert archive.returns.max() == max(seen) and archive.returns.min() <= np.quantile(seen, 0.05)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "size"),
    [
        (spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 3 * 4 + 1),
        (spaces.Box(0, 255, (84, 84, 4), np.uint8), spaces.Discrete(2), 84 * 84 * 4 + 1),
        (spaces.Box(-1, 1, (3,), np.float64), spaces.Box(-1, 1, (2,)), 3 * 8 + 2 * 4),
        (spaces.Dict({"a": spaces.Box(-1, 1, (5,)), "b": spaces.MultiBinary(3)}), spaces.Box(-1, 1, ()), 5 * 4 + 3 + 4),
    ],
    ids=["vector", "image", "doubles", "dict"],
)
def test_the_archive_is_bounded_in_bytes(observation_space, action_space, size):
    assert bytes_per_transition(observation_space, action_space) == size + 12
    rng = np.random.default_rng(0)
    assert make_archive(observation_space, action_space, 1_000, (), rng).buffer_size == 1_000
    assert make_archive(observation_space, action_space, 10**9, (), rng).buffer_size == MAX_BYTES // (size + 12)


# Practice


def test_practice_begins_when_it_should():
    seen = practicing_over_time(model_of(practice_share=1.0, practice_start=0.5, gradient_steps=0.3), 640)
    began = seen[seen[:, 1] > 0, 0].min()
    assert 320 <= began <= 320 + 32 + 8  # the episode that starts after the next training
    assert (seen[seen[:, 0] > began, 1] == 1).all()


@pytest.mark.parametrize("kwargs", [{"practice_share": 0.0, "practice_start": 0.0}, {"practice_start": 1.0}], ids=str)
def test_no_practice(kwargs):
    model = model_of(gradient_steps=0.3, **kwargs)
    seen = practicing_over_time(model, 640)
    assert seen[:-8, 1].sum() == 0
    assert model.obedience.n_updates > 0 and len(model.score_card) == 0


def test_practice_has_its_share_of_the_episodes():
    model = model_of(make_vec(TwoArms, 4), practice_share=0.25, practice_start=0.0, gradient_steps=0.05)
    seen = practicing_over_time(model, 3_000)
    after = seen[seen[:, 1].argmax() :, 1]
    assert after.mean() / 4 == pytest.approx(0.25, abs=0.03)


def test_episodes_of_practice_stay_among_themselves():
    model = model_of(make_vec(FixedStart, 2), **OFTEN)
    with CommandSpy(model) as spy:
        model.learn(1_600)
    archive = model.obedience.hindsight.buffer
    n_practiced = len(model.obedience.practiced)
    assert 20 < n_practiced <= 100
    assert archive.n_episodes_added == 200 == model.replay_buffer.n_episodes_added + model.obedience.n_practiced
    commands = np.concatenate(spy.commands)
    practiced = ~np.isnan(commands[:, 0])
    assert practiced.any()
    assert np.isnan(model.outcomes.asked("return")).all() and not np.isnan(model.outcomes.asked("advantage")).any()
    assert len(model.outcomes) <= model.replay_buffer.n_episodes_added
    stored = {model.replay_buffer.episode(i).actions.tobytes() for i in range(model.replay_buffer.n_episodes)}
    assert stored <= {archive.episode(i).actions.tobytes() for i in range(archive.n_episodes)}


def test_practice_asks_for_what_was_achieved_with_what_is_typical_of_it():
    model = model_of(make_vec(TwoPaths), **OFTEN).learn(1_200)
    asked = [asked for asked, _, _ in model.obedience.practiced]
    assert all(1 <= each["return"] <= 5 for each in asked)
    for each in asked:
        if each["return"] < 2 or each["return"] > 4:
            assert each["horizon"] == (2 if each["return"] < 2 else 6)


def test_what_is_stored_seldom_is_practiced_often():
    returns, lengths = np.array([0.0] * 900 + [10.0] * 100), np.ones(1000, np.int64)
    edges, weights = practice_weights(returns, lengths, np.empty(0), np.empty(0))
    np.testing.assert_allclose(edges, np.linspace(0, 10, N_BANDS + 1))
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[0] / weights[-1], np.sqrt(1 + 100 / 40) / np.sqrt(1 + 900 / 40))
    assert (weights[1:-1] > weights[-1]).all() and np.ptp(weights[1:-1]) == pytest.approx(0)


def test_what_is_badly_obeyed_is_practiced_more():
    returns, lengths = np.linspace(0, 25, 2_500), np.ones(2_500, np.int64)
    asked = np.repeat([2.5, 20.5], 10)
    achieved = asked + np.repeat([0.0, 4.0], 10)
    _, weights = practice_weights(returns, lengths, asked, achieved)
    well, badly, usual = weights[2], weights[20], weights[12]
    assert well < usual < badly
    np.testing.assert_allclose([well / usual, badly / usual], [1 / 11, (40 + 2) / 11 / 2], rtol=0.1)


def test_perfect_practice_leaves_weights_finite():
    returns, lengths = np.linspace(0, 25, 100), np.ones(100, np.int64)
    for values in (returns, np.full(100, 3.0)):
        _, weights = practice_weights(values, lengths, np.array([3.0]), np.array([3.0]))
        assert np.isfinite(weights).all() and weights.sum() == pytest.approx(1)


# Learning


def test_gradient_steps_go_by_what_was_collected():
    model = model_of(practice_share=0.0, gradient_steps=0.05, archive_size=10_000).learn(1_600)
    assert model.obedience.n_updates == 80
    longer = model_of(practice_share=0.0, gradient_steps=0.05)
    longer.learn(800).learn(800, reset_num_timesteps=False)
    assert longer.obedience.n_updates == 80


def test_a_training_that_counts_from_zero_again_learns_as_much():
    model = model_of(practice_share=0.0, gradient_steps=0.05).learn(800)
    before = model.obedience.n_updates
    model.learn(800)
    assert model.obedience.n_updates == 2 * before == 80


def test_its_learning_rate_falls_over_training():
    rates = []

    def remember(callback):
        rates.append(callback.model.policy.obedient.optimizer.param_groups[0]["lr"])

    model = model_of(practice_share=0.0, learning_rate=0.01, gradient_steps=0.3)
    model.learn(1_600, callback=Recorder(remember))
    assert rates[800] == pytest.approx(0.005, rel=0.05)
    assert model.policy.obedient.optimizer.param_groups[0]["lr"] == pytest.approx(0.0002)
    assert model.policy.striving.optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize(
    "commands",
    [["return", "advantage"], ["horizon", "advantage"], ["horizon", "advantage", "return"], [Energy(), "advantage"]],
    ids=["return", "horizon", "other order", "of one's own"],
)
def test_other_parts_beside_an_advantage(commands, tmp_path):
    model = model_of(commands=commands, **OFTEN).learn(800)
    assert model.obedience.n_updates > 0 and len(model.score_card) > 5
    names = model.command_space.names
    first = "return" if "return" in names else next(name for name in names if name != "advantage")
    assert model.obedience.wanted == first
    observation = np.zeros(2, np.float32)
    for command in ({first: 3}, {first: 3, "advantage": 1}, {"advantage": 1}, {}):
        _, state = model.predict(observation, command=command)
        assert np.isfinite(state[0]).any()
    raised = model.policy.initial_command(1, {first: 3, "advantage": 2})
    assert raised[first][0] >= 3 and not raised.asks_for("advantage")[0]
    if "horizon" in names and first == "return":
        assert raised["horizon"][0] == 8 and raised["return"][0] > 3
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE, trusted=[f"{__name__}.Energy"])
    loaded.learn(64, reset_num_timesteps=False)


def test_normalized_observations_and_rewards():
    env = VecNormalize(make_vec(FixedStart, 2))
    model = model_of(env, **OFTEN).learn(800)
    returns = model.obedience.hindsight.buffer.returns
    assert (returns == returns.round()).all() and np.abs(returns).max() > 5  # raw ones
    assert all(np.abs(achieved["return"]) <= 36 for _, achieved, _ in model.obedience.practiced)


# Arguments


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"practice_share": -0.1}, r"practice_share=-0\.1: must be between 0 and 1"),
        ({"practice_share": 1.1}, r"practice_share=1\.1: must be between 0 and 1"),
        ({"practice_start": 2}, "practice_start=2: must be between 0 and 1"),
        ({"practice_start": np.nan}, "practice_start=nan: must be between 0 and 1"),
        ({"archive_size": 0}, "archive_size=0: must be positive"),
        ({"gradient_steps": 0}, "gradient_steps=0: must be positive"),
        ({"learning_rate": -1}, "learning_rate=-1: must be positive"),
        ({"speed": 1}, "Obedience takes no speed"),
        ({"temperature": [1, 2]}, r"temperature=\[1, 2\]: must be a finite number, at least 0"),
        ({"temperature": -1}, "temperature=-1: must be a finite number, at least 0"),
        ({"policy_kwargs": {"foo": 1}}, "CommandPolicy takes no foo"),
    ],
    ids=str,
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        model_of(**kwargs)


@pytest.mark.parametrize("commands", ["absolute", "relative", ["return", "horizon"]], ids=str)
def test_models_without_a_second_side_refuse_its_arguments(commands):
    with pytest.raises(ValueError, match=r"obedience_kwargs=.*is for models that take advantages and other parts"):
        model_of(commands=commands, practice_share=0.5)
    assert tiny_model(make_vec(FixedStart), commands=commands).obedience is None


# Going on later


def new_model(n_envs=2, **kwargs):
    """Episodes of 5 steps, so that all of them end when 300 steps in two environments do."""
    env = make_vec(FixedStart, n_envs, length=5)
    return tiny_model(env, commands="any", train_freq=15, obedience_kwargs=dict(OFTEN), **kwargs)


def resumed(path, n_envs=2, **kwargs):
    model = UDRL.load(path / "model", make_vec(FixedStart, n_envs, length=5), device=DEVICE, **kwargs)
    model.load_replay_buffer(path / "buffer")
    return model


def saved(model, path):
    model.save(path / "model")
    model.save_replay_buffer(path / "buffer")
    return model


def assert_same(first, second):
    """Bit-identical in all that was learned, stored and measured."""
    ours, theirs = parameters_of(first), parameters_of(second)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    for side in ("striving", "obedient"):
        moments, others = (getattr(model.policy, side).optimizer.state_dict()["state"] for model in (first, second))
        for key in moments:
            np.testing.assert_array_equal(moments[key]["exp_avg"].cpu(), others[key]["exp_avg"].cpu())
    assert first.num_timesteps == second.num_timesteps == 600
    assert first.obedience.n_updates == second.obedience.n_updates > 0
    assert first.obedience.practiced == second.obedience.practiced
    assert first.score_card == second.score_card
    for buffer, other in (
        (first.replay_buffer, second.replay_buffer),
        (first.obedience.hindsight.buffer, second.obedience.hindsight.buffer),
    ):
        assert buffer.n_episodes == other.n_episodes
        for i in range(buffer.n_episodes):
            np.testing.assert_array_equal(buffer.episode(i).observations, other.episode(i).observations)
            np.testing.assert_array_equal(buffer.episode(i).actions, other.episode(i).actions)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_run_that_goes_on_later_ends_as_one_that_never_stopped(tmp_path, monkeypatch, share):
    """Where nothing depends on how much of the training is still to come."""
    monkeypatch.setattr(UDRL, "_update_current_progress_remaining", lambda self, *_: None)

    def start():
        model = new_model()
        model.obedience.practice_share = share
        model._current_progress_remaining = 0.4
        return model

    whole = start().learn(600)
    part = saved(start().learn(300), tmp_path)
    assert part.obedience.n_updates > 0 and len(part.obedience.practiced) > 0
    model = resumed(tmp_path)
    model.obedience.practice_share = share
    assert_same(model.learn(300, reset_num_timesteps=False), whole)


def test_two_trainings_are_the_same_with_files_between_them(tmp_path):
    """Rates and practice go by the end of each."""
    whole = new_model().learn(300).learn(300, reset_num_timesteps=False)
    saved(new_model().learn(300), tmp_path)
    assert_same(resumed(tmp_path).learn(300, reset_num_timesteps=False), whole)


def test_other_numbers_of_environments_go_on_too(tmp_path):
    part = saved(new_model().learn(300), tmp_path)
    model = resumed(tmp_path, n_envs=3)
    assert model.obedience.archive_episodes == part.obedience.archive_episodes == 60
    model.learn(300, reset_num_timesteps=False)
    assert model.obedience.archive_episodes > 60 and model.obedience.n_updates > part.obedience.n_updates
    assert model._running.practicing.shape == (3,)


def test_without_its_files_the_archive_starts_anew(tmp_path):
    part = saved(new_model().learn(300), tmp_path)
    model = UDRL.load(tmp_path / "model", make_vec(FixedStart, 2, length=5), device=DEVICE)
    assert model.obedience.archive_episodes == 0 and len(model.policy.experience.known()) == 60
    assert model.score_card == part.score_card
    model.learn(50, reset_num_timesteps=False)
    assert 0 < model.obedience.archive_episodes <= 10


def test_episodes_of_a_relative_model_go_on_in_one_that_takes_everything(tmp_path):
    relative = tiny_model(make_vec(FixedStart, 2, length=5), commands="relative").learn(300)
    relative.save_replay_buffer(tmp_path / "buffer")
    model = new_model()
    with pytest.raises(ValueError, match="advantage"):
        tiny_model(make_vec(FixedStart), commands="absolute").load_replay_buffer(tmp_path / "buffer")
    model.load_replay_buffer(tmp_path / "buffer")
    assert model.replay_buffer.n_episodes == 60
    model.learn(300).save_replay_buffer(tmp_path / "buffer")
    relative.load_replay_buffer(tmp_path / "buffer")
    relative.learn(60, reset_num_timesteps=False)


def test_a_replay_buffer_that_was_filled_reaches_the_archive():
    model = UDRL("CommandPolicy", make_vec(Shift, 2), commands="any", learning_starts=0, device="cpu", seed=0)
    rng = np.random.default_rng(0)
    for length in rng.integers(1, 6, 40):
        observations = np.zeros((length, *model.observation_space.shape), model.observation_space.dtype)
        actions = rng.integers(2, size=length)
        model.replay_buffer.add(Episode(observations, actions, rng.normal(size=length).astype(np.float32)))
    model.train(5, 16)
    assert model.obedience.archive_episodes == 40
    assert len(model.policy.experience.known()) == 40


def test_practice_keeps_to_its_share_and_begins_anew_where_steps_are_counted_from_zero():
    obedience = tiny_model(make_vec(FixedStart), commands="any").learn(96).obedience
    obedience.n_updates, obedience.practice_share = 1, 0.5
    assert not obedience.practice_is_due(1_000, 0.1, 0)  # nothing is due at its very beginning
    assert obedience.practice_is_due(1_100, 0.1, 0)
    assert not obedience.practice_is_due(1_100, 0.1, 7)  # those that run take eight steps each
    obedience._practice_steps = 200
    assert not obedience.practice_is_due(1_100, 0.1, 0)
    obedience.count_from_zero()
    assert not obedience.practice_is_due(10, 0.1, 0)
    assert obedience.practice_is_due(20, 0.1, 0)


def test_every_training_practices_from_where_it_should():
    model = model_of(practice_share=0.5, practice_start=0.5, gradient_steps=0.3)
    for _ in range(3):
        seen = practicing_over_time(model, 640)
        assert not seen[seen[:, 0] < 320, 1].any() and seen[:, 1].mean() > 0.1


def test_a_model_that_was_loaded_without_its_files_plays_what_it_learned(tmp_path):
    model = model_of().learn(320)
    model.set_command({"return": 3})
    model.save(tmp_path / "model")
    loaded, warm_ups = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE, learning_starts=100), []
    loaded.learn(160, callback=Recorder(lambda c: warm_ups.append(bool(c.model._running.warm_up.any()))))
    assert not any(warm_ups)


def test_training_before_learn_trains_what_obeys():
    source, model = model_of().learn(320), model_of()
    model.replay_buffer.add_all(source.replay_buffer)
    model.train(7, 16)
    assert model.obedience.n_updates == 7


def test_the_replay_buffer_of_another_model_brings_no_score_card(tmp_path):
    source = model_of(**OFTEN).learn(640)
    source.save_replay_buffer(tmp_path / "buffer")
    model = model_of(practice_share=0.0)
    model.load_replay_buffer(tmp_path / "buffer")
    model.learn(80)
    assert len(source.score_card) > 20 and len(model.score_card) == 0
    assert model.obedience.archive_episodes >= source.obedience.archive_episodes


def test_a_few_episodes_do_not_replace_a_full_score_card(tmp_path):
    model = model_of(**OFTEN).learn(640)
    full = model.score_card
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE)
    assert len(full) > 20
    loaded.learn(260)
    assert 0 < loaded.obedience.n_practiced < 20 and loaded.score_card == full


def test_a_pause_before_practice_is_not_made_up_for():
    """A further run waits for its half before it practices again, and then takes its share, not what it waited for."""
    model = model_of(make_vec(FixedStart, 4), practice_share=0.2, practice_start=0.5, gradient_steps=0.3)
    practicing_over_time(model, 640)
    seen = practicing_over_time(model, 6_400, reset_num_timesteps=False)
    assert not seen[(seen[:, 0] > 680) & (seen[:, 0] < 3_520), 1].any()  # episodes that ran at the end of the first are over
    late = seen[seen[:, 0] >= 3_520, 1] / 4
    assert 0.1 < late.mean() < 0.3
    assert late[:100].mean() < 0.4


def test_a_further_run_begins_with_its_own_progress():
    model, seen = model_of().learn(320), []
    look = Recorder(lambda callback: seen.append(callback.model._current_progress_remaining))
    model.learn(320, reset_num_timesteps=False, callback=look)
    assert seen[0] == 0.5 and seen[-1] < 0.1


def test_seeding_a_model_seeds_what_obeys():
    models = [tiny_model(make_vec(FixedStart), commands="any", seed=None) for _ in range(2)]
    draws = []
    for model in models:
        model.set_random_seed(7)
        obedience = model.obedience
        assert obedience.hindsight.buffer.rng is obedience.rng
        draws.append((obedience.rng.random(), model.rng.random()))
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[0][1]
    seeded = tiny_model(make_vec(FixedStart), commands="any", seed=7)
    assert seeded.obedience.rng.random() == draws[0][0]  # as the constructor's


def test_random_actions_are_not_for_practice():
    """The score card says what the most likely actions bring."""
    model, agreed = model_of(epsilon=1.0, **OFTEN), []

    def compare(callback):
        running = model._running
        if running.practicing[0] and running.temperature[0, 0] == 0:
            greedy = model.predict(model._last_obs, deterministic=True, command=running.command)[0]
            agreed.append(bool((greedy == callback.locals["actions"]).all()))

    model.learn(960, callback=Recorder(compare))
    assert len(agreed) > 50 and all(agreed)


def test_something_beside_advantages_must_be_measured():
    class Unmeasured(Energy):
        measured = False

    with pytest.raises(ValueError, match="beside advantages, one part at least must be measured"):
        model_of(commands=[Unmeasured(), "advantage"])
