"""Signing a node's records anew: those that its own key signed, after the key was replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol.change import Change, Kind
from protocol.errors import ParseError, StoreError
from protocol.jws import parse_jws
from protocol.name import fold_prefix
from protocol.record import HandleValue, Record
from protocol.signature import parse_signature
from registry.access import Access, AccessSettings
from registry.keys import load_keys
from registry.rules import SIGN
from registry.signing import NodeSigners, signatures
from registry.store import Table
from registry.store.row import decode_row, decode_values_of
from resolver.config_file import load_settings
from resolver.trust.source import FolderSource
from resolver.writer_link import open_writer

_PORTION: Final = 1_000


def resign_records(folder: Path) -> int:
    """Sign every record anew that a key of this node signed; how many there were."""
    settings, done = load_settings(folder), 0
    prefix = settings.node.prefix.encode().upper()
    signers = NodeSigners(load_keys(folder), prefix, rsa=settings.signing.handle_compat)
    for changes in _portions(folder, signers):
        with open_writer(folder) as writer:
            for outcome in writer.submit(changes):
                if outcome.status == "refused":
                    raise StoreError(f"a record is not signed anew: {outcome.error}")
        done += len(changes)
    return done


def _portions(folder: Path, signers: NodeSigners) -> Iterator[list[Change]]:
    """The changes, record by record. The store is not held open while they are written."""
    at: bytes | None = b""
    while at is not None:
        source = FolderSource(folder)
        try:
            with source.store.snapshot() as state:
                rows = list(state.scan(Table.RECORDS, at, limit=_PORTION))
            access = Access(source.store, AccessSettings())
            changes = _changes(signers, access, [_record(raw) for _, raw in rows])
        finally:
            source.close()
        if changes:
            yield changes
        at = rows[-1][0] + b"\0" if len(rows) == _PORTION else None


def _changes(signers: NodeSigners, access: Access, records: list[Record]) -> list[Change]:
    """The changes that have the writer sign anew what keys of this node signed."""
    made = []
    for record in records:
        old = signatures(record.values)
        signer = signers.of(record.handle, access.values) if old else None
        if signer is not None:
            own = fold_prefix(signer.reference.handle)
            indexes = tuple(value.index for value in old if _issuer(value) == own)
            if indexes:
                made.append(
                    Change(Kind.REMOVE, record.handle, indexes=indexes, attributes={SIGN: True})
                )
    return made


def _record(raw: bytes) -> Record:
    row = decode_row(raw)
    return Record(row.name, decode_values_of(row))


def _issuer(value: HandleValue) -> bytes:
    try:
        return fold_prefix(parse_signature(parse_jws(value.data)).claims.issuer.handle)
    except ParseError:
        return b""
