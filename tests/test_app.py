"""What the demo computes: models of a folder, an episode that is played, ranges of commands, reasons, files."""

import csv
import io
import json
import os
import shlex
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from app_models import LENGTH, trained, write_models
from helpers import tiny_model
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from sb3_udrl.app import __main__ as command_line
from sb3_udrl.app import play
from sb3_udrl.app.episode import PlayedEpisode
from sb3_udrl.app.export import export
from sb3_udrl.app.gallery.__main__ import RECIPES
from sb3_udrl.app.many import curve, distribution
from sb3_udrl.app.models import GALLERY, CannotOpen, further_environment, list_models, many_environments, open_model
from sb3_udrl.app.ranges import Range, ranges
from sb3_udrl.app.reasons import grid_reasons, has_trees, tree_reasons
from sb3_udrl.evaluation.film import from_jpeg
from sb3_udrl.obedience.score_card import make_score_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def opened(folder):
    return lambda name: open_model(listed(folder, name))


def listed(folder, name):
    return next(one for one in list_models(folder) if one.name == name)


def played(opened, command, seed=3, deterministic=True, **kwargs):
    episode = PlayedEpisode(opened.model, opened.env, command, seed, **kwargs)
    while not episode.ended:
        episode.step(deterministic)
    return episode


# ---------------------------------------------------------------------------------------------------- models of a folder


def test_models_say_their_environment_and_their_command(folder):
    assert [one.name for one in list_models(folder)] == ["broken", "forest", "invisible", "nameless", "network", "partial"]
    network = listed(folder, "network")
    assert (network.settings.env_id, network.made_by) == ("AppCounter-v0", "python make.py network")
    assert listed(folder, "nameless").settings.env_id is None


def test_the_zoo_says_both_too(folder, tmp_path):
    (tmp_path / "Counter").mkdir()
    (tmp_path / "Counter.zip").write_bytes((folder / "network.zip").read_bytes())
    (tmp_path / "Counter" / "config.yml").write_text("n_envs: 2\n")
    (tmp_path / "Counter" / "args.yml").write_text("algo: udrl\nenv: AppCounter-v0\nseed: 7\n")
    (one,) = list_models(tmp_path)
    assert one.settings.env_id == "AppCounter-v0"
    assert one.made_by == "python -m rl_zoo3.train --algo udrl --env AppCounter-v0 --seed 7"
    assert open_model(one).no_picture is None


def test_damaged_notes_hide_no_other_model(folder, tmp_path):
    for name in ("damaged", "deep", "sound"):
        (tmp_path / f"{name}.zip").write_bytes((folder / "network.zip").read_bytes())
        (tmp_path / name).mkdir()
        (tmp_path / name / "args.yml").write_text("env: AppCounter-v0")
        (tmp_path / name / "config.yml").write_text("env_kwargs: 5" if name == "damaged" else "n_envs: 1")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    found = {one.name: one.settings.env_id for one in list_models(tmp_path)}
    assert found == {"damaged": None, "deep": "AppCounter-v0", "sound": "AppCounter-v0"}


@pytest.mark.parametrize(
    "name, env_id, says",
    [
        ("broken", None, "broken with AppCounter-v0 cannot be loaded"),
        ("nameless", None, "type its id"),
        ("nameless", "NoSuchThing-v0", "the environment NoSuchThing-v0 cannot be made"),
        ("network", "CartPole-v1", "network with CartPole-v1 cannot be loaded"),
    ],
)
def test_what_cannot_be_opened_says_why(folder, name, env_id, says):
    with pytest.raises(CannotOpen, match=says):
        open_model(listed(folder, name), env_id)


def test_a_missing_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_udrl.forest", None)
    monkeypatch.setitem(sys.modules, "sb3_udrl.forest.policy", None)
    with pytest.raises(CannotOpen, match=r"forest.*(sb3-udrl\[forest\]|halted)"):
        open_model(listed(folder, "forest"))


def test_statistics_of_observations_are_read(tmp_path):
    env = VecNormalize(make_vec_env("CartPole-v1", seed=0))
    model = tiny_model(env).learn(200)
    model.save(tmp_path / "normalized.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))
    (tmp_path / "normalized.json").write_text(json.dumps({"env_id": "CartPole-v1"}))
    found = listed(tmp_path, "normalized")
    opened = open_model(found._replace(settings=found.settings._replace(vec_normalize=tmp_path / "vecnormalize.pkl")))
    normalize = unwrap_vec_normalize(opened.env)
    np.testing.assert_allclose(normalize.obs_rms.mean, env.obs_rms.mean)
    assert not normalize.training


def test_wrappers_of_others_are_refused(folder):
    network = listed(folder, "network")
    foreign = network._replace(settings=network.settings._replace(env_wrapper=[{"os.system": {"x": 1}}]))
    with pytest.raises(CannotOpen, match=r"needs os.system: the demo imports only"):
        open_model(foreign)
    function = network._replace(settings=network.settings._replace(env_wrapper="gymnasium.make"))
    with pytest.raises(CannotOpen, match=r"gymnasium.make: is no Wrapper"):
        open_model(function)
    with pytest.raises(CannotOpen, match="'dqn'"):
        open_model(network._replace(algo="dqn"))


def test_pickles_are_not_loaded(tmp_path):
    """A file of an earlier revision holds some."""
    old = Path(__file__).parent / "data" / "v0.1.0" / "absolute.zip"
    (tmp_path / "old.zip").write_bytes(old.read_bytes())
    (tmp_path / "old.json").write_text(json.dumps({"env_id": "CartPole-v1"}))
    with pytest.raises(CannotOpen, match="cannot be loaded"):
        open_model(listed(tmp_path, "old"))


def test_an_environment_without_pictures_plays_without(opened):
    invisible = opened("invisible")
    assert "does not render" in invisible.no_picture
    episode = played(invisible, None, films=False)
    assert len(episode.moments) == LENGTH and episode.pictures == []


def test_a_picture_that_fails_is_named(folder, tmp_path):
    (tmp_path / "broken_picture.zip").write_bytes((folder / "network.zip").read_bytes())
    opened = open_model(listed(tmp_path, "broken_picture"), "AppBrokenPicture-v0")
    assert opened.no_picture.endswith("on this machine: no display")


# ---------------------------------------------------------------------------------------------------------- the episode


def test_an_episode_counts_what_it_was_asked_for_and_got(opened):
    episode = played(opened("network"), {"return": 5.0, "horizon": 12.0})
    actions = np.array([moment.action for moment in episode.moments])
    assert len(actions) == LENGTH
    np.testing.assert_array_equal(episode.achieved(), np.cumsum(actions))
    paid = np.concatenate(([0], np.cumsum(actions)[:-1]))
    np.testing.assert_allclose(episode.remaining()["return"], 5.0 - paid)
    np.testing.assert_allclose(episode.remaining()["horizon"], 12.0 - np.arange(LENGTH))
    assert np.isnan(episode.remaining()["advantage"]).all()
    assert episode.outcomes() == [("return", 5.0, actions.sum()), ("horizon", 12.0, 12.0)]
    episode.step(True)
    assert len(episode.moments) == LENGTH  # it has ended


def test_it_decides_as_predict_does(opened):
    network = opened("network")
    episode = played(network, {"return": 8.0, "horizon": 12.0})
    network.env.seed(3)
    observation, state, starts, reward = network.env.reset(), None, np.ones(1, dtype=bool), None
    for moment in episode.moments:
        np.testing.assert_array_equal(moment.observation, observation)
        actions, state = network.model.predict(
            observation, state, starts, True, command={"return": 8.0, "horizon": 12.0}, reward=reward
        )
        assert actions[0] == moment.action
        observation, reward, starts, _ = network.env.step(actions)


def test_another_command_on_the_way_counts_from_there(opened):
    episode = PlayedEpisode(*opened("network")[:2], {"return": 2.0, "horizon": 12.0}, 0)
    for _ in range(4):
        episode.step(True)
    episode.ask({"return": 7.0, "horizon": 8.0})
    assert episode.outcomes() == [("return", 7.0, 0.0), ("horizon", 8.0, 0.0)]
    while not episode.ended:
        episode.step(True)
    assert episode.remaining()["horizon"].tolist() == [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert episode.remaining()["return"][4] == 7.0
    rewards = [moment.amounts["return"] for moment in episode.moments]
    assert episode.outcomes() == [("return", 7.0, sum(rewards[4:])), ("horizon", 8.0, 8.0)]
    with pytest.raises(ValueError, match="speed"):
        episode.ask({"speed": 1.0})
    assert episode.command["return"][0] == 7.0


def test_the_same_seed_is_the_same_episode_though_another_tab_draws_too(folder):
    first = played(open_model(listed(folder, "network")), None, seed=5, deterministic=False).table()
    mine, other = (PlayedEpisode(*open_model(listed(folder, "network"))[:2], None, seed) for seed in (5, 6))
    while not mine.ended:
        mine.step(False)
        other.step(False)
    for name, column in first.items():
        np.testing.assert_array_equal(column, mine.table()[name])
    assert other.moments[0].observation[0, 1] != mine.moments[0].observation[0, 1]


def test_two_episodes_start_alike(folder):
    one = listed(folder, "network")
    opened = open_model(one)
    left = PlayedEpisode(opened.model, opened.env, {"return": 1.0}, 4)
    right = PlayedEpisode(opened.model, further_environment(opened, one), {"return": 9.0}, 4)
    left.step(True), right.step(True)
    np.testing.assert_array_equal(left.moments[0].observation, right.moments[0].observation)
    with pytest.raises(ValueError, match="8 environments"):
        PlayedEpisode(opened.model, many_environments(opened, one, 0))


def test_pictures_show_the_steps(opened):
    episode = played(opened("network"), None)
    assert [round(from_jpeg(picture).mean() / 20) for picture in episode.pictures] == list(range(LENGTH))


# -------------------------------------------------------------------------------------------------------------- commands


def test_ranges_are_those_of_the_score_card(opened):
    model = opened("network").model
    nothing = {"horizon": np.nan, "advantage": np.nan}
    rows = [({"return": r, **nothing}, {"return": r, **nothing}, True) for r in range(21)]
    model.score_card = make_score_card(rows)
    found = {one.part: one for one in ranges(model)}
    assert (found["return"].known, found["return"].source) == ((0.0, 20.0), "score card")
    assert (found["return"].low, found["return"].high) == (-5.0, 25.0)
    assert found["return"].is_beyond(20.5) and not found["return"].is_beyond(20.0)
    assert found["horizon"].low >= 1.0
    assert found["advantage"].known is None and not found["advantage"].is_beyond(99.0)


def test_without_a_score_card_experience_says(opened):
    model = opened("network").model
    model.score_card = make_score_card([])
    returns = model.policy.experience.known()[:, 0]
    found = ranges(model)[0]
    assert isinstance(found, Range) and found.source == "experience"
    assert found.known == (returns.min(), returns.max())


def test_twenty_episodes_and_the_curve(folder):
    one = listed(folder, "network")
    opened = open_model(one)
    result = distribution(opened.model, many_environments(opened, one, 0), {"return": 6.0}, True)
    assert result.asked["return"] == 6.0
    assert result.achieved["return"].shape == (20,) and (result.achieved["horizon"] == LENGTH).all()
    assert sum(result.histogram()["episodes"]) == 20
    measured = curve(opened.model, many_environments(opened, one, 0), True, 3, 2)
    assert measured.part == measured.achieved_part == "return" and measured.following.achieved.shape == (3, 2)


# --------------------------------------------------------------------------------------------------------------- reasons


def test_reasons_of_trees_sum_up_and_their_rule_holds(opened):
    forest = opened("forest")
    episode = played(forest, {"return": 9.0, "horizon": 12.0})
    assert has_trees(episode)
    for step in (0, 5, -1):
        reasons = tree_reasons(episode, step)
        assert reasons.base + sum(reasons.contributions.values()) == pytest.approx(reasons.output)
        assert {"observation[0]", "desired return"} <= set(reasons.contributions)
        assert reasons.rule[-1] in ("action 0", "action 1")


def test_trees_of_standardized_inputs_have_contributions_and_no_rule():
    scaled = {"policy_kwargs": {"standardize": True, "estimator_kwargs": {"n_estimators": 2, "max_leaf_nodes": 8}}}
    model = trained(policy="ForestPolicy", commands="relative", **scaled)
    episode = PlayedEpisode(model, make_vec_env("AppCounter-v0"), {"advantage": 1.0}, films=False)
    episode.step(True)
    assert has_trees(episode)
    reasons = tree_reasons(episode)
    assert reasons.rule == [] and reasons.base + sum(reasons.contributions.values()) == pytest.approx(reasons.output)


@pytest.mark.parametrize(("low", "high", "digits"), [(0, 200, 0), (-5, 15, 0), (0, 5, 1), (-0.005, 0.025, 3)])
def test_sliders_have_at_least_twenty_values(low, high, digits):
    assert Range("return", low, high, None, "", low).digits == digits


def test_networks_show_other_commands_around_the_present_one(opened):
    episode = played(opened("network"), {"return": 9.0, "horizon": 12.0})
    assert not has_trees(episode)
    grid = grid_reasons(episode, 0)
    assert list(grid.axes) == ["return", "horizon"] and grid.outputs.shape == (21, 21, 1, 2)
    assert grid.axes["return"][0] < 9.0 < grid.axes["return"][-1] and grid.axes["horizon"][0] >= 1
    np.testing.assert_allclose(grid.outputs.sum(-1), 1.0, rtol=1e-5)
    striving = played(opened("network"), {"advantage": 1.0})
    assert list(grid_reasons(striving).axes) == ["advantage"]
    with pytest.raises(ValueError, match="nothing was asked for"):
        grid_reasons(played(opened("partial"), {}))


# ----------------------------------------------------------------------------------------------------------------- files


def test_an_episode_becomes_a_table(opened):
    episode = played(opened("network"), {"return": 5.0, "horizon": 12.0})
    rows = list(csv.DictReader(io.StringIO(export(episode, "csv", 25).decode())))
    assert len(rows) == LENGTH
    assert [float(row["desired horizon"]) for row in rows] == [12.0 - i for i in range(LENGTH)]
    assert rows[0]["desired advantage"] == ""
    assert float(rows[-1]["achieved return"]) == sum(float(row["reward"]) for row in rows)


def test_an_episode_becomes_a_film(opened):
    episode = played(opened("network"), None)
    gif = Image.open(io.BytesIO(export(episode, "gif", 12)))
    assert (gif.format, gif.size, gif.n_frames) == ("GIF", (60, 40), LENGTH)
    assert gif.info["duration"] == pytest.approx(1000 / 12, abs=10)
    assert b"ftyp" in export(episode, "mp4", 12)[:32]
    with pytest.raises(ValueError, match="kind='avi'"):
        export(episode, "avi", 12)
    with pytest.raises(ValueError, match="nothing to write"):
        export(played(opened("invisible"), None, films=False), "gif", 12)


# ---------------------------------------------------------------------------------------------------------- command line


def test_it_listens_on_the_loopback_address_alone(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(command_line, "serve", called.append)
    command_line.main(["--models", str(tmp_path), "--no-browser"])
    assert "--server.address=127.0.0.1" in called[0] and called[0][-1] == str(tmp_path.resolve())


def test_what_stops_the_command_stops_the_server(monkeypatch):
    became = []
    monkeypatch.setattr(os, "execve", lambda *call: became.append(call) or sys.exit(0))
    with pytest.raises(SystemExit):
        command_line.serve(["/bin/server", "page"])
    assert [call[:2] for call in became] == [("/bin/server", ["/bin/server", "page"])]


def test_a_missing_folder_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--models", str(tmp_path / "nowhere")])
    assert "there is no such folder" in capsys.readouterr().err


def test_a_model_of_one_part_has_one_range():
    (only,) = ranges(trained(commands=["return"]))
    assert only.part == "return" and 0 <= only.known[0] <= only.known[1] <= LENGTH


# --------------------------------------------------------------------------------------------------------------- gallery


@pytest.mark.parametrize("name", RECIPES)
def test_the_gallery_opens_and_says_how_it_was_made(name):
    model = listed(GALLERY, name)
    opened = open_model(model)
    assert opened.env_id == RECIPES[name].env_id and model.algo == RECIPES[name].algo
    assert model.made_by == shlex.join(RECIPES[name].command(name))
    episode = PlayedEpisode(opened.model, opened.env, films=False)
    episode.step(deterministic=True)
    assert len(episode.moments) == 1


def test_the_gallery_is_small():
    assert sum(path.stat().st_size for path in GALLERY.iterdir() if path.suffix == ".zip") < 1_300_000


def test_a_pause_waits_for_the_picture_of_the_last_step(opened, monkeypatch):
    """Playing goes by several steps to a picture, in a thread that a click does not stop at once."""
    one = opened("network")
    episode = PlayedEpisode(one.model, one.env, seed=1)
    state = SimpleNamespace(playing="run")
    monkeypatch.setattr(play, "st", SimpleNamespace(session_state=state))
    shown = SimpleNamespace(fps=50.0, how=SimpleNamespace(speed=1.0, deterministic=True))
    under_way, go_on, step = threading.Event(), threading.Event(), episode._step

    def slow_step(*args):
        under_way.set()
        go_on.wait(30)
        step(*args)

    episode._step = slow_step
    playing = threading.Thread(target=play._advance, args=([episode], shown))
    pausing = threading.Thread(target=play._follow, args=("Pause", "run", [episode], shown))
    playing.start()
    assert under_way.wait(30)
    pausing.start()
    pausing.join(0.2)
    assert pausing.is_alive() and state.playing is None
    go_on.set()
    playing.join(30)
    pausing.join(30)
    assert episode.filmed == [0, 2] and len(episode.moments) == 2
