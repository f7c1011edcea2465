"""The explorer's server: its command, and a server of one atlas shown in a notebook."""

from __future__ import annotations

import atexit
import html
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from atlas.errors import AtlasError, one_line

APP = Path(__file__).parents[1] / "apps" / "atlas"
PORTS_TRIED = 50
PATIENCE = 60.0  # seconds until a server that does not answer is given up: a cold import of Bokeh has taken ten
OURS = "ATLAS_ENDS_WITH"  # set in the environment of a server that ends with the process that started it
READ_ONLY = "ATLAS_READ_ONLY"  # set to 1 in the server's environment: nothing is written into the atlases it serves


def command(
    one: Path | None,
    cache: Path | None,
    *,
    port: int,
    address: str = "localhost",
    read_only: bool = False,
    origins: tuple[str, ...] = (),
) -> tuple[list[str], dict[str, str], str]:
    """Return the command of the explorer's server, its environment and its URL; the next free port is taken.

    It serves the atlas `one`, or those in the folder `cache`. `origins` are further hosts, ``name`` or ``name:port``, that
    a browser may reach it under, a proxy's say.
    """
    if not (APP / "main.py").is_file():
        raise AtlasError("the explorer's app is not there: `atlas serve` runs from a clone of the project (apps/atlas)")
    port = free_port(port, address)
    program = [sys.executable, "-m", "bokeh", "serve", str(APP), "--port", str(port), "--address", address]
    program += ["--log-level", "warning", "--session-token-expiration", "86400"]
    program += ["--include-headers", "Host", "--include-cookies", "none"]  # else all cookies stand in the page's own text
    for origin in (f"{address}:{port}", f"127.0.0.1:{port}", *map(checked_origin, origins)):
        program += ["--allow-websocket-origin", origin]
    program += ["--args", str(one)] if one is not None else []
    environment = os.environ | ({"ATLAS_CACHE": str(cache)} if cache else {}) | ({READ_ONLY: "1"} if read_only else {})
    return program, environment, f"http://{address}:{port}/atlas"


def checked_origin(origin: str) -> str:
    """Return a host that the server may be reached under; a wildcard or an address with a path is refused."""
    if not origin or set(origin) & set("*/ \t\n\"'<>") or origin.startswith("-"):
        raise AtlasError(f"{one_line(origin, 60)!r} is no host: name it as in atlas.example.org or atlas.example.org:8443")
    return origin


def free_port(first: int, address: str = "localhost") -> int:
    """Return the first port from `first` on that nothing listens on; AtlasError when none of fifty is free."""
    for port in range(max(first, 1), min(first + PORTS_TRIED, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, port))
            except OSError:
                continue
            return port
    raise AtlasError(f"no free port from {first} to {first + PORTS_TRIED - 1} on {address}: name another with --port")


class Shown:
    """The explorer of an atlas in a server of its own, which ends with this process; a notebook draws it as a frame.

    ``url`` is where a browser opens it, ``stop()`` ends it.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, *, height: int):
        self.process, self.url, self.height = process, url, height

    def __repr__(self) -> str:
        return f"the explorer at {self.url}" if self.running else f"the explorer that was at {self.url}: stopped"

    def _repr_html_(self) -> str:
        """Return the frame that a notebook shows."""
        if not self.running:
            return html.escape(repr(self))
        address = html.escape(self.url, quote=True)
        return (
            f'<iframe src="{address}" title="Activation atlas explorer" width="100%" height="{self.height}" '
            f'style="border:0;border-radius:12px" allow="clipboard-write; fullscreen"></iframe>'
            f'<p><a href="{address}" target="_blank" rel="noopener">Open it in a tab of its own</a></p>'
        )

    @property
    def running(self) -> bool:
        """Whether the server still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the server; a second call does nothing."""
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdin is not None:
            self.process.stdin.close()


_servers: dict[tuple[Path, str | None], Shown] = {}  # one for each atlas this process shows


def show(root: Path, *, height: int = 860, port: int = 5006, url: str | None = None) -> Shown:
    """Serve the explorer of the atlas in `root` in a process of its own, once, and return it when it answers.

    `height` is the frame's, in pixels. `url` is where the browser reaches the server, where that is not ``localhost``: the
    address of a notebook's proxy, ``https://hub.example.org/user/me/proxy/5006/atlas``.
    """
    if not 200 <= height <= 5000:
        raise AtlasError(f"a frame of {height} pixels cannot be used: 200 to 5000 would do")
    key = (root.resolve(), url)
    standing = _servers.get(key)
    if standing is None or not standing.running:
        standing = _servers[key] = started(root.resolve(), port=port, url=url, height=height)
    standing.height = height
    return standing


def started(root: Path, *, port: int, url: str | None, height: int) -> Shown:
    """Start a server of one atlas and return it when it answers; AtlasError with its last words where it does not."""
    origins = (urlsplit(url).netloc,) if url else ()
    program, environment, own = command(root, None, port=port, origins=origins)
    environment = {**(environment or os.environ), OURS: str(os.getpid())}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(program, env=environment, stdout=log, stderr=log, stdin=subprocess.PIPE)
        atexit.register(process.terminate)
        if not answers(f"{own}/page/000000000000/app.css", process):
            process.kill()
            raise AtlasError(f"the explorer's server does not answer: {last_line(log) or 'it said nothing'}")
    return Shown(process, url or own, height=height)


def end_with_starter() -> None:
    """In a server that a notebook shows: end when its input does, for a killed notebook says nothing more than that."""
    if os.environ.pop(OURS, None):
        threading.Thread(target=_end_with_input, name="ends-with-starter", daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; False where it ended or PATIENCE did."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return True
    return False


def last_line(log: IO[bytes]) -> str:
    """Return the last line of a server's log."""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1], 200) if lines else ""
