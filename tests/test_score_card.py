"""What a model was measured to deliver, and how that comes back."""

import json
import warnings

import numpy as np
import pytest
from helpers import DEVICE, make_vec, tiny_model
from probe_envs import FixedStart

from sb3_udrl import UDRL
from sb3_udrl.obedience.score_card import ScoreCard, make_score_card

NAN = float("nan")


def card(*rows):
    """Rows of asked, achieved and whether actions were the most likely ones, of returns."""
    return make_score_card([({"return": asked}, {"return": achieved}, greedy) for asked, achieved, greedy in rows])


SOME = card((10, 12, True), (20, 20, True), (10, 5, False), (20, 25, False), (NAN, 99, True))


def test_errors_are_mean_distances_by_the_way_to_act():
    assert SOME.error("return", greedy=True) == 1
    assert SOME.error("return", greedy=False) == 5
    assert np.isnan(SOME.error("horizon", greedy=True))
    assert np.isnan(card((1, 2, True)).error("return", greedy=False))


def test_episodes_that_asked_for_something_else_do_not_count():
    asked, achieved = SOME.episodes("return", greedy=True)
    assert (asked.tolist(), achieved.tolist()) == ([10, 20], [12, 20])
    assert len(SOME) == 5


def test_what_is_reachable():
    wide = card(*[(0, value, value % 2 == 0) for value in range(101)])
    assert wide.reachable() == (0, 100)
    assert SOME.reachable() is None  # too few episodes to say
    assert wide.reachable("horizon") is None


def test_which_way_to_act_obeys_better():
    assert SOME.obeys_greedily()
    assert not card((1, 5, True), (1, 1, False)).obeys_greedily()
    assert card((1, 5, True)).obeys_greedily()
    assert not card((1, 5, False)).obeys_greedily()
    assert card((1, 5, False)).obeys_greedily("horizon")  # of which the card says nothing


def test_an_empty_card():
    for empty in (ScoreCard(), make_score_card([])):
        assert len(empty) == 0 and empty.reachable() is None and np.isnan(empty.error("return", True))
        assert empty.obeys_greedily()
        assert ScoreCard.from_plain(empty.to_plain()) == empty


def test_as_plain_lists_and_back():
    plain = SOME.to_plain()
    back = ScoreCard.from_plain(json.loads(json.dumps(plain)))
    np.testing.assert_equal(back.to_plain(), plain)
    assert back.error("return", True) == SOME.error("return", True)
    np.testing.assert_equal(back.reachable(), SOME.reachable())


def practiced(**kwargs):
    obedience = {"practice_share": 0.5, "practice_start": 0.0, "gradient_steps": 0.1}
    return tiny_model(make_vec(FixedStart), commands="any", obedience_kwargs=obedience, **kwargs).learn(1_600)


def test_models_measure_what_they_practice_and_remember_it(tmp_path):
    model = practiced()
    assert 10 < len(model.score_card) <= 100
    asked, achieved = (np.concatenate([model.score_card.episodes("return", greedy)[i] for greedy in (0, 1)]) for i in (0, 1))
    assert len(asked) == len(model.score_card)
    assert set(model.score_card.greedy) == {True, False}
    assert (np.abs(achieved) <= 36).all()  # eight steps, of which each moves by one
    assert model.score_card.asked["horizon"] == pytest.approx([8] * len(asked))
    assert model.score_card.achieved["horizon"] == [8] * len(asked)
    assert "advantage" not in model.score_card.asked
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    assert loaded.score_card == model.score_card
    assert loaded.score_card.reachable() == model.score_card.reachable()


@pytest.mark.parametrize("commands", ["absolute", "relative", ["return", "horizon"]], ids=str)
def test_models_that_practice_nothing_have_an_empty_card(commands):
    assert len(tiny_model(make_vec(FixedStart), commands=commands).learn(96).score_card) == 0


def test_commands_beyond_what_was_measured_are_warned_of():
    model = practiced()
    low, high = model.score_card.reachable()
    for beyond in (high + 1, low - 1):
        with pytest.warns(UserWarning, match="is beyond what this model delivered when it was measured"):
            model.set_command({"return": beyond})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_command({"return": (low + high) / 2})
        model.set_command({"advantage": 9})
        model.set_command({})
