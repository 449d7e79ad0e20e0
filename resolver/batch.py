"""Datagrams by the batch: recvmmsg and sendmmsg of the C library, through ctypes.

One system call takes what waits on a socket, up to BATCH datagrams, and one sends the answers.
A datagram keeps its slot: the answer to the one in slot 3 goes from slot 3 to where that came
from, so no address is taken apart or put together. Linux with 64-bit pointers only; elsewhere
`available()` is false and faces take one datagram a call.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import sys
from typing import Any, Final, NamedTuple

BATCH: Final = 64
NAME_SLOT: Final = 32
_MORE: Final = 64  # between slots, so that they do not share places in the processor's cache
_WAIT_NOT: Final = int(socket.MSG_DONTWAIT) if hasattr(socket, "MSG_DONTWAIT") else 0


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("size", ctypes.c_uint32))


_WORDS: Final = ctypes.sizeof(_Mmsghdr) // 4
_SIZE_AT: Final = _Mmsghdr.size.offset // 4
_NAME_SIZE_AT: Final = _Msghdr.name_size.offset // 4


def _calls() -> tuple[Any, Any] | None:
    """The calls recvmmsg and sendmmsg; None where there are none of the layout above."""
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        return None
    try:
        # PyDLL keeps the interpreter's lock: these calls never wait.
        library = ctypes.PyDLL(None, use_errno=True)
        receive, send = library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError):
        return None
    receive.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    return receive, send


_CALLS: Final = _calls()


def available() -> bool:
    """Whether this machine has the calls."""
    return _CALLS is not None


class Place(NamedTuple):
    """Where in the arrays of a batch the things of one slot lie, reckoned once."""

    slot: int
    size: int
    inbox: int
    address: slice
    outbox: int
    length: int


class Batch:
    """The slots of one socket, which must not block.

    inbox, outbox: octets of all slots; slot n begins at n × in_slot or n × out_slot. sizes: how
    long the datagram in slot n is, at n × size_step + size_at. names: socket addresses as the
    kernel writes them, NAME_SLOT apart.
    """

    size_step: Final = _WORDS
    size_at: Final = _SIZE_AT

    def __init__(self, sock: socket.socket, *, receive_bytes: int, send_bytes: int) -> None:
        if _CALLS is None:
            raise OSError(errno.ENOSYS, "recvmmsg and sendmmsg are not available")
        self._receive, self._send = _CALLS
        self._file = sock.fileno()
        self._name_bytes = 28 if sock.family == socket.AF_INET6 else 16
        self.in_slot = receive_bytes + _MORE
        self.out_slot = send_bytes + _MORE
        self.inbox = mmap.mmap(-1, BATCH * self.in_slot)
        self.outbox = mmap.mmap(-1, BATCH * self.out_slot)
        self.names = mmap.mmap(-1, BATCH * NAME_SLOT)
        self._in, self._in_parts = self._headers(self.inbox, self.in_slot, receive_bytes)
        self._out, self._out_parts = self._headers(self.outbox, self.out_slot, 0)
        self._in_at, self._out_at = ctypes.addressof(self._in), ctypes.addressof(self._out)
        self.sizes = memoryview(self._in).cast("B").cast("I")
        self.lengths = memoryview(self._out_parts).cast("B").cast("Q")
        """How long the answer in slot n is, at 2 n + 1."""

    def _headers(self, box: mmap.mmap, slot: int, size: int) -> tuple[Any, Any]:
        """A header and a part for each slot of a box."""
        parts, headers = (_Iovec * BATCH)(), (_Mmsghdr * BATCH)()
        base, names = _address(box), _address(self.names)
        for number in range(BATCH):
            parts[number].base = base + number * slot
            parts[number].size = size
            header = headers[number].header
            header.name = names + number * NAME_SLOT
            header.name_size = self._name_bytes
            header.iov = ctypes.addressof(parts[number])
            header.iov_count = 1
        return headers, parts

    def places(self, start: int, end: int) -> list[Place]:
        """Where each slot's things lie. start, end: the octets of a name that tell an address."""
        return [
            Place(
                slot,
                slot * self.size_step + self.size_at,
                slot * self.in_slot,
                slice(slot * NAME_SLOT + start, slot * NAME_SLOT + end),
                slot * self.out_slot,
                2 * slot + 1,
            )
            for slot in range(BATCH)
        ]

    def receive(self) -> int:
        """Take the datagrams that wait; how many there are, in the slots from 0 on."""
        count: int = self._receive(self._file, self._in_at, BATCH, _WAIT_NOT, None)
        return max(count, 0)

    def send(self, start: int, stop: int) -> tuple[int, int]:
        """Send the answers in these slots; how many could not go anywhere, and the slot from
        which on the kernel has no room now: `stop` if all went.
        """
        lost = 0
        while start < stop:
            at = self._out_at + start * ctypes.sizeof(_Mmsghdr)
            sent: int = self._send(self._file, at, stop - start, _WAIT_NOT)
            if sent < 0:
                error = ctypes.get_errno()
                if error == errno.EINTR:
                    continue
                if error in {errno.EAGAIN, errno.ENOBUFS}:
                    break
                sent, lost = 1, lost + 1  # this one cannot go anywhere; the others may
            start += sent
        return lost, start

    def answer(self, slot: int) -> bytes:
        """What was put into a slot to be sent."""
        at = slot * self.out_slot
        return self.outbox[at : at + self.lengths[2 * slot + 1]]


class Addresses:
    """Where the datagrams of a batch came from, as Python's sockets write it.

    span: the octets of a name, from and to, that tell one address from another, without its port.
    """

    def __init__(self, sock: socket.socket, batch: Batch) -> None:
        self._batch = batch
        self._inet6 = sock.family == socket.AF_INET6
        self.span = (8, 28) if self._inet6 else (4, 8)

    def of(self, slot: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address of the sender in a slot."""
        at = slot * NAME_SLOT
        name = self._batch.names[at : at + NAME_SLOT]
        port = int.from_bytes(name[2:4], "big")
        if not self._inet6:
            return socket.inet_ntop(socket.AF_INET, name[4:8]), port
        scope = int.from_bytes(name[24:28], sys.byteorder)
        host = socket.inet_ntop(socket.AF_INET6, name[8:24])
        flow = int.from_bytes(name[4:8], "big")
        return f"{host}%{scope}" if scope else host, port, flow, scope


def _address(box: mmap.mmap) -> int:
    """Where a box lies. It stays there as long as it lives, which the batch sees to."""
    return ctypes.addressof(ctypes.c_char.from_buffer(box))
