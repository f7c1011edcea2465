"""A real browser for the tests of the page; one that is missing is a failure with what to do, never a skip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from tests import worlds

APP = Path(__file__).parents[2] / "apps" / "atlas"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str:
    """Return the browser's program, or fail with one line."""
    found = os.environ.get("ATLAS_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            "no browser for the tests of the page: run `apt-get install chromium`, or name one with ATLAS_BROWSER",
            pytrace=False,
        )
    return found


@pytest.fixture(scope="module")  # no longer: while Playwright runs, no other test of the thread can run an event loop
def browser() -> Iterator[Browser]:
    program = find_browser()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield started
        started.close()


@contextmanager
def serving(cache: Path, *arguments: str) -> Iterator[str]:
    """Run `bokeh serve apps/atlas` over a cache; yield the page's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bokeh", "serve", str(APP), "--port", str(port), *arguments]
    with tempfile.TemporaryFile() as log:  # beside the cache it would lie in the repository
        environment = {**os.environ, "ATLAS_CACHE": str(cache)}
        process = subprocess.Popen(command, cwd=cache.parent, stdout=log, stderr=log, env=environment)
        try:
            url = f"http://localhost:{port}/atlas"
            wait_for(f"{url}/page/000000000000/app.css", process)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
    raise AssertionError("the server did not answer in 30 seconds")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with one tiny atlas, ``world``; a file of tests with other wishes has a fixture of its own."""
    folder = tmp_path_factory.mktemp("browser") / "cache"
    worlds.tiny_atlas(folder / "world")
    return folder


@pytest.fixture(scope="module")
def view(cache: Path) -> View:
    return SHELF.open(cache / "world")


@pytest.fixture(scope="module")
def url(cache: Path, view: View) -> Iterator[str]:
    with serving(cache) as address:
        yield address


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a URL on the canvas backend and waits until it is drawn; page errors fail the test."""
    contexts, errors = [], []

    def go(url: str, *, scheme: str = "dark", ready: bool = True) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
        context.set_default_timeout(30_000)  # a loaded machine has taken 10 s for one page
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: (errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(url + ("&" if "?" in url else "?") + "backend=canvas")
        if ready:
            page.wait_for_function("window.AtlasPage && AtlasPage.ready")
        return page

    yield go
    for context in contexts:
        context.close()
    assert errors == []
