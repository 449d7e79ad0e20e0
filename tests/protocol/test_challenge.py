"""Challenge answers: only the right key or secret answers, within the policy's bounds."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.challenge import (
    MacCode,
    SecretAnswer,
    answer_with_key,
    answer_with_secret,
    decode_key_answer,
    decode_secret_answer,
    encode_key_answer,
    encode_secret_answer,
    hashed_secret,
    verify_key_answer,
    verify_secret_answer,
)
from protocol.errors import ParseError, SignatureInvalid
from protocol.keys.policy import EVERYTHING, STRICT, Policy, Weak

RSA = rsa.generate_private_key(65_537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
DSA = dsa.generate_private_key(2048)
NONCE, DIGEST, SALT = b"n" * 16, b"d" * 32, b"s" * 16
NOW = (2, 11)


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
def test_a_key_answers_its_own_challenge_only(key):
    """Another nonce, digest or key is refused."""
    answer = answer_with_key(key, NONCE, DIGEST, NOW)
    verify_key_answer(answer, key.public_key(), NONCE, DIGEST)
    for nonce, digest in [(b"m" * 16, DIGEST), (NONCE, b"e" * 32)]:
        with pytest.raises(SignatureInvalid):
            verify_key_answer(answer, key.public_key(), nonce, digest)
    other = ED if key is RSA else RSA
    with pytest.raises((SignatureInvalid, ParseError)):
        verify_key_answer(answer, other.public_key(), NONCE, DIGEST)


def test_dsa_answers_need_the_policy():
    """DSA verifies where it is named, with the digest of the version."""
    for version, weak in [((2, 10), Weak.DSA_SHA1), ((2, 11), Weak.DSA_SHA2)]:
        answer = answer_with_key(DSA, NONCE, DIGEST, version)
        with pytest.raises(SignatureInvalid):
            verify_key_answer(answer, DSA.public_key(), NONCE, DIGEST)
        allowed = Policy(weak=frozenset({weak}))
        verify_key_answer(answer, DSA.public_key(), NONCE, DIGEST, allowed)


@pytest.mark.parametrize("code", list(MacCode))
def test_a_secret_answers_in_every_form(code):
    """Each algorithm verifies with its secret and with no other."""
    answer = answer_with_secret(
        b"secret", NONCE, DIGEST, NOW, salt=SALT, iterations=1000, code=code
    )
    verify_secret_answer(answer, b"secret", NONCE, DIGEST, version=NOW, policy=EVERYTHING)
    for secret, nonce in [(b"Secret", NONCE), (b"secret", b"m" * 16)]:
        with pytest.raises(SignatureInvalid):
            verify_secret_answer(answer, secret, nonce, DIGEST, version=NOW, policy=EVERYTHING)


@pytest.mark.parametrize(
    ("version", "first"), [((2, 11), 0x22), ((2, 7), 0x22), ((2, 6), 2), ((2, 1), 2)]
)
def test_the_version_chooses_the_algorithm(version, first):
    """PBKDF2 from 2.7 on, SHA-1 before."""
    answer = answer_with_secret(b"secret", NONCE, DIGEST, version, salt=SALT, iterations=1000)
    assert answer[0] == first


def test_version_2_0_has_no_algorithm_octet():
    """Its answer is the bare MD5."""
    answer = answer_with_secret(b"secret", NONCE, DIGEST, (2, 0), salt=b"")
    assert len(answer) == 16
    verify_secret_answer(answer, b"secret", NONCE, DIGEST, version=(2, 0), policy=EVERYTHING)


@pytest.mark.parametrize("code", [MacCode.MD5, MacCode.SHA1, MacCode.SHA256])
def test_sandwich_answers_are_refused_by_default(code):
    """Right or wrong, they do not count."""
    answer = answer_with_secret(b"secret", NONCE, DIGEST, NOW, salt=SALT, code=code)
    with pytest.raises(SignatureInvalid, match="sandwich"):
        verify_secret_answer(answer, b"secret", NONCE, DIGEST, version=NOW, policy=STRICT)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"iterations": 2**32 - 1},
        {"iterations": 1_000_001},
        {"iterations": 999},
        {"salt": b"short"},
        {"salt": b"s" * 65},
        {"key_bits": 2**31},
        {"key_bits": 0},
    ],
)
def test_the_sender_does_not_choose_the_work(spoilt):
    """Iterations, salt and key size outside the policy are refused before any work."""
    fields = {"salt": SALT, "iterations": 10_000, "key_bits": 160} | spoilt
    answer = encode_secret_answer(
        SecretAnswer(MacCode.PBKDF2_HMAC_SHA1, b"m" * 20, **fields),
    )
    with pytest.raises(SignatureInvalid, match=r"iterations|salt|bits"):
        verify_secret_answer(answer, b"secret", NONCE, DIGEST, version=NOW)


def test_hashed_secrets_are_hexadecimal_text():
    """Lower-case hex of SHA-1, as an HS_SECKEY value may hold it."""
    assert hashed_secret(b"abc") == b"a9993e364706816aba3e25717850c26c9cd0d89d"


@settings(max_examples=200)
@given(st.binary(max_size=80), st.sampled_from([(2, 0), (2, 3), (2, 11)]))
def test_any_bytes_are_an_answer_or_a_parse_error(data, version):
    """Decoders give an answer that encodes to the same octets, or a parse error."""
    with contextlib.suppress(ParseError):
        assert encode_secret_answer(decode_secret_answer(data, version)) == data
    with contextlib.suppress(ParseError):
        assert encode_key_answer(decode_key_answer(data)) == data


@settings(max_examples=100)
@given(st.binary(max_size=80))
def test_any_bytes_do_not_verify(data):
    """Nothing but the answer verifies, and nothing but the two errors comes out."""
    with pytest.raises((SignatureInvalid, ParseError)):
        verify_key_answer(data, RSA.public_key(), NONCE, DIGEST, EVERYTHING)
    with pytest.raises((SignatureInvalid, ParseError)):
        verify_secret_answer(data, b"x", NONCE, DIGEST, version=NOW)
