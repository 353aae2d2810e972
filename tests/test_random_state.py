"""States of random generators from files: what numpy would believe, and read outside of its arrays."""

import copy

import numpy as np
import pytest

from sb3_udrl.saving.random_state import checked_state, generator_state

KINDS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("kind", KINDS)
def test_generators_go_on_where_others_were(kind):
    rng, other = np.random.Generator(kind(1)), np.random.Generator(kind(2))
    rng.random(7)
    other.bit_generator.state = checked_state(other, generator_state(rng))
    np.testing.assert_array_equal(other.random(700), rng.random(700))


KEY = np.zeros(624, dtype=np.uint32)


@pytest.mark.parametrize(
    "key", [KEY[:3], KEY[:0], np.zeros(700, np.uint32), KEY.astype(np.float64), KEY.tolist(), None], ids=np.shape
)
def test_words_of_another_number_or_type_are_refused(key):
    rng = np.random.Generator(np.random.MT19937(0))
    state = generator_state(rng)
    state["state"]["key"] = key
    with pytest.raises(ValueError, match=r"random generator is damaged: key is no array of \(624,\) uint32"):
        checked_state(rng, state)


@pytest.mark.parametrize("position", [-1, 625, 10**8, -(2**31)])
def test_positions_outside_are_refused(position):
    rng = np.random.Generator(np.random.MT19937(0))
    state = generator_state(rng)
    state["state"]["pos"] = position
    with pytest.raises(ValueError, match=f"damaged: a random generator at position {position} of 624"):
        checked_state(rng, state)
    rng = np.random.Generator(np.random.Philox(0))
    with pytest.raises(ValueError, match=f"damaged: a random generator at position {position} of 4"):
        checked_state(rng, {**generator_state(rng), "buffer_pos": position})


@pytest.mark.parametrize(
    "state", [None, [], {}, {"state": None}, {"state": {}}, {"bit_generator": "PCG64", "state": 3}], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_state_is_refused(kind, state):
    rng = np.random.Generator(kind(0))
    before = copy.deepcopy(generator_state(rng))
    with pytest.raises(ValueError, match="the state of the random generator is damaged"):
        checked_state(rng, state)
    np.testing.assert_equal(generator_state(rng), before)


def test_the_state_of_another_kind_is_refused():
    state = generator_state(np.random.Generator(np.random.PCG64(0)))
    for kind in KINDS[1:]:
        with pytest.raises(ValueError, match="the state of the random generator is damaged"):
            checked_state(np.random.Generator(kind(0)), state)
