"""One kept TCP connection: bounded buffers, deadlines, requests answered in their order.

Plain questions and whatever needs no waiting are answered as they are read, many to one send;
while a request is carried out that waits, nothing more is read (do-irp 3.2). A connection whose
last reply is sent lingers until the client has closed too: closing over unread octets would
reset it and lose the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING

import structlog

from protocol.doirp.envelope import ENVELOPE_SIZE
from resolver.doirp.exchange import Peer, Transport

if TYPE_CHECKING:
    from resolver.doirp.handler import Taken
    from resolver.doirp.tcp import TcpFace

log = structlog.get_logger()

KEEP_ALIVE = 0x02
"""Flag KC in the first octet of the operation flags, octet 28 of a message."""
RECEIVE = int(socket.MSG_DONTWAIT)
SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
"""Flags of every call: plain numbers, and no socket is ever set to block."""
_READ = 16_384
_MOST_OUT = 1 << 20
"""Octets waiting to be sent above which nothing more is read or made."""
_U4 = Struct(">I")


class State(Enum):
    """What a connection waits for; each has its deadline."""

    REQUEST = "request"  # the rest of a request; the first counts from the start
    IDLE = "idle"  # another request
    WORK = "work"  # a request that is being carried out
    ROOM = "room"  # the client to read
    END = "end"  # the client to close


class Connection:
    """Owned by a TcpFace; lives until close()."""

    __slots__ = (
        "_file",
        "_in",
        "_last",
        "_out",
        "_peer",
        "_proved",
        "_reading",
        "_room",
        "_socket",
        "_state",
        "_writing",
        "deadline",
        "face",
        "task",
    )

    def __init__(self, face: TcpFace, sock: socket.SocketType, address: tuple[str, int]) -> None:
        self.face = face
        self.task: asyncio.Task[None] | None = None
        self.deadline = face.loop.time() + face.patience[State.REQUEST]
        """When it is closed if nothing happens, by the loop's clock."""
        self._socket = sock
        self._file = sock.fileno()
        self._peer = Peer(address[0], address[1], Transport.TCP)
        self._in = b""
        self._out = bytearray()
        self._proved = -1
        self._last = False  # no request is taken after this one
        self._state = State.REQUEST
        self._reading = False
        self._writing = False
        self._room: asyncio.Future[None] | None = None

    @property
    def host(self) -> str:
        return self._peer.host

    @property
    def waiting(self) -> bool:
        """Whether it only waits for its client to send or to close."""
        return self._state in {State.REQUEST, State.IDLE, State.END}

    def begin(self, data: bytes, unsent: bytes = b"") -> None:
        """Go on with what the face read, or with the rest of a last reply."""
        self._out += unsent
        self._last = bool(unsent)
        self._in = data
        self._take()

    # --- reading

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ, RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self._state is State.END:
            if not data:
                self.close()
            return
        if not data:
            self._in = b""
            self._last = True
            self._go_on(progress=False)
            return
        self.face.turn()
        if self._state is State.IDLE:
            if self._answered(data):
                return
            self._enter(State.REQUEST)
        self._in = self._in + data if self._in else data
        self._take()

    def _answered(self, data: bytes) -> bool:
        """Whether what came to an idle connection was one plain question, and is answered."""
        face = self.face
        reply = face.answer(data, face.get)
        if reply is None or not data[28] & KEEP_ALIVE or face.parting:
            return False
        face.tally.plain(data, reply)
        if self._proved != face.seconds:
            self._proved = face.seconds
            face.handler.proven.saw(self._peer.host)
        try:
            sent = self._socket.send(reply, SEND)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return True
        if sent == len(reply):
            self.deadline = face.idle_until
        else:
            self._out += reply[sent:]
            self._go_on(progress=True)
        return True

    def _take(self) -> None:
        """Answer the whole messages that are there, unless one must wait."""
        plain, get, tally = self.face.answer, self.face.get, self.face.tally
        self.face.turn()
        data, at = self._in, 0
        while self.task is None and not self._last and self._has_room():
            if len(data) - at < ENVELOPE_SIZE:
                break
            end = at + ENVELOPE_SIZE + _U4.unpack_from(data, at + 16)[0]
            if end - at > self.face.most_octets:
                # Beyond every message: what follows cannot be told apart (do-irp 17.1).
                self._general(data[at : at + ENVELOPE_SIZE])
                self._last = True
            if len(data) < end:
                break
            message = data[at:end]
            at = end
            reply = plain(message, get)
            if reply is None:
                self._general(message)
            else:
                tally.plain(message, reply)
                self._out += reply
                self._last = not message[28] & KEEP_ALIVE or self.face.parting
        self._in = data[at:] if at else data
        if at:
            self.face.handler.proven.saw(self.host)
        self._go_on(progress=at > 0)

    def _general(self, message: bytes) -> None:
        """What is no plain question: answer it now, or begin to."""
        handler = self.face.handler
        self.face.tally.other(len(message), 0)
        taken = handler.take(message, self._peer)
        reply = taken if isinstance(taken, bytes) else handler.now(taken)
        if reply is None and not isinstance(taken, bytes):
            self.task = self.face.loop.create_task(self._carry_out(taken))
            self.task.add_done_callback(self._carried_out)
            return
        self._say(reply or b"")
        self._last = isinstance(taken, bytes) or not taken.keep_alive or self.face.parting

    # --- what waits

    async def _carry_out(self, taken: Taken) -> None:
        async with contextlib.aclosing(self.face.handler.replies(taken)) as replies:
            async for reply in replies:
                self._say(reply)
                self._go_on(progress=True)
                if len(self._out) >= _MOST_OUT:
                    self._room = self.face.loop.create_future()
                    await self._room
        self._last = self._last or not taken.keep_alive or self.face.parting

    def _carried_out(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if task.cancelled():
            self.close()
        elif task.exception() is not None:
            log.error("connection_failed", peer=self.host, exc_info=task.exception())
            self.close()
        elif self._file >= 0:
            self._take()

    # --- writing

    def _say(self, reply: bytes) -> None:
        self._out += reply
        self.face.tally.other(0, len(reply))

    def _flush(self) -> bool:
        """Send what can be sent now; whether anything went."""
        before = len(self._out)
        while self._out:
            try:
                sent = self._socket.send(self._out, SEND)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return False
            del self._out[:sent]
        if self._room is not None and len(self._out) < _MOST_OUT // 2:
            self._room.set_result(None)
            self._room = None
        return len(self._out) < before

    def _has_room(self) -> bool:
        """Whether another reply may be made: few octets wait, if need be after sending some."""
        if len(self._out) >= _MOST_OUT:
            self._flush()
        return self._file >= 0 and len(self._out) < _MOST_OUT

    def _writable(self) -> None:
        went = self._flush()
        if self._file >= 0 and self.task is None and len(self._out) < _MOST_OUT // 2:
            self._take()
        else:
            self._go_on(progress=went)

    # --- state

    def _go_on(self, *, progress: bool) -> None:
        """Send, then wait for what comes next.

        progress: a request was taken or octets were sent, so the deadline starts anew.
        """
        if self._file >= 0 and self._out:
            progress = self._flush() or progress
        if self._file < 0:
            return
        if self.task is not None:
            state = State.ROOM if self._out else State.WORK
        elif self._out:
            state = State.ROOM
        elif self._last:
            state = State.END
        else:
            state = State.REQUEST if self._in else State.IDLE
        if state is State.END and self._state is not State.END:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()
                return
        if progress or state is not self._state:
            self._enter(state)
        self._watch()

    def _enter(self, state: State) -> None:
        self._state = state
        self.deadline = self.face.loop.time() + self.face.patience[state]

    def _watch(self) -> None:
        """Tell the loop what this connection wants to hear of."""
        loop = self.face.loop
        reading = self.task is None and (not self._last or self._state is State.END)
        reading = reading and len(self._out) < _MOST_OUT
        writing = bool(self._out)
        if reading != self._reading:
            self._reading = reading
            if reading:
                loop.add_reader(self._file, self._readable)
            else:
                loop.remove_reader(self._file)
        if writing != self._writing:
            self._writing = writing
            if writing:
                loop.add_writer(self._file, self._writable)
            else:
                loop.remove_writer(self._file)

    def close(self) -> None:
        """Give everything back; a request being carried out is cancelled."""
        if self._file < 0:
            return
        if self._reading:
            self.face.loop.remove_reader(self._file)
        if self._writing:
            self.face.loop.remove_writer(self._file)
        self._file = -1
        self._socket.close()
        if self._room is not None:
            self._room.cancel()
            self._room = None
        if self.task is not None:
            self.task.cancel()
        self.face.ended(self)
