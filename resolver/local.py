"""Local sockets between a node's own processes: frames, requests answered out of order, reconnect.

A frame is a u4 length and msgpack. A request is [id, verb, body], an answer [id, ok, body]; on a
graceful stop the server says [None, last, None]: ids above `last` were not taken and may be sent
again. Sockets lie in DIR/run (0700), mode 0600: only the node's own user reaches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgpack
import structlog

from protocol import errors
from protocol.errors import BiaoshiError, ParseError, ServerBusy, StoreError

log = structlog.get_logger()

MAX_FRAME: Final = 48 * 1024 * 1024
"""Octets of one frame at most; a sender splits before it comes near."""
_LENGTH = Struct(">I")
_BACKLOG = 256
_UNKNOWN: Final = (
    "the process went away before it answered: it is not known whether this was done; "
    "ask again with the same idempotency key"
)
_CONNECT_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.5

Handler = Callable[[Any], Awaitable[Any]]


class Unfinished(StoreError):
    """The other process went away after it was sent a request and before it answered."""


def run_folder(folder: Path) -> Path:
    """DIR/run, made 0700 if it is not there."""
    path = folder / "run"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that fits sun_path (107 octets) however deep the folder lies."""
    raw = os.fsencode(path)
    if len(raw) <= 100:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def listen(path: Path) -> socket.socket:
    """A listening socket at path (0600), in place of one that a dead process left."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with _short(path) as name:
            made.bind(name)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise StoreError(f"the local socket {path} cannot be made: {error.strerror}") from None
    finally:
        os.umask(before)
    return made


def connect_now(path: Path, timeout_s: float) -> socket.socket | None:
    """A connected blocking socket, or None when no process listens there."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        with _short(path) as name:
            made.connect(name)
    except OSError:
        made.close()
        return None
    return made


def pack_frame(value: Any) -> bytes:
    """A value as a frame. Raises ParseError above MAX_FRAME."""
    data: bytes = msgpack.packb(value, use_bin_type=True)
    if len(data) > MAX_FRAME:
        raise ParseError(f"a local message of {len(data)} octets is too long; send fewer at once")
    return _LENGTH.pack(len(data)) + data


def unpack_frame(data: bytes) -> Any:
    """The value of a frame's octets. Raises ParseError."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ParseError(f"a local message is not msgpack: {error}") from None


async def _read_frame(reader: asyncio.StreamReader) -> Any:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_FRAME:
        raise ParseError(f"a local message claims {length} octets; at most {MAX_FRAME} are taken")
    return unpack_frame(await reader.readexactly(length))


def receive(sock: socket.socket) -> Any:
    """One frame from a blocking socket. Raises Unfinished when the other side went away."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    if length > MAX_FRAME:
        raise ParseError(f"a local message claims {length} octets; at most {MAX_FRAME} are taken")
    return unpack_frame(_exactly(sock, length))


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = sock.recv(min(size - len(parts), 1 << 20))
        except OSError as error:
            raise Unfinished(f"the node's process did not answer: {error}") from None
        if not part:
            raise Unfinished("the node's process went away before it answered")
        parts += part
    return bytes(parts)


class LocalServer:
    """Answers requests of other processes of this node; each verb has one handler.

    A handler's BiaoshiError travels back as [class name, message]. Requests run side by side.
    """

    def __init__(self, sock: socket.socket, handlers: Mapping[str, Handler]) -> None:
        self._sock = sock
        self._handlers = handlers
        self._connections: dict[asyncio.Task[None], _Served] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=self._sock, limit=1 << 20, backlog=_BACKLOG
        )

    async def close(self, grace_s: float) -> None:
        """Take nothing new, answer what was taken (up to grace_s), say goodbye."""
        if self._server is not None:
            self._server.close()
        served = list(self._connections.items())
        for reading, _ in served:
            reading.cancel()
        if served:
            await asyncio.wait([reading for reading, _ in served])
        await asyncio.gather(*(one.goodbye(grace_s) for _, one in served), return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = _Served(self._handlers, writer)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a connection callback is always a task
        self._connections[task] = served
        try:
            while True:
                served.take(await _read_frame(reader))
                await served.room()
        except (asyncio.IncompleteReadError, ConnectionError, ParseError):
            await served.end()
        except asyncio.CancelledError:
            return  # close() goes on from here
        finally:
            self._connections.pop(task, None)


class _Served:
    """One accepted connection: the requests in flight and the way back."""

    _MOST_IN_FLIGHT = 1024

    def __init__(self, handlers: Mapping[str, Handler], writer: asyncio.StreamWriter) -> None:
        self._handlers = handlers
        self._writer = writer
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self._space = asyncio.Event()
        self._space.set()

    def take(self, frame: Any) -> None:
        """Start on a request. Raises ParseError if it is none."""
        if not isinstance(frame, list) or len(frame) != 3 or not isinstance(frame[0], int):
            raise ParseError("a local request is [id, verb, body]")
        self._last = max(self._last, frame[0])
        task = asyncio.ensure_future(self._answer(*frame))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if len(self._tasks) >= self._MOST_IN_FLIGHT:
            self._space.clear()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._space.set()

    async def room(self) -> None:
        """Wait until another request may be taken."""
        await self._space.wait()

    async def _answer(self, number: int, verb: str, body: Any) -> None:
        handler = self._handlers.get(verb)
        try:
            if handler is None:
                raise ParseError(f"there is no local request {verb!r} here")
            answer = [number, True, await handler(body)]
        except BiaoshiError as error:
            pause = error.retry_after_s if isinstance(error, ServerBusy) else None
            answer = [number, False, [type(error).__name__, str(error), pause]]
        except Exception:
            log.exception("local_request_failed", verb=verb)
            answer = [number, False, ["StoreError", "an internal error; see the node's log", None]]
        await self._send(answer)

    async def _send(self, value: Any) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(pack_frame(value))
            await self._writer.drain()

    async def goodbye(self, grace_s: float) -> None:
        """Answer what is in flight, then say which request was the last one taken."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        await self._send([None, self._last, None])
        await self.end()

    async def end(self) -> None:
        """Close the connection; what is in flight goes on, its answers are lost."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def error_from(body: Any) -> BiaoshiError:
    """The error a handler raised, as its own class again where the class takes one message."""
    name, message, pause = body
    if pause is not None:
        return ServerBusy(str(message), float(pause))
    return _ERRORS.get(str(name), StoreError)(str(message))


_ERRORS: Final[Mapping[str, type[BiaoshiError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BiaoshiError) and name != "BadIdentifier"
}


class LocalClient:
    """Requests to one process of this node over one connection, any number in flight.

    A lost connection is opened again; requests not yet taken by the other side are sent again,
    the others end with Unfinished. Nothing listening for wait_s: ServerBusy.
    """

    def __init__(self, path: Path, *, wait_s: float = 5.0) -> None:
        self._path = path
        self._wait_s = wait_s
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    async def ask(self, verb: str, body: Any) -> Any:
        """The answer to a request. Raises what the handler raised, Unfinished or ServerBusy."""
        while True:
            writer = await self._connected()
            number = next(self._numbers)
            frame = pack_frame([number, verb, body])
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting[number] = future
            try:
                writer.write(frame)
                return await future
            except _NotTaken:
                continue
            finally:
                self._waiting.pop(number, None)

    async def close(self) -> None:
        """Drop the connection; requests in flight end with Unfinished."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._drop(None)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self._writer is None or self._writer.is_closing():
                self._drop(None)
                reader, self._writer = await self._open()
                self._reading = asyncio.ensure_future(self._read(reader, self._writer))
            return self._writer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._wait_s, _CONNECT_PAUSE_S
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                with _short(self._path) as name:
                    await loop.sock_connect(sock, name)
                return await asyncio.open_unix_connection(sock=sock, limit=1 << 20)
            except OSError as error:
                sock.close()
                if loop.time() + pause > until:
                    raise ServerBusy(
                        f"the process behind {self._path.name} does not answer "
                        f"({errno.errorcode.get(error.errno or 0, error)}); try again"
                    ) from None
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE_S)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken: int | None = None
        try:
            while True:
                number, outcome, body = await _read_frame(reader)
                if number is None:
                    taken = outcome
                    break
                future = self._waiting.pop(number, None)
                if future is None or future.done():
                    continue
                if outcome:
                    future.set_result(body)
                else:
                    future.set_exception(error_from(body))
        except (asyncio.IncompleteReadError, ConnectionError, ParseError, ValueError, TypeError):
            taken = None
        finally:
            if self._writer is writer:
                self._drop(taken)

    def _drop(self, taken: int | None) -> None:
        """Forget the connection. taken: the last request the other side took; None: unknown."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        waiting, self._waiting = self._waiting, {}
        for number, future in waiting.items():
            if future.done():
                continue
            if taken is not None and number > taken:
                future.set_exception(_NotTaken())
            else:
                future.set_exception(Unfinished(_UNKNOWN))


class _NotTaken(Exception):
    """The request was never looked at: send it again."""
