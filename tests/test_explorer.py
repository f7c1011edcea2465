"""The explorer's document and routes, without a browser: by its directory handler, and by a real `bokeh serve`."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bokeh.application.handlers import DirectoryHandler
from bokeh.client import pull_session
from bokeh.document import Document
from PIL import Image

from atlas.pages import answers, routes
from atlas.pages.answers import static_version
from atlas.pages.explorer import build_document, needed, templates
from atlas.pages.opened_sheets import OpenedSheets
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from tests import workers, worlds

APP = Path(__file__).parents[1] / "apps" / "atlas"
SCRIPTS = ("", "-gl", "-widgets", "-tables", "-mathjax")  # of Bokeh
HOSTILE = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "{{ 7*7 }}", "plain")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    worlds.tiny_atlas(folder / "world")
    return folder


@pytest.fixture(scope="module")
def view(cache: Path) -> View:
    return SHELF.open(cache / "world")


def document(cache: Path, path: Path | None = None, **asked: str) -> Document:
    """Return the document that the app makes of a cache and a URL's arguments."""
    doc = Document()
    arguments = {name: [value.encode()] for name, value in asked.items()}
    doc._session_context = lambda: SimpleNamespace(request=SimpleNamespace(arguments=arguments))  # type: ignore[assignment]
    build_document(doc, cache=cache, path=str(path) if path else None)
    return doc


def words(doc: Document) -> str:
    """Return the page of a document that has no Bokeh roots."""
    return doc.template.render(doc.template_variables)


def test_the_app_builds_its_document_from_any_directory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATLAS_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    handler, doc = DirectoryHandler(filename=str(APP)), Document()
    handler.modify_document(doc)
    assert not handler.failed, handler.error_detail
    assert [root.name for root in doc.roots] == ["map"]


def test_the_app_imports_no_torch_and_no_umap(cache: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from bokeh.application.handlers import DirectoryHandler
from bokeh.document import Document
handler, doc = DirectoryHandler(filename={str(APP)!r}), Document()
handler.modify_document(doc)
heavy = [name for name in ("torch", "umap", "numba", "faiss", "ray") if name in sys.modules]
print(handler.failed, [root.name for root in doc.roots], heavy)
"""
    environment = {**os.environ, "ATLAS_CACHE": str(cache)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False ['map'] []"


def test_the_document_holds_no_point_whatever_the_split(cache: Path) -> None:
    for split in ("held-out", "train", "all"):
        doc = document(cache, split=split)
        data = doc.get_model_by_name("points").data
        assert [len(data[name]) for name in ("x", "y", "i", "c")] == [0, 0, 0, 0]
        assert len(json.dumps(doc.to_json(), default=str)) < 40_000  # all sessions alike, whatever the atlas


@pytest.mark.parametrize("few", [0, 4])
def test_a_page_of_many_sheets_has_them_decoded_ahead(
    cache: Path, view: View, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = OpenedSheets()
    monkeypatch.setattr(answers, "SHEETS", sheets)
    monkeypatch.setattr(answers, "FEW_SHEETS", few)
    document(cache)
    if few:
        assert not sheets.ahead
    else:
        workers.until(lambda: list(sheets.kept) == [(view.images_name, 0)])


def test_the_map_opens_on_the_extent_of_its_layout(cache: Path, view: View) -> None:
    xy = view.xy(view.descriptor.layouts[0])
    corners = document(cache).get_model_by_name("corners").data
    assert corners == {"x": [xy[0].min(), xy[0].max()], "y": [xy[1].min(), xy[1].max()]}


def test_each_class_has_a_colour_and_once_more_a_fainter_one_for_training_images(cache: Path) -> None:
    palette = document(cache, split="all").get_model_by_name("mapper").palette
    assert len(palette) == 10 and all(
        faint.startswith(strong) for strong, faint in zip(palette[:5], palette[5:], strict=True)
    )


def test_of_bokehs_scripts_the_page_loads_those_that_draw_a_map() -> None:
    tags = [f'<script type="text/javascript" src="static/js/bokeh{part}.min.js?v=0a"></script>' for part in SCRIPTS]
    kept = needed("\n".join(tags) + "\n<script>let inline = 1</script>")
    assert re.findall(r"bokeh([a-z-]*)\.min", kept) == ["", "-gl"] and "let inline = 1" in kept


def test_selections_stay_in_the_browser_and_a_lasso_tells_once(cache: Path) -> None:
    doc = document(cache)
    source = doc.get_model_by_name("points")
    assert not source.syncable and not source.selected.syncable
    assert not doc.get_model_by_name("lasso").continuous and not doc.get_model_by_name("box").continuous


@pytest.mark.parametrize(("asked", "backend"), [("canvas", "canvas"), ("svg", "webgl"), ("<b>", "webgl")])
def test_the_backend_is_one_of_two(cache: Path, asked: str, backend: str) -> None:
    assert document(cache, backend=asked).get_model_by_name("map").output_backend == backend


def test_hostile_arguments_open_the_page_with_notices(cache: Path) -> None:
    junk = "<script>alert(1)</script>"
    doc = document(cache, layer=junk, layout=junk, split=junk, colour=junk, image=junk, atlas=junk)
    assert [root.name for root in doc.roots] == ["map"]
    assert len(doc.template_variables["manifest"]["notices"]) == 6


def test_an_unreadably_long_argument_is_told_in_short(cache: Path) -> None:
    notices = document(cache, layer="x" * 5000).template_variables["manifest"]["notices"]
    assert len(notices) == 1 and len(notices[0]) < 150


def test_without_an_atlas_the_page_shows_the_commands_that_make_one(tmp_path: Path) -> None:
    page = words(document(tmp_path / "nothing"))
    assert "make demo" in page and "atlas build MODEL IMAGES" in page and "No atlas yet" in page


def test_several_atlases_are_cards_and_a_name_opens_one(tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "one", 30, title="First world")
    worlds.tiny_atlas(tmp_path / "two", 20, title="<b>Second</b>")
    page = words(document(tmp_path))
    assert "First world" in page and "&lt;b&gt;Second&lt;/b&gt;" in page and "<b>Second" not in page
    assert "<span>one</span>" in page and "<b>20 images</b>" in page
    assert 'href="?atlas=one"' in page and "tiny network" in page and "/thumbs/images-" in page
    assert document(tmp_path, atlas="two").template_variables["manifest"]["atlas"] == "two"
    assert "There is no atlas three here." in words(document(tmp_path, atlas="three"))


def test_a_damaged_atlas_is_a_page_in_words(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path / "world", 20)
    contents = json.loads((store.root / "atlas.json").read_text())
    (store.root / "atlas.json").write_text(json.dumps({**contents, "format": 99}))
    page = words(document(tmp_path))
    assert "This atlas cannot be opened" in page and "not of format 1" in page
    (store.root / "atlas.json").write_text("{")
    assert "cannot be read" in words(document(tmp_path))


def test_an_atlas_beside_a_damaged_one_can_still_be_opened(tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "good", 20)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "atlas.json").write_text('{"format": 99}')
    page = words(document(tmp_path))
    assert 'href="?atlas=good"' in page and "not of format 1" in page


def test_a_path_that_holds_no_atlas_is_a_page_in_words(tmp_path: Path) -> None:
    page = words(document(tmp_path, path=tmp_path / "nowhere"))
    assert "no atlas in" in page and "atlas build MODEL IMAGES" in page


def test_hostile_names_are_escaped_in_the_page(tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "world", 20, labels=HOSTILE, title="</script><script>alert(3)</script>")
    doc = document(tmp_path)
    blocks = "{% block preamble %}{% endblock %}{% block contents %}{% endblock %}"
    standing_in = {"base": templates().from_string(blocks), "embed": lambda root: "", "roots": SimpleNamespace(map=None)}
    page = templates().get_template("index.html").render({**doc.template_variables, **standing_in})
    assert "<script>alert" not in page and "<img src=x" not in page and "49" not in page.split("manifest")[1][:200]


# -- routes as plain functions


def test_columns_come_as_little_endian_numbers(view: View) -> None:
    space = view.spaces[0]
    kind, body = answers.column(space.layouts[0], "xy")
    assert (
        kind == "application/octet-stream" and (np.frombuffer(body, "<u2").reshape(2, -1) == view.xy(space.layouts[0])).all()
    )


def test_an_image_comes_as_it_is_stored_and_a_sheet_as_it_was_written(view: View) -> None:
    stored = np.asarray(Image.open(view.store.root / "files" / "17.png"))
    assert (np.asarray(Image.open(io.BytesIO(answers.image(view.images_name, "17")[1]))) == stored).all()
    sheet = np.asarray(Image.open(io.BytesIO(answers.sheet(view.images_name, "0")[1])).convert("L"))
    assert np.abs(sheet[:28, 17 * 28 : 18 * 28].astype(int) - stored).max() <= 1


def test_patterns_come_with_their_counts(view: View) -> None:
    name = str(view.spaces[0].statistics)
    told = json.loads(answers.patterns(name, "1")[1])
    values = np.frombuffer(answers.pattern_values(name, "1", "mean")[1], "<f4").reshape(len(told["labels"]), told["units"])
    assert np.allclose(values, view.patterns(name, 1).mean) and sum(told["count"]) > 0


NO_ROUTES = """
/thumbs/../x/0.webp /thumbs/images-1/0.png /image/images-1/-1 /image/images-1/1e3 /column/images-1/../../etc.bin
/column/IMAGES/label.bin /page/000000000000/../x.js /page/000000000000/app.py /patterns/statistics-1/4.json
/detail/x/999999999.json
"""


@pytest.mark.parametrize("address", NO_ROUTES.split())
def test_an_address_with_anything_but_a_key_and_numbers_is_no_route(address: str) -> None:
    assert not any(re.fullmatch(pattern, address) for pattern, _ in answers.ROUTES)


def test_installing_the_routes_twice_changes_nothing() -> None:
    routes.install_routes()
    before = list(routes.per_app_patterns)
    routes.install_routes()
    assert routes.per_app_patterns == before


# -- a real server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = free_port(), tmp_path_factory.mktemp("log") / "serve.log"
    command = [sys.executable, "-m", "bokeh", "serve", str(APP), "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=log.parent, stdout=file, stderr=file, env={**os.environ, "ATLAS_CACHE": str(cache)}
        )
        try:
            url = f"http://localhost:{port}/atlas"
            wait_for(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def wait_for(url: str, process: Any, log: Path) -> None:
    for _ in range(240):
        try:
            fetch(f"{url}/page/000000000000/app.css")
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return SimpleNamespace(status=answer.status, headers=answer.headers, body=answer.read())


def test_a_session_is_pulled_on_the_layer_that_was_asked_for(server: str, view: View) -> None:
    def pull() -> tuple[Any, str]:
        with pull_session(url=server, arguments={"split": "train", "layer": "fc"}) as session:
            return session.document.get_model_by_name("corners").data["x"], str(session.id)

    with ThreadPoolExecutor(1) as thread:  # of its own: a browser's test may have left a running event loop in this one
        corners, session_id = thread.submit(pull).result()
    space = view.space("fc")
    assert space is not None and session_id
    assert corners == [view.xy(space.layouts[0])[0].min(), view.xy(space.layouts[0])[0].max()]


def test_columns_come_packed_to_who_can_unpack_them_and_pictures_as_they_are(server: str, view: View) -> None:
    for name in ("app.css", "modules.js", "modules.js"):
        address = f"page/{static_version()}/{name}"
        asked = urllib.request.Request(f"{server}/{address}", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["Vary"] == "Accept-Encoding"
            assert gzip.decompress(answer.read()) == fetch(f"{server}/{address}").body
    sheet = urllib.request.Request(f"{server}/thumbs/{view.images_name}/0.webp", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(sheet, timeout=20) as answer:
        assert answer.headers["Content-Encoding"] is None and answer.read(4) == b"RIFF"


def test_what_packing_makes_no_smaller_comes_as_it_is_and_what_every_page_begins_with_is_packed_once() -> None:
    asked: list[str] = []

    def noise(seed: str) -> answers.Answer:
        asked.append(seed)
        return "application/octet-stream", np.random.default_rng(int(seed)).bytes(200_000)

    def words(seed: str) -> answers.Answer:
        asked.append(seed)
        return "application/octet-stream", seed.encode() * 5000

    assert routes.begun(noise, ("1",)) == (*noise("1"), False)
    kind, body, packed = routes.begun(words, ("2",))
    assert packed and gzip.decompress(body) == words("2")[1] and kind == "application/octet-stream"
    routes.begun(words, ("2",))
    assert asked == ["1", "1", "2", "2"]
    assert gzip.decompress(routes.answered(words, ("3",), True)[1]) == routes.answered(words, ("3",), False)[1]
    assert asked[4:] == ["3", "3"]  # what only some pages ask is made for each


def test_the_page_itself_comes_packed_to_who_can_unpack_it(server: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(server, headers={"Accept-Encoding": "gzip"}), timeout=20) as answer:
        body = answer.read()
        assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["Content-Type"].startswith("text/html")
    page = gzip.decompress(body).decode()
    assert 'id="manifest"' in page and 3 * len(body) < len(page)
    assert int(answer.headers["Content-Length"]) == len(body)


def test_the_page_and_its_own_files_are_served(server: str) -> None:
    page = fetch(server).body.decode()
    assert 'id="manifest"' in page and "A tiny world" in page
    for name in re.findall(r"atlas/(page/[0-9a-f]{12}/[a-z]+\.(?:css|js|svg))", page):
        assert fetch(f"{server}/{name}").status == 200


def test_keyed_answers_may_be_kept_for_ever_and_are_not_sniffed(server: str, view: View) -> None:
    for address in (f"thumbs/{view.images_name}/0.webp", f"image/{view.images_name}/3", f"detail/{view.images_name}/3.json"):
        answer = fetch(f"{server}/{address}")
        assert "immutable" in answer.headers["Cache-Control"] and answer.headers["X-Content-Type-Options"] == "nosniff"


MISSING = """
thumbs/images-0000000000000000/0.webp image/{images}/99999 thumbs/{images}/77.webp top/{images}/3.json
page/000000000000/none.js column/{images}/xy.bin
"""


@pytest.mark.parametrize("address", MISSING.split())
def test_what_is_not_there_is_a_plain_404(server: str, view: View, address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{server}/{address.format(images=view.images_name)}")
    assert refused.value.code == 404
