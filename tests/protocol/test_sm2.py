"""SM2 with SM3: the national standard's own example, OpenSSL's command, and what is missing."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography.exceptions import InvalidSignature

from protocol.errors import NotSupported, ParseError, SignatureInvalid
from protocol.jws import parse_jws, sign_jws
from protocol.keys import (
    decode_pem,
    decode_private_key,
    decode_public_key,
    decode_public_pem,
    decode_spki,
    encode_pem,
    encode_private_key,
    encode_public_key,
    encode_public_pem,
    encode_spki,
    sm2,
)
from protocol.keys.jwk import format_jwk, parse_jwk
from protocol.keys.private_jwk import format_private_jwk, parse_private_jwk
from protocol.keys.signing import SM3, digest_for, sign_octets, verify_octets
from protocol.keys.sm2 import Sm2PrivateKey, Sm2PublicKey

# GM/T 0003.5-2012, annex A.2: key, user id 1234567812345678, message and signature.
SCALAR = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
POINT = bytes.fromhex(
    "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
MESSAGE = b"message digest"
SIGNATURE = bytes.fromhex(
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)

pytestmark = pytest.mark.skipif(sm2.missing() is not None, reason=str(sm2.missing()))


def test_the_standard_s_example():
    """The example's scalar has the example's point, whose key takes the example's signature."""
    key = Sm2PrivateKey.from_scalar(SCALAR)
    assert key.public_key().point == POINT
    key.public_key().verify(SIGNATURE, MESSAGE)
    for wrong in (SIGNATURE[:-1] + b"\0", SIGNATURE[32:] + SIGNATURE[:32], bytes(64), b"", b"x"):
        with pytest.raises(InvalidSignature):
            key.public_key().verify(wrong, MESSAGE)
    with pytest.raises(InvalidSignature):
        key.public_key().verify(SIGNATURE, MESSAGE + b".")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not there")
def test_openssl_agrees(tmp_path):
    """The openssl command takes our signatures and we take its."""
    key, data = Sm2PrivateKey.generate(), tmp_path / "data"
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    private, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    data.write_bytes(b"any message at all")
    ours.write_bytes(key.sign_der(data.read_bytes()))
    private.write_bytes(encode_pem(key))
    public.write_bytes(encode_public_pem(key.public_key()))
    options = ("-rawin", "-digest", "sm3", "-pkeyopt", f"distid:{sm2.USER_ID.decode()}")

    def openssl(*arguments):
        command = ["openssl", "pkeyutl", "-in", data, *arguments, *options]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)

    openssl("-verify", "-pubin", "-inkey", public, "-sigfile", ours)
    openssl("-sign", "-inkey", private, "-out", theirs)
    key.public_key().verify_der(theirs.read_bytes(), data.read_bytes())


def test_every_form_of_a_key():
    """Handle form, PEM, encrypted PEM, PKCS#8, JSON: each gives the same key again."""
    key = Sm2PrivateKey.generate()
    public = key.public_key()
    assert decode_public_key(encode_public_key(public)) == public
    assert decode_spki(encode_spki(public)) == public
    assert decode_public_pem(encode_public_pem(public)) == public
    assert parse_jwk(format_jwk(public)) == public
    made = (
        decode_private_key(encode_private_key(key)),
        decode_pem(encode_pem(key)),
        decode_pem(encode_pem(key, b"phrase"), b"phrase"),
        parse_private_jwk(format_private_jwk(key)),
    )
    assert all(one.same(key) and one.public_key() == public for one in made)
    assert "scalar" not in repr(key)
    with pytest.raises(ParseError):
        decode_pem(encode_pem(key, b"phrase"), b"another")


@pytest.mark.parametrize("octets", [b"", b"\4" + bytes(64), POINT[:-1], b"\2" + POINT[1:]])
def test_what_is_no_point(octets):
    """Octets that are no point of the curve are refused before any library sees them."""
    with pytest.raises(ParseError):
        Sm2PublicKey(octets)


@pytest.mark.parametrize("scalar", [bytes(32), sm2.N.to_bytes(32), b"\xff" * 32, b"\1"])
def test_what_is_no_scalar(scalar):
    """Scalars out of range are refused."""
    with pytest.raises(ParseError):
        Sm2PrivateKey.from_scalar(scalar)


def test_signed_texts_and_answers():
    """JWS by the name SM2SM3, challenge answers by the digest text SM3."""
    key = Sm2PrivateKey.generate()
    jws = parse_jws(sign_jws(b"{}", key))
    assert (jws.algorithm.name, len(jws.signature)) == ("SM2SM3", 64)
    jws.verify(key.public_key())
    with pytest.raises(SignatureInvalid):
        jws.verify(Sm2PrivateKey.generate().public_key())
    assert digest_for(key, (2, 11)) == SM3
    answer = sign_octets(key, b"nonce", SM3)
    verify_octets(key.public_key(), answer, b"nonce", SM3)
    with pytest.raises(SignatureInvalid):
        verify_octets(key.public_key(), answer, b"once", SM3)


def test_without_a_library(monkeypatch):
    """Where libcrypto is absent, everything that needs it says so; public keys are still read."""
    key = Sm2PrivateKey.generate()
    signed = sign_jws(b"{}", key)
    monkeypatch.setattr(sm2, "LIBRARIES", ("libnothing.so.9",))
    sm2._load.cache_clear()
    try:
        assert "libnothing" in sm2.missing()
        with pytest.raises(NotSupported, match="SM2 is not available here"):
            Sm2PrivateKey.generate()
        assert decode_public_key(encode_public_key(key.public_key())) == key.public_key()
        with pytest.raises(SignatureInvalid, match="not available"):
            parse_jws(signed).verify(key.public_key())
    finally:
        sm2._load.cache_clear()
