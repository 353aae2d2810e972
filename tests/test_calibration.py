"""What to ask for to get what one wants, on curves whose inverse is known."""

import numpy as np
import pytest
from helpers import DEVICE, make_vec, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from probe_envs import FixedStart

from sb3_udrl import UDRL
from sb3_udrl.commands.calibration import N_KNOTS, _inverse, bending, calibration, corrected, delivered, systematic_share

ASKED = np.linspace(0, 100, 101)


def noise(scale, n=101, seed=0):
    return np.random.default_rng(seed).normal(0, scale, n)


# Distortions


@pytest.mark.parametrize(
    ("distortion", "inverse", "tolerance"),
    [
        (lambda x: x + 30, lambda y: y - 30, 1e-6),
        (lambda x: 2 * x - 10, lambda y: (y + 10) / 2, 1e-6),
        (lambda x: x / 4 - 50, lambda y: (y + 50) * 4, 1e-6),
        (lambda x: x**2 / 100, lambda y: 10 * np.sqrt(y), 1.5),
        (lambda x: 10 * np.sqrt(x), lambda y: y**2 / 100, 1.5),
    ],
    ids=["shift", "double", "flat", "square", "root"],
)
def test_a_distortion_without_noise_is_inverted(distortion, inverse, tolerance):
    points = calibration(ASKED, distortion(ASKED))
    assert points.shape == (2, N_KNOTS)
    wanted = distortion(np.linspace(3, 97, 50))
    np.testing.assert_allclose(corrected(wanted, points), inverse(wanted), atol=tolerance)


def test_a_distortion_with_noise_is_inverted_roughly():
    asked = np.random.default_rng(1).uniform(0, 100, 400)
    points = calibration(asked, asked / 2 + noise(3, 400))
    np.testing.assert_allclose(corrected(np.array([10.0, 25, 40]), points), [20, 50, 80], atol=6)


def test_the_order_of_episodes_does_not_matter():
    shuffled = np.random.default_rng(0).permutation(len(ASKED))
    np.testing.assert_allclose(calibration(ASKED[shuffled], 2 * ASKED[shuffled]), calibration(ASKED, 2 * ASKED))


def test_beyond_what_was_measured_the_last_one_is_asked_for():
    points = calibration(ASKED, 2 * ASKED)
    np.testing.assert_allclose(corrected(np.array([-1e6, 1e6]), points), [2, 98])  # without the outermost fiftieths


@pytest.mark.parametrize("seed", range(5))
def test_where_more_is_not_delivered_asking_for_what_is_wanted_gets_it(seed):
    """Nothing above 50, and nothing between 20 and 30."""

    def delivers(asked):
        return np.minimum(np.where((asked > 20) & (asked < 30), 20, asked), 50) / 2

    points = calibration(ASKED, delivers(ASKED) + noise(0.1, seed=seed))
    wanted = np.linspace(2, 24, 45)
    wanted = wanted[(wanted < 10) | (wanted > 15)]
    np.testing.assert_allclose(delivers(corrected(wanted, points)), wanted, atol=1.5)


# Curves that bend back


@pytest.mark.parametrize(
    "delivers",
    [
        lambda x: 100 - x,
        lambda x: np.abs(x - 40),
        lambda x: np.where(x < 20, 5 * x, 120 - x),
        lambda x: 50 + 50 * np.sin(x / 9),
    ],
    ids=["the contrary", "a valley", "a ridge", "waves"],
)
def test_where_the_curve_falls_the_nearest_episode_says_what_to_ask_for(delivers):
    wanted = np.linspace(delivers(ASKED).min(), delivers(ASKED).max(), 50)
    got = delivers(corrected(wanted, calibration(ASKED, delivers(ASKED))))
    step = (wanted[-1] - wanted[0]) / (N_KNOTS // 2 - 1)
    assert np.abs(got - wanted).max() < step / 2 + 3  # and the distance to the nearest episode


def test_of_episodes_that_came_equally_near_the_one_that_was_asked_for_it_counts():
    achieved = np.where(ASKED < 30, 2 * ASKED, np.where(ASKED < 60, 100.0, ASKED - 55))
    points = calibration(ASKED, achieved)
    np.testing.assert_array_equal(corrected(np.array([100.0]), points), [59])  # 30 to 59 all brought 100


def test_noise_is_not_taken_for_a_curve_that_bends():
    asked = np.random.default_rng(2).uniform(0, 100, 100)
    points = calibration(asked, 2 * asked + noise(10, 100))
    assert (np.diff(points) > 0).all()


# Where there is nothing to correct


@pytest.mark.parametrize("seed", range(10))
def test_pure_chance(seed):
    assert calibration(ASKED, ASKED + noise(10, seed=seed)) is None


def test_perfect_obedience():
    assert calibration(ASKED, ASKED) is None


def test_a_model_that_delivers_always_the_same():
    assert calibration(ASKED, np.full(101, 7.0)) is None


def test_a_command_that_was_always_the_same():
    assert calibration(np.full(50, 3.0), noise(1, 50)) is None


def test_too_few_episodes():
    assert calibration(ASKED[:19], 2 * ASKED[:19]) is None
    assert calibration(ASKED[:20], 2 * ASKED[:20]) is not None
    assert calibration(np.empty(0), np.empty(0)) is None


def test_the_share_of_the_error_that_is_systematic():
    assert systematic_share(ASKED, ASKED + 20) == pytest.approx(1, abs=0.01)
    assert systematic_share(ASKED, ASKED + noise(5)) < 0.1
    assert systematic_share(ASKED, ASKED + 5 + noise(5)) == pytest.approx(0.5, abs=0.15)
    assert systematic_share(ASKED, ASKED) == 0


# The curve


def test_the_curve_pools_what_falls():
    asked, achieved = np.array([1.0, 2, 3, 4]), np.array([1.0, 5, 3, 8])
    np.testing.assert_allclose(delivered(asked, achieved, np.array([0.0, 1, 2.5, 4, 9])), [1, 1, 4, 8, 8])


def test_the_curve_that_may_fall_goes_through_all_episodes():
    asked, achieved = np.array([3.0, 1, 2]), np.array([4.0, 0, 6])
    np.testing.assert_allclose(bending(asked, achieved, np.array([0.0, 1, 1.5, 2, 2.5, 9])), [0, 0, 3, 6, 5, 4])


def test_the_curve_averages_what_was_asked_for_more_than_once():
    asked, achieved = np.array([2.0, 1, 1, 1]), np.array([6.0, 1, 2, 3])
    np.testing.assert_allclose(delivered(asked, achieved, np.array([1.0, 1.5, 2])), [2, 4, 6])


episodes = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=20, max_size=60)


@given(episodes, st.floats(0, 50))
def test_corrections_never_leave_what_was_measured(pairs, trend):
    asked, achieved = np.array(pairs).T
    achieved = achieved / 10 + trend * asked
    points = calibration(asked, achieved)
    if points is None:
        return
    assert np.isfinite(points).all() and (np.diff(points[0]) >= 0).all()
    wanted = np.sort(np.concatenate((achieved, asked, [-1e9, 1e9])))
    to_ask = corrected(wanted, points)
    rising = _inverse(asked, achieved)
    assert rising is None or (np.diff(rising) >= 0).all()
    assert asked.min() <= to_ask.min() and to_ask.max() <= asked.max()


@given(episodes, st.lists(st.floats(-2e3, 2e3), min_size=2, max_size=20))
def test_the_curve_ascends_and_never_leaves_what_was_achieved(pairs, at):
    asked, achieved = np.array(pairs).T
    curve = delivered(asked, achieved, np.sort(at))
    assert (np.diff(curve) >= -1e-9).all()
    assert achieved.min() - 1e-9 <= curve.min() and curve.max() <= achieved.max() + 1e-9


# In models


def first_command(model, command, deterministic):
    return model.predict(np.zeros(2, np.float32), command=command, deterministic=deterministic)[1][0][0]


def test_a_model_asks_for_what_brings_what_is_wanted(tmp_path):
    model = tiny_model(make_vec(FixedStart), commands="any")
    model.policy.correct(True, calibration(ASKED, 2 * ASKED))
    model.policy.correct(False, calibration(ASKED, 4 * ASKED))
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    restored = UDRL.load(tmp_path / "model", device=DEVICE), type(model.policy).load(tmp_path / "policy", device=DEVICE)
    for each in (model, *restored):
        assert first_command(each, {"return": 40}, True)[0] == pytest.approx(20, rel=1e-4)
        assert first_command(each, {"return": 40}, False)[0] == pytest.approx(10, rel=1e-4)
        for command in ({"return": 40, "horizon": 5}, {"return": 40, "advantage": 1}):  # measured was the return alone
            assert first_command(each, command, True)[0] == 40
    np.testing.assert_array_equal(first_command(model, {"horizon": 5}, True), [np.nan, 5, np.nan])
    np.testing.assert_array_equal(first_command(model, {}, True), [np.nan, np.nan, 0])
    model.policy.correct(True, None)
    assert first_command(model, {"return": 40}, True)[0] == 40


def test_a_file_with_fewer_points_corrects_alike():
    model, points = tiny_model(make_vec(FixedStart), commands="any"), calibration(ASKED, 2 * ASKED)
    model.policy.correct(True, points)
    state = model.policy.state_dict()
    state["corrections"] = state["corrections"][..., :16]
    other = tiny_model(make_vec(FixedStart), commands="any")
    other.policy.load_state_dict(state)
    few = points[:, :16]
    for wanted in (-10.0, 0, few[0, 3], few[0, -1], 1e6):
        to_ask = corrected(np.array([wanted]), few)[0]
        assert first_command(other, {"return": wanted}, True)[0] == pytest.approx(to_ask, rel=1e-4)
    state["corrections"] = state["corrections"][:1]
    with pytest.raises(RuntimeError, match="corrections"):
        other.policy.load_state_dict(state)
