"""Recordings in all their forms hold the same episodes; what is not right is named by its episode."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import make_vec
from numpy.lib import format as npy
from probe_envs import Scripted
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import map_observation
from sb3_udrl.evaluation import evaluate_policy
from sb3_udrl.recordings import RecordEpisodes, read_episodes, record_episodes, write_recording
from sb3_udrl.recordings.arrays import load_arrays, to_arrays

OBSERVATIONS, ACTIONS = spaces.Box(-10, 10, (2,)), spaces.Discrete(3)
# Three episodes of 2, 1 and 3 steps, the second cut off by a time limit, and two steps without an end
DATA = {
    "observations": np.arange(16, dtype=np.float32).reshape(8, 2) / 2,
    "actions": np.array([0, 1, 2, 0, 1, 2, 0, 1]),
    "rewards": np.array([1, 2, 4, 8, 16, 32, 64, 128], dtype=np.float32),
    "terminals": np.array([0, 1, 0, 0, 0, 1, 0, 0], dtype=bool),
    "timeouts": np.array([0, 0, 1, 0, 0, 0, 0, 0], dtype=bool),
}
SPANS = [(0, 2, False), (2, 3, True), (3, 6, False)]
EPISODES = [Episode(DATA["observations"][a:b], DATA["actions"][a:b], DATA["rewards"][a:b], cut) for a, b, cut in SPANS]


def empty(observation_space=OBSERVATIONS, action_space=ACTIONS):
    return EpisodicReplayBuffer(100, observation_space, action_space)


class Minari:
    """What is used of a Minari data set."""

    def iterate_episodes(self):
        for start, end, cut in [*SPANS, (6, 8, None)]:
            ends = np.zeros((2, end - start), dtype=bool)
            if cut is not None:
                ends[int(cut), -1] = True
            rows = np.append(np.arange(start, end), start)  # one observation more, the last
            yield SimpleNamespace(
                observations=DATA["observations"][rows],
                actions=DATA["actions"][start:end],
                rewards=DATA["rewards"][start:end],
                terminations=ends[0],
                truncations=ends[1],
            )


def trajectories(kind):
    return [
        kind(
            obs=DATA["observations"][[*range(a, b), a]].tolist(),
            acts=DATA["actions"][a:b],
            rews=DATA["rewards"][a:b],
            terminal=not cut,
        )
        for a, b, cut in SPANS
    ]


def sb3_buffer():
    buffer = ReplayBuffer(8, OBSERVATIONS, ACTIONS, n_envs=1, handle_timeout_termination=True)
    for i in range(8):
        ends, cut = DATA["terminals"][i] or DATA["timeouts"][i], DATA["timeouts"][i]
        row = DATA["observations"][i][None]
        buffer.add(
            row, row, DATA["actions"][i : i + 1], DATA["rewards"][i : i + 1], np.array([ends]), [{"TimeLimit.truncated": cut}]
        )
    return buffer


FORMS = {
    "arrays": (lambda: DATA, 2),
    "double precision": (lambda: {**DATA, "observations": DATA["observations"].astype(float), "infos/x": np.zeros(8)}, 2),
    "columns": (lambda: {**DATA, "actions": DATA["actions"][:, None], "rewards": DATA["rewards"][:, None]}, 2),
    "minari": (Minari, 2),
    "trajectories": (lambda: trajectories(SimpleNamespace), 0),
    "rows of a data set": (lambda: trajectories(dict), 0),
    "episodes": (lambda: EPISODES, 0),
    "own replay buffer": (lambda: read_episodes(EPISODES, empty()).buffer, 0),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_hold_the_same_episodes(form):
    data, n_dropped = FORMS[form]
    recorded = read_episodes(data(), empty())
    assert recorded.n_dropped == n_dropped
    assert recorded.buffer.returns.tolist() == [3, 4, 56] and recorded.buffer.truncated.tolist() == [False, True, False]
    for index, episode in enumerate(EPISODES):
        read = recorded.buffer.episode(index)
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(read, name), getattr(episode, name))


def test_a_replay_buffer_of_sb3_that_went_round_lacks_the_first_episode():
    buffer = sb3_buffer()
    assert read_episodes(buffer, empty()).buffer.returns.tolist() == [4, 56]  # full: its first episode may lack steps
    assert read_episodes(buffer, empty()).n_dropped == 2 + 2


def test_actions_of_a_replay_buffer_of_sb3_are_those_that_the_environment_got(tmp_path):
    env = make_vec(lambda: gym.make("Pendulum-v1", max_episode_steps=10), 2)
    model = SAC("MlpPolicy", env, learning_starts=30, batch_size=8, policy_kwargs={"net_arch": [8]}, seed=1, device="cpu")
    model.learn(60, callback=RecordEpisodes(tmp_path / "data"))
    got, heard = (sorted_steps(data, env) for data in (model.replay_buffer, tmp_path / "data.npz"))
    np.testing.assert_allclose(got, heard, atol=1e-6)
    assert len(got) == 60 and got[:, -1].max() > 1


@pytest.mark.parametrize("space", [spaces.Discrete(9), spaces.Dict({"a": spaces.Discrete(9), "b": OBSERVATIONS})])
def test_choices_as_observations_are_read_from_replay_buffers_of_sb3(space):
    is_dict = isinstance(space, spaces.Dict)
    choices = {"a": np.arange(8), "b": DATA["observations"]} if is_dict else np.arange(8)
    buffer = (DictReplayBuffer if is_dict else ReplayBuffer)(20, space, ACTIONS, n_envs=2)
    for i in range(8):
        rows = map_observation(lambda array, i=i: array[[i, i]], choices)
        actions, rewards, ends = (DATA[name][[i, i]] for name in ("actions", "rewards", "terminals"))
        buffer.add(rows, rows, actions, rewards, ends, [{}, {}])
    read = read_episodes(buffer, empty(space)).buffer
    assert read.lengths.tolist() == [2, 4, 2, 4]
    last = map_observation(lambda array: array[2:6], choices)
    map_observation(np.testing.assert_array_equal, read.episode(3).observations, last)


def sorted_steps(data, env):
    """Observations and actions of all steps, in the order of these numbers."""
    buffer = read_episodes(data, empty(env.observation_space, env.action_space)).buffer
    rows = buffer.stored_rows()
    return np.array(sorted(np.hstack([buffer.raw_observations(rows), buffer.raw_actions(rows)]).tolist()))


@pytest.mark.parametrize("compressed", [False, True])
def test_files_hold_what_was_written(tmp_path, compressed):
    (np.savez_compressed if compressed else np.savez)(tmp_path / "data.npz", **DATA)
    loaded = load_arrays(tmp_path / "data.npz")
    for name, array in DATA.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert isinstance(loaded[name], np.memmap) is not compressed
    assert read_episodes(str(tmp_path / "data.npz"), empty()).buffer.returns.tolist() == [3, 4, 56]


def test_reading_a_file_copies_no_rows(tmp_path):
    n = 5000
    data = {
        "observations": np.zeros((n, 2), np.float32),
        "actions": np.zeros(n, np.int64),
        "rewards": np.ones(n, np.float32),
        "terminals": np.arange(n) % 10 == 9,
        "timeouts": np.zeros(n, bool),
    }
    kinds = empty().arrays()
    data["actions"] = data["actions"].astype(kinds["actions"].dtype)
    np.savez(tmp_path / "data.npz", **data)
    mapped = load_arrays(tmp_path / "data.npz")
    buffer = read_episodes(mapped, empty()).buffer
    for name in ("observations", "actions", "rewards"):
        assert np.shares_memory(buffer.arrays()[name], mapped[name]), name
    assert buffer.n_episodes == 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.array([1, 2, 4, 8, np.nan, 32, 64, 128])}, "of episode 2, step 1 is nan"),
        ({"observations": np.full((8, 2), np.inf)}, "of episode 0, step 0"),
        ({"actions": np.array([0, 1, 3, 0, 1, 2, 0, 1])}, r"of episode 1, step 0 is 3, which lies outside of Discrete\(3\)"),
        ({"actions": np.full(8, 0.5)}, "actions is of type float64"),
        ({"actions": np.zeros((8, 2))}, "shape"),
        ({"observations": np.zeros((8, 3))}, "shape"),
        ({"observations": np.zeros((5, 2))}, "not one row for each of the 8 steps"),
        ({"timeouts": np.zeros(7, bool)}, "8 and 7 rows"),
        ({"terminals": np.zeros(8, bool), "timeouts": np.zeros(8, bool)}, "no episode ends"),
        ({"rewards": np.float64(1)}, "rewards: not one row for each of the 8 steps"),
        ({"terminals": np.array([0, np.nan, 1, 0, 0, 0, 0, 0])}, "terminals of step 1 is nan: must be true or false"),
        ({"terminals": np.array(["a"] * 8)}, "terminals of step 0 is 'a': must be true or false"),
        ({"timeouts": np.full(8, 2)}, "timeouts of step 0 is 2: must be true or false"),
    ],
)
def test_what_is_wrong_is_named_by_its_episode(change, message):
    with pytest.raises(ValueError, match=message):
        read_episodes({**DATA, **change}, empty())


@pytest.mark.parametrize("kind", [int, float, np.uint8])
def test_ends_may_be_numbers(kind):
    numbers = {name: DATA[name].astype(kind) for name in ("terminals", "timeouts")}
    assert read_episodes({**DATA, **numbers}, empty()).buffer.returns.tolist() == [3, 4, 56]


def header_of(shape):
    """An array that says that it is of a shape, and holds two numbers."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    return file.getvalue() + bytes(16)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [(2**60,), (3,), (-2,), (2**40, 2**40)])
def test_arrays_that_are_not_as_large_as_they_say_are_refused(shape, compression, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w", compression) as archive:
        archive.writestr("rewards.npy", header_of(shape))
    with pytest.raises(ValueError, match=r"data\.npz is no \.npz file of arrays: rewards\.npy does not hold"):
        load_arrays(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(8, b"\x01", "encrypted"), (10, b"\x61", "compression"), (10, b"\x0e", "data.npz is no .npz file of arrays")],
)
def test_archives_that_cannot_be_unpacked_are_refused(place, value, message, tmp_path):
    """Bytes of the central directory: 8 holds flags, 10 the compression."""
    np.savez(tmp_path / "data.npz", rewards=np.arange(3.0))
    content = bytearray((tmp_path / "data.npz").read_bytes())
    start = content.index(b"PK\x01\x02") + place
    content[start : start + 1] = value
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_arrays(tmp_path / "data.npz")


def test_what_is_missing_or_of_no_known_form_is_named(tmp_path):
    with pytest.raises(ValueError, match="the recording has no timeouts, but actions"):
        read_episodes({name: array for name, array in DATA.items() if name != "timeouts"}, empty())
    with pytest.raises(ValueError, match="the list is empty: give at least one episode"):
        read_episodes([], empty())
    for nothing in (3, "", [3], object()):
        with pytest.raises((ValueError, FileNotFoundError, IsADirectoryError)):
            read_episodes(nothing, empty())
    with pytest.raises(FileNotFoundError):
        read_episodes(tmp_path / "nothing.npz", empty())
    (tmp_path / "text.npz").write_text("no zip file")
    with pytest.raises(ValueError, match=r"is no \.npz file"):
        read_episodes(tmp_path / "text.npz", empty())
    np.savez(tmp_path / "objects.npz", **{**DATA, "actions": np.array([None] * 8)})
    with pytest.raises(ValueError, match="holds objects"):
        read_episodes(tmp_path / "objects.npz", empty())
    with pytest.raises(ValueError, match="episode 1: "):
        read_episodes([EPISODES[0], Episode(np.zeros((1, 3)), np.zeros(1, int), np.zeros(1))], empty())


def test_dict_observations(tmp_path):
    space = spaces.Dict({"a": OBSERVATIONS, "b": spaces.Discrete(5)})
    nested = {**DATA, "observations": {"a": DATA["observations"], "b": np.arange(8) % 5}}
    buffer = read_episodes(nested, empty(space)).buffer
    write_recording(tmp_path / "data", buffer)
    assert {"actions", "observations/a", "observations/b"} <= set(load_arrays(tmp_path / "data.npz"))
    again = read_episodes(tmp_path / "data.npz", empty(space)).buffer
    assert again.episode(2).observations["b"].tolist() == buffer.episode(2).observations["b"].tolist() == [3, 4, 0]


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_pictures_are_read_with_their_channels_where_the_model_has_them(as_dict, first):
    wide, deep = (spaces.Box(0, 255, shape, np.uint8) for shape in ((36, 40, 3), (3, 36, 40)))
    last = np.random.default_rng(0).integers(256, size=(8, *wide.shape), dtype=np.uint8)
    given, wanted = (last, np.moveaxis(last, -1, 1)) if first else (np.moveaxis(last, -1, 1), last)
    space = deep if first else wide
    space, given = (spaces.Dict({"a": space}), {"a": given}) if as_dict else (space, given)
    cut = [map_observation(lambda rows, a=a, b=b: rows[a:b], given) for a, b, _ in SPANS]
    episodes = [replace(episode, observations=part) for episode, part in zip(EPISODES, cut, strict=True)]
    for data in ({**DATA, "observations": given}, episodes):
        read = read_episodes(data, empty(space)).buffer.episode(2).observations
        np.testing.assert_array_equal(read["a"] if as_dict else read, wanted[3:6])


def test_arrays_and_back_are_the_same():
    buffer = read_episodes(EPISODES, empty()).buffer
    arrays = to_arrays(buffer)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, DATA[name][:6])


# Recording


class Counting(gym.Env):
    """Observes its step; episodes of five steps, each of which pays the action."""

    observation_space, action_space = spaces.Box(0, 10, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return np.array([0], np.float32), {}

    def step(self, action):
        self.now += 1
        return np.array([self.now], np.float32), float(action), self.now == 5, False, {}


@pytest.mark.parametrize("algorithm", [PPO, DQN])
@pytest.mark.parametrize("normalize", [False, True])
def test_trainings_of_other_algorithms_are_recorded_raw(tmp_path, algorithm, normalize):
    env = make_vec(Counting, 2)
    env = VecNormalize(env) if normalize else env
    kwargs = {"n_steps": 20} if algorithm is PPO else {"learning_starts": 10}
    model = algorithm("MlpPolicy", env, device="cpu", seed=1, **kwargs)
    model.learn(40, callback=RecordEpisodes(tmp_path / "data", save_freq=10))
    arrays = load_arrays(tmp_path / "data.npz")
    assert arrays["observations"][:, 0].tolist() == [0, 1, 2, 3, 4] * 8
    np.testing.assert_array_equal(arrays["rewards"], arrays["actions"])
    assert np.flatnonzero(arrays["terminals"]).tolist() == list(range(4, 40, 5)) and not arrays["timeouts"].any()
    assert "step_wait" not in vars(env.venv if normalize else env)  # as it was
    model.learn(40, callback=RecordEpisodes(tmp_path / "more"), reset_num_timesteps=False)
    assert len(load_arrays(tmp_path / "more.npz")["rewards"]) >= 30  # those that ran already are left out, if any


class Interrupted(BaseCallback):
    """Ctrl-C at a step."""

    def _on_step(self):
        if self.num_timesteps == 14:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("reset", [False, True])
def test_what_an_interrupted_training_recorded_is_written_once_with_the_next(tmp_path, reset):
    env = make_vec(Counting, 2)
    model, record = DQN("MlpPolicy", env, train_freq=1, device="cpu", seed=1), RecordEpisodes(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        model.learn(100, callback=[record, Interrupted()])
    for _ in range(2):
        model.learn(20, callback=record, reset_num_timesteps=reset)
    arrays = load_arrays(tmp_path / "data.npz")
    n = 10 if reset else 6  # those that run already when a training begins are left out
    assert arrays["observations"][:, 0].tolist() == [0, 1, 2, 3, 4] * n
    assert not {"step_async", "step_wait", "reset"} & set(vars(env))


def test_evaluations_are_recorded(tmp_path):
    env = make_vec(Counting, 2)
    model = PPO("MlpPolicy", env, device="cpu", seed=1)
    with record_episodes(env, tmp_path / "data.npz") as buffer:
        evaluate_policy(model, env, 4)
    assert buffer.n_episodes >= 4
    assert len(load_arrays(tmp_path / "data.npz")["rewards"]) == buffer.n_transitions


def test_time_limits_are_recorded_as_such(tmp_path):
    env = make_vec(lambda: gym.wrappers.TimeLimit(Counting(), 3))
    PPO("MlpPolicy", env, n_steps=6, device="cpu").learn(6, callback=RecordEpisodes(tmp_path / "data"))
    arrays = load_arrays(tmp_path / "data.npz")
    assert arrays["timeouts"].tolist() == [False, False, True] * 2 and not arrays["terminals"].any()


def test_normalization_below_other_wrappers_cannot_be_taken_back(tmp_path):
    from stable_baselines3.common.vec_env import VecFrameStack

    env = VecFrameStack(VecNormalize(make_vec(Scripted)), 2)
    with pytest.raises(ValueError, match="wrap it last"), record_episodes(env, tmp_path / "data"):
        pass
