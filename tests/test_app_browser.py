"""
The demo in a real browser, from end to end. Pictures and figures go to ``build/app``, or to the folder that
``SB3_UDRL_PICTURES`` names: those of the documentation are made by
``SB3_UDRL_PICTURES=docs/_static pytest tests/test_app_browser.py``.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
import warnings
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from sb3_udrl import UDRL
from sb3_udrl.app.__main__ import command
from sb3_udrl.app.models import GALLERY

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PICTURES = Path(os.environ.get("SB3_UDRL_PICTURES") or Path(__file__).parents[1] / "build" / "app")
PATIENCE = 60_000  # ms, for machines that are shared

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


def browser_of_the_machine():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        message = f"the demo was not tried in a browser: there is no {BROWSERS[0]}; on Debian, apt-get install chromium"
        warnings.warn(message, stacklevel=1)  # shown at the end of the run, unlike the reason of a skip
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The gallery, and a model of LunarLander-v3 where it has none."""
    folder = tmp_path_factory.mktemp("models")
    for path in GALLERY.iterdir():
        if path.suffix in (".zip", ".json"):
            shutil.copy(path, folder)
    if not (folder / "lunarlander_network.zip").exists():
        settings = {"learning_starts": 300, "train_freq": 300, "policy_kwargs": {"net_arch": [16]}}
        UDRL("CommandPolicy", "LunarLander-v3", commands="any", seed=0, **settings).learn(700).save(
            folder / "lunarlander_network"
        )
        (folder / "lunarlander_network.json").write_text(json.dumps({"env_id": "LunarLander-v3"}))
    return folder


@pytest.fixture(scope="module")
def address(models, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as output:
        server = subprocess.Popen(command(models, "127.0.0.1", port, no_browser=True), stdout=output, stderr=output)
    try:
        until = time.monotonic() + PATIENCE / 1000
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser():
    path = browser_of_the_machine()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def opened(browser, address, width, height):
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(address)
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
    return page


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
    page.get_by_role("button", name="Start", exact=True).click()
    wait_for_step(page, 4)
    assert page.locator("img.episode").count() == 2
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
