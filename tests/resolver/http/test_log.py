"""/log: anybody can check the log with what it serves; content is for administrators."""

from __future__ import annotations

import io
from base64 import b64decode
from hashlib import sha256

import msgpack
import pytest

from protocol import merkle, note
from protocol.errors import SignatureInvalid
from protocol.record import encode_values
from registry.log import sequence_key
from registry.notes import Note, encode_note
from registry.receipt import parse_receipt, verify_receipt, verify_record
from registry.records import read_row
from registry.store import Table, Write
from resolver.trust.carried import unpack_notes
from tests.resolver.http.node_in_process import value

PRIVATE = 12


def filled(served, count=300):
    for number in range(count):
        served.register(f"86.999/{number}", value(1, "URL", f"http://example.org/{number}"))


async def checkpoint(served, query=""):
    answer = await served.ask("GET", "/log/checkpoint" + query)
    assert answer.status == 200
    signed = note.decode(answer.body)
    said = note.parse_checkpoint(signed.text)
    note.verify(signed, [note.Key(said.origin, log_key(served))])
    return said


def log_key(served):
    return served.node.keys.log_public.public_bytes_raw()


async def test_the_tree_can_be_rebuilt_from_the_entries(served):
    """The leaves that are served hash to the signed root, and tiles hold their hashes."""
    filled(served)
    said = await checkpoint(served)
    full, rest = divmod(said.size, 256)
    data = (await served.ask("GET", "/log/tile/entries/000")).body
    data += (await served.ask("GET", f"/log/tile/entries/001.p/{rest}")).body
    assert full == 1
    tree, hashes = merkle.Frontier(), b""
    while data:
        size = int.from_bytes(data[:2], "big")
        leaf, data = data[2 : 2 + size], data[2 + size :]
        tree.append(merkle.leaf_hash(leaf))
        hashes += merkle.leaf_hash(leaf)
    assert (tree.size, tree.root()) == (said.size, said.root)
    tiles = [await served.ask("GET", f"/log/tile/0/{at}") for at in ("000", f"001.p/{rest}")]
    assert b"".join(one.body for one in tiles) == hashes
    assert all("immutable" in one.headers["Cache-Control"] for one in tiles)


async def test_proofs_hold(served):
    """Inclusion and consistency proofs lead from what one has to the signed root."""
    filled(served, 20)
    old = await checkpoint(served)
    filled_more = served.register("86.999/more", value(1, "URL", "http://example.org/"))
    new = await checkpoint(served)
    assert new.size == filled_more.sequence == old.size + 1
    body = (await served.ask("GET", f"/log/proof/consistency?old={old.size}&new={new.size}")).json
    proof = [b64decode(each) for each in body["proof"]]
    merkle.verify_consistency(old.size, old.root, new.size, new.root, proof)
    body = (await served.ask("GET", f"/log/proof/inclusion?index=7&size={new.size}")).json
    proof = [b64decode(each) for each in body["proof"]]
    merkle.verify_inclusion(b64decode(body["leafHash"]), 7, new.size, proof, new.root)
    assert (await checkpoint(served, "?size=3")).size == 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/log/tile/0/001", 404),
        ("/log/tile/0/000", 404),
        ("/log/tile/entries/000.p/200", 404),
        ("/log/tile/7/x999/x999/x999/x999/x999/x999/x999/999", 404),
        ("/log/tile/9/000", 404),
        ("/log/tile/64/000", 400),
        ("/log/tile/0/0", 400),
        ("/log/tile/entries/000.p/256", 400),
        ("/log/proof/inclusion?index=9&size=99", 404),
        ("/log/proof/inclusion?index=3&size=3", 404),
        ("/log/proof/inclusion?size=3", 400),
        ("/log/proof/consistency?old=0&new=3", 404),
        ("/log/proof/consistency?old=-1&new=3", 400),
        ("/log/receipt", 400),
        ("/log/receipt?sequence=99999999", 404),
        ("/log/receipt?sequence=0", 404),
        ("/log/receipt?handle=86.999/none", 404),
        ("/log/checkpoint?size=99", 404),
        ("/log/other", 404),
        ("/log/bodies?from=1", 403),
        ("/log/notes", 403),
    ],
)
async def test_what_is_not_there(served, path, status):
    """Tiles and proofs beyond the log are not there; nonsense is refused; content needs TLS."""
    filled(served, 3)
    assert (await served.ask("GET", path)).status == status
    assert (await served.ask("POST", path)).status in {404, 405}


async def test_a_receipt_proves_an_answer(served):
    """Anybody gets a receipt that ties the public values to the log, and no other values."""
    shown, hidden = value(1, "URL", "http://a"), value(2, "X", "hid", permissions=PRIVATE)
    served.register("86.999/a", shown, hidden)
    answer = await served.ask("GET", "/log/receipt?handle=86.999/a")
    receipt = parse_receipt(answer.json)
    verify_receipt(receipt, [log_key(served)])
    values = [one for one in read_row(served.node.store, b"86.999/a").values() if one.public]
    verify_record(receipt, b"86.999/A", encode_values(values))
    assert receipt.body is None
    with pytest.raises(SignatureInvalid, match="values"):
        verify_record(receipt, b"86.999/a", encode_values([value(1, "URL", "http://b")]))
    with pytest.raises(SignatureInvalid, match="identifier"):
        verify_record(receipt, b"86.999/b", encode_values(values))
    with pytest.raises(SignatureInvalid):
        verify_receipt(receipt, [sha256(b"").digest()])


async def test_bodies_are_for_administrators(served):
    """An administrator reads content by receipt and in portions; others get the leaf alone."""
    served.register("86.999/a", value(1, "X", "secret", permissions=PRIVATE))
    sequence = served.node.store.get(Table.META, b"sequence")
    number = int.from_bytes(sequence, "big")
    plain = (await served.ask("GET", f"/log/receipt?sequence={number}")).json
    assert plain.keys() == {"format", "sequence", "index", "leaf", "proof", "checkpoint"}
    assert (await served.ask("GET", "/log/receipt?handle=86.999/a")).status == 404
    whole = await served.as_admin("GET", f"/log/receipt?sequence={number}")
    assert b"secret" in b64decode(whole.json["body"])
    assert whole.headers["Cache-Control"] == "private, no-store"
    verify_receipt(parse_receipt(whole.json), [log_key(served)])
    assert (await served.ask("GET", "/log/bodies?from=1", tls=True)).status == 401
    answer = await served.as_admin("GET", "/log/bodies?from=1")
    rows = list(iter(msgpack.Unpacker(io.BytesIO(answer.body))))
    assert [row[0] for row in rows] == list(range(1, number + 1))
    assert b"secret" in rows[-1][2]


async def test_notes_are_for_administrators(served):
    """Queries, subscriptions and cursors go to administrators, nothing else does; in portions."""
    noted = {
        b"epcis/query/a": {"name": "a"},
        b"epcis/sub/1/x": {"token": "secret"},
        b"epcis/cursor/1/x": {"sequence": 7},
    }
    others = {b"epcis/doc/1": b"", b"epcis/job/1": {}, b"other": 1}
    rows = (Note(key, encode_note(one)).write() for key, one in (noted | others).items())
    served.node.store.apply(list(rows))
    assert (await served.ask("GET", "/log/notes", tls=True)).status == 401
    answer = await served.as_admin("GET", "/log/notes")
    assert answer.headers["Cache-Control"] == "private, no-store"
    found = unpack_notes(answer.body)
    assert found == {key: encode_note(one) for key, one in noted.items()}
    rest = await served.as_admin("GET", f"/log/notes?after={b'epcis/query/a'.hex()}")
    assert list(unpack_notes(rest.body)) == [b"epcis/sub/1/x"]
    assert (await served.as_admin("GET", f"/log/notes?after={b'epcis/t'.hex()}")).body == b""
    assert (await served.as_admin("GET", "/log/notes?after=x")).status == 400


async def test_erasing_a_body_leaves_every_proof(served):
    """Proofs, receipts and checkpoints made before hold after content was erased."""
    outcome = served.register("86.999/a", value(1, "URL", "http://a"))
    before = (await served.ask("GET", "/log/receipt?handle=86.999/a")).json
    served.node.store.apply([Write(Table.BODIES, sequence_key(outcome.sequence), None)])
    verify_receipt(parse_receipt(before), [log_key(served)])
    after = (await served.ask("GET", f"/log/receipt?sequence={outcome.sequence}")).json
    verify_receipt(parse_receipt(after), [log_key(served)])
    assert after["leaf"] == before["leaf"]
    assert (await served.ask("GET", "/log/receipt?handle=86.999/a")).json == after
