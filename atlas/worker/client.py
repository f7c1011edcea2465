"""The worker's client: asks, starts a worker where there is none, and once more where it died."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from atlas.errors import AtlasError, one_line
from atlas.worker.protocol import MOST_ANSWER, MOST_BYTES, SIZES, TIMEOUT, Spot, pack, parse, sizes

LOOK = 0.1  # seconds between two looks at whether the caller has given up
PATIENCE = 0.02  # seconds between two tries to reach a worker that is starting
ENDINGS = 2  # deaths of the worker over one image after which the image is given up
R = TypeVar("R")
SITE = ("site-packages", "dist-packages")  # folders that Python finds by itself


class Ended(Exception):
    """The worker closed the connection without an answer; `running` tells whether it was at this request."""

    def __init__(self, *, running: bool):
        super().__init__()
        self.running = running


class Deadline:
    """Until when an answer is waited for, and whether the caller has given up before."""

    def __init__(self, seconds: float, cancel: threading.Event | None = None):
        self.seconds, self.end, self.cancel = seconds, time.monotonic() + seconds, cancel

    def left(self) -> float:
        """Return the seconds left; AtlasError when there are none, or the caller has given up."""
        if self.cancel is not None and self.cancel.is_set():
            raise AtlasError("cancelled: nobody waits for the answer any more")
        left = self.end - time.monotonic()
        if left <= 0:
            raise AtlasError(
                f"the network gave no answer within {self.seconds:g} seconds: try again (it may still have been loading), "
                "or wait longer with --timeout"
            )
        return left


class Worker:
    """The network of one atlas, in a process of its own that is started when first needed. Imports no torch."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(os.path.realpath(root))

    def see(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        layer: str | None = None,
        network: str | int | None = None,
        k: int = 10,
        method: str | None = None,
        name: str | None = None,
        activations: tuple[str, ...] = (),
        vectors: bool = False,
        timeout: float = TIMEOUT,
        cancel: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Return what the network says of an image file or its bytes: predictions, places, neighbours.

        As `atlas.seeing.Seeing.see` has it, and under ``thumbnail`` the image as it was seen, PNG bytes. `name` is what
        messages call it. `timeout` is in seconds, of the whole: starting the worker, waiting, answering; setting `cancel`
        ends the waiting before. Raises AtlasError for what does not decode, is too large, is asked of a busy worker,
        takes too long, or ends the worker twice.
        """
        body = source if isinstance(source, bytes) else read_file(source)
        name = name or ("the image" if isinstance(source, bytes) else Path(source).name)
        check_size(len(body), name)
        question: dict[str, Any] = {"do": "see", "name": name, "layer": layer, "k": k, "method": method}
        question |= {"activations": list(activations), "size": len(body), "vectors": vectors}
        question |= {} if network is None else {"network": str(network)}
        answer, thumbnail = self._ask(question, body, Deadline(timeout, cancel))
        return answer["answer"] | {"thumbnail": thumbnail}

    def maps(
        self,
        source: int | str | os.PathLike[str] | bytes,
        *,
        layers: Sequence[str] = (),
        units: int = 8,
        network: str | int | None = None,
        name: str | None = None,
        activations: tuple[str, ...] = (),
        timeout: float = TIMEOUT,
        cancel: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Return the strongest activation maps of an image in `layers` of the network, by default those worth a look.

        `source` is a row of the atlas, an image file, or its bytes. The answer has ``layers``: of each its name, the
        ``units`` shown and the ``peak`` of each, ``low`` and ``high`` of the scale, the ``size`` (y, x) of its maps, ``of``
        how many units they are, and ``maps``, uint8 [unit, y, x] bytes of ``pixels`` (y, x) each; ``others``, all layers
        that have maps; and ``picture``, PNG bytes of the image as the network is given it. Raises as `see` does.
        """
        question, body = of_image("maps", source, name, layers, network, activations)
        answer, found = self._ask(question | {"k": units}, body, Deadline(timeout, cancel))
        return unpacked(answer["answer"], found)

    def propagate(
        self,
        source: int | str | os.PathLike[str] | bytes,
        *,
        layers: Sequence[str] = (),
        network: str | int | None = None,
        name: str | None = None,
        activations: tuple[str, ...] = (),
        timeout: float = TIMEOUT,
        cancel: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Return what each layer makes of an image, place by place; `layers` are by default those of `Atlas.propagation`.

        `source` is a row of the atlas, an image file, or its bytes. The answer is as `atlas.propagated` has it. Raises as
        `see` does, and for a network without logits.
        """
        from atlas.propagated import unpacked as unpacked_way  # numpy, which other questions do without

        question, body = of_image("propagate", source, name, layers, network, activations)
        answer, found = self._ask(question, body, Deadline(timeout, cancel))
        return unpacked_way(answer["answer"], found)

    def about(self, *, timeout: float = TIMEOUT) -> dict[str, Any] | None:
        """Return the running worker's process id, waiting requests and networks loaded; None where none runs."""
        return self._tell("about", timeout)

    def stop(self, *, timeout: float = TIMEOUT) -> bool:
        """End the running worker; tell whether there was one."""
        return self._tell("stop", timeout) is not None

    def _tell(self, what: str, timeout: float) -> dict[str, Any] | None:
        deadline = Deadline(timeout)
        connection = connect(Spot.of(self.root))
        if connection is None:
            return None
        with connection, suppress(Ended):
            Talk(connection, deadline).send(pack({"do": what}))
            return Talk(connection, deadline).receive()[0]
        return None

    def _ask(self, question: dict[str, Any], body: bytes, deadline: Deadline) -> tuple[dict[str, Any], bytes]:
        """Return the answer of this worker or, where it ends at it, of one started anew."""
        spot = self._spot()
        endings = 0
        while True:
            with reach(spot, deadline) as connection:
                try:
                    return Talk(connection, deadline).ask(question, body)
                except Ended as end:
                    endings += end.running
                except Stale:
                    pass  # it is ending, and the next one is asked
            if endings == ENDINGS:
                raise AtlasError(
                    f"the network's process ended twice over {one_line(question['name'])}, for want of memory or by the "
                    f"network's own doing: {last_words(spot.log)}"
                )
            time.sleep(min(PATIENCE, deadline.left()))

    def _spot(self) -> Spot:
        if not (self.root / "atlas.json").is_file():
            from atlas.store import Store

            Store(self.root).contents()  # says what is missing
        return Spot.of(self.root)


def of_image(
    do: str,
    source: int | str | os.PathLike[str] | bytes,
    name: str | None,
    layers: Sequence[str],
    network: str | int | None,
    activations: tuple[str, ...],
) -> tuple[dict[str, Any], bytes]:
    """Return the question about some layers of an image, a row or a file, and the body that goes with it."""
    if isinstance(source, int):
        row, body, own = source, b"", f"image {source}"
    else:
        row, body = None, source if isinstance(source, bytes) else read_file(source)
        own = "the image" if isinstance(source, bytes) else Path(source).name
    check_size(len(body), name or own)
    question: dict[str, Any] = {"do": do, "name": name or own, "row": row, "maps": list(layers), "k": 1}
    question |= {"activations": list(activations), "size": len(body)}
    return question | ({} if network is None else {"network": str(network)}), body


def unpacked(answer: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Return an answer of maps with each layer's own bytes in its place."""
    start, layers = answer["picture"], []
    for told in answer["layers"]:
        y, x = told["pixels"]
        end = start + len(told["units"]) * y * x
        layers.append({**told, "maps": body[start:end]})
        start = end
    return {**answer, "layers": layers, "picture": body[: answer["picture"]]}


class Stale(Exception):
    """A worker that had been started before could not load a network and has ended: a new one may."""


class Talk:
    """One request over one connection."""

    def __init__(self, connection: socket.socket, deadline: Deadline):
        self.connection, self.deadline, self.running = connection, deadline, False

    def ask(self, question: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Send the question, the body when it is called for, and return the answer; an error in it is raised."""
        self.send(pack(question))
        while True:
            answer, thumbnail = self.receive()
            state = answer.get("state")
            if state == "send":
                self.send(body)
            elif state == "running":
                self.running = True
            elif state == "stale":
                raise Stale
            elif "answer" in answer:
                return answer, thumbnail
            else:
                raise AtlasError(str(answer.get("error", "the worker gave no answer: it is of another version")))

    def send(self, message: bytes) -> None:
        """Send bytes; Ended where the worker has gone."""
        rest = memoryview(message)
        while rest:
            rest = rest[self._patiently(self.connection.send, rest) :]

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Return header and body of the next message; Ended where the worker has gone."""
        header, body = sizes(self._exactly(SIZES.size), most=MOST_ANSWER)
        return parse(self._exactly(header)), self._exactly(body)

    def _exactly(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            part = self._patiently(self.connection.recv, min(count - len(found), 1 << 20))
            if not part:
                raise Ended(running=self.running)
            found += part
        return bytes(found)

    def _patiently(self, act: Callable[[Any], R], argument: Any) -> R:
        """Return ``act(argument)``, a step of the connection, looking now and then at whether there is time left."""
        while True:
            self.connection.settimeout(min(LOOK, self.deadline.left()))
            try:
                return act(argument)
            except TimeoutError:
                continue
            except OSError:
                raise Ended(running=self.running) from None


# -- the image -------------------------------------------------------------------------------------------------------------


def read_file(file: str | os.PathLike[str]) -> bytes:
    """Return the bytes of an image file; AtlasError where there is none, or it is too large to be sent."""
    path = Path(file)
    try:
        check_size(path.stat().st_size, path.name)
        return path.read_bytes()
    except (OSError, ValueError) as reason:
        raise AtlasError(
            f"{one_line(path)} cannot be read ({one_line(getattr(reason, 'strerror', None) or reason)})"
        ) from None


def check_size(count: int, name: str) -> None:
    """Refuse an image file of more than MOST_BYTES."""
    if count > MOST_BYTES:
        raise AtlasError(
            f"{one_line(name)} has {count / 1e6:.1f} MB: at most {MOST_BYTES / 1e6:g} MB are taken; make it smaller"
        )


# -- starting --------------------------------------------------------------------------------------------------------------


def connect(spot: Spot) -> socket.socket | None:
    """Return a connection to the running worker, or None where none listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(spot.socket))
    except OSError:  # no file, or one that a killed worker left
        connection.close()
        return None
    return connection


def reach(spot: Spot, deadline: Deadline) -> socket.socket:
    """Return a connection to the worker, started first where none listens; of several clients one starts it."""
    connection = connect(spot)
    while connection is None:
        from filelock import FileLock, Timeout  # not needed where a worker runs already, and slow to import

        try:
            with FileLock(spot.starting, timeout=min(LOOK, deadline.left())):
                connection = connect(spot) or wait_for(start(spot), spot, deadline)
        except Timeout:
            connection = connect(spot)
    return connection


def start(spot: Spot) -> subprocess.Popen[bytes]:
    """Start a worker that outlives this process and does not hear its Ctrl-C."""
    with os.fdopen(os.open(spot.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "atlas.worker", str(spot.root)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment(),
        )  # fmt: skip


def environment() -> dict[str, str]:
    """Return this process's environment, in which this very package is found.

    Threads that wait sleep, where they would spin by default: the worker shares its cores with other work, and a network
    of two spinning threads beside a build was five times slower.
    """
    package = Path(__file__).parents[2]
    paths = [os.environ.get("PYTHONPATH", ""), "" if package.name in SITE else str(package)]
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def wait_for(process: subprocess.Popen[bytes], spot: Spot, deadline: Deadline) -> socket.socket:
    """Return a connection to a worker that is starting; AtlasError with its last words where it ends before."""
    while (connection := connect(spot)) is None:
        if process.poll() is not None:
            raise AtlasError(f"the network's process could not be started: {last_words(spot.log)}")
        time.sleep(min(PATIENCE, deadline.left()))
    threading.Thread(target=process.wait, daemon=True).start()  # else it stays a zombie as long as this process lives
    return connection


def last_words(log: Path) -> str:
    """Return the last line that a worker wrote, and where the rest is."""
    with suppress(OSError):
        lines = [line for line in log.read_bytes()[-10_000:].decode("utf-8", "replace").splitlines() if line.strip()]
        if lines:
            return f"its last words were “{one_line(lines[-1], 300)}” ({log})"
    return "it left no word"
