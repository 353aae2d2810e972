"""A Chromium that tests of the demo look through, and servers that it looks at."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 180_000  # ms, for machines that are shared


def browser_of_the_machine() -> str:
    """The path of a Chromium; the test is skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        message = f"the demo was not tried in a browser: there is no {BROWSERS[0]}; on Debian, apt-get install chromium"
        warnings.warn(message, stacklevel=1)  # shown at the end of the run, unlike the reason of a skip
        pytest.skip(message)
    return found


@contextmanager
def a_browser() -> Iterator[Browser]:
    """A browser without a screen."""
    path = browser_of_the_machine()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def serving(command: Callable[[int], list[str]], log: Path, cwd: Path | None = None) -> Iterator[str]:
    """
    A server of the demo.

    :param command: the command that starts it, given a port
    :param log: file for what it says
    :param cwd: where it is started
    :return: its address
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as output:
        server = subprocess.Popen(command(port), stdout=output, stderr=output, cwd=cwd, start_new_session=True)
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
        os.killpg(server.pid, signal.SIGTERM)  # make has children of its own
        server.wait()


def opened(browser: Browser, address: str, width: int, height: int) -> Page:
    """
    The page, with its buttons.

    :param browser: the browser
    :param address: of the server
    :param width: in pixels
    :param height: in pixels
    """
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(address)
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
    return page
