"""The way to a node's one writer: from its readers over a local socket, from the command line too.

A reader holds a WriterLink. The command line calls open_writer(): it uses the running node's
writer if there is one and else takes the store's lock for as long as it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from protocol.change import Change, decode_change, encode_change
from protocol.errors import (
    BiaoshiError,
    InvalidValue,
    ParseError,
    ResponseCode,
    ServerBusy,
    TakesNoChanges,
)
from protocol.record import Reference
from registry.access import AccessSettings
from registry.notes import Note
from registry.writer import Outcome
from resolver.config import Settings
from resolver.local import (
    MAX_FRAME,
    Handler,
    LocalClient,
    Unfinished,
    connect_now,
    error_from,
    pack_frame,
    receive,
)
from resolver.running import is_served

SOCKET: Final = "writer.sock"
_CHUNK_BYTES: Final = 8 * 1024 * 1024
_CHUNK_CHANGES: Final = 5_000
_ANSWER_S: Final = 120.0
_APPEAR_S: Final = 15.0
_LOOK_S: Final = 0.05

Submit = Callable[[Sequence[Change], bool], Awaitable[list[Outcome]]]


def access_settings(settings: Settings) -> AccessSettings:
    """The administrators of the node, as registry.access wants them."""
    named = settings.admin.administrators
    return AccessSettings(server_admins=tuple(Reference.parse(text) for text in named))


class Submitter(Protocol):
    """Where changes go, for code that may wait without an event loop (the command line)."""

    def submit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        """One outcome a change, in order; durable once it returns."""


def encode_outcome(outcome: Outcome) -> list[Any]:
    """An outcome as it travels."""
    return [
        int(outcome.code),
        outcome.status,
        outcome.version,
        outcome.sequence,
        outcome.error,
        outcome.handle,
        outcome.reason,
    ]


def decode_outcome(fields: Any) -> Outcome:
    """The inverse. Raises ParseError."""
    try:
        code, *rest = fields
        return Outcome(ResponseCode(code), *rest)
    except (TypeError, ValueError) as wrong:
        raise ParseError(f"not an outcome: {wrong}") from None


def submit_handler(submit: Submit) -> Handler:
    """The writer process's answer to the request `submit`: [[change, …], atomic]."""

    async def handle(body: Any) -> list[list[Any]]:
        try:
            packed, atomic = body
            changes = [decode_change(item) for item in packed]
        except (TypeError, ValueError) as wrong:
            raise ParseError(f"not a submission: {wrong}") from None
        return [encode_outcome(outcome) for outcome in await submit(changes, bool(atomic))]

    return handle


def keep_handler(keep: Callable[[Sequence[Note]], Awaitable[bool]]) -> Handler:
    """The writer process's answer to the request `keep`: [[key, value, new], …]."""

    async def handle(body: Any) -> bool:
        try:
            notes = [Note(key, value, bool(new)) for key, value, new in body]
        except (TypeError, ValueError) as wrong:
            raise ParseError(f"not notes: {wrong}") from None
        return await keep(notes)

    return handle


def _chunks(changes: Sequence[Change], *, atomic: bool) -> Iterator[list[bytes]]:
    """Encoded changes in portions that fit a frame. Raises InvalidValue if atomic ones do not."""
    portion: list[bytes] = []
    size = 0
    for change in changes:
        packed = encode_change(change)
        full = size + len(packed) > _CHUNK_BYTES or len(portion) >= _CHUNK_CHANGES
        if portion and full and not atomic:
            yield portion
            portion, size = [], 0
        portion.append(packed)
        size += len(packed)
    if size > MAX_FRAME - 65_536:
        raise InvalidValue(
            f"an all-or-nothing batch of {size} octets is too large; send fewer changes at once"
        )
    if portion:
        yield portion


def _refused(error: BiaoshiError, changes: Sequence[Change]) -> list[Outcome]:
    """Outcomes of changes that never reached the writer."""
    told, reason = str(error), type(error).__name__
    return [
        Outcome(error.code, "refused", 0, None, told, change.handle, reason) for change in changes
    ]


class WriterLink:
    """A reader's connection to the writer process; any number of submissions in flight."""

    def __init__(self, run: Path, *, wait_s: float = 5.0, primary: str | None = None) -> None:
        """primary: of a mirror, whose store follows it alone; told to whoever sends a change."""
        self._client = LocalClient(run / SOCKET, wait_s=wait_s)
        self._primary = primary

    async def submit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        """One outcome a change, in order; durable once it returns.

        Raises ServerBusy (queue full, or no writer for a while: nothing was written) or
        Unfinished (the writer died: not known whether it was written). A batch too long for one
        message goes in portions; a portion that fails after others went has refused outcomes.
        """
        portions = list(_chunks(changes, atomic=atomic))
        if len(portions) == 1:
            return await self._send(portions[0], atomic=atomic)
        results = await asyncio.gather(
            *(self._send(portion, atomic=False) for portion in portions), return_exceptions=True
        )
        outcomes: list[Outcome] = []
        for portion, result in zip(portions, results, strict=True):
            start = len(outcomes)
            if isinstance(result, BiaoshiError):
                outcomes += _refused(result, changes[start : start + len(portion)])
            elif isinstance(result, BaseException):
                raise result
            else:
                outcomes += result
        return outcomes

    async def _send(self, portion: list[bytes], *, atomic: bool) -> list[Outcome]:
        answer = await self._ask("submit", [portion, atomic])
        return [decode_outcome(item) for item in answer]

    async def keep(self, notes: Sequence[Note]) -> bool:
        """Write notes (registry.notes) durably. False: one that had to be new is there already."""
        rows = [[note.key, note.value, note.new] for note in notes]
        return bool(await self._ask("keep", rows))

    async def held(self, name: str, size: int, sites: Sequence[bytes]) -> bool:
        """Tell the writer what a mirror said of itself; whether its sites are news."""
        return bool(await self._ask("held", [name, size, list(sites)]))

    async def _ask(self, verb: str, body: Any) -> Any:
        if self._primary is not None:
            raise TakesNoChanges(f"this node is a mirror; send changes to {self._primary}")
        return await self._client.ask(verb, body)

    async def close(self) -> None:
        """Drop the connection."""
        await self._client.close()


class _RunningWriter:
    """Submitter over the running node's socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._number = 0

    def submit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for portion in _chunks(changes, atomic=atomic):
            self._number += 1
            try:
                self._sock.sendall(pack_frame([self._number, "submit", [portion, atomic]]))
            except OSError as error:
                raise Unfinished(
                    f"the node's writer went away ({error.strerror}): it is not known whether "
                    "this was written; run the command again"
                ) from None
            outcomes += [decode_outcome(item) for item in self.answer()]
        return outcomes

    def answer(self) -> Any:
        """The body of the next answer. Raises its error, or ServerBusy."""
        number, outcome, body = receive(self._sock)
        if number is None:
            raise ServerBusy("the node is stopping; run the command again")
        if not outcome:
            raise error_from(body)
        return body


def ask_running(folder: Path, verb: str, body: Any) -> Any:
    """The answer of a running node's writer to another request. Raises ServerBusy: none is there."""
    sock = connect_now(folder / "run" / SOCKET, _ANSWER_S)
    if sock is None:
        raise ServerBusy(f"the writer of {folder} does not answer; see the node's log")
    with sock:
        sock.sendall(pack_frame([1, verb, body]))
        return _RunningWriter(sock).answer()


@contextlib.contextmanager
def running_writer(folder: Path) -> Iterator[Submitter]:
    """The writer of a running node and no other. Raises ServerBusy when none is there now."""
    sock = connect_now(folder / "run" / SOCKET, _ANSWER_S)
    if sock is None:
        raise ServerBusy(f"no writer of {folder} runs; start the node, or try again")
    with sock:
        yield _RunningWriter(sock)


@contextlib.contextmanager
def open_writer(folder: Path) -> Iterator[Submitter]:
    """The writer of a node's folder: the running node's, else our own under the store's lock.

    While a node is served its writer is waited for, at most _APPEAR_S: it may be starting again
    just now. Raises ServerBusy when it does not come, StoreError when the store cannot be opened.
    """
    until = time.monotonic() + _APPEAR_S
    while True:
        sock = connect_now(folder / "run" / SOCKET, _ANSWER_S)
        if sock is not None:
            with sock:
                yield _RunningWriter(sock)
            return
        if not is_served(folder):
            break
        if time.monotonic() > until:
            raise ServerBusy(
                f"the node of {folder} is being served, but its writer does not answer; "
                "see the node's log, then run the command again"
            )
        time.sleep(_LOOK_S)
    from resolver.writer_process import own_writer

    with own_writer(folder) as writer:
        yield writer
