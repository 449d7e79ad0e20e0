"""Forms of keys and signatures: any bytes decode or raise ParseError; odd rows are told apart."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.challenge import answer_with_key
from protocol.doirp.message import digest_of
from protocol.errors import ParseError
from protocol.keys import encode_private_key, encode_public_key, sm2
from protocol.vectorform import FORMS, VectorMismatch

FOLDER = Path(__file__).parent.parent / "vectors" / "do-irp"
FILES = ("keys", "authentication", "credentials", "sessions", "jws", "replication")
sm2.missing()  # loads the library, which is no part of what is timed
ROWS = [row for name in FILES for row in json.loads((FOLDER / f"{name}.json").read_bytes())]
BY_NAME = {row["name"]: row for row in ROWS}
KINDS = sorted({row["kind"] for row in ROWS} - {"global_values"})
ED = ed25519.Ed25519PrivateKey.generate()


@settings(max_examples=200)
@given(st.sampled_from(KINDS), st.binary(max_size=100))
def test_any_bytes_decode_or_are_a_parse_error(kind, data):
    """No other error comes out of a form."""
    with contextlib.suppress(ParseError):
        FORMS[kind].decode(data)


@settings(max_examples=200)
@given(
    st.sampled_from([row for row in ROWS if row["kind"] != "global_values"]),
    st.data(),
    st.sampled_from([None, True, 0, -1, 1 << 40, "", "zz", "0", [], {}, ["00"], {"a": 1}]),
)
def test_any_field_may_hold_anything(row, data, value):
    """A row with a foreign value in a field is checked or refused, never worse."""
    worse = copy.deepcopy(row)
    worse["decoded"][data.draw(st.sampled_from(sorted(worse["decoded"])))] = value
    form = FORMS[row["kind"]]
    with contextlib.suppress(ParseError, VectorMismatch):
        form.check(worse)
    with contextlib.suppress(ParseError):
        form.encode(worse["decoded"])


def ed25519_answer() -> dict:
    covered = bytes.fromhex(
        BY_NAME["a-challenge-answer-rsa-v2.11"]["decoded"]["request_header_body_hex"]
    )
    nonce, digest = b"n" * 16, digest_of(covered, 3)
    data = answer_with_key(ED, nonce, digest, (2, 11))
    return {
        "kind": "challenge_answer",
        "hex": data.hex(),
        "decoded": {
            "protocol": "2.11",
            "request_header_body_hex": covered.hex(),
            "request_digest_algorithm": 3,
            "request_digest_hex": digest.hex(),
            "nonce_hex": nonce.hex(),
            "auth_type": "HS_PUBKEY",
            "key_algorithm": "Ed25519",
            "signature_algorithm": "Ed25519",
            "digest_algorithm": "Ed25519",
            "signature_hex": data[-64:].hex(),
            "public_key_hex": encode_public_key(ED.public_key()).hex(),
            "private_key_hex": encode_private_key(ED).hex(),
            "deterministic": True,
            "valid": True,
        },
    }


def test_our_own_key_type_has_rows_too():
    """Ed25519 keys and answers are read, written and checked as the others are."""
    row = ed25519_answer()
    FORMS["challenge_answer"].check(row)
    row["decoded"]["nonce_hex"] = "00" * 16
    with pytest.raises(VectorMismatch):
        FORMS["challenge_answer"].check(row)
    for kind, data in [
        ("public_key", encode_public_key(ED.public_key())),
        ("private_key", encode_private_key(ED)),
    ]:
        decoded = FORMS[kind].decode(data)
        FORMS[kind].check({"hex": data.hex(), "decoded": decoded})


@pytest.mark.parametrize(
    "name", ["a-challenge-answer-rsa-v2.10-tampered", "a-challenge-answer-seckey-v2.10-tampered"]
)
def test_a_row_with_one_changed_bit_has_just_that(name):
    """A second changed bit is more than the row says."""
    row = copy.deepcopy(BY_NAME[name])
    field = "signature_hex" if "signature_hex" in row["decoded"] else "mac_hex"
    octets = bytearray.fromhex(row["hex"])
    octets[-3] ^= 0x10
    row["hex"] = octets.hex()
    row["decoded"][field] = row["hex"][-len(row["decoded"][field]) :]
    with pytest.raises(VectorMismatch, match="one bit"):
        FORMS[row["kind"]].check(row)


def test_a_signed_stream_is_written_with_its_private_key():
    """The same key and records give the same octets; without the key there are none."""
    row = BY_NAME["a-txn-stream-signed-rsa"]
    private = BY_NAME["a-priv-rsa-crt"]["hex"]
    form = FORMS["txn_stream"]
    assert form.encode(row["decoded"]) is None
    assert form.encode(row["decoded"] | {"private_key_hex": private}).hex() == row["hex"]


def test_a_plaintext_is_encrypted_to_the_row():
    """Key, IV and plaintext give the message; so do IV and ciphertext alone."""
    row = BY_NAME["a-encrypted-message-aes"]
    form, decoded = FORMS["encrypted_message"], row["decoded"]
    assert form.encode(decoded).hex() == row["hex"]
    known = {name: decoded[name] for name in ("envelope", "iv_hex", "ciphertext_hex")}
    assert form.encode(known).hex() == row["hex"]
    assert form.encode(form.decode(bytes.fromhex(row["hex"]))).hex() == row["hex"]
