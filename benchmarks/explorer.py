"""The explorer in a real browser at growing sizes, beside embedding-atlas on the same points."""

from __future__ import annotations

import math
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

SIZES, QUICK = (10_000, 70_000, 200_000, 1_000_000), (2_500,)
PART = 10_000  # images of the smaller lasso
SESSIONS = 20  # opened to see what one more costs the server
TOGETHER, FEW = 30, 6  # pages at once, each lassoing; in a quick run
IN_VIEW = 40  # images of a gallery that a window of 960 pixels shows
COLUMNS = ["points", "page", "first paint ms", "start MB", "pan frame ms", "longest", "hover frame ms", "longest",
           "lasso 10 000 ms", "lasso all ms", "lasso all kB", "MB a session"]  # fmt: skip
OURS = {
    "ready": "window.AtlasPage?.ready",
    "place": ".map-place",
    "words": "document.querySelector('#selection-count').textContent",
}
THEIRS = {
    "ready": "document.querySelector('canvas') && /[0-9] points/.test(document.body.innerText)",
    "place": "canvas",
    "words": "(document.body.innerText.match(/[0-9,]+ *[/] *[0-9,]+ points/) ?? [''])[0]",
}
SWEEPS = 5  # of each kind, by turns; told is the median
PEERS_PART = (0.35, 0.35, 0.65, 0.65)
PEERS_WHOLE = (0.005, 0.12, 0.995, 0.93)  # clear of the controls that lie on its map


def main(argv: Sequence[str] | None = None) -> None:
    """Time both pages at every size, one page among thirty sessions, and thirty pages at once; print one table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, metavar="POINTS", help=f"how many points; {SIZES} without")
    asked = parser.parse_args(argv)
    sizes = asked.sizes or (QUICK if asked.quick else SIZES)
    with chromium() as browser:
        peer, notes = find_peer(asked.cache, browser)
        rows = [row for count in sizes for row in at_size(browser, crowd_of(count, asked.cache), count, peer)]
        middle, count = crowd_of(sizes[min(1, len(sizes) - 1)], asked.cache), FEW if asked.quick else TOGETHER
        notes += [among(browser, middle, count), together(browser, middle, count), of_the_server(middle, count)]
    sentence = (
        "Milliseconds from opening to first paint, in a fresh browser profile; bytes until three seconds later, "
        "without Bokeh's own scripts; frames while dragging and while pointing; from letting go of a selection to its new "
        f"count and gallery, of ours the median of {SWEEPS}; the server's anonymous memory for one more session. Chromium "
        "without a GPU."
    )
    measure.show(sentence, COLUMNS, rows, notes=notes)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser of the tests."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import find_browser

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield started
        started.close()


def crowd_of(count: int, cache: Path) -> Path:
    """Return an atlas of `count` points made of the demo's, written where it is missing."""
    from atlas.pages.view import View
    from benchmarks._crowd import crowd

    measure.tell(f"an atlas of {count} points")
    demo = measure.demo_atlas(cache)
    return crowd(cache / "benchmarks" / "crowds" / str(count), View(demo.store.root), count)


# ---------------------------------------------------------------------------------------------------------------------
# One size


def at_size(browser: Any, atlas: Path, count: int, peer: tuple[Path, str] | None) -> list[list[str]]:
    """Return the rows of one size: ours, and the peer's where there is one."""
    from atlas.pages.view import View
    from benchmarks import _embedding_atlas
    from benchmarks._pages import Timed, explorer

    view, rows = View(atlas), []
    measure.tell(f"ours at {count} points")
    with explorer(atlas) as (url, pid):
        Timed(browser, f"{url}?split=all", **OURS).page.context.close()  # the server has read its files, as on any later day
        timed = Timed(browser, f"{url}?split=all", **OURS)
        rows.append([f"{count}", "ours", *gestures(timed, view, ours=True), f"{a_session(url, pid):.2f}"])
        timed.page.context.close()
    if peer is None:
        return rows
    measure.tell(f"embedding-atlas at {count} points")
    file = _embedding_atlas.points(view, atlas.parent / f"{count}.parquet")
    with _embedding_atlas.page(peer[0], file) as (url, _):
        timed = Timed(browser, url, **THEIRS)
        rows.append([f"{count}", f"embedding-atlas {peer[1]}", *gestures(timed, view, ours=False), ""])
        timed.page.context.close()
    return rows


def gestures(timed: Any, view: Any, *, ours: bool) -> list[str]:
    """Drag, point and select; return the cells from first paint to the bytes of the greatest selection."""
    from benchmarks._pages import WHOLE

    keys = () if ours else ("Shift",)  # there a drag with shift held selects; here the box is a tool
    pan, hover = timed.moved(held=True), timed.moved(held=False)
    if ours:
        timed.page.evaluate("AtlasPage.map.whole()")
        timed.page.wait_for_timeout(1000)
        timed.page.keyboard.press("b")
    smaller, whole = (around(timed.page, view, PART), WHOLE) if ours else (PEERS_PART, PEERS_WHOLE)
    turns = SWEEPS if ours else 1  # there a drag inside a selection moves it: no second one is like the first
    sweeps = [(timed.swept(smaller, *keys), timed.swept(whole, *keys)) for _ in range(turns)]
    part, every = (typical([taken[place][0] for taken in sweeps]) for place in (0, 1))
    received = sweeps[0][1][1]  # later ones find pictures that the browser keeps
    start = f"{timed.start_bytes / 1e6:.2f}"
    return [f"{timed.first_paint:.0f}", start, f"{pan[0]:.0f}", f"{pan[1]:.0f}", f"{hover[0]:.0f}", f"{hover[1]:.0f}",
            f"{part:.0f}", f"{every:.0f}", f"{received / 1e3:.1f}"]  # fmt: skip


def typical(milliseconds: Sequence[float]) -> float:
    """Return the median of what was timed; a gesture that changed no count tells no time."""
    told = [taken for taken in milliseconds if taken < math.inf]
    return float(np.median(told)) if told else math.inf


def around(page: Any, view: Any, wanted: int) -> tuple[float, float, float, float]:
    """Return the part of the map around its middle point that holds about `wanted` points, as shares of its place."""
    x0, x1, y0, y1 = page.evaluate(
        "(m => [m.plot.x_range.start, m.plot.x_range.end, m.plot.y_range.start, m.plot.y_range.end])(AtlasPage.map)"
    )
    xy = view.xy(view.spaces[0].layouts[0]).astype(float)
    across, down = (xy[0] - x0) / (x1 - x0), (y1 - xy[1]) / (y1 - y0)
    x, y = np.median(across), np.median(down)
    reach = np.sort(np.maximum(np.abs(across - x), np.abs(down - y)))[min(wanted, len(across) - 1)]
    return max(0.01, x - reach), max(0.01, y - reach), min(0.99, x + reach), min(0.99, y + reach)


def a_session(url: str, pid: int) -> float:
    """Return the megabytes of anonymous memory that one more session costs the server, held open by its websocket."""

    def opened() -> float:  # in a thread of its own: Playwright's loop runs in this one
        held = opened_sessions(url, 3)
        before = anonymous(pid)
        held += opened_sessions(url, SESSIONS)
        grown = anonymous(pid) - before
        for session in held:
            session.close()
        return grown / SESSIONS / 1e6

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(opened).result()


def anonymous(pid: int) -> int:
    """Return the bytes of anonymous memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


# ---------------------------------------------------------------------------------------------------------------------
# Thirty at once, and the peer


def among(browser: Any, atlas: Path, count: int) -> str:
    """Let one page and `count` - 1 clients select at one moment, `count` times; return in words how long the page took.

    The clients hold sessions and ask what pages ask, but draw nothing: each user has a computer of their own.
    """
    from atlas.pages.view import View
    from benchmarks._pages import explorer

    act = """async ([moment, x0, x1, wanted]) => {
      await new Promise((go) => setTimeout(go, moment - Date.now()));
      const began = performance.now();
      AtlasPage.map.sweep({ type: "rect", x0, x1, y0: 0, y1: 65535 }, "replace");
      await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
      const cells = [...document.querySelectorAll("#gallery .cell")].filter((cell) => cell.offsetParent !== null);
      const pictures = cells.map((cell) => (cell.firstElementChild ?? cell).style.backgroundImage.slice(5, -2));
      const urls = new Set(pictures.filter(Boolean));
      await Promise.all([...urls].map((url) => Object.assign(new Image(), { src: url }).decode()));
      const took = performance.now() - began, rows = new Set(AtlasPage.map.chosenRows());
      const shown = urls.size > 0 === wanted > 0 && cells.every((cell) => rows.has(Number(cell.dataset.row)));
      return [took, rows.size === wanted && shown];
    }"""
    measure.tell(f"one page among {count} sessions")
    view, took = View(atlas), []
    places = view.xy(view.spaces[0].layouts[0])[0]
    asked = galleries(view, count)
    with explorer(atlas) as (url, _), ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(count) as clients:
        held = thread.submit(opened_sessions, url, count - 1).result()
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(f"{url}?split=all")
        page.wait_for_function("window.AtlasPage?.ready")
        page.wait_for_timeout(3000)

        def ask(moment: float, rows: Sequence[int]) -> None:
            time.sleep(max(0.0, moment - time.time()))
            fetched(f"{url}/picks/{view.images_name}/{'-'.join(map(str, rows))}.webp")

        for k in range(count):  # each time another strip of the map, and other images of the others
            moment = time.time() + 0.5
            waiting = [
                clients.submit(ask, moment, np.roll(asked[other], k).tolist()) for other in range(count) if other != k
            ]
            x0, x1 = 65535 * k / count, 65535 * (k + 1) / count
            took.append(page.evaluate(act, [1000 * moment, x0, x1, int(((places >= x0) & (places <= x1)).sum())]))
            for one in waiting:
                one.result()
        page.context.close()
        thread.submit(lambda: [session.close() for session in held]).result()
    right, milliseconds = sum(ok for _, ok in took), np.array([t for t, _ in took])
    return (
        f"One page among {count} sessions over {len(places)} points, all of which select at one moment, {count} times: "
        f"{right} of {count} show exactly their images; from the selection to the gallery with its pictures median "
        f"{np.median(milliseconds):.0f} ms, p95 {np.percentile(milliseconds, 95):.0f} ms. The others hold their sessions "
        "and ask the server what a page asks, without drawing."
    )


def together(browser: Any, atlas: Path, count: int) -> str:
    """Open `count` pages, let all select at one moment, and return in words what was lost and how long they took."""
    from atlas.pages.view import View
    from benchmarks._pages import explorer

    act = """async ([moment, x0, x1, wanted]) => {
      await new Promise((go) => setTimeout(go, moment - Date.now()));
      const began = performance.now();
      AtlasPage.map.sweep({ type: "rect", x0, x1, y0: 0, y1: 65535 }, "replace");
      await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
      const rows = new Set(AtlasPage.map.chosenRows()), cells = [...document.querySelectorAll("#gallery .cell")];
      const shown = cells.length > 0 === wanted > 0 && cells.every((cell) => rows.has(Number(cell.dataset.row)));
      const told = document.querySelector("#selection-count").textContent.replace(/[^0-9]/g, "");
      const right = rows.size === wanted && shown && Number(told || 0) === wanted;
      window.took = [performance.now() - began, right];
    }"""
    view = View(atlas)
    places = view.xy(view.spaces[0].layouts[0])[0]
    with explorer(atlas) as (url, _), ExitStack() as pages:
        opened = [
            pages.enter_context(browser.new_context(viewport={"width": 1280, "height": 800})).new_page()
            for _ in range(count)
        ]
        for page in opened:
            page.set_default_timeout(300_000)
            page.goto(f"{url}?split=all")
        for page in opened:
            page.wait_for_function("window.AtlasPage?.ready")
        moment = 1000 * (time.time() + 5)
        for k, page in enumerate(opened):  # each its own strip of the map
            x0, x1 = 65535 * k / count, 65535 * (k + 1) / count
            wanted = int(((places >= x0) & (places <= x1)).sum())
            page.evaluate(f"(asked) => {{ window.took = null; ({act})(asked); }}", [moment, x0, x1, wanted])
        took = [page.wait_for_function("window.took").json_value() for page in opened]
    right, milliseconds = sum(ok for _, ok in took), np.array([t for t, _ in took])
    return (
        f"{count} sessions at once over {len(places)} points, each selecting its own strip of the map, in one browser on "
        f"this machine's cores: {right} of {count} show exactly their images; median {np.median(milliseconds):.0f} ms, "
        f"p95 {np.percentile(milliseconds, 95):.0f} ms."
    )


def of_the_server(atlas: Path, count: int) -> str:
    """Ask at one moment what `count` lassoing pages ask of the server, without a browser; return in words how long it took.

    A lasso's answer is found in the page, in columns that it holds; what it asks for are the pictures of its gallery.
    """
    from atlas.pages.view import View
    from benchmarks._pages import explorer

    measure.tell(f"{count} lassos without a browser")
    view = View(atlas)
    asked = [f"picks/{view.images_name}/{'-'.join(map(str, rows))}.webp" for rows in galleries(view, 2 * count)]
    with explorer(atlas) as (url, _), ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(count) as clients:
        held = thread.submit(opened_sessions, url, count).result()
        rounds = [
            list(clients.map(lambda address: fetched(f"{url}/{address}"), part)) for part in (asked[:count], asked[count:])
        ]
        thread.submit(lambda: [session.close() for session in held]).result()
    cold, warm = (np.percentile([took for took, _ in part], 95) for part in rounds)
    size = np.mean([size for part in rounds for _, size in part])
    return (
        f"Of the server alone: {count} clients, each with a session open, ask at once what a lasso asks for, one picture "
        f"of the {IN_VIEW} images that a gallery shows ({size / 1e3:.1f} kB): p95 {cold:.0f} ms just after the "
        f"server's first page, {warm:.0f} ms afterwards, for other images."
    )


def galleries(view: Any, count: int) -> list[list[int]]:
    """Return images that the galleries of `count` selections may begin with, each selection a strip of the map."""
    places = view.xy(view.spaces[0].layouts[0])[0]
    random = np.random.default_rng(0)
    strips = (np.flatnonzero(places // (65_536 / count) == k) for k in range(count))
    return [random.permutation(strip if len(strip) else len(places))[:IN_VIEW].tolist() for strip in strips]


def opened_sessions(url: str, count: int) -> list[Any]:
    """Return sessions held open by their websockets."""
    from bokeh.client import pull_session

    return [pull_session(url=url) for _ in range(count)]


def fetched(url: str) -> tuple[float, int]:
    """Return the milliseconds that an answer took, and its bytes."""
    seconds, body = measure.timed(lambda: urllib.request.urlopen(url, timeout=300).read())
    return 1000 * seconds, len(body)


def find_peer(cache: Path, browser: Any) -> tuple[tuple[Path, str] | None, list[str]]:
    """Return embedding-atlas as it can be timed here, and what is to be said of its releases."""
    from benchmarks import _embedding_atlas

    notes = ["embedding-atlas 0.24 and later draw by WebGPU alone, and nothing where a browser has none, as here."]
    found = _embedding_atlas.with_webgl(cache)
    if isinstance(found, str):
        return None, [found]
    told = (
        f"Timed is {found[1]}, the last release with WebGL that this registry has; its smaller selection is a fixed "
        "rectangle of its map, so that its number differs, and its selections go to its tables and not to a gallery."
    )
    return found, [*notes, told]


if __name__ == "__main__":
    main()
