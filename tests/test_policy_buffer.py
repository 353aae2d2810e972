"""The buffer of tried policies: what they are worth, which are drawn, dropped and looked at again."""

import numpy as np
import pytest

from sb3_udrl.udrlpg.command import COMMAND_SPACE
from sb3_udrl.udrlpg.policy_buffer import PolicyBuffer
from sb3_udrl.udrlpg.practice import newest_by_band, values_to_practice
from sb3_udrl.udrlpg.sampling import SAMPLINGS


def buffer_of(returns, buffer_size=100, **kwargs):
    """Policies with one weight, their number."""
    settings = {"survival_bonus": 0.0, "sampling": "uniform", "rng": np.random.default_rng(0), **kwargs}
    policies = PolicyBuffer(buffer_size, 1, COMMAND_SPACE, **settings)
    for number, value in enumerate(returns):
        policies.add(np.array([number], np.float32), value, 10)
    return policies


def test_a_policy_s_value_is_its_mean_minus_the_standard_error():
    policies = buffer_of([10.0, 4.0])
    for value in (2.0, 6.0):
        assert policies.evaluate_again(1, value, 10)
    np.testing.assert_allclose(policies.means(), [10, 4])
    np.testing.assert_allclose(policies.errors(), [0, np.std([4, 2, 6], ddof=1) / np.sqrt(3)])
    np.testing.assert_allclose(policies.values(), policies.means() - policies.errors())
    assert policies.counts.tolist() == [1, 3] and policies.n_transitions_added == 40


def test_means_far_from_zero_keep_their_deviation():
    policies = buffer_of([1e9 - 1])
    policies.evaluate_again(0, 1e9 + 1, 10)
    assert policies.errors()[0] == pytest.approx(1.0)


def test_where_returns_are_uncertain_one_lucky_episode_does_not_rule():
    """Ten policies earn 0 or 20 in turn, so a single 21 is believed less than a mean of 10 from ten episodes."""
    policies = buffer_of([0.0] * 10)
    for repetition in range(9):
        for number in range(10):
            policies.evaluate_again(number, 20.0 * (repetition % 2 == 0), 10)
    lucky = policies.add(np.array([99], np.float32), 17.0, 10)
    assert policies.returns.argmax() == lucky and policies.best(1)[0] != lucky


def test_what_may_be_the_best_is_looked_at_again_until_it_is_known():
    policies = buffer_of([1.0, 5.0, 3.0])
    nobody = np.zeros(0, dtype=np.int64)
    assert policies.most_promising(nobody, 3) == 1
    assert policies.most_promising(np.array([1, 1]), 3) == 2  # two looks are under way
    for _ in range(2):
        policies.evaluate_again(1, 5.0, 10)
    assert policies.most_promising(nobody, 3) == 2
    assert policies.most_promising(nobody, 1) is None
    assert buffer_of([]).most_promising(nobody, 3) is None


def test_what_is_known_well_enough_is_not_looked_at_more_often():
    """Two looks show the same return, which leaves no doubt."""
    policies = buffer_of([1.0, 5.0, 3.0])
    policies.evaluate_again(1, 5.0, 10)
    assert policies.most_promising(np.zeros(0, dtype=np.int64), 20) == 2


def test_a_quarter_of_the_draws_is_of_practice_and_spread_over_its_bands():
    """Of 40 in one band and one in another, the newest four and this one share it by bands."""
    policies = buffer_of(np.linspace(0, 100, 200))
    for _ in range(40):
        policies.add(np.array([-1], np.float32), 20.0, 10, practiced=True)
    policies.add(np.array([-2], np.float32), 80.0, 10, practiced=True)
    drawn = policies.weights[policies.draws(100, 200).ravel(), 0]
    uniform = 0.75 / 100  # of each stored policy: the buffer holds 100
    assert (drawn == -2).mean() == pytest.approx(0.125 + uniform, abs=0.02)
    assert (drawn == -1).mean() == pytest.approx(0.125 + 40 * uniform, abs=0.03)


def test_practice_fills_the_widest_gaps_and_the_whole_range():
    rng = np.random.default_rng(0)
    practiced = np.concatenate((np.linspace(0, 40, 50), np.linspace(60, 100, 50)))
    asked = values_to_practice(np.linspace(0, 100, 101), practiced, 2_000, rng)
    in_gap = (asked > 40) & (asked < 60)
    assert 0.55 < in_gap.mean() < 0.65  # half of all and a fifth of the other half
    assert asked.min() < 5 and asked.max() > 95
    assert ((1 <= asked) & (asked <= 100)).all()  # not the lowest hundredth


def test_the_newest_of_each_band():
    assert newest_by_band(np.array([0.0] * 6 + [1.0] * 2 + [0.0])).tolist() == [3, 4, 5, 6, 7, 8]


def test_the_oldest_are_dropped_but_for_the_best():
    policies = buffer_of([100.0, *range(30)], buffer_size=10)
    assert policies.n_episodes == 10
    kept = set(policies.weights[:, 0].tolist())
    assert 0 in kept  # the best, though the oldest
    assert 30 in kept and 5 not in kept
    assert not policies.evaluate_again(5, 1.0, 10)


def test_the_survival_bonus_is_taken_off_values_alone():
    policies = buffer_of([30.0], survival_bonus=2.0)
    assert policies.values()[0] == 10.0 and policies.returns[0] == 30.0


def test_draws_of_bands_follow_their_weights():
    """Three bands with 1, 5 and 20 policies: the shares of the bands are as exp(0.3 rank), whatever they hold."""
    values = np.concatenate((np.full(20, 0.0), np.full(5, 50.0), np.full(1, 100.0)))
    band = np.repeat([0, 1, 2], [20, 5, 1])
    for name, shares in (("weighted_bands", np.exp(0.3 * np.arange(3))), ("even_bands", np.ones(3))):
        probabilities = np.bincount(band, SAMPLINGS[name](values))
        np.testing.assert_allclose(probabilities, shares / shares.sum())
    drawn = buffer_of(values, sampling="weighted_bands").draws(100, 200)
    counts = np.bincount(band[drawn.ravel()]) / drawn.size
    expected = np.exp(0.3 * np.arange(3))
    np.testing.assert_allclose(counts, expected / expected.sum(), atol=0.02)


def test_draws_without_bands():
    values = np.arange(50.0)
    np.testing.assert_allclose(SAMPLINGS["uniform"](values), 1 / 50)
    weighted = SAMPLINGS["weighted"](values)
    assert weighted.sum() == pytest.approx(1)
    np.testing.assert_allclose(weighted[1:] / weighted[:-1], np.exp(0.3 * 100 / 50))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_policies_that_are_all_alike(name):
    np.testing.assert_allclose(SAMPLINGS[name](np.zeros(4)).sum(), 1)


def test_totals_are_in_the_order_of_time():
    policies = buffer_of([5.0, *range(20)], buffer_size=8)
    totals = policies.totals()[:, 0]
    assert totals[-1] == 19 and (np.diff(policies.weights[np.argsort(policies._used("ids")), 0]) > 0).all()


def test_state_and_back():
    policies = buffer_of([1.0, 2.0])
    policies.evaluate_again(0, 4.0, 7)
    other = buffer_of([]).restored(policies.state())
    for name in ("values", "means", "errors"):
        np.testing.assert_array_equal(getattr(other, name)(), getattr(policies, name)())
    assert other.add(np.zeros(1, np.float32), 0.0, 1) == 2
    assert policies.n_episodes == 2
    with pytest.raises(ValueError, match=r"survival_bonus=0.0, not 1.0"):
        buffer_of([], survival_bonus=1.0).restored(policies.state())
    with pytest.raises(ValueError, match="more than buffer_size=1"):
        buffer_of([], buffer_size=1).restored(policies.state())
