"""``python -m sb3_udrl.recordings``, and learning from recordings when ``learn`` or the Zoo's training begins."""

from __future__ import annotations

from pathlib import Path

import minari
import numpy as np
import pytest
from helpers import make_vec, tiny_model
from minari.data_collector import EpisodeBuffer
from probe_envs import Scripted
from stable_baselines3 import PPO

from sb3_udrl import UDRL
from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.envs.catch import CatchEnv
from sb3_udrl.recordings import LearnFrom, RandomActions, open_recording, read_episodes, record_model, write_recording
from sb3_udrl.recordings.arrays import load_arrays
from sb3_udrl.recordings.command_line import main
from sb3_udrl.recordings.sources import recorded_spaces


@pytest.fixture
def minari_id(tmp_path, monkeypatch):
    """A data set of Minari of three episodes, of which a time limit cut off the second."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rng = np.random.default_rng(0)
    buffers = []
    for i, n in enumerate((3, 5, 4)):
        buffers.append(
            EpisodeBuffer(
                id=i,
                observations=rng.normal(size=(n + 1, 4)).astype(np.float32),
                actions=rng.integers(2, size=n),
                rewards=[1.0] * n,
                terminations=[False] * (n - 1) + [i != 1],
                truncations=[False] * (n - 1) + [i == 1],
                infos={},
            )
        )
    minari.create_dataset_from_buffers("cartpole/three-v0", buffers, env="CartPole-v1", algorithm_name="random")
    return "cartpole/three-v0"


@pytest.mark.filterwarnings("ignore:.*set to None:UserWarning")
def test_data_sets_of_minari_are_read_by_their_id(minari_id, capsys):
    data = open_recording(minari_id)
    buffer = read_episodes(minari_id, EpisodicReplayBuffer(1, *recorded_spaces(data))).buffer
    assert buffer.lengths.tolist() == [3, 5, 4] and buffer.truncated.tolist() == [False, True, False]
    first = next(iter(data.iterate_episodes()))
    np.testing.assert_array_equal(buffer.episode(0).observations, first.observations[:-1])
    main(["inspect", minari_id])
    assert "2 by themselves, 1 by a time limit" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="no data set of Minari of this name"):
        open_recording("cartpole/four-v0")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:commands change the decisions")
def test_random_actions_are_recorded_looked_at_and_learned_from(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["record", "--env", "CartPole-v1", "--steps", "100", "--output", "random", "--seed", "3"])
    n = len(load_arrays("random.npz")["rewards"])
    with pytest.warns(UserWarning, match=r"random\.npz: the first of these episodes is there already: another seed"):
        main(["record", "--env", "CartPole-v1", "--steps", "100", "--output", "random.npz", "--append", "--seed", "3"])
    arrays = load_arrays("random.npz")
    np.testing.assert_array_equal(arrays["observations"][:n], arrays["observations"][n:])  # of the same seed
    capsys.readouterr()
    main(["inspect", "random.npz"])
    assert f"{2 * n:,}, and 0 of episodes without an end" in capsys.readouterr().out
    main("train random.npz --output model --gradient-steps 20 --params policy_kwargs:{net_arch:[8]} batch_size:16".split())
    model = UDRL.load("model", device="cpu")
    assert model.batch_size == 16 and model.policy_kwargs == {"net_arch": [8]} and len(model.command_space.names) == 3
    main(["record", "model", "--env", "CartPole-v1", "--steps", "20", "--output", "obedient", "--greedy"])
    assert load_arrays("obedient.npz")["rewards"].sum() >= 20


def test_other_algorithms_are_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, device="cpu").save("ppo")
    main("record ppo --algo ppo --env CartPole-v1 --steps 20 --output data --greedy".split())
    arrays = load_arrays("data.npz")
    model = PPO.load("ppo", device="cpu")
    np.testing.assert_array_equal(model.predict(arrays["observations"], deterministic=True)[0], arrays["actions"])


@pytest.fixture
def channels_last(tmp_path, monkeypatch):
    """A recording of pictures as the environment gives them."""
    monkeypatch.chdir(tmp_path)
    env = make_vec(CatchEnv)
    record_model(RandomActions(env.action_space, 1), env, 60, "last")
    assert load_arrays("last.npz")["observations"].shape[1:] == (40, 40, 1)
    return "last.npz"


@pytest.mark.filterwarnings("ignore:commands change the decisions")
def test_models_learn_from_pictures_as_their_environment_gives_them(channels_last):
    model = tiny_model(make_vec(CatchEnv)).learn_from(channels_last, 2)
    assert model.replay_buffer.n_transitions == len(load_arrays(channels_last)["rewards"])


def test_pictures_of_models_and_of_random_actions_are_recorded_alike(channels_last):
    PPO("MlpPolicy", make_vec(CatchEnv), n_steps=8, device="cpu").save("ppo")
    main("record --env Catch-v0 --steps 20 --output random".split())
    for output in ("random.npz", channels_last):
        n = len(load_arrays(output)["rewards"])
        main(f"record ppo --algo ppo --env Catch-v0 --steps 20 --output {output} --append".split())
        arrays = load_arrays(output)
        assert arrays["observations"].shape == (len(arrays["rewards"]), 1, 40, 40) and len(arrays["rewards"]) > n


@pytest.mark.filterwarnings("ignore:commands change the decisions")
@pytest.mark.parametrize("env", ["", "--env Catch-v0"])
def test_what_learned_from_pictures_plays_in_their_environment(channels_last, env):
    main(f"train {channels_last} {env} --output model --gradient-steps 2 --params policy_kwargs:{{net_arch:[8]}}".split())
    UDRL.load("model", make_vec(CatchEnv, 2), device="cpu").learn(2)
    main("record model --env Catch-v0 --steps 20 --output own".split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("record --output x", "--env is missing"),
        ("record --env Nothing-v0 --output x", "Nothing-v0"),
        ("record nothing --env CartPole-v1 --output x", "there is no such file"),
        ("record --env CartPole-v1 --output there.npz", "give --append"),
        ("record --env CartPole-v1 --output x --steps 0", "n_steps=0"),
        ("record --env Acrobot-v1 --output there.npz --append --steps 1", "there.npz"),
        ("inspect nothing.npz", "nothing.npz"),
        ("inspect plain.npz", "--env is missing"),
        ("inspect .", "is a folder"),
        ("train there.npz --output x --env Acrobot-v1", "shape"),
        ("train there.npz --output x --params nothing:1", "nothing"),
        ("train there.npz --output x --params batch_size", "NAME:VALUE"),
        ("train there.npz --output x --best 2", "best=2"),
        ("train there.npz --output x --policy Nothing", "Nothing"),
        ("train there.npz --output x --params device:nope", "--params device: "),
        ("train there.npz --output x --params learning_rate:abc", "--params learning_rate: "),
        ("train there.npz --output x --params observation_space:1", "observation_space is that of the recording"),
        ("train there.npz --output .", "--output .: is a folder"),
        ("record --env CartPole-v1 --output .", "--output .: is a folder"),
        ("record --env CartPole-v1 --output ..", "--output ..: is a folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    main("record --env CartPole-v1 --output there --steps 1".split())
    before = (tmp_path / "there.npz").read_bytes()
    arrays = load_arrays("there.npz")
    np.savez("plain", **{name: array for name, array in arrays.items() if not name.startswith("about")})
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "there.npz").read_bytes() == before and not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("place", ["a_file/y", "a_folder"])
def test_where_nothing_can_be_written_nothing_is_played_or_learned(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main("record --env CartPole-v1 --output there --steps 1".split())
    (tmp_path / "a_file").touch()
    for suffix in (".zip", ".npz"):
        (tmp_path / f"a_folder{suffix}").mkdir()
    monkeypatch.setattr("sb3_udrl.recordings.command_line.record_model", None)
    monkeypatch.setattr(UDRL, "learn_from", None)
    append = " --append" if place == "a_folder" else ""
    for arguments in (f"train there.npz --output {place}", f"record --env CartPole-v1 --output {place}{append}"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments.split())
        said = capsys.readouterr().err
        assert end.value.code == 2 and f"--output {place}" in said and said.count("\n") == 1


def test_evaluate_is_the_report(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "nothing", "--env", "CartPole-v1"])
    assert "sb3_udrl.evaluation" in capsys.readouterr().err


def test_every_environment_plays_its_share_to_an_end(tmp_path):
    """Of episodes of 1 and 9 steps, one after the other, half are long, however few steps are asked for."""
    env = make_vec(Scripted, 4, lengths=(1, 9))
    buffer = record_model(RandomActions(env.action_space, 1), env, 28, tmp_path / "data")
    assert sorted(buffer.lengths) == [1] * 4 + [9] * 4
    assert recorded_spaces(load_arrays(tmp_path / "data.npz")) == (env.observation_space, env.action_space)


@pytest.mark.parametrize("name", ["data", "data.npz", "memory://data/{}"])
def test_appended_episodes_come_after_those_that_are_there(tmp_path, name):
    env = make_vec(Scripted, lengths=(3,))
    path = name.format(tmp_path.name) if "://" in name else tmp_path / name
    for n in (1, 2):
        buffer = record_model(RandomActions(env.action_space, n), env, 1, path, append=True)
        assert buffer.n_episodes == n
    address = f"{path}.npz" if "://" in name else tmp_path / "data.npz"
    assert read_episodes(address, EpisodicReplayBuffer(1, env.observation_space, env.action_space)).buffer.n_episodes == 2


def test_nothing_is_appended_to_files_of_others(tmp_path):
    env = make_vec(Scripted)
    record_model(RandomActions(env.action_space, 1), env, 5, tmp_path / "data")
    arrays = load_arrays(tmp_path / "data.npz")
    theirs = {name: array for name, array in arrays.items() if not name.startswith("about")}
    np.savez(tmp_path / "theirs.npz", **theirs, more=np.ones(3))
    with pytest.raises(ValueError, match=r"theirs\.npz: was written by others"):
        record_model(RandomActions(env.action_space, 2), env, 5, tmp_path / "theirs.npz", append=True)
    assert "more" in load_arrays(tmp_path / "theirs.npz")


def test_damaged_files_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", rewards=np.arange(1000.0))
    content = bytearray((tmp_path / "data.npz").read_bytes())
    content[100:200] = bytes(100)
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz is no \.npz file of arrays"):
        load_arrays(tmp_path / "data.npz")


def test_damaged_spaces_are_refused(tmp_path):
    env = make_vec(Scripted)
    record_model(RandomActions(env.action_space, 1), env, 5, tmp_path / "data")
    arrays = load_arrays(tmp_path / "data.npz")
    for about in ("", "[1, 2]", '{"observation_space": 3, "action_space": 4}'):
        with pytest.raises(ValueError, match="what the recording says of its spaces is damaged"):
            recorded_spaces({**arrays, "about": np.array(about)})


def test_learning_from_a_recording_when_learn_begins(tmp_path):
    recorded = tiny_model(make_vec(Scripted)).learn(200)
    write_recording(tmp_path / "data", recorded.replay_buffer)
    model = tiny_model(make_vec(Scripted), learning_starts=10_000)
    model.learn(32, callback=LearnFrom(tmp_path / "data.npz", gradient_steps=10))
    assert not model._running.warm_up.any() and model._n_updates >= 14  # 10 of the recording and 4 of a round
    assert model.replay_buffer.n_transitions_added > recorded.replay_buffer.n_transitions
    logger, n_added = model.logger, model.replay_buffer.n_transitions_added
    with pytest.warns(UserWarning, match="has learned before"):
        model.learn(1, callback=LearnFrom(tmp_path / "data.npz"), reset_num_timesteps=False)
    assert model.replay_buffer.n_transitions_added <= n_added + 1 and type(model.logger) is type(logger)
    with pytest.raises(ValueError, match="PPO does not learn from recordings"):
        PPO("MlpPolicy", make_vec(Scripted), n_steps=8, device="cpu").learn(8, callback=LearnFrom("x"))


def test_later_trainings_have_logs_of_their_own(tmp_path):
    write_recording(tmp_path / "data", tiny_model(make_vec(Scripted)).learn(200).replay_buffer)
    model = tiny_model(make_vec(Scripted), tensorboard_log=str(tmp_path / "logs"))
    model.learn(32, callback=LearnFrom(tmp_path / "data.npz", gradient_steps=10), tb_log_name="first")
    assert Path(model.logger.dir).name == "first_1"
    assert Path(model.learn(32, tb_log_name="second").logger.dir).name == "second_1"


def test_learning_from_a_recording_in_the_zoo(tmp_path, monkeypatch, capsys):
    from sb3_udrl.zoo.__main__ import main as zoo

    monkeypatch.chdir(tmp_path)
    main("record --env CartPole-v1 --steps 60 --output data".split())
    callback = "callback:{'sb3_udrl.recordings.LearnFrom': {'data': 'data.npz', 'gradient_steps': 10}}"
    small = ["learning_starts:100000", "policy_kwargs:dict(net_arch=[8])", "train_freq:8", "gradient_steps:1", callback]
    zoo("train --algo udrl --env CartPole-v1 -n 64 --eval-freq -1 -f logs --device cpu -params".split() + small)
    model = UDRL.load("logs/udrl/CartPole-v1_1/CartPole-v1.zip", device="cpu")
    assert model._n_updates >= 11
