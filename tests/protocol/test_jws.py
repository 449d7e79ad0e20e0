"""JWS: signed by the key that fits the algorithm, or refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import algorithm_for, parse_jws, sign_jws
from protocol.keys.jwk import format_base64url, parse_jwk
from protocol.keys.policy import EVERYTHING, Policy, Weak

RSA = rsa.generate_private_key(65_537, 2048)
SHORT = rsa.generate_private_key(65_537, 1024)
ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
DSA = dsa.generate_private_key(2048)
KEYS = {"rsa": RSA, "ed25519": ED, "p256": EC, "dsa": DSA}
PAYLOAD = b'{"iss":"300:0.NA/20.5000"}'


def text(header: dict, payload: bytes = PAYLOAD, signature: bytes = b"s") -> bytes:
    parts = (json.dumps(header).encode(), payload, signature)
    return ".".join(map(format_base64url, parts)).encode()


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("rsa", "RS256"),
        ("rsa", "RS384"),
        ("rsa", "RS512"),
        ("p256", "ES256"),
        ("ed25519", "Ed25519"),
        ("ed25519", "EdDSA"),
    ],
)
def test_a_signature_verifies_with_its_key_only(name, algorithm):
    """Every strong algorithm round-trips; the other keys do not verify it."""
    key = KEYS[name]
    jws = parse_jws(sign_jws(PAYLOAD, key, algorithm))
    assert jws.payload == PAYLOAD
    jws.verify(key.public_key())
    for other in KEYS.values():
        if other is not key:
            with pytest.raises(SignatureInvalid):
                jws.verify(other.public_key(), EVERYTHING)


def test_keys_have_their_algorithm():
    """RS256, ES256 and Ed25519 by the key; DSA signs no records."""
    assert [algorithm_for(KEYS[name]) for name in ("rsa", "p256", "ed25519")] == [
        "RS256",
        "ES256",
        "Ed25519",
    ]
    with pytest.raises(ParseError):
        algorithm_for(DSA)
    with pytest.raises(ParseError):
        sign_jws(PAYLOAD, RSA, "Ed25519")


@pytest.mark.parametrize(
    ("key", "algorithm", "weak"),
    [
        (RSA, "RS160", Weak.RSA_SHA1),
        (DSA, "DS160", Weak.DSA_SHA1),
        (DSA, "DS256", Weak.DSA_SHA2),
        (SHORT, "RS256", Weak.RSA_SHORT),
    ],
)
def test_weak_algorithms_verify_where_they_are_named(key, algorithm, weak):
    """Old DSA and SHA-1 signatures and short keys are refused by default."""
    jws = parse_jws(sign_jws(PAYLOAD, key, algorithm))
    with pytest.raises(SignatureInvalid, match=weak.value):
        jws.verify(key.public_key())
    jws.verify(key.public_key(), Policy(weak=frozenset({weak})))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "NONE"},
        {"alg": "HS256"},
        {"alg": "HS512"},
        {"alg": "RS128"},
        {"alg": "PS256"},
        {"alg": None},
        {"alg": ["RS256"]},
        {},
        {"alg": "RS256", "crit": ["exp"]},
        {"alg": "RS256", "b64": False},
    ],
)
def test_other_headers_do_not_parse(header):
    """No signature, shared secrets, MD5, unknown and extended headers are parse errors."""
    with pytest.raises(ParseError):
        parse_jws(text(header))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"..",
        b'{"alg":"RS256","alg":"none"}',
        "é.b.c".encode(),
        text({"alg": "RS256"}) + b"=",
        text({"alg": "RS256"}) + b"\n",
        b"x" * 262_145,
        b'{"payload":"","signatures":[]}',
        b'{"payload":"","signatures":[{"protected":1,"signature":""}]}',
        b'{"payload":"","signatures":"x"}',
        b"{" * 5000,
    ],
)
def test_other_texts_do_not_parse(data):
    """Missing parts, padding, loose ends and broken JSON are parse errors."""
    with pytest.raises(ParseError):
        parse_jws(data)


def test_the_json_form_is_the_same_signature():
    """The first of its signatures counts; an unprotected header is refused."""
    protected, payload, signature = sign_jws(PAYLOAD, RSA).decode().split(".")
    first = {"protected": protected, "signature": signature}
    whole = {"payload": payload, "signatures": [first, {"protected": "x", "signature": "y"}]}
    parse_jws(json.dumps(whole).encode()).verify(RSA.public_key())
    whole["signatures"][0] = first | {"header": {"alg": "none"}}
    with pytest.raises(ParseError):
        parse_jws(json.dumps(whole).encode())


def test_a_public_key_is_no_shared_secret():
    """An algorithm that does not fit the key's type is refused whatever the policy says."""
    jws = parse_jws(text({"alg": "DS256"}))
    with pytest.raises(SignatureInvalid):
        jws.verify(RSA.public_key(), EVERYTHING)


def test_es256_is_p256_only():
    """Another curve or a signature of another length does not verify."""
    signed = sign_jws(PAYLOAD, EC)
    with pytest.raises(SignatureInvalid):
        parse_jws(signed).verify(P384.public_key())
    with pytest.raises(SignatureInvalid):
        parse_jws(text({"alg": "ES256"})).verify(EC.public_key())


def test_the_example_of_rfc_7515_verifies():
    """RFC 7515 appendix A.3: an ES256 signature of somebody else's software."""
    key = parse_jwk(
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }
    )
    jws = parse_jws(
        b"eyJhbGciOiJFUzI1NiJ9."
        b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        b"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
        b"pmWQxfKTUJqPP3-Kg6NU1Q"
    )
    jws.verify(key)


def test_the_example_of_rfc_8037_verifies():
    """RFC 8037 appendix A.4: an Ed25519 signature of somebody else's software."""
    key = parse_jwk(
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    )
    jws = parse_jws(
        b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert jws.payload == b"Example of Ed25519 signing"
    jws.verify(key)


SIGNED = sign_jws(PAYLOAD, ED)


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='abcXYZ019-_.{}":,[]', max_size=120).map(str.encode),
        st.tuples(st.integers(0, len(SIGNED) - 1), st.sampled_from(b"AZaz09-_.")).map(
            lambda change: SIGNED[: change[0]] + bytes([change[1]]) + SIGNED[change[0] + 1 :]
        ),
    )
)
def test_any_bytes_parse_or_not_and_only_the_signed_verify(data):
    """A value or ParseError; verification or SignatureInvalid."""
    with contextlib.suppress(ParseError):
        jws = parse_jws(data)
        if data == SIGNED:
            jws.verify(ED.public_key())
        else:
            with pytest.raises(SignatureInvalid):
                jws.verify(ED.public_key(), EVERYTHING)
