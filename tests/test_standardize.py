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
    assert standardizer.second_moment.item() == pytest.approx((1 + 5 + 17) / 3)


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
