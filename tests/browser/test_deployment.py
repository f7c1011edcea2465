"""The example of docs/deployment, run: nginx, two signed server processes behind it, a real browser before it."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import worlds
from tests.browser.conftest import APP, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.long]
ROOT = Path(__file__).parents[2]
SECRET = "a secret for this test, the same for both processes"


def ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def service_command(port: int, origin: str) -> list[str]:
    """The command of docs/deployment/atlas@.service, with this port and host."""
    unit = (ROOT / "docs/deployment/atlas@.service").read_text("utf-8").replace("\\\n", " ")
    words = re.search(r"^ExecStart=\S+/bokeh (.+)$", unit, re.MULTILINE)
    assert words
    return [
        w.replace("%i", str(port)).replace("atlas.example.org", origin).replace("apps/atlas", str(APP))
        for w in words[1].split()
    ]


def configuration(folder: Path, front: int, back: list[int]) -> Path:
    """The example's nginx.conf with this test's ports and a folder of its own."""
    text = (ROOT / "docs/deployment/nginx.conf").read_text("utf-8")
    for old, new in [
        ("127.0.0.1:5101", f"127.0.0.1:{back[0]}"),
        ("127.0.0.1:5102", f"127.0.0.1:{back[1]}"),
        ("listen 8443;", f"listen 127.0.0.1:{front};"),
    ]:
        assert old in text
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in kinds) + "  access_log off;\n"
    path = folder / "nginx.conf"
    path.write_text(
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\ndaemon off;\n" + text.replace("http {\n", "http {\n" + own),
        "utf-8",
    )
    return path


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.fail("no nginx for the test of the deployment: run `apt-get install nginx-light`", pytrace=False)
    folder = tmp_path_factory.mktemp("deployed")
    worlds.tiny_atlas(folder / "cache" / "world")
    front, *back = ports(3)
    environment = {
        **os.environ,
        "ATLAS_CACHE": str(folder / "cache"),
        "BOKEH_SECRET_KEY": SECRET,
        "BOKEH_SIGN_SESSIONS": "yes",
        "ATLAS_READ_ONLY": "1",
    }
    with (folder / "log").open("wb") as log:
        servers = [
            subprocess.Popen(
                [sys.executable, "-m", "bokeh", *service_command(port, f"127.0.0.1:{front}")],
                env=environment,
                stdout=log,
                stderr=log,
            )
            for port in back
        ]
        proxy = subprocess.Popen(
            [nginx, "-p", str(folder), "-c", str(configuration(folder, front, back))], stdout=log, stderr=log
        )
        try:
            for port, server in zip(back, servers, strict=True):
                wait_for(f"http://127.0.0.1:{port}/atlas/page/000000000000/app.css", server)
            wait_for(f"http://127.0.0.1:{front}/atlas/page/000000000000/app.css", proxy)
            yield f"http://127.0.0.1:{front}/atlas"
        finally:
            for process in (proxy, *servers):
                process.terminate()
                process.wait(10)


def status(url: str, **headers: str) -> int:
    try:
        return int(urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20).status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_ten_pages_in_a_row_open_through_the_proxy_and_every_websocket_finds_its_session(
    deployed: str, open_page: Callable[..., Page]
) -> None:
    for _ in range(10):
        page = open_page(deployed)
        expect(page.locator("#shown")).to_contain_text("shown")
        assert page.evaluate("AtlasPage.map.points.data.i.length") > 0
        page.context.close()


def test_answers_are_packed_and_carry_the_policy_and_nothing_is_broken_by_it(deployed: str) -> None:
    request = urllib.request.Request(deployed, headers={"Accept-Encoding": "gzip", "User-Agent": "one"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        body = gzip.decompress(answer.read()).decode()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "manifest" in body


def test_a_session_that_no_process_signed_is_refused(deployed: str) -> None:
    assert status(f"{deployed}?bokeh-session-id=forged") == 403


def test_a_websocket_from_another_host_is_refused(deployed: str) -> None:
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert status(f"{deployed}/ws", Origin="https://elsewhere.example", **handshake) == 403


def test_a_cookie_of_another_application_does_not_reach_the_page(deployed: str) -> None:
    request = urllib.request.Request(deployed, headers={"Cookie": "secret=brown-fox"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        page = answer.read().decode()
    token = re.search(r'"token":"([^"]+)"', page)
    assert token and "brown-fox" not in page
    assert "YnJvd24tZm94" not in token[1]  # nor in the token, which is base64


def test_one_visitor_cannot_make_sessions_without_end(deployed: str) -> None:
    assert 503 in [status(deployed, **{"User-Agent": "many"}) for _ in range(40)]
