"""Signing a node's records anew: those that its own key signed, after the key was replaced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol.change import Change, Kind
from protocol.errors import ParseError, StoreError
from protocol.jws import parse_jws
from protocol.name import described_prefix, fold_prefix, prefix_record
from protocol.record import HandleValue, Record
from protocol.signature import parse_signature
from registry.keys import load_keys
from registry.records import read_record
from registry.rules import RENEW
from registry.signing import VERIFIED, RecordSigner, is_under, node_signer, signatures
from registry.store import Store, Table
from registry.store.row import decode_row, decode_values_of
from resolver.config_file import load_settings
from resolver.trust.source import FolderSource
from resolver.writer_link import open_writer

_PORTION: Final = 1_000


def resign_records(folder: Path) -> int:
    """Sign every record anew that a key of this node signed; how many there were."""
    settings = load_settings(folder)
    prefix = settings.node.prefix.encode().upper()
    source, done = FolderSource(folder), 0
    try:
        own = read_record(source.store, prefix_record(prefix))
        values = own.values if own is not None else ()
        rsa = settings.signing.handle_compat
        signer = node_signer(load_keys(folder), prefix, values, rsa=rsa)
        with open_writer(folder) as writer:
            for portion in _signed(source.store, prefix):
                changes = [_change(signer, record) for record in portion]
                for outcome in writer.submit(changes):
                    if outcome.status == "refused":
                        raise StoreError(f"a record is not signed anew: {outcome.error}")
                    done += outcome.status != "unchanged"
    finally:
        source.close()
    return done


def _change(signer: RecordSigner, record: Record) -> Change:
    signed = signer.sign(record.handle, record.values, int(time.time()))
    (own,) = [value for value in signed if signer.made(value)]
    return Change(
        Kind.ADD, record.handle, (own,), overwrite=True, attributes={VERIFIED: True, RENEW: True}
    )


def _signed(store: Store, prefix: bytes) -> Iterator[list[Record]]:
    """Portions of records below the node's prefix with a signature by one of its own keys.

    No snapshot is held while records are written.
    """
    at, own = b"", fold_prefix(prefix_record(prefix))
    while True:
        with store.snapshot() as state:
            rows = list(state.scan(Table.RECORDS, at, limit=_PORTION))
        found = (_record(raw) for _, raw in rows)
        yield [one for one in found if _is_ours(one, prefix, own)]
        if len(rows) < _PORTION:
            return
        at = rows[-1][0] + b"\0"


def _record(raw: bytes) -> Record:
    row = decode_row(raw)
    return Record(row.name, decode_values_of(row))


def _is_ours(record: Record, prefix: bytes, own: bytes) -> bool:
    if described_prefix(record.handle) is not None or not is_under(record.handle, prefix):
        return False
    return any(_issuer(value) == own for value in signatures(record.values))


def _issuer(value: HandleValue) -> bytes:
    try:
        return fold_prefix(parse_signature(parse_jws(value.data)).claims.issuer.handle)
    except ParseError:
        return b""
