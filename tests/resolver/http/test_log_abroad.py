"""Receipts for other software, and cosignatures: what leaves the node is checked by others' code."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pycose.keys import OKPKey
from pycose.messages import Sign1Message

from protocol import note
from protocol.errors import ParseError, SignatureInvalid
from registry.receipt import parse_receipt, verify_receipt
from registry.scitt import MEDIA_TYPE, parse_cose_receipt
from resolver.trust.cosigned import require_witnesses
from tests.resolver.http.node_in_process import value

COSE = {"Accept": MEDIA_TYPE}


def log_key(served):
    return served.node.keys.log_public.public_bytes_raw()


def plain(item):
    """Lists and dicts in place of what a tag's content is decoded to: pycose knows no others."""
    if isinstance(item, list | tuple):
        return [plain(each) for each in item]
    return {key: plain(each) for key, each in item.items()} if hasattr(item, "items") else item


def decoded(data):
    """The receipt as pycose sees it."""
    tag = cbor2.loads(data)
    assert tag.tag == 18
    return Sign1Message.from_cose_obj(plain(tag.value), allow_unknown_attributes=True)


def root_of(leaf, index, size, path):
    """RFC 9162 §2.1.3.2, written anew here: nothing of ours takes part in the check."""
    have, number, last = sha256(b"\0" + leaf).digest(), index, size - 1
    for sibling in path:
        if number & 1 or number == last:
            have = sha256(b"\1" + sibling + have).digest()
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            have = sha256(b"\1" + have + sibling).digest()
        number, last = number >> 1, last >> 1
    assert last == 0
    return have


async def test_an_independent_implementation_verifies_a_receipt(served):
    """pycose takes the signature over the root that the proof in the receipt leads to."""
    for number in range(9):
        outcome = served.register(f"86.999/{number}", value(1, "URL", "http://example.org/"))
    for sequence in (1, 4, outcome.sequence):
        answer = await served.ask("GET", f"/log/entries/{sequence}/receipt", headers=COSE)
        assert (answer.status, answer.headers["Content-Type"]) == (200, MEDIA_TYPE)
        message = decoded(answer.body)
        (proof,) = message.uhdr[396][-1]
        size, index, path = cbor2.loads(proof)
        assert index == sequence - 1
        entries = await served.ask("GET", f"/log/tile/entries/000.p/{size}")
        leaves = []
        data = entries.body
        while data:
            length = int.from_bytes(data[:2], "big")
            leaves.append(data[2 : 2 + length])
            data = data[2 + length :]
        message.payload = root_of(leaves[index], index, size, path)
        message.key = OKPKey(crv="ED25519", x=log_key(served))
        assert message.verify_signature()
        message.payload = root_of(leaves[index] + b".", index, size, path)
        assert not message.verify_signature()


async def test_our_own_reader_of_cose(served):
    """The receipt verifies alone; another key, leaf, index or path does not; rubbish is refused."""
    outcome = served.register("86.999/a", value(1, "URL", "http://a"))
    path = f"/log/entries/{outcome.sequence}/receipt"
    body = (await served.ask("GET", path, headers=COSE)).body
    receipt = parse_cose_receipt(body)
    receipt.verify([log_key(served)])
    assert receipt.subject.endswith(f"/entries/{outcome.sequence}")
    wrong = (
        replace(receipt, leaf=receipt.leaf + b"."),
        replace(receipt, leaf=b""),
        replace(receipt, index=0),
        replace(receipt, size=receipt.size + 1),
        replace(receipt, path=receipt.path[:-1]),
        replace(receipt, signature=bytes(64)),
    )
    for one in wrong:
        with pytest.raises(SignatureInvalid):
            one.verify([log_key(served)])
    with pytest.raises(SignatureInvalid):
        receipt.verify([sha256(b"").digest()])
    for data in (b"", body[:-1], body + b".", b"\xd2\x80", cbor2.dumps([1, 2]), b"\x9f" * 99):
        with pytest.raises(ParseError):
            parse_cose_receipt(data)
    plain = await served.ask("GET", path)
    verify_receipt(parse_receipt(plain.json), [log_key(served)])
    assert (await served.ask("GET", "/log/entries/99999/receipt", headers=COSE)).status == 404


@pytest.fixture
def witnesses(served):
    """Two witnesses that the node hears, and one that it does not."""
    keys = {name: Ed25519PrivateKey.generate() for name in ("w1", "w2", "stranger")}
    verifiers = {
        name: note.Key(name, key.public_key().public_bytes_raw(), note.COSIGNATURE)
        for name, key in keys.items()
    }
    told = tuple(verifiers[name].text() for name in ("w1", "w2"))
    settings = served.node.settings
    served.node.settings = replace(settings, signing=replace(settings.signing, witnesses=told))
    return keys, verifiers


async def cosigned_by(served, name, key, raw=None):
    raw = raw or (await served.ask("GET", "/log/checkpoint")).body
    signed = note.decode(raw)
    line = note.cosign(signed.text, name, key, 1_700_000_000)
    sent = note.Note(signed.text, (*signed.signatures, line)).encode()
    return await served.ask("POST", "/log/cosigned", body=sent)


async def test_cosignatures_are_gathered_and_demanded(served, witnesses):
    """The node serves what its witnesses cosigned; a verifier demands n of m of them."""
    keys, verifiers = witnesses
    known = [verifiers["w1"], verifiers["w2"]]
    outcome = served.register("86.999/a", value(1, "URL", "http://a"))
    assert (await served.ask("GET", "/log/cosigned")).status == 404
    first = (await served.ask("GET", "/log/checkpoint")).body
    assert (await cosigned_by(served, "w1", keys["w1"])).status == 200
    one = (await served.ask("GET", "/log/cosigned")).body
    assert [key.name for key in require_witnesses(one, known, 1)] == ["w1"]
    with pytest.raises(SignatureInvalid, match="1 of the 2"):
        require_witnesses(one, known, 2)
    assert (await cosigned_by(served, "w2", keys["w2"])).status == 200
    both = (await served.ask("GET", "/log/cosigned")).body
    assert {key.name for key in require_witnesses(both, known, 2)} == {"w1", "w2"}
    path = f"/log/receipt?sequence={outcome.sequence}&cosigned=1"
    receipt = parse_receipt((await served.ask("GET", path)).json)
    verify_receipt(receipt, [log_key(served)])
    assert len(require_witnesses(receipt.checkpoint, known, 2)) == 2

    # A stranger, a false signature, another tree and an older checkpoint change nothing.
    served.register("86.999/b", value(1, "URL", "http://b"))
    assert (await cosigned_by(served, "stranger", keys["stranger"])).status == 409
    assert (await cosigned_by(served, "w1", keys["w2"])).status == 409
    text = note.Checkpoint("biaoshi/86.999", 3, bytes(32)).text()
    forged = note.Note(text, (note.sign(text, "biaoshi/86.999", served.node.keys.log_private),))
    assert (await cosigned_by(served, "w1", keys["w1"], forged.encode())).status == 409
    assert (await served.ask("GET", "/log/cosigned")).body == both
    assert (await cosigned_by(served, "w1", keys["w1"])).status == 200
    assert (await cosigned_by(served, "w2", keys["w2"], first)).status == 409
    with pytest.raises(ParseError):
        require_witnesses(both, known, 3)


async def test_the_keys_of_the_log(served):
    """/log/keys names the key that signs, in the form that verifiers are configured with."""
    answer = (await served.ask("GET", "/log/keys")).json
    assert note.Key.parse(answer["keys"][0]).public == log_key(served)
    assert answer["handovers"] == []
