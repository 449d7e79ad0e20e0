"""What is checked of every event of a trace: its signature, who made it, its place in the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from protocol import note
from protocol.errors import ParseError, SignatureInvalid
from protocol.event_signature import read_claims, verify_event
from protocol.keys import PublicKey
from protocol.record import Reference
from registry import tree
from registry.events.index import StoredEvent
from registry.store import Snapshot
from resolver.trace.keybook import UNKNOWN, Keys
from resolver.trace.views import View

OK: Final = "ok"
_MOST: Final = 262_144


class Seals:
    """Signatures that held, remembered: the octets of an event never change."""

    def __init__(self) -> None:
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, stored: StoredEvent, keys: Sequence[PublicKey]) -> str:
        """`ok`, or what is wrong: `invalid`, `no_key`, `unsigned`, `issuer`, `label`."""
        if not stored.signature:
            return "unsigned"
        mark = sha256(stored.signature + stored.raw + stored.issuer.encode()).digest()
        if mark in self._good:
            return OK
        result = checked(stored, keys)
        if result == OK:
            if len(self._good) >= _MOST:
                self._good.popitem(last=False)
            self._good[mark] = None
        return result


def checked(stored: StoredEvent, keys: Sequence[PublicKey]) -> str:
    """What a signed event's signature is worth under these keys: `ok`, `invalid`, `no_key`,
    `issuer` (it was made for another) or `label` (another is told now).
    """
    result = "no_key"
    for key in keys:
        try:
            claims = verify_event(stored.raw, stored.signature, key)
        except (SignatureInvalid, ParseError):
            result = "invalid"
            continue
        if claims.issuer.text() != stored.issuer:
            return "issuer"
        return OK if claims.label == stored.label else "label"
    return result


def signer_of(stored: StoredEvent) -> Reference | None:
    """Whose key signed an event, as its signature says; None for one that cannot be read."""
    try:
        return read_claims(stored.signature).key
    except ParseError:
        return None


def signers(views: Iterable[View]) -> set[Reference]:
    """All keys that a trace's events name."""
    return {one for view in views if (one := signer_of(view.stored)) is not None}


def evidence_of(
    view: View, keys: Mapping[Reference, Keys], seals: Seals, log: tuple[str, int]
) -> dict[str, Any]:
    """The row of one own event. log: origin and size of the tree."""
    signer = signer_of(view.stored)
    found = UNKNOWN if signer is None else keys.get(signer, UNKNOWN)
    return {
        "event": view.stored.event_id,
        "signature": seals.check(view.stored, found.keys),
        "signer": "" if signer is None else signer.text(),
        "issuer": view.stored.issuer,
        "trust": found.trust,
        "receipt": {"log": log[0], "index": view.stored.sequence - 1, "size": log[1]},
    }


def log_head(state: Snapshot) -> tuple[str, int]:
    """Origin and size of the log's newest checkpoint."""
    signed = tree.latest_checkpoint(state)
    if signed is None:
        return "", 0
    said = note.parse_checkpoint(note.decode(signed).text)
    return said.origin, said.size
