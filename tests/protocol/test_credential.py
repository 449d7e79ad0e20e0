"""Credentials: a message verifies as it was signed, and in no other envelope, session or body."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.credential import (
    HS_MAC,
    HS_SIGNED,
    Credential,
    covered_octets,
    decode_credential,
    encode_credential,
    mac_message,
    sign_message,
    verify_mac,
    verify_signed,
)
from protocol.doirp.message import decode_message, encode_message, request, with_credential
from protocol.errors import ParseError, SignatureInvalid
from protocol.keys.policy import EVERYTHING, Policy, Weak

RSA = rsa.generate_private_key(65_537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
DSA = dsa.generate_private_key(2048)
KEY = bytes(range(32))
VECTORS = Path(__file__).parent.parent / "vectors" / "do-irp"


def message(version=(2, 11), session_id=5):
    return request(
        1,
        b"\0\0\0\x03a/b" + b"\0" * 8,
        request_id=9,
        expiration=77,
        site_version=version,
        session_id=session_id,
    )


def changed(whole):
    """The same credential on messages that differ in one thing."""
    envelope, header = whole.envelope, whole.header
    yield "body", replace(whole, body=whole.body[:-1] + b"\1")
    yield "flags", replace(whole, header=replace(header, flags=header.flags ^ 1 << 20))
    yield "expiration", replace(whole, header=replace(header, expiration=78))
    yield "request id", replace(whole, envelope=replace(envelope, request_id=8))
    yield "session id", replace(whole, envelope=replace(envelope, session_id=6))
    yield "version", replace(whole, envelope=replace(envelope, minor=envelope.minor - 1))
    yield "suggestion", replace(whole, envelope=replace(envelope, suggest_minor=7))


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("version", [(2, 8), (2, 11)])
def test_a_signed_message_verifies_as_it_travelled(key, version):
    """After encoding and decoding; every change breaks the signature."""
    whole = decode_message(encode_message(sign_message(message(version), key)))
    verify_signed(whole, key.public_key())
    for what, other in changed(whole):
        with pytest.raises((SignatureInvalid, ParseError)):
            verify_signed(other, key.public_key())
            pytest.fail(what)


def test_a_mac_binds_message_session_and_counter():
    """The whole session key is the MAC key."""
    whole = decode_message(encode_message(mac_message(message(), KEY, counter=3)))
    assert verify_mac(whole, KEY).counter == 3
    for _, other in changed(whole):
        with pytest.raises(SignatureInvalid):
            verify_mac(other, KEY)
    found = decode_credential(whole.credential)
    for bad in [replace(found, counter=4), replace(found, signature=b"m" * 32)]:
        with pytest.raises(SignatureInvalid):
            verify_mac(with_credential(whole, encode_credential(bad)), KEY)
    with pytest.raises(SignatureInvalid):
        verify_mac(whole, KEY[:16])


def test_one_kind_of_credential_is_not_the_other():
    """A MAC is no signature, a signature no MAC, and nothing is neither."""
    with pytest.raises(SignatureInvalid):
        verify_signed(mac_message(message(), KEY, counter=1), RSA.public_key())
    with pytest.raises(SignatureInvalid):
        verify_mac(sign_message(message(), RSA), KEY)
    for verify in (
        lambda: verify_signed(message(), RSA.public_key()),
        lambda: verify_mac(message(), KEY),
    ):
        with pytest.raises(SignatureInvalid, match="no credential"):
            verify()


def test_older_versions_need_the_policy():
    """SHA-1 signatures and sandwich MACs verify where they are named."""
    cases = [
        (sign_message(message((2, 3)), RSA), Weak.RSA_SHA1),
        (sign_message(message((2, 10)), DSA), Weak.DSA_SHA1),
    ]
    for whole, weak in cases:
        key = (DSA if weak is Weak.DSA_SHA1 else RSA).public_key()
        with pytest.raises(SignatureInvalid, match=weak.value):
            verify_signed(whole, key)
        verify_signed(whole, key, Policy(weak=frozenset({weak})))
    whole = mac_message(message((2, 4)), KEY, counter=1)
    with pytest.raises(SignatureInvalid, match="sandwich"):
        verify_mac(whole, KEY)
    verify_mac(whole, KEY, EVERYTHING)


def test_the_defective_versions_are_not_spoken():
    """2.6 altogether, 2.5 for MACs."""
    for version in [(2, 5), (2, 6)]:
        with pytest.raises(ParseError, match="defective"):
            mac_message(message(version), KEY, counter=1)
    with pytest.raises(ParseError, match="defective"):
        sign_message(message((2, 6)), RSA)
    assert covered_octets(message((2, 5)), HS_SIGNED, 0) == message((2, 5)).covered()


def test_names_of_algorithms_are_read_loosely():
    """Case and punctuation of the MAC's name do not count; other names are refused."""
    whole = mac_message(message(), KEY, counter=1)
    found = decode_credential(whole.credential)
    for name, good in [(b"hmacSHA256", True), (b"HMAC_SHA256", True), (b"SHA1", False)]:
        other = with_credential(whole, encode_credential(replace(found, algorithm=name)))
        if good:
            verify_mac(other, KEY)
        else:
            with pytest.raises(SignatureInvalid):
                verify_mac(other, KEY)


def test_other_types_of_credential_are_refused():
    """HS_SIGNED and HS_MAC are known, and the old name of the first."""
    with pytest.raises(ParseError):
        decode_credential(encode_credential(Credential(b"HS_OTHER", b"SHA1", b"s")))
    whole = sign_message(message(), RSA)
    old = replace(decode_credential(whole.credential), type=b"HS_DSAPUBKEY")
    verify_signed(with_credential(whole, encode_credential(old)), RSA.public_key())


VALID = encode_credential(Credential(HS_MAC, b"HMAC-SHA256", b"m" * 32, 7))


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.integers(0, len(VALID)).map(lambda at: VALID[:at]),
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)).map(
            lambda change: VALID[: change[0]] + bytes([change[1]]) + VALID[change[0] + 1 :]
        ),
    )
)
def test_any_bytes_are_a_credential_or_a_parse_error(data):
    """What is read encodes to the same octets, and does not verify."""
    with contextlib.suppress(ParseError):
        assert encode_credential(decode_credential(data)) == data
    with pytest.raises((SignatureInvalid, ParseError)):
        verify_mac(with_credential(message(), data), KEY, EVERYTHING)
    with pytest.raises((SignatureInvalid, ParseError)):
        verify_signed(with_credential(message(), data), RSA.public_key(), EVERYTHING)


def test_a_defective_mac_of_deployed_software_verifies_where_named():
    """The 2.6 row of the vectors holds under the lenient policy, and not with another key."""
    rows = json.loads((VECTORS / "credentials.json").read_text())
    row = next(row for row in rows if row["name"] == "a-session-mac-v2.6")
    whole = decode_message(bytes.fromhex(row["hex"]))
    key = bytes.fromhex(row["decoded"]["session_key_hex"])
    assert verify_mac(whole, key, EVERYTHING).counter == 13
    with pytest.raises(SignatureInvalid, match="defective"):
        verify_mac(whole, key)
    with pytest.raises(SignatureInvalid):
        verify_mac(whole, key[::-1], EVERYTHING)
