"""How clients and the worker of an atlas find each other and talk. Standard library only: a client starts fast.

A message is the length of its header, the length of its body (both 4 bytes, big-endian), the header (a JSON object in UTF-8)
and the body (plain bytes: an image file, a thumbnail). Nothing is pickled. A client sends its header, is told to send the
body or why not, sends it, is told when its turn has come, and gets the answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, one_line

SIZES = struct.Struct(">II")
MOST_HEADER = 65_536  # bytes of a request's header: a file's name and a layer's
MOST_ANSWER = 16_000_000  # bytes of an answer's header: ten thousand neighbours
MOST_BYTES = 64_000_000  # of one image file
WAITING = 32  # requests that may wait; one more is told that the worker is busy
WAITING_BYTES = 256_000_000  # of all that wait together
MOST_NEIGHBOURS = 10_000
MOST_ROW = 99_999_999
ASKS = ("see", "maps", "propagate")  # what can be asked of an image
LONGEST_TEXT = 4096  # characters of a name in a request: a path's limit on Linux
TIMEOUT = 60.0  # seconds a client waits: loading torch and a large network takes most of it the first time
IDLE = 600.0  # seconds without a question after which a worker ends
IDLE_VARIABLE = "ATLAS_WORKER_IDLE"
LONGEST_SOCKET = 100  # bytes of a socket's path; the system's limit is 108 on Linux, 104 elsewhere


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    """Return one message."""
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return SIZES.pack(len(text), len(body)) + text + body


def sizes(start: bytes, *, most: int) -> tuple[int, int]:
    """Return the lengths of a message's header and body from its first bytes; AtlasError where they are too large."""
    header, body = SIZES.unpack(start)
    if header > most or body > MOST_BYTES:
        raise AtlasError(f"a message of {header} + {body} bytes: at most {most} + {MOST_BYTES} are taken")
    return header, body


def parse(text: bytes) -> dict[str, Any]:
    """Return a message's header; AtlasError where it is no JSON object."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise AtlasError("a message whose header is no JSON object")
    return header


@dataclass(frozen=True)
class Question:
    """What a client asks of an image: validated, for it comes from another process."""

    name: str  # the image's, for messages
    layer: str | None  # one, or several joined by +; None is the descriptor
    activations: tuple[str, ...]  # the layer's artifacts by name, in place of `layer`
    k: int
    method: str | None  # of the layouts to place it in; None is all of them
    size: int  # bytes of the image file
    network: str | None = None  # of several: number, title or spec; None is the one added last
    do: str = "see"  # one of ASKS
    row: int | None = None  # of an image of the atlas, in place of a file's bytes; for maps, propagate
    maps: tuple[str, ...] = ()  # the layers that maps or propagate are wanted of; none are those worth a look
    vectors: bool = False  # whether a new image's vectors are told too

    @classmethod
    def read(cls, header: dict[str, Any]) -> Question:
        """Return the question in a header; AtlasError where a value is missing or of another kind."""
        name, layer, method, network = (_text(header, key) for key in ("name", "layer", "method", "network"))
        return cls(
            name=name or "the image",
            layer=layer,
            activations=_names(header, "activations"),
            k=_whole(header, "k", 1, MOST_NEIGHBOURS),
            method=method,
            size=_whole(header, "size", 0, MOST_BYTES),
            network=network,
            do=str(header.get("do", "see")),
            row=None if header.get("row") is None else _whole(header, "row", 0, MOST_ROW),
            maps=_names(header, "maps"),
            vectors=header.get("vectors") is True,
        )


def _text(header: dict[str, Any], key: str) -> str | None:
    value = header.get(key)
    if value is not None and (not isinstance(value, str) or len(value) > LONGEST_TEXT):
        raise AtlasError(f"{key} is no text of at most {LONGEST_TEXT} characters")
    return value


def _names(header: dict[str, Any], key: str) -> tuple[str, ...]:
    names = header.get(key, [])
    if not isinstance(names, list) or len(names) > 64 or not all(isinstance(n, str) for n in names):
        raise AtlasError(f"{key} are no list of names")
    return tuple(names)


def _whole(header: dict[str, Any], key: str, least: int, most: int) -> int:
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise AtlasError(f"{key} is {one_line(repr(value), 40)}: a whole number from {least} to {most} would do")
    return value


# -- where they meet -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """Where the worker of one atlas is met: files in a folder that only this user can enter, named by the atlas's path."""

    root: Path
    base: Path

    @classmethod
    def of(cls, root: str | os.PathLike[str]) -> Spot:
        """Return the spot of the atlas in the folder `root`; AtlasError where there is no private folder to meet in."""
        real = Path(os.path.realpath(root))
        spot = cls(real, private_folder() / hashlib.sha256(os.fsencode(real)).hexdigest()[:16])
        if len(os.fsencode(spot.socket)) > LONGEST_SOCKET:
            raise AtlasError(
                f"{spot.socket} is too long for a socket ({LONGEST_SOCKET} bytes at most): set TMPDIR to a shorter folder"
            )
        return spot

    @property
    def socket(self) -> Path:
        """The socket that the worker listens on."""
        return self.base.with_suffix(".sock")

    @property
    def starting(self) -> Path:
        """The lock that a client holds while it starts a worker, so that two start one."""
        return self.base.with_suffix(".start")

    @property
    def living(self) -> Path:
        """The lock that a worker holds as long as it lives, so that there is never a second."""
        return self.base.with_suffix(".alive")

    @property
    def log(self) -> Path:
        """What the worker and the network print."""
        return self.base.with_suffix(".log")


def private_folder() -> Path:
    """Return the folder of sockets, made when it is missing: in $XDG_RUNTIME_DIR, else in the temporary folder.

    AtlasError where it cannot be made, belongs to another user, or may be entered by others.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        parent = Path(runtime) if os.access(runtime, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
        folder = parent / f"atlas-workers-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as reason:
        raise AtlasError(
            f"a new image needs a private folder for the worker's socket, and there is none ({one_line(reason)}): "
            "set TMPDIR to a folder that you may write"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise AtlasError(f"{folder} is not a folder of yours alone: remove it, or set TMPDIR to another folder")
    return folder
