"""Rows of registrations made ready in one go: from the line of JSON to what is written.

The usual row (a plain handle, public texts and administrators) needs no object a value: its wire
form, its JSON and its digest are made from the text in one pass, a batch is signed together, and
the writer stores the octets (`Ready`). Every other row is None here and goes the general way,
which says what is wrong with it. Both ways store the same; tests/registry/test_ready.py compares
them.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, Final, NamedTuple

import orjson

from protocol.change import Change, Ready
from protocol.errors import BiaoshiError
from protocol.handle_json import format_data, iso_time, json_text, parse_data
from protocol.record import DEFAULT_PERMISSIONS, DEFAULT_TTL_S, MAX_INDEX, decode_values
from protocol.signature import HS_SIGNATURE
from registry.batch_signing import BatchSigner
from registry.rules import HS_ADMIN, WriterSettings
from registry.signing import SIGNATURE_INDEX, VERIFIED

MOST_LINE: Final = 65_536
"""Longer rows go the general way: they are bound by their octets, not by objects."""
_MOST_VALUES: Final = 64
_MOST_NAME: Final = 400
_MOST_BRACKETS: Final = 200

_name = re.compile(r"[1-9][0-9.]*/[!#-\[\]-~]+").fullmatch
"""Handles that are their own text in JSON, whose key is the same in large letters, and which name
no prefix record, no OID and no GS1 key."""
_text = re.compile(rb"[ !#-\[\]-~]*").fullmatch
_HEAD = Struct(">iIBIBI")
"""index, timestamp, TTL type, TTL, permissions, length of the type: as protocol.record has it."""
_U4 = Struct(">I").pack
_ROW_KEYS = {"handle", "values", "line", "on_exists"}
_OVERWRITES = {"refuse": False, "replace": True}


class Draft(NamedTuple):
    """A row whose values are made, not yet signed.

    digests: the JSON entry of each value in the list of digests. min_ttl: seconds.
    """

    line: int
    handle: str
    overwrite: bool
    wire: list[bytes]
    shown: list[bytes]
    digests: list[bytes]
    indexes: set[int]
    min_ttl: int


class Drafter:
    """Reads the rows of one request."""

    def __init__(
        self,
        signer_of: Callable[[bytes], BatchSigner | None] | None,
        settings: WriterSettings,
        now_s: int,
    ) -> None:
        """signer_of: who signs a handle, always the same object for one signer; None: nobody.

        settings: the writer's bounds. now_s: the time stamped on values, seconds since 1970.
        """
        self._signer_of = signer_of
        self._settings = settings
        self._now_s = now_s
        self._time = iso_time(now_s)

    def read(self, line: bytes, number: int) -> Draft | None:
        """The draft of a row; None where the general way must decide. number: of the line."""
        if len(line) > MOST_LINE or line.count(b"[") + line.count(b"{") > _MOST_BRACKETS:
            return None
        escaped = 0
        if b"\\" in line:
            if b"\\\\" in line:
                return None
            escaped = line.count(b'\\"')
        try:
            row = orjson.loads(line)
        except ValueError:
            return None
        if type(row) is not dict or not row.keys() <= _ROW_KEYS:
            return None
        at, rule = row.get("line", number), row.get("on_exists", "refuse")
        handle, items = row.get("handle"), row.get("values")
        if type(at) is not int or not 0 <= at < 1 << 63 or type(rule) is not str:
            return None
        if type(handle) is not str or len(handle) > _MOST_NAME or not _name(handle):
            return None
        if rule not in _OVERWRITES or type(items) is not list or not 0 < len(items) <= _MOST_VALUES:
            return None
        draft = Draft(at, handle, _OVERWRITES[rule], [], [], [], set(), 0)
        # All names and texts of the row are counted: a name that stands twice would be one less.
        texts, least = len(row) + 1 + ("on_exists" in row), 0xFFFFFFFF
        for item in items:
            made = self._value(item, draft)
            if made is None:
                return None
            texts += made[0]
            least = min(least, made[1])
        if 2 * texts != line.count(b'"') - escaped:
            return None
        return draft._replace(min_ttl=least)

    def _value(self, item: Any, draft: Draft) -> tuple[int, int] | None:
        """Add a value to a draft; how many names and texts it was written with, and its TTL."""
        if type(item) is not dict:
            return None
        index, type_, data = item.get("index"), item.get("type"), item.get("data")
        ttl = item.get("ttl", DEFAULT_TTL_S)
        timed = "timestamp" in item
        if len(item) != 3 + ("ttl" in item) + timed:
            return None
        if type(index) is not int or type(ttl) is not int or type(type_) is not str:
            return None
        if not 1 <= index <= MAX_INDEX or not 0 <= ttl <= 0xFFFFFFFF or index in draft.indexes:
            return None
        kind = _kind(type_, self._settings.type_bytes)
        if kind is None or (timed and type(item["timestamp"]) is not str):
            return None
        texts = len(item) + 1 + timed
        if type(data) is dict:
            if len(data) != 2 or data.get("format") not in {"string", "admin"}:
                return None
            texts += 3
            if data["format"] == "admin":
                data = data.get("value")
            else:
                data = data.get("value")
                texts += 1
                if type(data) is not str:
                    return None
        else:
            texts += 1
        found = self._data(kind, data)
        if found is None:
            return None
        octets, shown, more = found
        self._add(draft, index, kind, octets, shown, ttl)
        return texts + more, ttl

    def _data(self, kind: _Kind, data: Any) -> tuple[bytes, bytes, int] | None:
        """The octets of a value's data, its JSON, and the names and texts of a structure."""
        if kind.admin:
            if type(data) is not dict or len(data) != 3:
                return None
            handle, index, digits = (data.get(name) for name in ("handle", "index", "permissions"))
            if type(handle) is not str or type(index) is not int or type(digits) is not str:
                return None
            admin = _admin(handle, index, digits)
            return None if admin is None else (*admin, 5)
        if type(data) is not str:
            return None
        try:
            octets = data.encode()
        except UnicodeEncodeError:
            return None
        if len(octets) > self._settings.value_bytes:
            return None
        if _text(octets):
            return octets, b'{"format":"string","value":"%b"}' % octets, 0
        return octets, format_data(kind.type, octets), 0

    def _add(
        self, draft: Draft, index: int, kind: _Kind, octets: bytes, shown: bytes, ttl: int
    ) -> None:
        type_ = kind.type
        head = _HEAD.pack(index, self._now_s, 0, ttl, DEFAULT_PERMISSIONS, len(type_))
        wire = b"%b%b%b%b\0\0\0\0" % (head, type_, _U4(len(octets)), octets)
        draft.indexes.add(index)
        draft.wire.append(wire)
        draft.shown.append(
            b'{"index":%d,"type":%b,"data":%b,"ttl":%d,"timestamp":"%b"}'
            % (index, kind.shown, shown, ttl, self._time)
        )
        if self._signer_of is not None and kind is not _SIGNATURE:
            digest = b2a_base64(sha256(wire[8:]).digest(), newline=False)
            draft.digests.append(b'{"index":%d,"digest":"%b"}' % (index, digest))

    def finish(self, drafts: Sequence[Draft]) -> list[Ready | None]:
        """The drafts, signed together; None for one that became too long."""
        signed = set[int]()
        for signer, places in self._by_signer(drafts):
            ours = [drafts[at] for at in places]
            payloads = _payloads(signer, ours, self._now_s)
            for draft, text in zip(ours, signer.texts(payloads), strict=True):
                self._sign(draft, text)
            signed.update(places)
        return [self._ready(draft, at in signed) for at, draft in enumerate(drafts)]

    def _by_signer(self, drafts: Sequence[Draft]) -> list[tuple[BatchSigner, list[int]]]:
        """The places of the drafts that each signer signs."""
        if self._signer_of is None:
            return []
        found: dict[int, tuple[BatchSigner, list[int]]] = {}
        for at, draft in enumerate(drafts):
            signer = self._signer_of(draft.handle.encode())
            if signer is not None:
                found.setdefault(id(signer), (signer, []))[1].append(at)
        return list(found.values())

    def _sign(self, draft: Draft, text: bytes) -> None:
        index = SIGNATURE_INDEX
        while index in draft.indexes:
            index += 1
        shown = b'{"format":"string","value":"%b"}' % text
        self._add(draft, index, _SIGNATURE, text, shown, DEFAULT_TTL_S)

    def _ready(self, draft: Draft, signed: bool) -> Ready | None:
        values = _U4(len(draft.wire)) + b"".join(draft.wire)
        if len(values) + len(draft.handle) > self._settings.record_bytes // 2:
            return None
        least = min(draft.min_ttl, DEFAULT_TTL_S) if signed else draft.min_ttl
        shown = b"[%b]" % b",".join(draft.shown)
        return Ready(values, shown, len(draft.wire), least, signed)


def _payloads(signer: BatchSigner, drafts: Sequence[Draft], now_s: int) -> list[bytes]:
    """What RecordSigner.payload() makes of the same values."""
    # What stands around the digests and the name is always the same.
    before, _, rest = signer.signer.payload(b"\x1a", (), now_s).partition(b"]")
    middle, after = (b"]" + rest).split(b'"\\u001a"')
    return [
        b'%b%b%b"%b"%b' % (before, b",".join(draft.digests), middle, draft.handle.encode(), after)
        for draft in drafts
    ]


class _Kind(NamedTuple):
    """A value type. shown: as JSON has it."""

    type: bytes
    shown: bytes
    admin: bool


_SIGNATURE = _Kind(HS_SIGNATURE, json_text(HS_SIGNATURE), admin=False)


@lru_cache(maxsize=4096)
def _kind(type_: str, most: int) -> _Kind | None:
    """A type that decides about nothing but, in HS_ADMIN, rights; None for the others."""
    if not 0 < len(type_) <= most or not type_.isascii():
        return None
    octets = type_.encode()
    folded = octets.upper()
    if folded.startswith((b"HS_", b"0.")) and octets != HS_ADMIN:
        return None
    return _Kind(octets, json_text(octets), octets == HS_ADMIN)


@lru_cache(maxsize=256)
def _admin(handle: str, index: int, digits: str) -> tuple[bytes, bytes] | None:
    """The data of an HS_ADMIN value and its JSON; None where it is not in order."""
    value = {"handle": handle, "index": index, "permissions": digits}
    try:
        octets = parse_data({"format": "admin", "value": value})
    except BiaoshiError:
        return None
    shown = format_data(HS_ADMIN, octets)
    return (octets, shown) if shown.startswith(b'{"format":"admin"') else None


def plain_change(change: Change, ready: Ready) -> Change:
    """The same change with its values as objects, for the writer's general way."""
    attributes = {VERIFIED: True} if ready.signed else None
    return replace(change, values=decode_values(ready.values), attributes=attributes, ready=None)
