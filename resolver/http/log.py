"""/log: the log of this node as static octets, for auditors, witnesses and mirrors.

GET /log/checkpoint[?size=N]           the newest signed note; or the oldest one over N changes
GET /log/checkpoint?after=N            the newest one, once it is over more than N changes (or soon)
POST /log/held                         a mirror says how far it holds the log, and where it answers
GET /log/tile/L/N[.p/W]                hashes (C2SP tlog-tiles), for ever the same
GET /log/tile/entries/N[.p/W]          leaves, each with its length as u2
GET /log/proof/inclusion?index&size    GET /log/proof/consistency?old&new
GET /log/receipt?sequence= | ?handle=  the proof of one change
GET /log/entries/N/receipt             the same by its number; as COSE where Accept asks for it
GET /log/keys                          keys that sign checkpoints, and handovers of those before
GET /log/cosigned                      the newest checkpoint that witnesses cosigned
GET /log/bodies?from=N                 leaves and content, for administrators of the server
GET /log/notes?after=KEY               what a mirror carries along beside the log, for these too

Leaves commit and show nothing, so all but the last two are public.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from protocol import merkle, note, tiles
from protocol.change import Kind, pack
from protocol.errors import (
    AuthenticationNeeded,
    BiaoshiError,
    HandleExists,
    HandleNotFound,
    NotSupported,
    ParseError,
    SignatureInvalid,
    ValuesNotFound,
)
from protocol.record import Record, Reference
from protocol.strict_json import whole
from registry import tree
from registry.log import decode_body, read_sequence, sequence_key
from registry.receipt import Opened, make_receipt
from registry.records import read_row
from registry.scitt import MEDIA_TYPE, cose_receipt
from registry.store import Snapshot, Store, Table
from registry.store.row import Row
from resolver.http.asked import Parameters, Senders, decoded, raw_path, read_body, read_json
from resolver.http.auth import Authenticator
from resolver.http.auth_errors import NotProved
from resolver.http.challenged import challenged
from resolver.http.problem import method_not_allowed, not_found, problem
from resolver.http.reply import is_known
from resolver.trust.carried import pack_notes
from resolver.trust.cosigned import gather, read_cosigned, write_cosigned
from resolver.trust.signers import former_verifiers, log_signer

if TYPE_CHECKING:
    from resolver.node import Node

FOREVER: Final = "public, max-age=31536000, immutable"
NEWEST: Final = "public, no-cache"
PRIVATE: Final = "private, no-store"
BODIES_TYPE: Final = "application/vnd.biaoshi.log+msgpack"
"""A row of msgpack arrays: sequence, leaf, body or nil where it was erased."""
MOST_BODIES: Final = 4_096
MOST_BODY_BYTES: Final = 4 << 20
MOST_HELD: Final = 65_536
WAIT_S: Final = 1.0
"""How long `after` waits: short, so that a stopping reader need not wait for it."""
LOOK_S: Final = 0.01
MOST_WAITERS: Final = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def setup(app: web.Application, node: Node, authenticator: Authenticator, senders: Senders) -> None:
    """Mount the routes."""
    log = Log(node, authenticator, senders)
    for path, handler in (
        ("/log/checkpoint", log.checkpoint),
        ("/log/tile/{path:(?s:.+)}", log.tile),
        ("/log/proof/inclusion", log.inclusion),
        ("/log/proof/consistency", log.consistency),
        ("/log/receipt", log.receipt),
        ("/log/entries/{number:[0-9]+}/receipt", log.entry_receipt),
        ("/log/keys", log.keys),
        ("/log/cosigned", log.cosigned),
        ("/log/bodies", log.bodies),
        ("/log/notes", log.notes),
    ):
        own = handler if path == "/log/cosigned" else _only_get(handler)
        app.router.add_route("*", path, own)
    app.router.add_route("*", "/log/held", log.held)


def _only_get(handler: Handler) -> Handler:
    async def run(request: web.Request) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        return await handler(request)

    return run


class Log:
    """The resources, in one reader."""

    def __init__(self, node: Node, authenticator: Authenticator, senders: Senders) -> None:
        self._node = node
        self._authenticator = authenticator
        self._senders = senders
        self._waiters = 0

    async def checkpoint(self, request: web.Request) -> web.Response:
        """The newest signed note, or the oldest that covers `size` changes."""
        size = Parameters.of(request).integer("size")
        after = Parameters.of(request).integer("after")
        if any(one is not None and not 0 <= one < 1 << 63 for one in (size, after)):
            raise ParseError("`size` and `after` are numbers of changes, from 0 on")
        if after is not None:
            await self._longer_than(after)
        with self._node.store.snapshot() as state:
            if size is None:
                found = tree.latest_checkpoint(state)
            else:
                found = tree.checkpoint_at(state, size)
        if found is None:
            return not_found()
        return _octets(request, found, "text/plain; charset=utf-8", NEWEST)

    async def _longer_than(self, after: int) -> None:
        """Wait a little for a longer log, so that mirrors hear of it at once."""
        if self._waiters >= MOST_WAITERS:
            return
        self._waiters += 1
        try:
            for _ in range(int(WAIT_S / LOOK_S)):
                if read_size(self._node.store) > after or self._node.board.draining:
                    return
                await asyncio.sleep(LOOK_S)
        finally:
            self._waiters -= 1

    async def held(self, request: web.Request) -> web.Response:
        """POST {"size", "root", "mirror", "sites"}, from an administrator of the server."""
        if request.method != "POST":
            return method_not_allowed("POST")
        try:
            actor = await self._administrator(request, "say what a mirror holds")
        except (NotProved, AuthenticationNeeded) as error:
            return challenged(request, error, self._authenticator, self._senders)
        shape = await read_json(request, MOST_HELD, self._node.settings.limits.request_s)
        try:
            size, root, name = whole(shape["size"]), _decoded(shape["root"]), shape["mirror"]
            sites = [_decoded(one) for one in shape["sites"]]
            well = isinstance(name, str) and isinstance(shape["sites"], list)
            if not well or len(root) != merkle.HASH_SIZE:
                raise TypeError("root, mirror or sites")
            name = name[:200]
        except (KeyError, TypeError, ValueError) as error:
            raise ParseError(f"what a mirror says lacks or garbles {error}") from None
        with self._node.store.snapshot() as state:
            if type(size) is not int or size < 0:
                raise ParseError("`size` is how many changes the mirror holds")
            if size > tree.tree_size(state):
                raise HandleExists(f"this log has {tree.tree_size(state)} changes, not {size}")
            if size and tree.root_at(state, size) != root:
                raise HandleExists(
                    f"the first {size} changes of the mirror {name} are not those of this log"
                )
        news = await self._node.writer.held(f"{actor.text()} {name}", size, sites)
        if news:
            await self._node.siblings.wake()
        return web.json_response({"held": size}, headers={"Cache-Control": PRIVATE})

    async def _administrator(self, request: web.Request, what: str) -> Reference:
        actor = (await self._authenticator.caller(request)).identity
        if actor is None:
            raise AuthenticationNeeded("this is for administrators; say who")
        self._node.access.forget()
        self._node.access.require_server_admin(actor, what)
        return actor

    async def tile(self, request: web.Request) -> web.Response:
        """Hashes or leaves. A part of a tile is as unchangeable as the whole."""
        level, index, width = tiles.parse_path(
            "tile/" + decoded(raw_path(request)).decode("utf-8", "replace")[len("/log/tile/") :]
        )
        if index >= 1 << 55:
            return not_found()
        with self._node.store.snapshot() as state:
            found = (
                _entries(state, index, width)
                if level is None
                else _tile(state, level, index, width)
            )
        if found is None:
            return not_found()
        return _octets(request, found, "application/octet-stream", FOREVER)

    async def inclusion(self, request: web.Request) -> web.Response:
        """The path of leaf `index` to the root of `size` leaves."""
        parameters = Parameters.of(request)
        index, size = _needed(parameters, "index"), _needed(parameters, "size")
        with self._node.store.snapshot() as state:
            _within(state, size)
            if index >= size:
                raise ValuesNotFound(f"leaf {index} is not among {size}")
            proof = tree.inclusion(state, index, size)
            leaf = tree.leaves(state, index, 1)[0]
        shape = {"index": index, "size": size, "leafHash": _text(merkle.leaf_hash(leaf))}
        return _json(request, shape | {"proof": list(map(_text, proof))}, FOREVER)

    async def consistency(self, request: web.Request) -> web.Response:
        """That the tree of `old` leaves begins the tree of `new`."""
        parameters = Parameters.of(request)
        old, new = _needed(parameters, "old"), _needed(parameters, "new")
        with self._node.store.snapshot() as state:
            _within(state, new)
            if not 0 < old <= new:
                raise ValuesNotFound(f"there is no proof from {old} to {new} leaves")
            proof = tree.consistency(state, old, new)
        shape = {"old": old, "new": new, "proof": list(map(_text, proof))}
        return _json(request, shape, FOREVER)

    # --- receipts

    async def receipt(self, request: web.Request) -> web.Response:
        """The proof of one change, opened as far as the caller may read."""
        parameters = Parameters.of(request)
        handle, sequence = parameters.first("handle"), parameters.integer("sequence")
        if (handle is None) == (sequence is None):
            raise ParseError("give one of `sequence` and `handle`")
        try:
            actor = (await self._authenticator.caller(request)).identity
        except NotProved as error:
            return challenged(request, error, self._authenticator, self._senders)
        with self._node.store.snapshot() as state:
            opened = Opened.NOTHING
            if handle is not None:
                row = read_row(state, handle.encode("utf-8", "replace"))
                if row is None or not (row.public_count or self._may_read(actor, row)):
                    raise HandleNotFound(f"no record of {handle} lies here")
                sequence, opened = row.version, Opened.PUBLIC
            assert sequence is not None  # noqa: S101 - one of the two was given
            if actor is not None and self._may_open(state, actor, sequence):
                opened = Opened.BODY
            under = self._checkpoint_wanted(parameters)
            made = make_receipt(state, sequence, opened, under)
        return _json(request, made.shape(), PRIVATE if opened is Opened.BODY else NEWEST)

    def _checkpoint_wanted(self, parameters: Parameters) -> bytes | None:
        """The cosigned checkpoint where it is asked for."""
        if not parameters.flag("cosigned"):
            return None
        found = read_cosigned(self._node.dir)
        if found is None:
            raise HandleNotFound("no witness has cosigned a checkpoint of this log yet")
        return found

    async def entry_receipt(self, request: web.Request) -> web.Response:
        """The proof of change N, as JSON or as COSE (RFC 9942)."""
        text = request.match_info["number"]
        number = int(text) if len(text) < 20 else 0
        with self._node.store.snapshot() as state:
            made = make_receipt(state, number, Opened.NOTHING)
        if not _wants_cose(request):
            return _json(request, made.shape(), NEWEST)
        signed = note.decode(made.checkpoint)
        said = note.parse_checkpoint(signed.text)
        key = note.Key(said.origin, self._node.keys.log_public.public_bytes_raw())
        if all(one.key_id != key.id for one in signed.signatures):
            raise NotSupported(
                f"this node does not sign the log {said.origin}; its primary gives COSE receipts"
            )
        body = cose_receipt(made, self._node.keys.log_private)
        return _octets(request, body, MEDIA_TYPE, NEWEST)

    async def keys(self, request: web.Request) -> web.Response:
        """The verifier keys of this log, newest first, and the handovers between them."""
        node = self._node
        signer = log_signer(node.settings, node.keys)
        if signer is None or node.settings.node.role == "mirror":
            return not_found()
        with node.store.snapshot() as state:
            epoch = tree.epoch_of(state)
        live = [signer.verifier(epoch), *former_verifiers(signer, epoch)]
        shape = {
            "keys": [key.text() for key in live],
            "handovers": [text.decode() for text in node.keys.rotation.handovers],
        }
        return _json(request, shape, NEWEST)

    async def cosigned(self, request: web.Request) -> web.Response:
        """The newest checkpoint with the cosignatures of witnesses on it; POST: a witness's."""
        heard = bool(self._node.settings.signing.witnesses)
        if request.method == "POST" and heard:
            return await self._take_cosigned(request)
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD, POST" if heard else "GET, HEAD")
        found = await asyncio.to_thread(read_cosigned, self._node.dir)
        if found is None:
            return not_found()
        return _octets(request, found, "text/plain; charset=utf-8", NEWEST)

    async def _take_cosigned(self, request: web.Request) -> web.Response:
        """Gather a cosignature: what is signed proves itself, nobody need say who they are."""
        node = self._node
        signer = log_signer(node.settings, node.keys)
        witnesses = [note.Key.parse(text) for text in node.settings.signing.witnesses]
        if signer is None or not witnesses:
            raise NotSupported("this node hears no witnesses; name them in `signing.witnesses`")
        sent = await read_body(request, note.MOST_BYTES, node.settings.limits.request_s)
        said = note.parse_checkpoint(note.decode(sent).text)
        with node.store.snapshot() as state:
            epoch = tree.epoch_of(state)
            ours = said.size <= tree.tree_size(state) and tree.root_at(state, said.size)
        try:
            if ours != said.root:
                raise SignatureInvalid("this checkpoint is not one of this log")
            made = gather(read_cosigned(node.dir), sent, signer.verifiers(epoch), witnesses)
        except SignatureInvalid as error:
            return problem(409, "not-taken", "The checkpoint is not taken", detail=str(error))
        await asyncio.to_thread(write_cosigned, node.dir, made)
        return _octets(request, made, "text/plain; charset=utf-8", NEWEST)

    def _may_read(self, actor: Reference | None, row: Row) -> bool:
        if actor is None:
            return False
        try:
            self._node.access.forget()
            self._node.access.require_read(actor, Record(row.name, row.values()))
        except BiaoshiError:
            return False
        return True

    def _may_open(self, state: Snapshot, actor: Reference, sequence: int) -> bool:
        """Whoever made the change, and who may read all of its record now."""
        raw = state.get(Table.BODIES, sequence_key(sequence)) if 0 < sequence < 1 << 63 else None
        if raw is None:
            return False
        if self._node.access.is_server_admin(actor):
            return True
        folded, body = decode_body(raw)
        if body.actor == actor:
            return True
        if body.kind == Kind.EVENT:
            return False
        row = read_row(state, folded) if folded else None
        return row is not None and self._may_read(actor, row)

    # --- content

    async def bodies(self, request: web.Request) -> web.Response:
        """Leaves and content from change `from` on, as many as fit one answer."""
        try:
            await self._administrator(request, "read the content of the log")
        except (NotProved, AuthenticationNeeded) as error:
            return challenged(request, error, self._authenticator, self._senders)
        parameters = Parameters.of(request)
        first = _needed(parameters, "from")
        limit = min(parameters.integer("limit") or MOST_BODIES, MOST_BODIES)
        if not 0 < first < 1 << 63 or limit < 1:
            raise ParseError(f"`from` is a change from 1 on, not {first}")
        body = await asyncio.to_thread(self._portion, first, limit)
        return _octets(request, body, BODIES_TYPE, PRIVATE)

    async def notes(self, request: web.Request) -> web.Response:
        """Named queries, subscriptions and cursors; `after`: the last key so far, in hex."""
        try:
            await self._administrator(request, "read the notes of the node")
        except (NotProved, AuthenticationNeeded) as error:
            return challenged(request, error, self._authenticator, self._senders)
        try:
            after = bytes.fromhex(Parameters.of(request).first("after") or "")
        except ValueError:
            raise ParseError("`after` is a key in hexadecimal digits") from None
        body = await asyncio.to_thread(self._notes, after)
        return _octets(request, body, BODIES_TYPE, PRIVATE)

    def _notes(self, after: bytes) -> bytes:
        with self._node.store.snapshot() as state:
            return pack_notes(state, after)

    def _portion(self, first: int, limit: int) -> bytes:
        made = bytearray()
        with self._node.store.snapshot() as state:
            for key, leaf in state.scan(Table.CHANGES, sequence_key(first), limit=limit):
                made += pack([read_sequence(key), leaf, state.get(Table.BODIES, key)])
                if len(made) > MOST_BODY_BYTES:
                    break
        return bytes(made)


def read_size(store: Store) -> int:
    """How many changes are in the tree now: one read."""
    raw = store.get(Table.META, tree.TREE_KEY)
    return 0 if raw is None else read_sequence(raw)


def _wants_cose(request: web.Request) -> bool:
    accept = request.headers.get("Accept", "").lower()
    return any(kind in accept for kind in (MEDIA_TYPE, "application/cose", "application/cbor"))


def _tile(state: Snapshot, level: int, index: int, width: int) -> bytes | None:
    hashes = tree.tile_reader(state)(level, index)
    wanted = width * merkle.HASH_SIZE
    return hashes[:wanted] if len(hashes) >= wanted else None


def _entries(state: Snapshot, index: int, width: int) -> bytes | None:
    first = index * tiles.WIDTH
    if first + width > tree.tree_size(state):
        return None
    found = tree.leaves(state, first, width)
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in found)


def _within(state: Snapshot, size: int) -> None:
    held = tree.tree_size(state)
    if not 0 < size <= held:
        raise ValuesNotFound(f"the log has {held} leaves; there is no tree of {size}")


def _needed(parameters: Parameters, name: str) -> int:
    value = parameters.integer(name)
    if value is None or not 0 <= value < 1 << 63:
        raise ParseError(f"give `{name}`, a number from 0 on")
    return value


def _octets(request: web.Request, body: bytes, kind: str, cache: str) -> web.Response:
    etag = sha256(body).hexdigest()[:32]
    headers = {"Cache-Control": cache, "Content-Type": kind, "Vary": "Accept"}
    if cache != PRIVATE:
        headers |= {"ETag": f'"{etag}"', "Access-Control-Allow-Origin": "*"}
        if is_known(request, etag):
            return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)


def _json(request: web.Request, shape: Any, cache: str) -> web.Response:
    return _octets(request, orjson.dumps(shape), "application/json", cache)


def _decoded(text: str) -> bytes:
    return b64decode(text, validate=True)


def _text(octets: bytes) -> str:
    return b64encode(octets).decode()
