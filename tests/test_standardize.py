"""Inputs are standardized by what was seen."""

import pytest
import torch as th

from sb3_udrl.policies.standardize import Standardizer


def test_before_any_data_nothing_changes():
    th.testing.assert_close(Standardizer(2)(th.tensor([[1.0, -2.0]])), th.tensor([[1.0, -2.0]]))


def test_the_first_batch_decides_alone():
    standardizer = Standardizer(2)
    standardizer.update(th.tensor([[1.0, 100.0], [3.0, 500.0]]))  # means 2 and 300, deviations 1 and 200
    th.testing.assert_close(standardizer(th.tensor([[3.0, 100.0]])), th.tensor([[1.0, -1.0]]))


def test_batches_are_averaged_at_first():
    standardizer = Standardizer(1)
    for mean in (0.0, 2.0, 4.0):
        standardizer.update(th.tensor([[mean - 1], [mean + 1]]))
    assert standardizer.mean.item() == pytest.approx(2)
    assert standardizer.deviation.item() ** 2 == pytest.approx((1 + 5 + 17) / 3 - 2**2)


def test_later_batches_count_by_their_momentum():
    standardizer = Standardizer(1, momentum=0.5)
    for value in (0.0, 0.0, 8.0, 8.0):
        standardizer.update(th.tensor([[value]]))
    assert standardizer.mean.item() == pytest.approx(6)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e6])
def test_a_constant_input_has_no_scale(value):
    standardizer = Standardizer(1)
    for _ in range(5):
        standardizer.update(th.full((10, 1), value))
    assert standardizer(th.full((1, 1), value)).abs().item() <= 1e-3 * max(1, value)
    assert standardizer.inverse_std.item() == 1


def test_outliers_are_clipped():
    standardizer = Standardizer(1)
    standardizer.update(th.tensor([[-1.0], [1.0]]))
    th.testing.assert_close(standardizer(th.tensor([[1e9], [-1e9]])), th.tensor([[10.0], [-10.0]]))


def test_a_small_deviation_around_a_large_mean_survives():
    standardizer = Standardizer(1)
    standardizer.update(th.tensor([[999.0], [1001.0]]))
    th.testing.assert_close(standardizer(th.tensor([[1001.0]])), th.tensor([[1.0]]), atol=0.1, rtol=0)


def test_statistics_are_part_of_the_state():
    standardizer = Standardizer(2)
    standardizer.update(th.randn(100, 2) * 5 + 3)
    copy = Standardizer(2)
    copy.load_state_dict(standardizer.state_dict())
    vectors = th.randn(4, 2)
    th.testing.assert_close(copy(vectors), standardizer(vectors))
    copy.update(vectors)
    standardizer.update(vectors)
    th.testing.assert_close(copy(vectors), standardizer(vectors))


def test_statistics_take_no_gradient():
    standardizer = Standardizer(2)
    standardizer.update(th.randn(10, 2))
    assert not list(standardizer.parameters())
    inputs = th.randn(3, 2, requires_grad=True)
    standardizer(inputs).sum().backward()
    assert th.isfinite(inputs.grad).all()


LEVELS = th.tensor([[-1.5], [-0.5], [0.5], [1.5]], dtype=th.float64)


@pytest.mark.parametrize(
    ("far", "unit", "dtype"),
    [
        (0, 1, th.float32),
        (1e5, 50, th.float32),
        (1.7e9, 50, th.float64),
        (0, 1e-7, th.float32),
        (0, 1e-30, th.float32),
        (0, 1e30, th.float32),
        (-1e6, 1e3, th.float32),
    ],
    ids=str,
)
def test_levels_are_told_apart_wherever_they_lie(far, unit, dtype):
    standardizer, levels = Standardizer(1), (far + unit * LEVELS).to(dtype)
    for seed in range(30):
        rows = th.randint(4, (256,), generator=th.Generator().manual_seed(seed))
        standardizer.update(levels[rows])
    expected = (LEVELS / LEVELS.square().mean().sqrt()).float()
    found = standardizer(levels)
    assert found.dtype == th.float32
    th.testing.assert_close(found, expected, atol=0.1, rtol=0)


def test_an_outlier_in_10_000_rows_leaves_the_scale_as_it_is():
    clean, spoiled = Standardizer(1), Standardizer(1)
    rows = th.randn(10_000, 1, generator=th.Generator().manual_seed(0))
    for i, batch in enumerate(rows.split(250)):
        clean.update(batch)
        spoiled.update(th.cat((batch, th.tensor([[1e6]]))) if i == 20 else batch)
    th.testing.assert_close(spoiled(rows[:100]), clean(rows[:100]))
    assert spoiled(th.tensor([[1e6]])).item() == 10


def test_statistics_of_revisions_before_are_taken_over():
    """They had second moments in the place of deviations."""
    standardizer = Standardizer(2)
    state = {
        "mean": th.tensor([2.0, 0.0]),
        "second_moment": th.tensor([13.0, 0.25]),
        "inverse_std": th.tensor([1 / 3, 2.0]),
        "n_updates": th.tensor([3.0]),
    }
    standardizer.load_state_dict(state)
    th.testing.assert_close(standardizer(th.tensor([[5.0, 1.0]])), th.tensor([[1.0, 2.0]]))
    standardizer.update(th.tensor([[2.0, 0.5], [2.0, -0.5]]))
    th.testing.assert_close(standardizer.deviation, th.tensor([27 / 4, 1 / 4]).sqrt())
    assert set(state) == {"mean", "second_moment", "inverse_std", "n_updates"}
