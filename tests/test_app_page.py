"""The page of the demo, clicked through without a browser."""

import sys

import numpy as np
import pytest
from app_models import LENGTH, write_models
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest

from sb3_udrl.app.__main__ import PAGE

pytestmark = pytest.mark.slow
FASTEST = "as fast as possible"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def page(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["page.py", str(folder)])

    def opened(model, environment="AppCounter-v0"):
        at = AppTest.from_file(str(PAGE), default_timeout=120).run()
        at.selectbox(key="environment").select(environment).run()
        at.selectbox(key="model").select(model).run()
        assert not at.exception
        return at

    return opened


def click(at, key):
    at.button(key=key).click().run()
    assert not at.exception
    return at.session_state["episode"] if "episode" in at.session_state else None


def play_to_the_end(at, view):
    """A browser draws what is played anew, twice a second; here, each run does."""
    click(at, f"{view}_Start")
    for _ in range(100):
        if "playing" not in at.session_state or at.session_state["playing"] is None:
            return at
        at.run()
        assert not at.exception
    raise AssertionError("the episode does not end")


def test_start_step_reset_and_reasons(page):
    at = page("network")
    assert [button.label for button in at.button][:4] == ["Start", "Pause", "Step", "Reset"]
    assert len(click(at, "run_Step").moments) == 1
    assert len(click(at, "run_Step").moments) == 2
    assert len(click(at, "run_Reset").moments) == 0
    at.select_slider(key="speed").set_value(FASTEST).run()
    episode = play_to_the_end(at, "run").session_state["episode"]
    assert episode.ended and len(episode.moments) == LENGTH
    assert at.metric[0].value == f"{episode.achieved()[-1]:.1f}"
    assert any("Under other commands" in text.value for text in at.markdown)


def test_lines_over_time(page):
    at = page("network")
    if not at.checkbox(key="command_asks_return").value:
        at.checkbox(key="command_asks_return").check().run()
    click(at, "run_Step")
    episode = click(at, "run_Step")
    (chart,) = at.get("vega_lite_chart")
    table = convert_arrow_bytes_to_pandas_df(chart.proto.data.data)
    lines = {name: rows.set_index("step")["value"].to_dict() for name, rows in table.groupby("line")}
    assert lines["return so far"] == dict(enumerate(episode.achieved()))
    assert lines["return left"] == dict(enumerate(episode.remaining()["return"]))


def test_another_command_while_it_runs(page):
    at = page("network")
    before = click(at, "run_Step")
    if not at.checkbox(key="command_asks_return").value:
        at.checkbox(key="command_asks_return").check().run()
    slider = at.slider(key="command_return")
    slider.set_value(slider.min).run()
    episode = at.session_state["episode"]
    assert episode is before and episode.command["return"][0] == slider.min
    remaining = click(at, "run_Step").remaining()["return"]  # what is asked for alone is corrected by what was delivered
    assert len(remaining) == 2 and not np.isnan(remaining[1]) and remaining[1] != remaining[0]


def test_what_lies_beyond_is_marked(page):
    at = page("network")
    if not at.checkbox(key="command_asks_return").value:
        at.checkbox(key="command_asks_return").check().run()
    assert any("Delivered so far" in caption.value for caption in at.sidebar.caption)
    slider = at.slider(key="command_return")
    slider.set_value(slider.max).run()
    assert any("lies beyond" in warning.value for warning in at.sidebar.warning)


def test_trees_say_their_rule(page):
    at = page("forest")
    click(at, "run_Step")
    assert at.code[0].value.startswith("if ") and "then action" in at.code[0].value


def test_two_commands_side_by_side(page):
    at = page("network")
    at.select_slider(key="speed").set_value(FASTEST).run()
    click(at, "run_Step")
    at.radio(key="view").set_value("Compare").run()
    assert not at.exception
    play_to_the_end(at, "compare")
    left, right = at.session_state["left"], at.session_state["right"]
    assert left.ended and right.ended and left.env is not right.env
    assert (left.moments[0].observation == right.moments[0].observation).all()
    at.radio(key="view").set_value("Run").run()
    episode = click(at, "run_Step")  # that of the other view has waited
    assert [moment.observation[0, 0] for moment in episode.moments] == [0, 1]


def test_the_other_views(page):
    at = page("network")
    at.radio(key="view").set_value("Twenty episodes").run()
    at.button[0].click().run()
    assert not at.exception and any(text.value.startswith("20 episodes") for text in at.markdown)
    at.radio(key="view").set_value("Command following").run()
    at.button[0].click().run()
    assert not at.exception and len(at.dataframe) == 1
    at.radio(key="view").set_value("About the model").run()
    assert at.code[0].value == "python make.py network"


def test_export(page):
    at = page("network")
    click(at, "run_Step")
    next(button for button in at.button if button.label == "Make the file").click().run()
    assert not at.exception
    (kind, length), content = at.session_state["episode_file"]
    assert (kind, length) == ("csv", 1) and content.startswith(b"step,desired return")


def test_what_goes_wrong_says_so_on_the_page(page):
    at = page("broken")
    assert "cannot be loaded" in at.error[0].value
    at = page("nameless", "unknown")
    assert "type its id" in at.error[0].value
    at.text_input(key="env_id").set_value("AppCounter-v0").run()
    assert not at.error and not at.exception
    at = page("invisible", "AppNoPicture-v0")
    assert any("does not render" in warning.value for warning in at.warning)


def test_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["page.py", str(tmp_path)])
    assert "no saved models" in AppTest.from_file(str(PAGE), default_timeout=120).run().error[0].value


def test_tabs_do_not_disturb_each_other(page):
    one, other = page("network"), page("network")
    click(one, "run_Step")
    assert len(one.session_state["episode"].moments) == 1
    other.button(key="run_Pause").click().run()
    assert len(other.session_state["episode"].moments) == 0
    assert one.session_state["opened"].model is not other.session_state["opened"].model
