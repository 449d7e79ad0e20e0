"""A witness that is called: POST /add-checkpoint of C2SP tlog-witness, and the side that calls.

It hears the logs that it was told of, by name and key, and keeps one checkpoint of each in a folder.
A check and what it writes are one step under a lock on that file, durable before the answer leaves:
two requests at once cannot get two cosignatures that do not extend each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import add_checkpoint, merkle, note
from protocol.errors import (
    BiaoshiError,
    NotAuthorized,
    ParseError,
    SignatureInvalid,
    UpstreamError,
)
from resolver.registering.connection import Connection
from resolver.trust.kept import Kept, log_of, only_one, read_kept, state_file, write_kept
from resolver.trust.source import LogSource

log = structlog.get_logger()

PATH: Final = "/add-checkpoint"
_TEXT: Final = "text/plain; charset=utf-8"
_BODY_S: Final = 10.0
_TRIES: Final = 3


class Reply(NamedTuple):
    """An answer of the service."""

    status: int
    body: bytes
    kind: str = _TEXT


class Witness:
    """What a witness decides. logs: the keys that are trusted for each log, by its name."""

    def __init__(
        self, name: str, key: Ed25519PrivateKey, logs: Mapping[str, Sequence[bytes]], folder: Path
    ) -> None:
        self._name = name
        self._key = key
        self._logs = logs
        self._folder = folder

    def add(self, body: bytes, now_s: int) -> Reply:
        """One request. In the order of the specification: known, signed, old size, proof."""
        try:
            asked = add_checkpoint.decode(body)
        except ParseError as error:
            return _no(400, str(error))
        said = asked.checkpoint
        name = said.origin if said.origin in self._logs else log_of(said.origin)
        keys = self._logs.get(name)
        if not keys:
            return _no(404, f"this witness knows no log {said.origin[:200]}")
        signed = note.decode(asked.raw)
        try:
            by = note.verify(signed, [note.Key.of_log(said.origin, key) for key in keys])
        except SignatureInvalid as error:
            return _no(403, str(error))
        if asked.old > said.size:
            return _no(400, f"the old size, {asked.old}, is above the new one, {said.size}")
        path = state_file(self._folder, name)
        with only_one(path):
            refused = self._refused(path, asked)
            if refused is not None:
                return refused
            write_kept(path, Kept(by[0].public, asked.raw))
        mine = note.cosign(signed.text, self._name, self._key, now_s)
        return Reply(200, note.format_signature(mine).encode())

    @staticmethod
    def _refused(path: Path, asked: add_checkpoint.AddCheckpoint) -> Reply | None:
        """Why the tree is not one that goes on from the one cosigned last; None: it is."""
        kept = read_kept(path)
        last = kept.checkpoint if kept is not None else None
        size, root = (0, merkle.EMPTY_ROOT) if last is None else (last.size, last.root)
        conflict = Reply(409, b"%d\n" % size, add_checkpoint.SIZE_TYPE)
        said = asked.checkpoint
        if asked.old != size or (said.size == size and said.root != root):
            return conflict
        try:
            merkle.verify_consistency(size, root, said.size, said.root, asked.proof)
        except SignatureInvalid as error:
            facts = {"origin": said.origin, "old": size, "new": said.size}
            log.error("witness_refused", **facts)  # noqa: TRY400 - it may prove a log that cheats
            return _no(422, str(error))
        return None


def _no(status: int, why: str) -> Reply:
    return Reply(status, why.encode("utf-8", "replace") + b"\n")


async def serve(
    witness: Witness,
    host: str,
    port: int,
    ready: Callable[[str], None],
    now: Callable[[], float] = time.time,
) -> None:
    """Answer until cancelled. ready: is told the address. Raises OSError: it cannot listen."""

    async def add(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_BODY_S):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408, text="the request came too slowly\n")
        try:
            reply = await asyncio.to_thread(witness.add, body, int(now()))
        except BiaoshiError as error:  # its own state: nothing was signed
            log.error("witness_failed", why=str(error))  # noqa: TRY400 - the reason is enough
            reply = _no(500, "the witness cannot use its own state")
        log.info("add_checkpoint", status=reply.status)
        return web.Response(
            status=reply.status, body=reply.body, headers={"Content-Type": reply.kind}
        )

    app = web.Application(client_max_size=add_checkpoint.MOST_BYTES)
    app.router.add_post(PATH, add)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        ready(f"http://{bound[0]}:{bound[1]}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def push(source: LogSource, connection: Connection, path: str) -> bytes:
    """Have a witness cosign a log's newest checkpoint; gives the note with its lines, unverified.

    connection, path: the witness's submission prefix. Raises SignatureInvalid where the witness
    finds that the log does not go on from what it cosigned, NotAuthorized where it does not know it.
    """
    raw = source.checkpoint()
    signed = note.decode(raw)
    size = note.parse_checkpoint(signed.text).size
    old = size
    for _ in range(_TRIES):
        between = old not in {0, size}
        proof = source.consistency(old, size) if between else []
        body = add_checkpoint.encode(old, proof, raw)
        answer = connection.request("POST", path + PATH, body, {"Content-Type": _TEXT})
        said = answer.body[:500].decode("utf-8", "replace").strip()
        if answer.status == 200:
            return note.decode(raw + answer.body).encode()
        if answer.status in {403, 404}:
            raise NotAuthorized(f"the witness does not hear this log: {said}")
        if answer.status == 422:
            raise SignatureInvalid(f"the witness refuses the proof: {said}")
        if answer.status != 409:
            raise UpstreamError(f"the witness answered {answer.status}: {said}")
        held = add_checkpoint.decode_size(answer.body)
        if held > size:
            raise SignatureInvalid(
                f"the witness cosigned {held} changes of this log, which has {size}"
            )
        if held == old:
            raise SignatureInvalid(f"the witness cosigned another tree of {held} changes")
        old = held
    raise UpstreamError("the witness's checkpoint moves on while it is asked; ask again")
