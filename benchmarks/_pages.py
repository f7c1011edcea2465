"""Two pages in one real browser, timed by the same gestures: the explorer's, and embedding-atlas's."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import measure

PATIENCE = 30  # seconds that a selection may take
MOVES = 30  # of the mouse, in a drag or in a row of hovers
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the map's place
WHOLE: Box = (0.01, 0.01, 0.99, 0.99)
RECORD = """(() => { window.apart = []; let last = null; window.going = true;
  const step = (now) => { if (last !== null) apart.push(now - last); last = now; if (going) requestAnimationFrame(step); };
  requestAnimationFrame(step); })()"""
WATCH = """(() => { const words = () => WORDS, before = words(); window.up = window.changed = null;
  addEventListener("pointerup", () => { up = performance.now(); }, { capture: true, once: true });
  const look = () => words() === before || up === null ? requestAnimationFrame(look)
    : requestAnimationFrame(() => { changed = performance.now(); });
  look(); })()"""


@contextmanager
def served(command: Sequence[str], address: str, *, environment: dict[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Run a server until its page answers; yield the address and its process's number. PORT in both is a free one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url, words = address.replace("PORT", port), [word.replace("PORT", port) for word in command]
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=measure.ROOT
    )
    try:
        _answering(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _answering(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        try:
            urllib.request.urlopen(url, timeout=60).close()
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"the server of {url} ended") from None
            time.sleep(0.1)
    raise RuntimeError(f"the server of {url} did not answer in two minutes")


def explorer(atlas: Path) -> Any:
    """Serve the explorer of one atlas."""
    app = str(measure.ROOT / "apps" / "atlas")
    command = [sys.executable, "-m", "bokeh", "serve", app, "--port", "PORT", "--args", str(atlas)]
    environment = {**os.environ, "PYTHONPATH": str(measure.ROOT)}
    return served(command, "http://localhost:PORT/atlas", environment=environment)


class Timed:
    """One page, opened anew: what its start cost, and what its gestures cost."""

    def __init__(self, browser: Any, url: str, *, ready: str, place: str, words: str):
        self.place, self.words, self.received = place, words, 0
        self.page = browser.new_context(viewport={"width": 1600, "height": 960}).new_page()
        self.page.set_default_timeout(120_000)
        self._count_bytes()
        self.page.goto(url, wait_until="commit")
        self.page.wait_for_function(ready)
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
        self.first_paint = float(self.page.evaluate(frames))
        self.page.wait_for_timeout(3000)
        self.start_bytes = self.received

    def _count_bytes(self) -> None:
        tools, address = self.page.context.new_cdp_session(self.page), {}
        tools.send("Network.enable")

        def done(event: dict[str, Any]) -> None:
            if "/static/js/bokeh" not in address.get(event["requestId"], "") and not address[event["requestId"]].startswith(
                "data:"
            ):
                self.received += int(event["encodedDataLength"])

        def frame(event: dict[str, Any]) -> None:
            told = event["response"]
            self.received += len(told["payloadData"]) * 3 // 4 if told["opcode"] == 2 else len(told["payloadData"])

        tools.on("Network.requestWillBeSent", lambda e: address.setdefault(e["requestId"], e["request"]["url"]))
        tools.on("Network.responseReceived", lambda e: address.__setitem__(e["requestId"], e["response"]["url"]))
        tools.on("Network.loadingFinished", done)
        tools.on("Network.webSocketFrameReceived", frame)

    def moved(self, *, held: bool) -> tuple[float, float]:
        """Move the mouse over the map, its button held or not; return the middle and the longest of the frames, in ms."""
        x, y = self.at(0.5, 0.5)
        self.page.mouse.move(x, y)
        if held:
            self.page.mouse.down()
        self.page.evaluate(RECORD)
        for k in range(MOVES):
            self.page.mouse.move(x + 5 * k, y + 3 * k)
        frames = sorted(self.page.evaluate("(() => { going = false; return apart; })()"))
        if held:
            self.page.mouse.up()
        self.page.wait_for_timeout(1500)
        return frames[len(frames) // 2], frames[-1]

    def _until_changed(self) -> float:
        """Return the milliseconds until the words changed; infinity where they did not."""
        from playwright.sync_api import TimeoutError as TooLong

        try:
            self.page.wait_for_function("window.changed !== null", timeout=1000 * PATIENCE)
        except TooLong:
            return math.inf
        return float(self.page.evaluate("changed - up"))

    def at(self, across: float, down: float) -> tuple[float, float]:
        """Return a place of the map on the screen."""
        box = self.page.locator(self.place).first.bounding_box()
        return box["x"] + box["width"] * across, box["y"] + box["height"] * down

    def swept(self, part: Box, *keys: str) -> tuple[float, int]:
        """Drag around a part of the map; return milliseconds from letting go to the new count, and the bytes received."""
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.move(*self.at(part[0], part[1]))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(part[2], part[3]), steps=6)
        self.page.evaluate(WATCH.replace("WORDS", self.words))
        before = self.received
        self.page.mouse.up()
        for key in keys:
            self.page.keyboard.up(key)
        took = self._until_changed()
        self.page.wait_for_timeout(1500)
        return took, self.received - before
