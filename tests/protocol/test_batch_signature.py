"""One signature over many JWS texts: each verifies by itself, and nothing else does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import merkle
from protocol.batch_signature import ALGORITHM, sign_batch
from protocol.errors import BiaoshiError, SignatureInvalid
from protocol.jws import parse_jws, sign_jws
from protocol.keys.jwk import format_base64url, parse_base64url

KEY = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70))
def test_every_text_of_a_batch_verifies(size):
    """Each text of a batch of any size carries its payload and verifies with the batch's key."""
    payloads = [b'{"n":%d}' % number for number in range(size)]
    for payload, text in zip(payloads, sign_batch(payloads, KEY), strict=True):
        jws = parse_jws(text)
        assert jws.payload == payload
        jws.verify(KEY.public_key())
        with pytest.raises(SignatureInvalid):
            jws.verify(OTHER.public_key())


def test_the_tree_is_that_of_the_log():
    """Leaves and proofs are those of RFC 9162, as protocol.merkle computes them."""
    texts = sign_batch([b"%d" % number for number in range(11)], KEY)
    frontier = merkle.Frontier()
    for text in texts:
        frontier.append(merkle.leaf_hash(text.rpartition(b".")[0]))
    for at, text in enumerate(texts):
        head, _, last = text.rpartition(b".")
        octets = parse_base64url(last.decode())
        assert octets[64:72] == at.to_bytes(4, "big") + (11).to_bytes(4, "big")
        proof = [octets[n : n + 32] for n in range(72, len(octets), 32)]
        merkle.verify_inclusion(merkle.leaf_hash(head), at, 11, proof, frontier.root())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 6), st.data())
def test_an_altered_octet_is_refused(at, data):
    """A text in which any one octet was changed does not verify."""
    text = bytearray(sign_batch([b'{"n":%d}' % n for n in range(7)], KEY)[at])
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.integers(33, 126).filter(lambda octet: octet != text[place]))
    with pytest.raises(BiaoshiError):
        parse_jws(bytes(text)).verify(KEY.public_key())


@pytest.mark.parametrize("octets", [b"", b"x" * 64, b"x" * 71, b"x" * 73, b"x" * (72 + 17 * 32)])
def test_what_is_no_place_in_a_batch_is_refused(octets):
    """Signatures of another length than a place in a batch has do not verify."""
    head = sign_batch([b"{}"], KEY)[0].rpartition(b".")[0]
    text = head + b"." + format_base64url(octets).encode()
    with pytest.raises(SignatureInvalid):
        parse_jws(text).verify(KEY.public_key())


def test_a_single_text_is_a_batch_of_one():
    """sign_jws() with the batch algorithm gives a batch of one; a signature of the other
    algorithm over the same text does not stand for it."""
    text = sign_jws(b"{}", KEY, ALGORITHM)
    parse_jws(text).verify(KEY.public_key())
    head = text.rpartition(b".")[0]
    plain = head + b"." + format_base64url(KEY.sign(head)).encode()
    with pytest.raises(SignatureInvalid):
        parse_jws(plain).verify(KEY.public_key())


@pytest.mark.parametrize("payloads", [[], [b"x"] * 65_537])
def test_batches_have_bounds(payloads):
    """No text at all, or more than a batch may have, is refused."""
    with pytest.raises(ValueError, match="a batch has"):
        sign_batch(payloads, KEY)
