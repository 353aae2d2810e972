"""Mean and deviation of data in any unit, at any distance from zero, with outliers."""

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st

from sb3_udrl.statistics.moments import Moments, moments_of, standardized, updated

NOTHING = Moments(th.zeros(1, dtype=th.float64), th.zeros(1, dtype=th.float64))


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 1))


@given(
    st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=6), min_size=1, max_size=8),
    st.sampled_from([0.0, 1e5, 1.7e9]),
    st.sampled_from([1e-7, 1.0, 1e7]),
)
def test_batch_by_batch_as_all_at_once(batches, far, unit):
    """With the share of each batch as its rate, against numpy."""
    known, n = NOTHING, 0
    for batch in batches:
        n += len(batch)
        known = updated(known, unit * (far + th.tensor(batch, dtype=th.float64)[:, None]), len(batch) / n)
    values = np.concatenate(batches)
    np.testing.assert_allclose(known.mean.numpy(), unit * (far + values.mean()), rtol=1e-13, atol=unit * 1e-13)
    np.testing.assert_allclose(known.variance.sqrt().numpy(), unit * values.std(), rtol=1e-5, atol=unit * 1e-5)


@pytest.mark.parametrize("size", [1e6, 1e12, -1e21])
@pytest.mark.parametrize("n", [128, 10_000])
def test_an_outlier_does_not_count(size, n):
    clean = normal(n)
    spoiled = np.concatenate((clean, [[size]]))
    np.testing.assert_allclose(moments_of(spoiled), moments_of(clean), rtol=1e-12, atol=1e-12)


def test_outliers_of_all_sizes_do_not_count():
    clean = normal(10_000)
    spoiled = np.concatenate((clean, 10.0 ** np.arange(2, 30)[:, None]))
    np.testing.assert_allclose(moments_of(spoiled), moments_of(clean), rtol=1e-12, atol=1e-12)


def test_an_outlier_in_a_small_batch_does_not_count_once_the_scale_is_known():
    known = updated(NOTHING, th.from_numpy(normal(1000)), 1.0)
    batch = th.from_numpy(normal(32, seed=1))
    clean = updated(known, batch, 0.1)
    spoiled = updated(known, th.cat((batch, th.tensor([[1e6]], dtype=th.float64))), 0.1)
    th.testing.assert_close(spoiled.mean, clean.mean)
    th.testing.assert_close(spoiled.variance, clean.variance)


def test_what_is_rare_counts_where_nothing_else_varies():
    """A flag that is up once in 1,000 steps."""
    flag = np.zeros((1000, 1))
    flag[7] = 1
    mean, factor = moments_of(flag)
    assert (mean[0], 1 / factor[0]) == (pytest.approx(flag.mean()), pytest.approx(flag.std()))


def test_what_is_no_longer_rare_counts():
    values = np.concatenate((normal(9_800), 1e6 + normal(200, seed=1)))
    mean, factor = moments_of(values)
    assert (mean[0], 1 / factor[0]) == (pytest.approx(values.mean()), pytest.approx(values.std()))


def test_a_new_range_is_taken_over():
    """What moves as a whole is no outlier."""
    known = NOTHING
    for i in range(60):
        known = updated(known, th.from_numpy(normal(100, seed=i) * (1 if i == 0 else 1000)), max(0.1, 1 / (i + 1)))
    assert known.variance.sqrt().item() == pytest.approx(1000, rel=0.05)


def test_what_is_missing_does_not_count():
    values = normal(50)
    gaps = np.concatenate((values, np.full((30, 1), np.nan)))
    np.testing.assert_allclose(moments_of(gaps), moments_of(values))
    nothing = updated(Moments(th.tensor([2.0]), th.tensor([3.0])), th.full((4, 1), th.nan), 0.5)
    assert (nothing.mean.item(), nothing.variance.item()) == (2, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("value", [0.1, 7.1, 1.7e9])
def test_constants_have_no_scale(value, dtype):
    constant = np.full((5000, 1), value).astype(dtype)
    assert moments_of(constant)[1] == 0
    assert (standardized(constant) == 0).all()


def test_rounding_errors_are_no_variation():
    values = np.full((5000, 1), 1e5, dtype=np.float32)
    values[::2] = np.nextafter(values[::2], np.float32(np.inf))
    assert moments_of(values)[1] == 0


@pytest.mark.parametrize(("far", "unit"), [(0, 1e-7), (1e5, 50), (1.7e9, 50), (0, 1e-30), (0, 1e30), (-1e12, 1e3)])
def test_the_same_whatever_the_unit(far, unit):
    values = normal(1000)
    np.testing.assert_allclose(standardized(far + unit * values), standardized(values), atol=1e-4)
