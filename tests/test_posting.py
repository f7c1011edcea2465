"""What a page posts: taken from the explorer's own page only, of a limited size, answered in words where it cannot be."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from atlas.errors import AtlasError
from atlas.pages.posting import MOST_BYTES, opened, read_only_server
from atlas.pages.selection_answers import POSTS
from tests import worlds
from tests.browser.conftest import serving

OURS = {"X-Atlas": "page"}
COUNT = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posting") / "cache" / "world"
    worlds.tiny_atlas(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with serving(root.parent) as address:
        urllib.request.urlopen(address).close()  # a page puts the atlas on the server's shelf
        yield address


def post(url: str, path: str, body: bytes, headers: dict[str, str] = OURS) -> tuple[int, bytes]:
    """Send a body as the page does; return the status and the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("POST", f"/atlas/{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def key(root: Path) -> str:
    return next(root.glob("images-*")).name


def test_a_question_of_the_page_is_answered(url: str, root: Path) -> None:
    status, body = post(url, f"find/{key(root)}", b'{"text": "7.png"}\n')
    assert status == 200 and [one["row"] for one in json.loads(body)["files"]] == [7, 17, 27, 37]
    status, body = post(url, f"export/{key(root)}/paths", b'{"space": "fc"}\n' + b"\x80" + b"\0" * 3 + b"\1")
    assert (status, body) == (200, b"0.png\n39.png\n")


@pytest.mark.parametrize("kind", ["find", "called", "distinguish", "export/csv", "notes/keep", "notes/remove", "notes/list"])
def test_another_origin_is_refused_everywhere(url: str, root: Path, kind: str) -> None:
    first, _, rest = kind.partition("/")
    path = f"{first}/{key(root)}" + (f"/{rest}" if rest else "")
    for headers in ({}, {**OURS, "Origin": "https://elsewhere.example"}, {**OURS, "Origin": "null"}):
        status, body = post(url, path, b"{}\n", headers)
        assert status == 403 and "taken from the explorer's own page only" in json.loads(body)["error"]
    assert post(url, path, b"{}\n", {**OURS, "Origin": f"http://{urlsplit(url).netloc}"})[0] in (200, 400)


def test_a_body_too_large_is_refused_before_it_is_sent(url: str, root: Path) -> None:
    status, body = post(url, f"find/{key(root)}", b"", {**OURS, "Content-Length": str(MOST_BYTES + 1)})
    assert status == 413 and json.loads(body)["error"] == "What was sent is too large: at most 4 MB are taken."


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("find/KEY", b"", "this is no question of the explorer's page: load the page again"),
        ("find/KEY", b"[1]\n", "this is no question of the explorer's page: load the page again"),
        ("find/KEY", b"[" * 15_000, "this is no question of the explorer's page: load the page again"),
        ("find/KEY", b'{"text": NaN}\n', "this is no question of the explorer's page: load the page again"),
        ("find/KEY", b'{"text": 7}\n', "a search takes 1 to 200 characters"),
        ("find/images-0000", b'{"text": "a"}\n', "no atlas open here shows 'images-0000'"),
        ("distinguish/KEY", b'{"space": "fc"}\n\xff', "the selection is of another atlas (1 bytes, 10 expected)"),
        ("distinguish/KEY", b'{"space": ["fc"]}\n' + b"\xff" * 10, "no layer"),
        ("export/KEY/csv", b'{"space": null}\n' + b"\xff" * 5, "no layer None"),
        ("notes/KEY/open", b'{"id": "../../atlas"}\n', "'../../atlas' is the id of no kept selection"),
        ("notes/KEY/open", b'{"id": {"a": 1}}\n', "the id is no text: load the page again"),
        ("notes/KEY/keep", b'{"name": ""}\n' + b"\xff" * 5, "a kept selection needs a name of 1 to 120 characters: 0 were"),
        ("notes/KEY/restore", b'{"id": "00000000-0000-4000-8000-000000000000"}\n', "was deleted here"),
    ],
)
def test_what_cannot_be_answered_is_told_in_words(url: str, root: Path, path: str, body: bytes, message: str) -> None:
    status, answer = post(url, path.replace("KEY", key(root)), body)
    assert status == 400 and message in json.loads(answer)["error"]


def test_an_address_takes_a_key_and_words_of_ours_only(url: str, root: Path) -> None:
    for path in (f"export/{key(root)}/../csv", f"export/{key(root)}/exe", "find/x", f"notes/{key(root)}/../../atlas.json"):
        assert post(url, path, b"{}\n")[0] in (403, 404, 405)


def test_a_server_that_only_shows_writes_nothing_and_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_READ_ONLY", "1")
    assert read_only_server()
    before = sorted(root.rglob("*"))
    with serving(root.parent) as url:
        urllib.request.urlopen(url).close()
        for answers in POSTS:
            path = answers.pattern.replace(r"(images-[0-9a-f]{1,64})", key(root)).lstrip("/")
            status, body = post(url, path, b'{"name": "x", "id": "y", "space": "fc", "text": "z"}\n' + b"\xff" * 5)
            told = "This server only shows: nothing is written in its atlases."
            assert (status == 403) == answers.writes and (told.encode() in body) == answers.writes
    assert sorted(root.rglob("*")) == before
    for value, expected in (("", False), ("0", False), ("yes", True)):
        monkeypatch.setenv("ATLAS_READ_ONLY", value)
        assert read_only_server() is expected


@pytest.mark.parametrize("body", [b"{}", b"{}\n", b'{"a": 1}\n\n\x00'])
def test_a_body_is_a_line_of_json_and_bytes(body: bytes) -> None:
    asked, rest = opened(body)
    assert json.dumps(asked).encode() + (b"\n" if b"\n" in body else b"") + rest == body


def test_a_head_that_is_long_is_refused() -> None:
    with pytest.raises(AtlasError, match="no question of the explorer's page"):
        opened(b'{"a": "' + b"x" * 20_000 + b'"}\n')
