"""The own command of a finished generator."""

import numpy as np
import pytest

from sb3_udrl.commands.calibration import corrected
from sb3_udrl.udrlpg.own_command import ending_in, holding, to_ask_again
from sb3_udrl.udrlpg.uncertainty import standard_errors, worth_another_look


def test_of_the_commands_that_were_tried_again_the_one_that_holds_is_chosen() -> None:
    asked = np.array([10.0, 20, 20, 30, 30, 40])
    achieved = np.array([10.0, 22, 18, 60, 0, 99])
    assert holding(asked, achieved) == (20.0, 20.0)  # 30 brings 30 on average, plus or minus 30; 40 was lucky once


def test_of_commands_that_are_as_good_the_one_that_was_tried_more_often_is_chosen() -> None:
    assert holding(np.array([1.0, 1, 1, 2, 2]), np.full(5, 7.0)) == (1.0, 7.0)


@pytest.mark.parametrize("asked", [[], [1.0, 2.0]])
def test_no_command_holds_that_was_tried_once(asked: list[float]) -> None:
    assert holding(np.array(asked), np.array(asked)) is None


def test_the_command_that_may_be_the_best_is_asked_for_again() -> None:
    asked, achieved = np.array([10.0, 20, 20, 30, 30]), np.array([50.0, 40, 20, 90, 0])
    # by mean plus half the standard error: 50, 30 + 5, 45 + 22.5
    assert to_ask_again(asked, achieved, 3) == 30.0
    assert to_ask_again(asked, achieved, 2) == 10.0  # the others are known well enough
    assert to_ask_again(asked, achieved, 1) is None
    assert to_ask_again(np.zeros(0), np.zeros(0), 3) is None


def test_the_standard_error_is_at_least_what_is_usual_once_that_is_known() -> None:
    squares, counts = np.array([0.0, 8.0]), np.array([1, 2])
    np.testing.assert_allclose(standard_errors(squares, counts), [0, 2])
    squares, counts = np.append(np.full(10, 2.0), 0.0), np.append(np.full(10, 2), 1)
    np.testing.assert_allclose(standard_errors(squares, counts), [*np.ones(10), np.sqrt(2)])


def test_a_candidate_that_is_certain_is_looked_at_twice() -> None:
    means, errors = np.array([0.0, 100.0]), np.array([0.0, 0.5])
    assert worth_another_look(means, errors, np.array([1, 1]), 20) == 1
    assert worth_another_look(means, errors, np.array([1, 2]), 20) == 0


def test_a_correction_ends_in_the_command_that_holds() -> None:
    points = ending_in(np.array([[0.0, 10.0, 20.0], [5.0, 15.0, 25.0]]), 12.0, 16.0, lowest=0.0)
    np.testing.assert_allclose(corrected(np.array([-1.0, 10, 15, 16, 99]), points), [5, 15, 20, 12, 12], rtol=1e-5)


def test_without_a_correction_commands_stay_as_they_are_up_to_the_one_that_holds() -> None:
    points = ending_in(None, 70.0, 90.0, lowest=-10.0)
    np.testing.assert_allclose(corrected(np.array([-10.0, 50, 89, 90, 200]), points), [-10, 50, 89, 70, 70], rtol=1e-5)
    points = ending_in(None, 70.0, 90.0, lowest=95.0)
    np.testing.assert_allclose(corrected(np.array([0.0, 90, 99]), points), [90, 70, 70], rtol=1e-5)
