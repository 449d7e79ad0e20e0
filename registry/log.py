"""The log of changes: a leaf that commits and a body that tells (plan §4, §7).

A leaf holds salted digests of the key and of the body, so that it shows nothing and a body can be
erased while every proof over the leaves still holds. Trees, tiles and checkpoints over the leaves
are built in the same transaction, from what `entry()` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, NamedTuple

from protocol.change import pack, pack_flat, unpack
from protocol.errors import ParseError, StoreError
from protocol.labels import hidden
from protocol.record import HandleValue, Reference, decode_values, encode_value, encode_values
from registry.store import Table, Write

SEQUENCE_KEY = b"sequence"
"""Row of the meta table: the last sequence number, u8."""
SALT_BYTES = 16

_U4 = Struct(">I")
_U8 = Struct(">Q")


@dataclass(frozen=True, slots=True)
class Body:
    """The content of a change.

    before, after: the record's values, None where there is no record. attributes: of prefix
    kinds, and the prefix row that came of them.
    """

    kind: str
    handle: bytes
    before: tuple[HandleValue, ...] | None = None
    after: tuple[HandleValue, ...] | None = None
    actor: Reference | None = None
    attributes: Mapping[str, Any] | None = None


class Entry(NamedTuple):
    """A change as it is logged."""

    sequence: int
    leaf: bytes
    body: bytes

    def writes(self) -> list[Write]:
        """The rows of the change."""
        key = sequence_key(self.sequence)
        return [Write(Table.CHANGES, key, self.leaf), Write(Table.BODIES, key, self.body)]


def sequence_key(sequence: int) -> bytes:
    """The key of a change: u8, big-endian."""
    return _U8.pack(sequence)


def read_sequence(data: bytes) -> int:
    """The inverse of sequence_key."""
    return int(_U8.unpack(data)[0])


def entry(
    sequence: int,
    time_s: int,
    folded: bytes,
    body: Body,
    salts: bytes,
    after: Sequence[bytes] | None = None,
    *,
    flat: bool = False,
) -> Entry:
    """The leaf and the stored body of a change.

    folded: the record's folded name, or the folded prefix record. salts: 32 random octets, 16
    for the key and 16 for the body. after: the values of body.after in wire form, where they have
    been encoded already. flat: body.attributes stand in the order of their names at every depth.
    """
    key_salt, body_salt = salts[:SALT_BYTES], salts[SALT_BYTES : 2 * SALT_BYTES]
    actor = body.actor
    fields = {
        "actor": [actor.handle, actor.index] if actor else None,
        "after": None if body.after is None else _wire(body.after, after),
        "attributes": body.attributes,
        "before": None if body.before is None else encode_values(body.before),
        "handle": body.handle,
        "key": folded,
        "kind": body.kind,
    }
    content = pack_flat(fields) if flat or body.attributes is None else pack(fields)
    leaf = pack_flat(
        {
            "actor": key_id(actor),
            "body": sha256(body_salt + content).digest(),
            "key": sha256(key_salt + folded).digest(),
            "kind": body.kind,
            "public": _public_digest(body.after, after, body_salt),
            "sequence": sequence,
            "time": time_s,
        }
    )
    return Entry(sequence, leaf, key_salt + body_salt + content)


def ready_entry(
    sequence: int,
    time_s: int,
    folded: bytes,
    handle: bytes,
    values: bytes,
    actor: Reference | None,
    salts: bytes,
) -> Entry:
    """What entry() makes of a new record. values: list<value>, all of them public."""
    key_salt, body_salt = salts[:SALT_BYTES], salts[SALT_BYTES:]
    content = pack_flat(
        {
            "actor": [actor.handle, actor.index] if actor else None,
            "after": values,
            "attributes": None,
            "before": None,
            "handle": handle,
            "key": folded,
            "kind": "create",
        }
    )
    leaf = pack_flat(
        {
            "actor": key_id(actor),
            "body": sha256(body_salt + content).digest(),
            "key": sha256(key_salt + folded).digest(),
            "kind": "create",
            "public": sha256(public_salt(body_salt) + values).digest(),
            "sequence": sequence,
            "time": time_s,
        }
    )
    return Entry(sequence, leaf, salts + content)


def public_salt(body_salt: bytes) -> bytes:
    """The salt of the digest of the public values: it may be shown, the one of the body not."""
    return sha256(b"public" + body_salt).digest()[:SALT_BYTES]


def public_digest(salt: bytes, public: bytes) -> bytes:
    """What a leaf says of the public values. public: u4 count and values, as they are answered."""
    return sha256(salt + public).digest()


def _public_digest(
    values: Sequence[HandleValue] | None, encoded: Sequence[bytes] | None, body_salt: bytes
) -> bytes:
    """Empty where no record is left."""
    if values is None:
        return b""
    wire = map(encode_value, values) if encoded is None else encoded
    closed = hidden(values)
    shown = [
        data
        for value, data in zip(values, wire, strict=True)
        if value.public and value.index not in closed
    ]
    public = b"".join((_U4.pack(len(shown)), *shown))
    return public_digest(public_salt(body_salt), public)


def _wire(values: Sequence[HandleValue], encoded: Sequence[bytes] | None) -> bytes:
    if encoded is None:
        return encode_values(values)
    return b"".join((_U4.pack(len(encoded)), *encoded))


@lru_cache(maxsize=1024)
def key_id(actor: Reference | None) -> bytes:
    """Eight octets that name the key of an actor; none for the node's own operator."""
    return sha256(actor.text().encode()).digest()[:8] if actor else b""


def last_sequence(written: bytes | None) -> int:
    """The last sequence number from the meta row; 0 in an empty store."""
    return 0 if written is None else read_sequence(written)


_LEAF = (
    ("actor", bytes),
    ("body", bytes),
    ("key", bytes),
    ("kind", str),
    ("sequence", int),
    ("time", int),
)
"""What every leaf has; `public` came later."""


def decode_leaf(data: bytes) -> Mapping[str, Any]:
    """The fields of a leaf. Raises StoreError."""
    try:
        fields = unpack(data)
    except ParseError as error:
        raise StoreError(f"a leaf of the log is damaged: {error}") from error
    if not isinstance(fields, dict):
        raise StoreError("a leaf of the log is no map")
    for name, kind in _LEAF:
        if type(fields.get(name)) is not kind:
            raise StoreError(f"a leaf of the log lacks or garbles its field {name}")
    return fields


def decode_body(data: bytes) -> tuple[bytes, Body]:
    """The folded key and the content of a stored body. Raises StoreError."""
    try:
        fields = unpack(data[2 * SALT_BYTES :])
        actor, attributes = fields["actor"], fields["attributes"]
        for name, kind in (("key", bytes), ("kind", str), ("handle", bytes)):
            if type(fields[name]) is not kind:
                raise TypeError(name)
        if attributes is not None and not isinstance(attributes, dict):
            raise TypeError("attributes")
        return fields["key"], Body(
            kind=fields["kind"],
            handle=fields["handle"],
            before=_values(fields["before"]),
            after=_values(fields["after"]),
            actor=Reference(actor[0], actor[1]) if actor else None,
            attributes=fields["attributes"],
        )
    except (ParseError, KeyError, TypeError, IndexError) as error:
        raise StoreError(f"a body of the log is damaged: {error!r}") from error


def commits_to(leaf: Mapping[str, Any], folded: bytes, body: bytes) -> bool:
    """Whether a leaf is that of a stored body and its key. Raises StoreError: a damaged body."""
    key_salt, body_salt = body[:SALT_BYTES], body[SALT_BYTES : 2 * SALT_BYTES]
    if leaf["key"] != key_digest(key_salt, folded):
        return False
    if leaf["body"] != sha256(body_salt + body[2 * SALT_BYTES :]).digest():
        return False
    if "public" not in leaf:  # logs written before leaves had it
        return True
    _, content = decode_body(body)
    return bool(leaf["public"] == _public_digest(content.after, None, body_salt))


def key_digest(key_salt: bytes, folded: bytes) -> bytes:
    """What a leaf says of the name."""
    return sha256(key_salt + folded).digest()


def _values(data: Any) -> tuple[HandleValue, ...] | None:
    if not isinstance(data, bytes | None):  # a flipped bit makes another type of it
        raise StoreError("the values in a body of the log are no octets")
    return None if data is None else decode_values(data)
