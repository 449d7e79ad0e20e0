"""What a page may say was checked: of the record its signatures and its place in the log, of each
event its signature and its place in the log. Nothing is said that was not done here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from protocol.challenge import HS_PUBKEY
from protocol.errors import BiaoshiError, ParseError, ResponseCode, SignatureInvalid
from protocol.event_signature import read_claims, verify_event
from protocol.keys import PublicKey, decode_public_key
from protocol.name import fold_prefix
from protocol.record import Reference, decode_values
from registry.events.index import StoredEvent
from registry.events.proof import prove, verify_logged
from registry.events.row import decode_event_row
from registry.log import sequence_key
from registry.receipt import Opened, make_receipt, verify_receipt, verify_record
from registry.signing import LOG_KEY_INDEX, SITE_KEY_INDEX
from registry.store import Snapshot, Table
from registry.store.row import decode_row, is_unseen, public_body
from resolver.lookup import Query
from resolver.trust.signers import log_signer

if TYPE_CHECKING:
    from resolver.node import Node

OK: Final = "ok"


@dataclass(frozen=True, slots=True)
class Seal:
    """What was checked of one event. state: ok, invalid, issuer, label, no_key or unsigned.

    key: who signed, as `index:handle`. number, size: of the change and of the log, where its
    place was proved; 0 where it was not.
    """

    state: str
    key: str = ""
    number: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Logged:
    """The place of a record in this node's log. problem: why the proof fails."""

    number: int
    size: int
    origin: str
    problem: str = ""


def signer_of(stored: StoredEvent) -> Reference | None:
    """Whose key signed, as the signature says; None for one that cannot be read."""
    try:
        return read_claims(stored.signature).key
    except ParseError:
        return None


async def find_keys(
    node: Node, references: Collection[Reference]
) -> dict[Reference, tuple[PublicKey, ...]]:
    """The keys at these references: the node's own, or those in records that can be found."""
    return {one: await _keys_at(node, one) for one in references}


async def _keys_at(node: Node, reference: Reference) -> tuple[PublicKey, ...]:
    keys: list[PublicKey] = []
    if node.prefix and fold_prefix(reference.handle) == fold_prefix(node.record_name):
        if reference.index == LOG_KEY_INDEX:
            keys.append(node.keys.log_public)
        elif reference.index == SITE_KEY_INDEX:
            keys.append(node.keys.site_public)
    data: Sequence[bytes] = node.access.find_public_keys(reference)
    if not data and not keys:
        data = await _fetched(node, reference)
    for each in data:
        try:
            keys.append(decode_public_key(each))
        except ParseError:
            continue  # of a kind that signs no events
    return tuple(keys)


async def _fetched(node: Node, reference: Reference) -> list[bytes]:
    try:
        query = Query(reference.handle)
        answer = node.lookup.answer_now(query) or await node.lookup.answer(query)
    except BiaoshiError:
        return []
    if answer.code != ResponseCode.SUCCESS:
        return []
    return [
        value.data
        for value in decode_values(answer.values)
        if value.type.upper() == HS_PUBKEY and reference.index in (0, value.index)
    ]


def seal_of(
    state: Snapshot,
    stored: StoredEvent,
    keys: Mapping[Reference, tuple[PublicKey, ...]],
    log_keys: Sequence[bytes],
) -> Seal:
    """Check one event."""
    signer = signer_of(stored)
    if signer is None:
        return Seal("unsigned")
    number, size = _place(state, stored.sequence, log_keys)
    return Seal(_signed(stored, keys.get(signer, ())), signer.text(), number, size)


def _signed(stored: StoredEvent, keys: Sequence[PublicKey]) -> str:
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
