"""The explorer's server: its command, what it refuses, and the frame a notebook shows."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from atlas import serving
from atlas.errors import AtlasError
from atlas.serving import command, free_port, show


def test_a_busy_port_gives_way_to_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) <= port + 50


def test_no_free_port_is_told(monkeypatch):
    monkeypatch.setattr("atlas.serving.PORTS_TRIED", 1)
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AtlasError, match=f"no free port from {port} to {port} on localhost: name another with --port"):
            free_port(port)


def test_the_command_names_every_host_and_nothing_is_written_where_that_was_asked(tmp_path):
    program, environment, url = command(
        None, tmp_path, port=5006, read_only=True, origins=("atlas.example.org", "atlas.example.org:8443")
    )
    hosts = [program[k + 1] for k, word in enumerate(program) if word == "--allow-websocket-origin"]
    port = re.fullmatch(r"http://localhost:([0-9]+)/atlas", url)
    assert port and hosts == [f"localhost:{port[1]}", f"127.0.0.1:{port[1]}", "atlas.example.org", "atlas.example.org:8443"]
    assert environment["ATLAS_READ_ONLY"] == "1" and environment["ATLAS_CACHE"] == str(tmp_path)


def test_without_asking_an_atlas_may_be_written_into(tmp_path, monkeypatch):
    monkeypatch.delenv("ATLAS_READ_ONLY", raising=False)
    assert "ATLAS_READ_ONLY" not in command(None, tmp_path, port=5006)[1]


@pytest.mark.parametrize("origin", ["*", "*.example.org", "https://example.org/", "a b", "", "--log-file", "<b>"])
def test_a_host_that_is_none_is_refused_before_the_server_starts(tmp_path, origin):
    with pytest.raises(AtlasError, match=r"is no host: name it as in atlas\.example\.org"):
        command(None, tmp_path, port=5006, origins=(origin,))


def test_show_serves_an_atlas_once_and_the_frame_names_it(tiny_atlas):
    shown = tiny_atlas.show(height=700, port=5900)
    try:
        assert tiny_atlas.show().url == shown.url and shown.running
        assert urllib.request.urlopen(shown.url, timeout=20).status == 200
        frame = tiny_atlas.show(height=640)._repr_html_()
        assert f'src="{shown.url}"' in frame and 'height="640"' in frame and "title=" in frame
    finally:
        shown.stop()
    assert not shown.running and "<iframe" not in shown._repr_html_() and "stopped" in repr(shown)
    shown.stop()
    again = tiny_atlas.show(port=5900)
    try:
        assert again.running and again is not shown
    finally:
        again.stop()


@pytest.mark.parametrize("end", ["", "; os.kill(os.getpid(), 9)"], ids=["ends", "is killed"])
def test_the_server_ends_with_the_process_that_shows_it(tiny_atlas, end):
    shown = f"atlas.open({str(tiny_atlas.store.root)!r}).show(port=5950).url"
    code = f"import atlas, os; print({shown}, flush=True){end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-9 if end else 0)
    port = int(re.search(r":([0-9]+)/", done.stdout)[1])
    until = time.monotonic() + 10
    while listens(port) and time.monotonic() < until:
        time.sleep(0.05)
    assert not listens(port)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


def test_behind_a_notebooks_proxy_the_frame_and_the_server_take_its_address(tiny_atlas, monkeypatch):
    asked = {}

    def started(root, *, port, url, height):
        asked.update(root=root, url=url)
        return serving.Shown(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE), url, height=height)

    monkeypatch.setattr(serving, "started", started)
    shown = show(tiny_atlas.store.root, url='https://hub.example.org/user/"me"/proxy/5006/atlas')
    assert asked["root"] == tiny_atlas.store.root.resolve() and "&quot;me&quot;" in shown._repr_html_()
    shown.stop()


def test_a_server_that_ends_at_once_says_why(tiny_atlas, monkeypatch):
    monkeypatch.setattr(
        serving,
        "command",
        lambda *a, **k: ([sys.executable, "-c", "raise SystemExit('no room')"], None, "http://localhost:9"),
    )
    with pytest.raises(AtlasError, match="the explorer's server does not answer: no room"):
        serving.started(tiny_atlas.store.root, port=5006, url=None, height=500)


def test_a_frame_too_low_to_see_anything_is_refused(tiny_atlas):
    with pytest.raises(AtlasError, match="a frame of 20 pixels cannot be used: 200 to 5000 would do"):
        tiny_atlas.show(height=20)
