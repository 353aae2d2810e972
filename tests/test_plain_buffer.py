"""A replay buffer as plain arrays and settings, and back."""

import copy
import json

import numpy as np
import pytest
from random_buffers import RETENTIONS, SPACES, content, random_buffer, random_episode, same

from sb3_udrl import EpisodicReplayBuffer


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("retention", RETENTIONS)
@pytest.mark.parametrize("sampling", ["transitions", "return"])
def test_there_and_back(name, retention, sampling):
    buffer = random_buffer(1, name, retention=retention, sampling=sampling, trailing_probability=0.5)
    before = copy.deepcopy(buffer)
    arrays = {key: array.copy() for key, array in buffer.arrays().items()}
    assert same(content(buffer), content(before))
    empty = EpisodicReplayBuffer(7, *SPACES[name], recorded=("fuel",), seed=copy.deepcopy(buffer.rng))
    restored = empty.restored(arrays, buffer.settings())
    assert empty.n_episodes == 0 and empty.buffer_size == 7
    rng = np.random.default_rng(2)
    for _ in range(30):
        assert same(content(buffer), content(restored)) and same(content(buffer), content(before))
        draws = [each.draw_rows(50) for each in (buffer, restored, before)]
        segments = [each.draw_segments(rows) for each, rows in zip((buffer, restored, before), draws, strict=True)]
        drawn = [each.rewards[rows] for each, rows in zip((buffer, restored, before), draws, strict=True)]
        for others in (segments, drawn):
            np.testing.assert_array_equal(others[0], others[1])
            np.testing.assert_array_equal(others[0], others[2])
        episode = random_episode(buffer, rng)
        for each in (buffer, restored, before):
            each.add(episode)


def damaged(arrays, settings, rng):
    """Something about them is no longer as it was."""
    arrays = {name: array.copy() for name, array in arrays.items()}
    name = str(rng.choice(list(arrays)))
    array = arrays[name]
    where = int(rng.integers(len(array)))

    def replaced(value):
        array.reshape(len(array), -1)[where, 0] = value

    def counted(name):
        settings[name] = [settings[name] + int(rng.integers(-200, 200)), str(settings[name]), None, True, 2.5, 2**70][
            rng.integers(6)
        ]

    damages = [
        lambda: arrays.pop(name),
        lambda: arrays.update({name + "x": array}),
        lambda: arrays.update({name: array[:-1]}),
        lambda: arrays.update({name: np.concatenate((array, array[-1:]))}),
        lambda: arrays.update({name: array.astype(str(rng.choice(["f8", "f2", "i4", "u2", ">f4", "O", "U5"])))}),
        lambda: arrays.update({name: array[..., None]}),
        lambda: replaced(np.nan if array.dtype.kind == "f" else 1),
        lambda: replaced(np.inf if array.dtype.kind == "f" else 0),
        lambda: array.view(np.uint8).reshape(-1).__setitem__(int(rng.integers(array.nbytes)), int(rng.integers(256))),
        lambda: arrays["lengths"].__setitem__(where % len(arrays["lengths"]), int(rng.integers(-3, 20))),
        lambda: settings.pop(str(rng.choice(list(settings)))),
        lambda: settings.update(more=1),
        lambda: counted(str(rng.choice(["buffer_size", "n_episodes_added", "n_transitions_added"]))),
        lambda: settings.update(retention=["newest", 3, None, ["best"], {}][rng.integers(5)]),
        lambda: settings.update(sampling=["all", 3, None, ["best"], {}][rng.integers(5)]),
        lambda: settings.update(sampling_temperature=[-1, 0, "1", np.nan, None, np.inf, 10**400][rng.integers(7)]),
        lambda: settings.update(trailing_probability=[-1, 2, "1", np.nan, None, [1]][rng.integers(6)]),
        lambda: settings.update(recorded=["fuel", None, [], ["time"], [3], [["fuel"]]][rng.integers(6)]),
        lambda: settings.update(max_episodes=["1", 0, -5, 1, 2.5, 10**30][rng.integers(6)]),
    ]
    damages[rng.integers(len(damages))]()
    return arrays, settings


@pytest.mark.parametrize("name", SPACES)
def test_damage_is_refused_or_does_no_harm(name):
    """What bytes a number has is not known here: then another number is there, but all that holds in a buffer still holds."""
    buffer, rng = random_buffer(1, name, retention="mixed"), np.random.default_rng(0)
    ours = random_buffer(2, name)
    before, n_refused = content(ours), 0
    for _ in range(125):
        try:
            restored = ours.restored(*damaged(buffer.arrays(), buffer.settings(), rng))
        except ValueError as error:
            assert "\n" not in str(error)
            n_refused += 1
        else:
            content(restored)
            restored.add(random_episode(restored, rng))
            content(restored)
            restored.draw_rows(10)
    assert n_refused > 70
    assert same(content(ours), before)


MISTAKES = {
    "a name": (lambda arrays, settings: arrays.update(reward=arrays.pop("rewards")), "reward, rewards"),
    "a type": (lambda arrays, settings: arrays.update(rewards=arrays["rewards"].astype(float)), "rewards is of type float64"),
    "NaN": (lambda arrays, settings: arrays["rewards"].__setitem__(3, np.nan), "the reward of step 3 is nan"),
    "an action": (
        lambda arrays, settings: arrays["actions"].__setitem__(5, 2),
        r"the action of step 5 is 2.*Discrete\(3, start=-1\)",
    ),
    "a length": (lambda arrays, settings: arrays["lengths"].__setitem__(0, 0), "lengths of episodes must be positive"),
    "a sum": (lambda arrays, settings: arrays["lengths"].__setitem__(0, 90), "sum up to the"),
    "too many": (lambda arrays, settings: settings.update(buffer_size=20), "buffer_size=20"),
    "a counter": (lambda arrays, settings: settings.update(n_episodes_added=1), "n_episodes_added=1"),
    "a kind": (lambda arrays, settings: settings.update(buffer_size="20"), "buffer_size of the replay buffer is '20'"),
    "an unknown rule": (lambda arrays, settings: settings.update(retention="newest"), "retention='newest'"),
    "other amounts": (lambda arrays, settings: settings.update(recorded=["time"]), r"recorded=\['time'\]"),
    "a sum to go": (lambda arrays, settings: arrays["rewards"].__setitem__(slice(None), 3e38), "add up to more than float32"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    buffer = random_buffer(1, "vectors")
    arrays, settings = {name: array.copy() for name, array in buffer.arrays().items()}, buffer.settings()
    damage, message = MISTAKES[mistake]
    damage(arrays, settings)
    with pytest.raises(ValueError, match=message):
        buffer.restored(arrays, settings)


def test_arrays_are_views():
    buffer = random_buffer(1, "pictures", retention="best")
    arrays = buffer.arrays()
    assert all(np.shares_memory(array, buffer.arrays()[name]) for name, array in arrays.items())


def test_settings_are_plain():
    buffer = random_buffer(1, "vectors", max_episodes=np.int64(40), sampling_temperature=np.float32(0.5))
    settings = json.loads(json.dumps(buffer.settings()))
    restored = buffer.restored({name: array.copy() for name, array in buffer.arrays().items()}, settings)
    assert same(content(restored), content(buffer)) and restored.settings() == buffer.settings()
