"""The worker itself: one loop that talks to the clients, one thread in which the network runs."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import struct
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from atlas.errors import AtlasError, one_line
from atlas.machine import cap_threads
from atlas.worker.protocol import ASKS, MOST_HEADER, SIZES, WAITING, WAITING_BYTES, Question, Spot, pack, parse, sizes
from atlas.worker.seer import Seer, StaleError

PATIENCE = 20.0  # seconds a client may take to send what it said it would
SUCCESSION = 20.0  # seconds that a new worker waits for the one before to be gone
STUCK = 60.0  # seconds a run that nobody waits for any more may keep others waiting
MOST_LOG = 10_000_000  # bytes of what a network prints
LAST_ANSWER = 0.05  # seconds between an answer after which the worker ends and its end
BUFFER = 1 << 20  # bytes read ahead of one client
CREDENTIALS = struct.Struct("3i")  # process, user and group at the other end of a socket, as Linux tells them
LOOKS = 2.0  # seconds between two looks at whether it is still of use
T = TypeVar("T")
BUSY = f"the network is busy ({WAITING} images are waiting already): try again in a moment"


@dataclass
class Job:
    """One image that waits for its turn, or has it."""

    question: Question
    body: bytes
    writer: asyncio.StreamWriter
    done: asyncio.Future[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    left: bool = False  # its client has gone: nobody waits for the answer


class Server:
    """The loop's side: takes requests, keeps them in order, answers. Everything here runs in the loop's thread."""

    def __init__(self, spot: Spot, idle: float):
        self.spot, self.idle = spot, idle
        self.seer = Seer(spot.root)
        self.queue: asyncio.Queue[Job] = asyncio.Queue()
        self.slots: dict[object, int] = {}  # bytes of each request that is sent, waits or runs
        self.running: Job | None = None
        self.used = time.monotonic()
        self.ended = asyncio.Event()

    async def serve(self) -> None:
        """Listen until told to end, idle for long, or without an atlas."""
        self.loop = asyncio.get_running_loop()
        self.spot.socket.unlink(missing_ok=True)  # a killed worker leaves its socket; its lock is ours, so it is dead
        server = await asyncio.start_unix_server(self._client, path=self.spot.socket, limit=BUFFER)
        self.loop.add_signal_handler(signal.SIGTERM, self.ended.set)
        tasks = [asyncio.create_task(task) for task in (self._watch(), self._run_all(), self.ended.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.spot.socket.unlink(missing_ok=True)  # first of all, so that clients who come now start the next worker
        server.close()
        os._exit(0)  # the network's thread may hang, and nothing is left to be written

    # -- one client -------------------------------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if same_user(writer):
                await self._talk(reader, writer)
        except AtlasError as mistake:
            await send(writer, pack({"error": str(mistake)}))
        except (OSError, EOFError, TimeoutError):
            pass  # the client has gone, or never said what it wants
        finally:
            self.used = time.monotonic()
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await within(receive(reader))
        if header.get("do") in ASKS:
            await self._see(Question.read(header), reader, writer)
        elif header.get("do") == "about":
            await send(writer, pack(self._about()))
        elif header.get("do") == "stop":
            await send(writer, pack(self._about()))
            self.ended.set()
        else:
            asked = one_line(repr(header.get("do")), 40)
            raise AtlasError(f"a worker cannot do {asked}: {', '.join(ASKS)}, about or stop would do")

    def _about(self) -> dict[str, Any]:
        wanted = self.running is not None and not self.running.left
        counts = {"running": wanted, "waiting": len(self.slots) - wanted}  # of requests whose clients are there
        return {"pid": os.getpid(), **counts, "networks": sorted(self.seer.networks)}

    async def _see(self, question: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self.slots) > WAITING or sum(self.slots.values()) + question.size > WAITING_BYTES:
            raise AtlasError(BUSY)
        slot = object()
        self.slots[slot] = question.size
        try:
            await send(writer, pack({"state": "send"}))
            job = Job(question, await within(reader.readexactly(question.size)), writer)
            self.queue.put_nowait(job)
            await self._answer(job, reader)
        finally:
            del self.slots[slot]

    async def _answer(self, job: Job, reader: asyncio.StreamReader) -> None:
        """Wait for the job, or for its client to go; whatever a client sends now says that it goes."""
        gone: asyncio.Future[bytes] = asyncio.create_task(reader.read(1))
        waited: list[asyncio.Future[Any]] = [gone, job.done]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if job.done.done():
            gone.cancel()
            await send(job.writer, job.done.result())
        else:
            job.left, job.body = True, b""

    # -- the network's turn -----------------------------------------------------------------------------------------------

    async def _run_all(self) -> None:
        thread = ThreadPoolExecutor(1)
        while True:
            job = self.running = await self.queue.get()
            if not job.left:
                with contextlib.suppress(OSError):
                    await send(job.writer, pack({"state": "running"}))
                job.done.set_result(await self.loop.run_in_executor(thread, self._run, job))
            self.running = None

    def _run(self, job: Job) -> bytes:
        """In the network's thread: the message of what it says, or of the mistake, and never an exception."""
        try:
            answer, body = getattr(self.seer, job.question.do)(job.question, job.body)
            return pack({"answer": answer}, body)
        except StaleError as stale:
            self.loop.call_soon_threadsafe(self.loop.call_later, LAST_ANSWER, self.ended.set)
            return pack({"state": "stale"} if stale.worth_trying else {"error": str(stale)})
        except AtlasError as mistake:
            return pack({"error": str(mistake)})
        except BaseException as reason:  # a user's network may raise whatever it likes, SystemExit too
            return pack({"error": f"the network failed on {one_line(job.question.name)} ({words(reason)})"})

    # -- how long ---------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """End when idle for long, or when the atlas has gone; end at once when a run hangs that nobody waits for."""
        while True:
            await asyncio.sleep(min(LOOKS, self.idle / 4))
            idle = not self.slots and time.monotonic() - self.used > self.idle
            if idle or not (self.spot.root / "atlas.json").exists() or self._stuck():
                return
            shorten_log()

    def _stuck(self) -> bool:
        if self.running is None or not self.running.left or not self.slots or self.seer.seconds() < STUCK:
            return False
        os.write(2, f"{one_line(self.running.question.name)} hung, and nobody waited for it any more\n".encode())
        return True


# -- messages, in the loop -------------------------------------------------------------------------------------------------


async def receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Return the header of a client's message."""
    header, _ = sizes(await reader.readexactly(SIZES.size), most=MOST_HEADER)
    return parse(await reader.readexactly(header))


async def send(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send one message; TimeoutError where the client does not take it."""
    writer.write(message)
    await within(writer.drain())


async def within(step: Coroutine[Any, Any, T]) -> T:
    """Return what `step` does, within PATIENCE."""
    return await asyncio.wait_for(step, PATIENCE)


def same_user(writer: asyncio.StreamWriter) -> bool:
    """Tell whether a process of this user is at the other end; where the system is silent, the folder keeps others out."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    connection = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return CREDENTIALS.unpack(credentials)[1] == os.getuid()


# -- the process -----------------------------------------------------------------------------------------------------------


def serve(spot: Spot, *, idle: float) -> None:
    """Be the worker of the atlas at `spot` until it is of no more use; return at once where there is one already."""
    cap_threads()
    faulthandler.enable()
    try:
        with FileLock(spot.living, timeout=SUCCESSION):
            asyncio.run(Server(spot, idle).serve())
    except Timeout:
        raise AtlasError(f"{spot.root} has a worker already") from None


def shorten_log() -> None:
    """Empty what the network has printed when it grows too long; it is written by appending, so the rest follows."""
    with contextlib.suppress(OSError):
        if os.fstat(2).st_size > MOST_LOG:
            os.ftruncate(2, 0)


def words(reason: BaseException) -> str:
    """Return an exception in one line."""
    return one_line(f"{type(reason).__name__}: {reason}", 200)
