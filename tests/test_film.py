"""Films show what was played, side by side and in time."""

import numpy as np
import pytest
from app_models import LENGTH, Counter, trained
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl.evaluation import report
from sb3_udrl.evaluation.film import film, from_jpeg, side_by_side, to_jpeg, write_gif, write_mp4
from sb3_udrl.evaluation.following import PartFollowing
from sb3_udrl.evaluation.report import asked_against_got


def bright(*steps):
    return [np.full((40, 60, 3), 20 * step, dtype=np.uint8) for step in steps]


def test_a_film_shows_every_step_and_says_what_came_of_it():
    env = make_vec_env(Counter, 2, env_kwargs={"render_mode": "rgb_array"})
    model = trained()
    filmed = film(model, env, model.command_space.make({"return": 4.0}), True)
    assert [picture.mean() / 20 for picture in filmed.pictures] == list(range(LENGTH))
    assert 0 <= filmed.got <= LENGTH
    with pytest.raises(ValueError, match="films need arrays"):
        film(model, make_vec_env(Counter, 1), model.command_space.make(4.0), True)


@pytest.mark.parametrize(("part", "words"), [("return", "got"), ("horizon", "return")])
def test_titles_say_what_was_measured(part, words, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(report, "side_by_side", lambda films, given: titles.extend(given) or films[0])
    model, env = trained(), make_vec_env(Counter, 1, env_kwargs={"render_mode": "rgb_array"})
    report.film_commands(model, env, tmp_path / "film.gif", model.command_space.make({part: np.array([4.0])}, 1))
    assert titles[0].startswith(f"asked for {part} 4, {words} ")


def test_who_ends_first_waits_darker():
    pictures = side_by_side([bright(5, 10), bright(5)], ["a", "b"], height=40)
    assert [picture.shape for picture in pictures] == [(60, 120, 3)] * 2
    first, last = (picture[20:] for picture in pictures)
    assert (first[:, :60].mean(), first[:, 60:].mean()) == (100, 100)
    assert (last[:, :60].mean(), last[:, 60:].mean()) == (200, 50)


def test_files_keep_time(tmp_path):
    write_gif(bright(*range(10)), tmp_path / "a.gif", fps=50)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4  # every third of ten
        assert gif.info["duration"] == 60
    write_mp4(bright(1, 2), tmp_path / "a.mp4", fps=25)
    assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:32]
    for write in (write_gif, write_mp4):
        with pytest.raises(ValueError, match="nothing to write"):
            write([], tmp_path / "none", fps=25)


def test_pictures_become_small_files_and_come_back():
    (picture,) = bright(6)
    assert np.abs(from_jpeg(to_jpeg(picture)).astype(int) - picture).max() <= 2
    assert from_jpeg(to_jpeg(picture, most_pixels=30)).shape == (20, 30, 3)


def test_the_table_of_asked_against_got():
    desired = np.array([10.0, 20.0])
    followings = {
        "greedy": PartFollowing(desired, np.array([[10.0, 12.0], [20.0, 20.0]])),
        "sampled": PartFollowing(desired, np.array([[9.0, 9.0], [15.0, 25.0]])),
    }
    head, low, high = asked_against_got(followings, "return").splitlines()
    assert head.split() == ["asked", "return", "got,", "greedy", "got,", "sampled"]
    assert low.split() == ["10.0", "11.0", "+-", "1.0", "9.0", "+-", "0.0"]
    assert high.split() == ["20.0", "20.0", "+-", "0.0", "20.0", "+-", "5.0"]
