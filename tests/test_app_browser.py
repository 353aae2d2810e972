"""
The demo in a real browser, from end to end. Pictures and figures go to ``build/app``, or to the folder that
``SB3_UDRL_PICTURES`` names: those of the documentation are made by
``SB3_UDRL_PICTURES=docs/_static pytest tests/test_app_browser.py``.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
from app_browser import PATIENCE, a_browser, opened, serving
from playwright.sync_api import expect

pytestmark = pytest.mark.slow
PICTURES = Path(os.environ.get("SB3_UDRL_PICTURES") or Path(__file__).parents[1] / "build" / "app")

# How many different pictures are painted per second, until none comes any more
COUNT_PICTURES = """() => new Promise(done => {
    const seen = [], start = performance.now()
    const look = () => {
        const name = document.querySelector('img.episode').alt
        if (!seen.length || seen[seen.length - 1][0] !== name) seen.push([name, performance.now()])
        if (performance.now() - start < 3000) requestAnimationFrame(look)
        else done(seen.length < 3 ? 0 : 1000 * (seen.length - 1) / (seen[seen.length - 1][1] - seen[0][1]))
    }
    look()
})"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    demo = [sys.executable, "-m", "sb3_udrl.app", "--no-browser", "--port"]
    with serving(lambda port: [*demo, str(port)], log) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with a_browser() as browser:
        yield browser


def step_of(page):
    text = page.locator("img.episode").first.get_attribute("alt")  # none before the first picture
    return int(text.rpartition(" ")[2]) if text else -1


def wait_for_step(page, least):
    until = time.monotonic() + PATIENCE / 1000
    while step_of(page) < least:
        assert time.monotonic() < until, f"the episode stays at step {step_of(page)}"
        time.sleep(0.1)


def expect_step(page, step):
    expect(page.locator("img.episode").first).to_have_attribute("alt", re.compile(rf" at step {step}$"))


def settled(page):
    """After what runs has come to its end."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)


def test_a_visit(browser, address):
    PICTURES.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    page = opened(browser, address, 1280, 900)
    figures = {"seconds until the page stands": round(time.monotonic() - began, 2)}

    page.get_by_label("Environment", exact=False).first.click()
    page.get_by_role("option", name="LunarLander-v3").click()
    expect(page.get_by_role("heading", name="LunarLander-v3")).to_be_visible()
    if page.get_by_role("slider", name="Desired return").count() == 0:
        page.get_by_text("Ask for return").click()
    slider = page.get_by_role("slider", name="Desired return")
    expect(slider).to_be_visible()
    before = slider.input_value()
    slider.focus()
    slider.press("ArrowLeft")
    assert slider.input_value() != before
    settled(page)

    page.get_by_role("button", name="Start", exact=True).click()
    wait_for_step(page, 2)
    figures["pictures per second, LunarLander-v3"] = round(page.evaluate(COUNT_PICTURES), 1)
    page.screenshot(path=PICTURES / "app_run.png")
    page.get_by_role("button", name="Reset", exact=True).click()
    settled(page)
    expect_step(page, 0)
    page.get_by_role("button", name="Step", exact=True).click()
    expect_step(page, 1)
    page.get_by_role("button", name="Start", exact=True).click()
    wait_for_step(page, 2)
    reasons = page.get_by_text("Why this action?")
    expect(reasons).to_have_count(0)  # while it plays
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(reasons).to_be_visible()
    settled(page)
    paused = step_of(page)
    time.sleep(1)
    assert step_of(page) == paused
    page.get_by_role("button", name="Step", exact=True).click()
    expect_step(page, paused + 1)

    reasons.click()
    expect(page.get_by_text("it chose action")).to_be_visible()
    expect(page.locator('[data-testid="stExpander"] img')).to_be_visible()
    page.screenshot(path=PICTURES / "app_why.png", full_page=True)
    page.get_by_text("Export the episode").click()
    page.get_by_text("GIF", exact=True).click()
    settled(page)
    page.get_by_role("button", name="Make the file").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the file").click()
    assert download.value.suggested_filename == "LunarLander-v3.gif"
    assert Path(download.value.path()).read_bytes()[:4] == b"GIF8"

    page.get_by_text("Compare", exact=True).click()
    expect(page.get_by_text("The first command is in the sidebar.")).to_be_visible()
    expect(page.locator("img.episode")).to_have_count(2)  # and no longer that of the other view
    page.get_by_role("button", name="Start", exact=True).click()
    wait_for_step(page, 4)
    page.screenshot(path=PICTURES / "app_compare.png")
    page.get_by_role("button", name="Pause", exact=True).click()
    settled(page)
    (PICTURES / "app_figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    assert figures["pictures per second, LunarLander-v3"] > 1  # a shared machine is slow; the figures say how fast it was
    page.close()


def test_a_finished_episode_on_a_phone(browser, address):
    page = opened(browser, address, 390, 844)
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, "the page scrolls sideways"
    page.get_by_role("button", name="Start", exact=True).click()
    wait_for_step(page, 4)
    page.screenshot(path=PICTURES / "app_phone.png")
    figures = {"pictures per second, CartPole-v1": round(page.evaluate(COUNT_PICTURES), 1)}
    (PICTURES / "app_figures_phone.json").write_text(json.dumps(figures, indent=1) + "\n")
    unnamed = page.locator("button:visible").evaluate_all(
        "all => all.filter(b => !(b.innerText.trim() || b.ariaLabel || b.title || b.dataset.testid)).length"
    )
    assert unnamed == 0
    page.close()
