"""What a page may say was checked: of the record its signatures and its place in the log, of each
event its signature and its place in the log. Nothing is said that was not done here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import BiaoshiError
from protocol.record import Reference
from registry.events.index import StoredEvent
from registry.events.proof import prove, verify_logged
from registry.events.row import decode_event_row
from registry.log import sequence_key
from registry.receipt import Opened, make_receipt, verify_receipt, verify_record
from registry.store import Snapshot, Table
from registry.store.row import decode_row, is_unseen, public_body
from resolver.trace.evidence import OK, checked, signer_of
from resolver.trace.keybook import UNKNOWN, Keys
from resolver.trust.signers import log_signer

if TYPE_CHECKING:
    from resolver.node import Node

_TRUSTED: Final = frozenset(("own", "local", "verified"))
"""Whose key it is was verified, or is known here."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What was checked of one event.

    state: ok, loose (by a key that was not verified itself), invalid, issuer, label, no_key or
    unsigned.

    key: who signed, as `index:handle`. number, size: of the change and of the log, where its
    place was proved; 0 where it was not. trust: what vouches for the key: own, local (a record
    kept here) or verified (up to a trusted root). log: whose log, where it is another node's.
    """

    state: str
    key: str = ""
    number: int = 0
    size: int = 0
    trust: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Logged:
    """The place of a record in this node's log. problem: why the proof fails."""

    number: int
    size: int
    origin: str
    problem: str = ""


def seal_of(
    state: Snapshot,
    stored: StoredEvent,
    keys: Mapping[Reference, Keys],
    log_keys: Sequence[bytes],
) -> Seal:
    """Check one event."""
    signer = signer_of(stored)
    if signer is None:
        return Seal("unsigned")
    number, size = _place(state, stored.sequence, log_keys)
    found = keys.get(signer, UNKNOWN)
    result = checked(stored, found.keys)
    if result == OK and found.trust not in _TRUSTED:
        result = "loose"
    return Seal(result, signer.text(), number, size, found.trust)


def seal_of_foreign(evidence: Mapping[str, Any]) -> Seal:
    """What resolver.trace.checked found of an event before it was taken from another node."""
    receipt = evidence.get("receipt") or {}
    proved = bool(receipt.get("verified"))
    return Seal(
        str(evidence["signature"]),
        str(evidence["signer"]),
        receipt["index"] + 1 if proved else 0,
        receipt["size"] if proved else 0,
        str(evidence["trust"]),
        str(receipt.get("log", "")),
    )


def _place(state: Snapshot, sequence: int, log_keys: Sequence[bytes]) -> tuple[int, int]:
    """The proved place of an event in the log; zeros where it is not proved."""
    raw = state.get(Table.EVENTS, sequence_key(sequence))
    if raw is None or not log_keys:
        return 0, 0
    try:
        said = verify_logged(prove(state, sequence, decode_event_row(raw)), log_keys)
    except BiaoshiError:
        return 0, 0
    return sequence, said.size


def log_keys(node: Node, epoch: int) -> list[bytes]:
    """The keys that may sign this node's log; none at a node that only copies one."""
    signer = log_signer(node.settings, node.keys)
    if signer is None or node.settings.node.role == "mirror":
        return []
    keys = [signer.verifier(epoch).public]
    if signer.former is not None:
        keys.append(signer.former.public_key().public_bytes_raw())
    return keys


def place_of_record(
    node: Node, state: Snapshot, name: bytes, keys: Sequence[bytes]
) -> Logged | None:
    """Where this node's log has a record; None: it is not kept here, or no log of ours is."""
    raw = node.lookup.row(name)
    if raw is None or is_unseen(raw) or not keys:
        return None
    row = decode_row(raw)
    try:
        receipt = make_receipt(state, row.version, Opened.PUBLIC)
        said = verify_receipt(receipt, keys)
        verify_record(receipt, name, bytes(public_body(raw)))
    except BiaoshiError as error:
        return Logged(row.version, 0, "", str(error))
    return Logged(row.version, said.size, said.origin)


def until(verification: Mapping[str, Any]) -> int | None:
    """When the first signature or certificate ends, seconds since 1970."""
    found = verification.get("expires")
    return found if isinstance(found, int) else None
