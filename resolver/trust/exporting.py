"""Records with their receipts, a line each, out of one consistent state."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import note
from protocol.handle_json import format_values, json_text
from protocol.labels import open_values
from protocol.name import PREFIX_RECORDS, fold, prefix_of
from registry.events.index import EventIndex
from registry.events.proof import prove
from registry.labels import ANYBODY, visible
from registry.receipt import Opened, make_receipt
from registry.scitt import cose_receipt
from registry.store import Store, Table
from registry.store.row import decode_row, decode_values_of


def export_lines(
    store: Store,
    prefix: bytes | None,
    *,
    everything: bool,
    proofs: bool,
    checkpoint: bytes | None = None,
    cose_key: Ed25519PrivateKey | None = None,
) -> Iterator[bytes]:
    """JSON lines in the order of keys; prefix records come with each prefix.

    everything: with values that are not public. checkpoint: that receipts lead to; default: the
    newest; records that it does not cover come without one. cose_key: add COSE receipts by this
    log key. Raises StoreError for a damaged row.
    """
    folded = None if prefix is None else fold(prefix)
    own_record = b"" if folded is None else PREFIX_RECORDS + folded
    covered = 1 << 63
    if checkpoint is not None:
        covered = note.parse_checkpoint(note.decode(checkpoint).text).size
    with store.snapshot() as state:
        for _, raw in state.scan(Table.RECORDS):
            row = decode_row(raw)
            name = fold(row.name)
            if folded is not None and folded != prefix_of(name) and name != own_record:
                continue
            values = decode_values_of(row)
            shown = values if everything else open_values(values)
            if not shown:
                continue
            line = b'{"handle":%b,"values":%b' % (json_text(row.name), format_values(shown))
            if proofs and row.version <= covered:
                receipt = make_receipt(state, row.version, Opened.PUBLIC, checkpoint)
                line += b',"receipt":' + orjson.dumps(receipt.shape())
            if cose_key is not None:
                plain = make_receipt(state, row.version)
                line += b',"scitt":"%b"' % b64encode(cose_receipt(plain, cose_key))
            yield line + b"}\n"


def export_events(store: Store, *, everything: bool) -> Iterator[bytes]:
    """The events as JSON lines in the order of their capture, each with signature and receipt.

    everything: with those that are not public. Raises StoreError for a damaged row.
    """
    with store.snapshot() as state:
        for sequence, row in EventIndex(state).since(0):
            if everything or visible(row.label, ANYBODY):
                yield orjson.dumps(prove(state, sequence, row)) + b"\n"
