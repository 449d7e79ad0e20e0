"""Where a log is read from: a node's folder, or its HTTP face.

What another node sends is bounded and believed in nothing: registry.replay checks it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import merkle, note, tiles
from protocol.errors import HandleNotFound, ParseError, SettingsError, UpstreamError
from protocol.handle_json import parse_values
from protocol.handover import MOST
from protocol.keys import decode_public_key
from protocol.keys.sm2 import Sm2PublicKey
from registry import tree
from registry.keys import load_keys
from registry.log import read_sequence, sequence_key
from registry.replay import Logged
from registry.signing import LOG_KEY_INDEX
from registry.store import Store, Table
from registry.store.lmdb_store import LmdbStore
from resolver.config_file import load_settings
from resolver.keyfiles import read_public_keys
from resolver.registering.connection import Answer, Connection, error_of
from resolver.trust.carried import MOST as MOST_NOTES
from resolver.trust.carried import unpack_notes

MAX_BODY_BYTES = 8 << 20
"""Leaf and body of one change, as another node sends them."""
_PORTION = 4_096
_METHOD_NOT_ALLOWED = 405


class LogSource(Protocol):
    """A log to read."""

    def checkpoint(self) -> bytes:
        """The newest signed note. Raises HandleNotFound where there is none."""

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof between two sizes."""

    def rows(self, first: int, last: int) -> Iterator[Logged]:
        """Changes first … last, their bodies where they may be read; ends early where it must."""

    def log_key(self) -> bytes:
        """The log key that the node itself names: 32 octets."""

    def handovers(self) -> Sequence[bytes]:
        """By log keys that the node had before; see protocol.handover."""

    def close(self) -> None:
        """Let go of it."""


class FolderSource:
    """The log of a node's folder, which may be running."""

    def __init__(self, folder: Path) -> None:
        settings = load_settings(folder)
        self.settings = settings
        self._folder = folder
        self.store: Store = LmdbStore.open(
            folder / "store", readonly=True, map_bytes=settings.store.map_size_gib << 30
        )

    def checkpoint(self) -> bytes:
        with self.store.snapshot() as state:
            found = tree.latest_checkpoint(state)
        if found is None:
            raise HandleNotFound(f"the log of {self._folder} has no checkpoint yet")
        return found

    def consistency(self, old: int, new: int) -> list[bytes]:
        with self.store.snapshot() as state:
            return tree.consistency(state, old, new)

    def rows(self, first: int, last: int) -> Iterator[Logged]:
        return stored_rows(self.store, first, last)

    def log_key(self) -> bytes:
        return load_keys(self._folder).log_public.public_bytes_raw()

    def handovers(self) -> Sequence[bytes]:
        return load_keys(self._folder).rotation.handovers

    def close(self) -> None:
        self.store.close()


def stored_rows(store: Store, first: int, last: int) -> Iterator[Logged]:
    """Changes first … last of a store, in portions, each in a snapshot of its own."""
    while first <= last:
        with store.snapshot() as state:
            found = [
                Logged(read_sequence(key), leaf, state.get(Table.BODIES, key))
                for key, leaf in state.scan(
                    Table.CHANGES, sequence_key(first), sequence_key(last + 1), _PORTION
                )
            ]
        yield from found
        if len(found) < _PORTION:
            return
        first = found[-1].sequence + 1


class UrlSource:
    """The log of a node over HTTP: with content when the connection has an identity."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._with_bodies = connection.credentials is not None

    def checkpoint(self, after: int | None = None) -> bytes:
        """after: wait a little until the log has more changes than these."""
        query = "" if after is None else f"?after={after}"
        answer = self._connection.request("GET", f"/log/checkpoint{query}")
        if answer.status == 404:
            raise HandleNotFound("this node has no log, or no checkpoint yet")
        return self._good(answer).body

    def held(self, name: str, size: int, root: bytes, sites: Sequence[bytes]) -> None:
        """Tell a primary how far its mirror holds the log, and where it answers."""
        shape = {
            "mirror": name,
            "size": size,
            "root": b64encode(root).decode(),
            "sites": [b64encode(one).decode() for one in sites],
        }
        headers = {"Content-Type": "application/json"}
        answer = self._connection.request("POST", "/log/held", json.dumps(shape).encode(), headers)
        if answer.status != 404:  # a primary of an earlier release does not ask
            self._good(answer)

    def notes(self) -> dict[bytes, bytes]:
        """What a mirror carries along beside the log; nothing from an earlier release."""
        found: dict[bytes, bytes] = {}
        while True:
            after = max(found, default=b"").hex()
            answer = self._connection.request("GET", f"/log/notes?after={after}")
            if answer.status == 404:
                return {}
            portion = unpack_notes(self._good(answer).body)
            if not portion:
                return found
            if found and min(portion) <= max(found):
                raise UpstreamError("the node sent the same notes again")
            found |= portion
            if len(found) > MOST_NOTES:
                raise UpstreamError(f"the node has above {MOST_NOTES} notes")

    def checkpoint_at(self, size: int) -> bytes:
        """The oldest signed note over at least so many changes."""
        return self._good(self._connection.request("GET", f"/log/checkpoint?size={size}")).body

    def consistency(self, old: int, new: int) -> list[bytes]:
        path = f"/log/proof/consistency?old={old}&new={new}"
        shape = self._good(self._connection.request("GET", path)).json()
        proof = shape.get("proof") if isinstance(shape, dict) else None
        if not isinstance(proof, list) or len(proof) > merkle.MOST_PROOF:
            raise UpstreamError("the node sent no consistency proof")
        return [_octets(each) for each in proof]

    def rows(self, first: int, last: int) -> Iterator[Logged]:
        return self._bodies(first, last) if self._with_bodies else self._leaves(first, last)

    def log_key(self) -> bytes:
        """Out of the node's own prefix record, which the checkpoint's origin names."""
        origin = note.parse_checkpoint(note.decode(self.checkpoint()).text).origin
        prefix = origin.removeprefix("biaoshi/").partition("/epoch/")[0]
        path = f"/api/handles/0.NA/{prefix}?index={LOG_KEY_INDEX}"
        shape = self._good(self._connection.request("GET", path)).json()
        try:
            (value,) = parse_values(shape)
            key = decode_public_key(value.data)
        except (ParseError, ValueError) as error:
            raise UpstreamError(
                f"0.NA/{prefix} has no log key at {LOG_KEY_INDEX}: {error}"
            ) from None
        return raw_key(key, "the node's log key")

    def handovers(self) -> Sequence[bytes]:
        answer = self._connection.request("GET", "/log/keys")
        if answer.status == 404:
            return ()
        shape = self._good(answer).json()
        texts = shape.get("handovers") if isinstance(shape, dict) else None
        if not isinstance(texts, list):
            return ()
        return [text.encode() for text in texts[:MOST] if isinstance(text, str)]

    def cosign(self, data: bytes) -> None:
        """Hand a cosigned checkpoint to the node."""
        answer = self._connection.request("POST", "/log/cosigned", data)
        if answer.status == _METHOD_NOT_ALLOWED:
            raise SettingsError(
                "the node hears no witnesses; its operator puts the line of --show-key into "
                "`signing.witnesses`"
            )
        self._good(answer)

    def _bodies(self, first: int, last: int) -> Iterator[Logged]:
        while first <= last:
            path = f"/log/bodies?from={first}&limit={min(_PORTION, last + 1 - first)}"
            found = list(unpack_rows(self._good(self._connection.request("GET", path)).body))
            yield from found
            if not found:
                return
            first = found[-1].sequence + 1

    def _leaves(self, first: int, last: int) -> Iterator[Logged]:
        while first <= last:
            index, offset = divmod(first - 1, tiles.WIDTH)
            width = min(tiles.WIDTH, last - index * tiles.WIDTH)
            path = "/log/" + tiles.path(None, index, width)
            answer = self._connection.request("GET", path)
            if answer.status == 404:
                return
            leaves = split_entries(self._good(answer).body)
            for at, leaf in enumerate(leaves[offset:]):
                yield Logged(first + at, leaf, None)
            if len(leaves) != width:
                return
            first = index * tiles.WIDTH + width + 1

    def _good(self, answer: Answer) -> Answer:
        if answer.status != 200:
            raise error_of(answer, self._connection.credentials)
        return answer

    def close(self) -> None:
        self._connection.close()


def unpack_rows(data: bytes) -> Iterator[Logged]:
    """The rows of /log/bodies. Raises UpstreamError."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1), raw=False)
    unpacker.feed(data)
    try:
        for sequence, leaf, body in unpacker:
            rows_fit = type(sequence) is int and isinstance(leaf, bytes)
            if not rows_fit or not isinstance(body, bytes | None):
                raise UpstreamError("the node sent rows that are no changes")
            if len(leaf) + len(body or b"") > MAX_BODY_BYTES:
                raise UpstreamError(f"change {sequence} is above {MAX_BODY_BYTES} octets")
            yield Logged(sequence, leaf, body)
        if unpacker.tell() != len(
            data
        ):  # a row was begun: cut off on the way, and no proof of lies
            raise UpstreamError("the node's answer ends within a change")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise UpstreamError(f"the node sent rows that cannot be read: {error}") from None


def split_entries(data: bytes) -> list[bytes]:
    """The leaves of an entry bundle. Raises UpstreamError."""
    leaves: list[bytes] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        leaf = data[at + 2 : at + 2 + size]
        if len(leaf) != size or len(leaves) >= tiles.WIDTH:
            raise UpstreamError("the node sent a bundle of leaves that cannot be read")
        leaves.append(leaf)
        at += 2 + size
    return leaves


def open_source(
    place: str, auth: str = "", certificate: Path | None = None, *, insecure: bool = False
) -> LogSource:
    """The log of a folder or an address."""
    if "://" not in place:
        if auth or certificate or insecure:
            raise SettingsError("--auth, --cert and --insecure are for a URL")
        return FolderSource(Path(place).resolve())
    from resolver.registering.auth import Credentials

    credentials = Credentials.parse(auth) if auth else None
    return UrlSource(Connection(place, credentials, certificate=certificate, insecure=insecure))


def read_log_key(text: str) -> bytes:
    """A log key: a verifier line (`name+id+base64`) or a file with a public key."""
    if "+" in text and not Path(text).exists():
        try:
            return note.Key.parse(text).public
        except ParseError as error:
            raise SettingsError(str(error)) from None
    keys = read_public_keys(Path(text))
    return raw_key(keys[0] if keys else None, text)


def raw_key(key: Any, what: str) -> bytes:
    """The 32 octets of an Ed25519 key, or the point of an SM2 key. Raises SettingsError."""
    if isinstance(key, Sm2PublicKey):
        return key.point
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{what} is no Ed25519 or SM2 key, as logs are signed with")
    return key.public_bytes_raw()


def _octets(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise UpstreamError("the node sent a proof that is not base64") from None
