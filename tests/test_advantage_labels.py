"""Labels that compare each step with what followed in similar situations."""

import pickle

import numpy as np
import pytest
from gymnasium import spaces
from helpers import assert_same_batches, episode, hindsight, relative_hindsight

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode
from sb3_udrl.labels import advantage


def relabelled(relative, episodes=None):
    """All steps of some or of all stored episodes, with labels that are up to date."""
    relative.relabel()
    return relative.transitions(np.arange(relative.buffer.n_episodes) if episodes is None else np.array(episodes))


def labels(relative):
    """Labels of all stored steps, by their observation."""
    stored = relabelled(relative)
    return dict(zip(stored.observations[:, 0].tolist(), stored.command["advantage"].tolist(), strict=True))


def test_labels_by_hand():
    """
    Ten episodes pay nothing, one pays 1 at each of its three steps. With a discount of one half, 1.75, 1.5 and 1 followed
    there. Each step is compared with all eleven of its time, itself included.
    """
    followed = np.array([1.75, 1.5, 1])
    deviations = followed * np.sqrt(10) / 11
    check_labels_of_one_better_episode(1, followed, deviations)


def test_labels_by_hand_where_steps_answer_for_less_of_what_follows():
    """As above. With gae_lambda of one half, 1 + 0.5 / 2 + ... of the rewards count, which vary by so much less."""
    followed, shares = np.array([1.75, 1.5, 1]), np.array([1.3125, 1.25, 1])
    everywhere = [np.append(np.repeat(-x / 11, 10), x * 10 / 11) for x in (followed, shares)]
    ratio = np.linalg.norm(everywhere[1]) / np.linalg.norm(everywhere[0])
    check_labels_of_one_better_episode(0.5, shares, followed * np.sqrt(10) / 11 * ratio)


def check_labels_of_one_better_episode(gae_lambda, followed, deviations):
    relative = relative_hindsight(gamma=0.5, gae_lambda=gae_lambda, n_neighbors=11)
    for _ in range(10):
        relative.buffer.add(episode([0, 0, 0]))
    relative.buffer.add(episode([1, 1, 1]))
    smallest = 0.1 * deviations.mean()
    better = relabelled(relative, [10])
    np.testing.assert_allclose(better.command["advantage"], followed * 10 / 11 / (deviations + smallest), rtol=1e-5)
    worse = relabelled(relative, [3])
    np.testing.assert_allclose(worse.command["advantage"], -followed / 11 / (deviations + smallest), rtol=1e-5)


def test_only_similar_situations_are_compared():
    """What a start state pays whatever is done there counts neither for nor against what was done."""
    relative = relative_hindsight(n_neighbors=20)
    for i in range(40):
        start, good = i % 2, i // 2 % 2
        relative.buffer.add(episode([1000 * start + good], first=1000 * start, actions=[good]))
    stored = relabelled(relative)
    np.testing.assert_array_equal(np.sign(stored.command["advantage"]), 2 * stored.actions.astype(int) - 1)


@pytest.mark.parametrize(("local_scale", "ratio"), [(True, 1), (False, 4)])
def test_in_one_unit_labels_stand_out_where_much_is_at_stake(local_scale, ratio):
    """From one start the better half of the episodes gets 1 more, from the other 4 more; nothing else is paid."""
    relative = relative_hindsight(n_neighbors=20, local_scale=local_scale)
    for i in range(40):
        start, good = i % 2, i // 2 % 2
        relative.buffer.add(episode([good * (1 + 3 * start)], first=1000 * start, actions=[good]))
    stored = relabelled(relative, [2, 3])
    assert stored.observations[:, 0].tolist() == [0, 1000]
    assert stored.command["advantage"][1] / stored.command["advantage"][0] == pytest.approx(ratio, rel=0.25)


def test_batches_ask_for_advantages_alone():
    relative = relative_hindsight()
    relative.buffer.add(episode([1, 2, 3]))
    relative.relabel()
    batch = relative.sample(50)
    assert list(batch.command.parts) == ["advantage"]
    assert batch.command["advantage"].dtype == np.float32
    assert batch.observations.shape == (50, 1) and batch.actions.shape == batch.command["advantage"].shape == (50,)


@pytest.mark.parametrize("truncated", [True, False])
def test_a_time_limit_counts_neither_way(truncated):
    """Every step pays 1, in episodes of different lengths: shorter is worse, unless they were only cut off."""
    relative = relative_hindsight(n_neighbors=8)
    for length in (2, 9) * 4:
        relative.buffer.add(episode(np.ones(length), truncated=truncated))
    short = relabelled(relative, [0]).command["advantage"]
    assert (short == 0).all() if truncated else (short < 0).all()


def grown(relabel_share):
    """Labels of ten episodes that pay 0 to 9, before and after ten came that pay 1000 to 1900 among them."""
    relative = relative_hindsight(n_neighbors=40, relabel_share=relabel_share)
    for i in range(10):
        relative.buffer.add(episode([i, 0], first=10 * i))
    before = labels(relative)
    for i in range(10, 20):
        relative.buffer.add(episode([100 * i, 0], first=10 * (i - 10) + 5))
    return before, labels(relative)


def test_labels_follow_what_is_usual_now():
    before, after = grown(relabel_share=0.5)
    best_at_first = 90.0
    assert before[best_at_first] > 0 > after[best_at_first]


def test_labels_stay_as_they_were_made_until_enough_is_new():
    before, after = grown(relabel_share=0.51)
    assert len(after) == 40 and before.items() <= after.items()


@pytest.mark.parametrize("retention", ["recent", "best", "mixed"])
def test_labels_survive_what_is_forgotten(retention):
    """Rows move when others are reclaimed; labels, returns and time limits move with them."""
    rng = np.random.default_rng(0)
    relative = relative_hindsight(60, {"retention": retention}, n_neighbors=4, n_references=20, relabel_share=np.inf)
    known = {}
    for i in range(200):
        length = int(rng.integers(1, 12))
        relative.buffer.add(episode(rng.normal(size=length), first=100 * i, truncated=i % 3 == 0))
        if i % 4 == 0:
            found = labels(relative)
            assert np.abs(list(found.values())).max() <= 10  # also says that none is NaN
            assert {key: found[key] for key in known.keys() & found.keys()} == {
                key: known[key] for key in known.keys() & found.keys()
            }
            known = found
    relative.relabel()
    buffer = relative.buffer
    for i in range(buffer.n_episodes):
        stored = buffer.episode(i)
        assert stored.truncated == (stored.observations[0, 0] // 100 % 3 == 0)
        last = buffer.episode_rows(np.array([i]))[-1]
        assert buffer.column("advantage discounted returns", np.float64)[last] == stored.rewards[-1]


def test_a_single_step_is_as_usual():
    relative = relative_hindsight(n_neighbors=50)
    relative.buffer.add(episode([7]))
    relative.relabel()
    assert relative.sample(3).command["advantage"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_neighbors", [1, 3, 1000])
def test_one_step_episodes(n_neighbors):
    """Also fewer of them than neighbors are asked for."""
    relative = relative_hindsight(n_neighbors=n_neighbors, n_references=1000)
    for reward in (-1, 0, 1):
        relative.buffer.add(episode([reward]))
    found = relabelled(relative).command["advantage"]
    assert found.shape == (3,) and np.isfinite(found).all()
    if n_neighbors >= 3:
        assert found[0] < 0 == found[1] < found[2]


def test_neighbors_are_searched_among_a_sample_of_a_large_buffer():
    relative = relative_hindsight(n_neighbors=10, n_references=40)
    for i in range(200):
        relative.buffer.add(episode([i % 2]))
    stored = relabelled(relative).command["advantage"]
    assert (stored[::2] < 0).all() and (stored[1::2] > 0).all()


def test_pickled_labels_draw_the_same_batches():
    relative = relative_hindsight(n_neighbors=3, n_references=5)
    for length in (3, 1, 7):
        relative.buffer.add(episode(np.arange(length)))
    relative.relabel()
    relative.buffer.add(episode(np.arange(5)))  # not labelled yet
    copy = pickle.loads(pickle.dumps(relative))
    for _ in range(3):
        for both in (relative, copy):
            both.relabel()
        assert_same_batches(relative.sample(16), copy.sample(16))
    for restored in (relative, copy):
        restored.buffer.add(episode(np.arange(4), truncated=True))
        restored.relabel()
    assert_same_batches(relative.sample(64), copy.sample(64))


def test_a_copy_on_a_device_changes_no_label():
    plain, mirrored = (relative_hindsight(60, {"device": device}, n_neighbors=4, n_references=20) for device in (None, "cpu"))
    for i in range(30):
        for relative in (plain, mirrored):
            relative.buffer.add(episode(np.arange(i % 5 + 1.0) % 3, first=10 * i))
            relative.relabel()
        np.testing.assert_array_equal(mirrored.sample(20).command["advantage"], plain.sample(20).command["advantage"])


def test_drawing_has_no_side_effects():
    """Labels are brought up to date by a call of its own: new steps have none before."""
    relative = relative_hindsight()
    relative.buffer.add(episode([1, 2]))
    assert np.isnan(relative.sample(5).command["advantage"]).all()
    before = labels(relative)
    relative.buffer.add(episode([1000, 2], first=10))
    for _ in range(2):
        stored = relative.transitions(np.arange(2))
        np.testing.assert_array_equal(stored.command["advantage"], [before[0], before[1], np.nan, np.nan])
    assert np.isfinite(list(labels(relative).values())).all()


@pytest.mark.parametrize("rewards", [[4], [4, 5, 6], [4] * 9])
def test_reset_forgets_everything(rewards):
    """Fewer, as many and more steps than there were."""
    relative = relative_hindsight(redistribute_rewards=True)
    relative.buffer.add(episode([1, 2, 3]))
    relative.relabel()
    relative.buffer.reset()
    relative.buffer.add(episode(rewards))
    anew = relative_hindsight(redistribute_rewards=True)
    anew.buffer.add(episode(rewards))
    found = labels(relative)
    assert list(found) == list(range(len(rewards)))
    assert found == labels(anew)
    if len(rewards) == 1:
        assert found == {0: 0}


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(16),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary([2, 2]),
        spaces.Box(-1, 1, (40,)),
        spaces.Box(0, 255, (1, 36, 36), np.uint8),
        spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3), c=spaces.Box(0, 255, (1, 36, 36), np.uint8)),
    ],
    ids=lambda space: type(space).__name__ + str(space.shape or ""),
)
@pytest.mark.parametrize("redistribute_rewards", [False, True])
def test_all_observations(redistribute_rewards, space):
    """Two situations; in each, action 1 pays more than action 0."""
    space.seed(0)
    buffer = EpisodicReplayBuffer(1000, space, spaces.Discrete(2), seed=0)
    relative = hindsight(buffer, "relative", advantage={"n_neighbors": 10, "redistribute_rewards": redistribute_rewards})
    situations = [space.sample(), space.sample()]
    for i in range(40):
        here, action = situations[i % 2], i // 2 % 2
        row = {key: value[None] for key, value in here.items()} if isinstance(here, dict) else np.asarray(here)[None]
        row = {key: np.asarray(value) for key, value in row.items()} if isinstance(row, dict) else row
        relative.buffer.add(Episode(row, np.array([action]), np.array([100 * (i % 2) + action], dtype=np.float32)))
    stored = relabelled(relative)
    assert np.mean(np.sign(stored.command["advantage"]) == 2 * stored.actions.astype(int) - 1) == 1


def test_labels_do_not_depend_on_how_many_steps_are_compared_at_a_time(monkeypatch):
    """All are compared with the same draw of references."""
    found = []
    for steps_at_a_time in (4096, 7):
        monkeypatch.setattr(advantage, "_STEPS_AT_A_TIME", steps_at_a_time)
        situations = spaces.Discrete(4)  # without units, so that nothing is standardized
        buffer = EpisodicReplayBuffer(1000, situations, spaces.Discrete(2), seed=0)
        relative = hindsight(buffer, "relative", advantage={"n_neighbors": 5, "n_references": 20})
        rng = np.random.default_rng(0)
        for _ in range(10):
            relative.buffer.add(Episode(rng.integers(4, size=6), np.zeros(6, dtype=np.int64), rng.random(6, dtype=np.float32)))
        found.append(relabelled(relative).command["advantage"])
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("gamma", 1.01, "gamma=1.01: must be between 0 and 1"),
        ("gamma", -0.1, "gamma=-0.1: must be between 0 and 1"),
        ("gamma", np.nan, "gamma=nan: must be between 0 and 1"),
        ("gae_lambda", 1.01, "gae_lambda=1.01: must be between 0 and 1"),
        ("gae_lambda", np.nan, "gae_lambda=nan: must be between 0 and 1"),
        ("n_neighbors", 0, "n_neighbors=0: must be between 1 and n_references="),
        ("n_neighbors", 10**9, "n_neighbors=1000000000: must be between 1 and n_references="),
        ("relabel_share", 0, "relabel_share=0: must be positive"),
        ("seed", 0, r"label_kwargs=.* do not fit AdvantageLabeler: .*'seed'"),
    ],
)
def test_bad_arguments_are_refused(argument, value, message):
    with pytest.raises(ValueError, match=message):
        relative_hindsight(**{argument: value})


def test_labels_are_made_of_the_episodes_that_are_needed_alone():
    relative, rng = relative_hindsight(), np.random.default_rng(0)
    for _ in range(9):
        relative.buffer.add(episode(rng.normal(size=20)))
    needed = np.arange(9) % 3 == 0
    relative.hold_out(~needed, labelled=needed)
    labelled = relabelled(relative).command["advantage"].reshape(9, 20)
    assert np.isfinite(labelled[needed]).all() and np.isnan(labelled[~needed]).all()


def test_labels_of_another_gamma_are_not_taken_over():
    stored, other, fresh = (relative_hindsight(gamma=gamma, n_neighbors=3) for gamma in (0.9, 0.5, 0.5))
    for one in (stored, fresh):
        for rewards in ([1.0, 2.0, 4.0], [3.0, 1.0], [0.0, 5.0, 1.0]):
            one.buffer.add(episode(rewards))
        one.relabel()
    restored = other.restored(stored.state())
    restored.relabel()
    discounted = [one.buffer.column("advantage discounted returns", np.float64) for one in (restored, fresh)]
    rows = fresh.buffer.stored_rows()
    np.testing.assert_array_equal(discounted[0][rows], discounted[1][rows])
