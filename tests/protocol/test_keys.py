"""Keys: any bytes make a key or a ParseError; wire forms, JSON forms and files round-trip."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ParseError, SignatureInvalid
from protocol.keys import (
    DhPublicKey,
    decode_dh_key,
    decode_pem,
    decode_pkcs8,
    decode_private_key,
    decode_public_key,
    decode_spki,
    encode_dh_key,
    encode_pem,
    encode_pkcs8,
    encode_private_key,
    encode_public_key,
    encode_spki,
)
from protocol.keys.files import (
    KeyFile,
    Method,
    decode_key_file,
    encode_key_file,
    open_key_file,
    seal_key_file,
    wide_password,
)
from protocol.keys.jwk import format_base64url, format_jwk, parse_base64url, parse_jwk
from protocol.keys.numbers import RSA_PLAIN, WireKey, read_public_key, write_private_key
from protocol.keys.policy import EVERYTHING, STRICT, Policy, Weak
from protocol.keys.signing import SHA_1, SHA_256, digest_for, sign_octets, verify_octets

RSA = rsa.generate_private_key(65_537, 2048)
SHORT = rsa.generate_private_key(65_537, 1024)
ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
DSA = dsa.generate_private_key(2048)
ON_THE_WIRE = pytest.mark.parametrize("key", [RSA, ED, DSA], ids=["rsa", "ed25519", "dsa"])


@ON_THE_WIRE
def test_a_key_comes_back_from_its_wire_form(key):
    """Encoding what was decoded gives the same octets, private and public."""
    private, public = encode_private_key(key), encode_public_key(key.public_key())
    assert encode_private_key(decode_private_key(private)) == private
    assert encode_public_key(decode_public_key(public)) == public


@ON_THE_WIRE
def test_der_and_pem_carry_the_same_key(key):
    """SPKI, PKCS#8 and PEM lead back to the key."""
    assert decode_spki(encode_spki(key.public_key())) == key.public_key()
    assert encode_private_key(decode_pkcs8(encode_pkcs8(key))) == encode_private_key(key)
    pem = encode_pem(key, b"horse")
    assert encode_private_key(decode_pem(pem, b"horse")) == encode_private_key(key)
    with pytest.raises(ParseError):
        decode_pem(pem, b"cow")


def test_an_rsa_key_without_its_four_zeros_is_read():
    """Their absence is accepted; other octets are not."""
    public = encode_public_key(RSA.public_key())
    assert decode_public_key(public[:-4]) == RSA.public_key()
    with pytest.raises(ParseError):
        decode_public_key(public[:-4] + b"\0\0\0\1")
    with pytest.raises(ParseError):
        decode_public_key(public + b"\0")


def test_an_rsa_key_of_two_numbers_is_completed():
    """From n and d alone the primes follow."""
    numbers = RSA.private_numbers()
    plain = write_private_key(WireKey(RSA_PLAIN, (numbers.public_numbers.n, numbers.d)))
    assert decode_private_key(plain).public_key() == RSA.public_key()
    with pytest.raises(ParseError):
        decode_private_key(write_private_key(WireKey(RSA_PLAIN, (15, 7))))


def test_spoilt_private_numbers_are_refused_without_showing_them():
    """The error of a damaged private key holds none of its numbers."""
    numbers = RSA.private_numbers()
    public = numbers.public_numbers
    crt = (numbers.p, numbers.q + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    spoilt = WireKey(b"RSA_PRIVCRT_KEY", (public.n, public.e, numbers.d, *crt))
    with pytest.raises(ParseError) as error:
        decode_private_key(write_private_key(spoilt))
    assert str(numbers.p) not in str(error.value)
    assert hex(numbers.p)[2:20] not in str(error.value)


def test_a_dh_key_is_numbers_and_verifies_nothing():
    """It has its own decoder; the one for verifying keys refuses it."""
    key = DhPublicKey(5, 23, 2)
    assert decode_dh_key(encode_dh_key(key)) == key
    with pytest.raises(ParseError):
        decode_public_key(encode_dh_key(key))
    with pytest.raises(ParseError):
        decode_dh_key(encode_public_key(RSA.public_key()))


@pytest.mark.parametrize("key", [RSA, ED, DSA, EC], ids=["rsa", "ed25519", "dsa", "p256"])
def test_json_keys_round_trip(key):
    """A public key comes back from its JSON form."""
    assert parse_jwk(format_jwk(key.public_key())) == key.public_key()


def test_curves_on_the_wire():
    """P-256 has a form of ours, verifies challenge answers, and other curves have none."""
    assert decode_public_key(encode_public_key(EC.public_key())) == EC.public_key()
    again = decode_private_key(encode_private_key(EC))
    assert encode_private_key(again) == encode_private_key(EC)
    assert digest_for(EC, (2, 11)) == SHA_256
    answer = sign_octets(EC, b"nonce", SHA_256)
    verify_octets(EC.public_key(), answer, b"nonce", SHA_256)
    for octets, digest in ((b"once", SHA_256), (b"nonce", SHA_1)):
        with pytest.raises(SignatureInvalid):
            verify_octets(EC.public_key(), answer, octets, digest)
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ParseError):
        encode_public_key(other.public_key())
    with pytest.raises(ParseError):
        encode_private_key(other)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"kty": "RSA", "n": "AQ"},
        {"kty": "RSA", "n": "AQ==", "e": "AQAB"},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "RSA", "n": 7, "e": "AQAB"},
        [],
        None,
    ],
)
def test_other_json_keys_are_refused(spoilt):
    """Padding, missing members, other types and points off the curve are parse errors."""
    with pytest.raises(ParseError):
        parse_jwk(spoilt)


@given(st.binary(max_size=40))
def test_base64url_has_one_form(data):
    """Octets come back; loose bits at the end are refused."""
    text = format_base64url(data)
    assert parse_base64url(text) == data
    if len(data) % 3:
        last = text[-1]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        with pytest.raises(ParseError):
            parse_base64url(text[:-1] + alphabet[alphabet.index(last) + 1])


@pytest.mark.parametrize("method", [Method.AES, Method.DESEDE])
def test_a_sealed_file_opens_with_its_passphrase_only(method):
    """Both ciphers, both directions; a wrong passphrase is a parse error."""
    key = encode_private_key(ED)
    bits, block = (192, 8) if method is Method.DESEDE else (256, 16)
    data = seal_key_file(
        key,
        "grün".encode(),
        salt=b"s" * 16,
        iv=b"i" * block,
        iterations=10,
        key_bits=bits,
        method=method,
    )
    assert open_key_file(data, "grün".encode()) == key
    assert key not in data
    with pytest.raises(ParseError):
        open_key_file(data, b"gruen")
    with pytest.raises(ParseError):
        open_key_file(data)


def test_a_plain_file_is_the_key_after_its_method():
    """Without passphrase the octets follow the method number."""
    assert seal_key_file(b"key", None) == b"\0\0\0\1key"
    assert open_key_file(b"\0\0\0\1key") == b"key"


@pytest.mark.parametrize("method", [0, 2, 5])
def test_des_files_are_refused(method):
    """Methods 0 and 2 are DES; higher ones are unknown."""
    with pytest.raises(ParseError):
        decode_key_file(method.to_bytes(4, "big") + b"\0" * 64)


def test_iterations_of_a_file_are_bounded():
    """A file cannot ask for hours of work."""
    file = KeyFile(Method.AES, b"\0" * 16, b"salt", 2**31, 256, b"\0" * 16)
    with pytest.raises(ParseError):
        decode_key_file(encode_key_file(file))


def test_passwords_beyond_ascii_are_encoded_twice():
    """The quirk of the deployed software: octets become characters, then UTF-8."""
    assert wide_password(b"horse") == b"horse"
    assert wide_password("ä".encode()) == b"\xc3\x83\xc2\xa4"


@ON_THE_WIRE
def test_a_signature_verifies_with_its_key_only(key):
    """Changed data, another key and another digest text do not verify."""
    digest = digest_for(key, (2, 11))
    signature = sign_octets(key, b"data", digest)
    verify_octets(key.public_key(), signature, b"data", digest, EVERYTHING)
    for args in [(signature, b"date", digest), (signature[:-1], b"data", digest)]:
        with pytest.raises(SignatureInvalid):
            verify_octets(key.public_key(), *args, EVERYTHING)
    for other in (RSA, ED):
        if other is not key:
            with pytest.raises((SignatureInvalid, ParseError)):
                verify_octets(other.public_key(), signature, b"data", digest, EVERYTHING)


def test_weak_signatures_need_to_be_named():
    """SHA-1, DSA and short keys verify only where the policy lists them."""
    cases = [
        (RSA, SHA_1, Weak.RSA_SHA1),
        (SHORT, SHA_256, Weak.RSA_SHORT),
        (DSA, SHA_256, Weak.DSA_SHA2),
        (DSA, SHA_1, Weak.DSA_SHA1),
    ]
    for key, digest, weak in cases:
        signature = sign_octets(key, b"data", digest)
        with pytest.raises(SignatureInvalid, match=weak.value):
            verify_octets(key.public_key(), signature, b"data", digest, STRICT)
        allowed = Policy(weak=frozenset({weak}))
        verify_octets(key.public_key(), signature, b"data", digest, allowed)


def test_the_digest_follows_key_and_version():
    """RSA uses SHA-256 from 2.7 on, DSA from 2.11 on."""
    assert digest_for(RSA, (2, 6)) == SHA_1
    assert digest_for(RSA, (2, 7)) == SHA_256
    assert digest_for(DSA, (2, 10)) == SHA_1
    assert digest_for(DSA, (2, 11)) == SHA_256
    assert digest_for(ED, (2, 0)) == b"Ed25519"


def _spoilt(valid: bytes) -> st.SearchStrategy[bytes]:
    cut = st.integers(0, len(valid)).map(lambda at: valid[:at])
    changed = st.tuples(st.integers(0, len(valid) - 1), st.integers(1, 255)).map(
        lambda pair: valid[: pair[0]] + bytes([valid[pair[0]] ^ pair[1]]) + valid[pair[0] + 1 :]
    )
    return st.one_of(cut, changed, st.binary(max_size=200))


@given(
    st.one_of(
        _spoilt(encode_public_key(RSA.public_key())), _spoilt(encode_public_key(DSA.public_key()))
    )
)
def test_any_bytes_are_a_public_key_or_a_parse_error(data):
    """Nothing else comes out of the public-key decoder."""
    try:
        decode_public_key(data)
        read_public_key(data)
    except ParseError:
        pass


@given(st.one_of(_spoilt(encode_private_key(ED)), _spoilt(encode_private_key(SHORT))))
def test_any_bytes_are_a_private_key_or_a_parse_error(data):
    """Nothing else comes out of the private-key decoder."""
    with contextlib.suppress(ParseError):
        decode_private_key(data)


SEALED = seal_key_file(b"k" * 40, b"p", salt=b"s" * 8, iv=b"i" * 16, iterations=1)


@given(_spoilt(SEALED))
def test_any_bytes_are_a_key_file_or_a_parse_error(data):
    """Opening spoilt files gives octets or a parse error."""
    try:
        if decode_key_file(data).iterations < 1000:
            open_key_file(data, b"p")
    except ParseError:
        pass
