"""Sessions: agreed keys, encrypted messages, counters; groups that are not accepted."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.credential import mac_message
from protocol.dh import (
    agree,
    check_group,
    check_public,
    exponent_bytes,
    is_safe_prime,
    known_primes,
    public_value,
)
from protocol.doirp.message import request
from protocol.errors import ParseError, SessionFailed, SessionMessageRejected, SignatureInvalid
from protocol.keys import DhPublicKey
from protocol.keys.policy import EVERYTHING, Policy, Weak
from protocol.session import (
    CipherCode,
    ReplayWindow,
    SessionKey,
    decode_agreed_key,
    decode_exchange_data,
    decrypt_message,
    decrypt_part,
    decrypt_transported_key,
    derive_session_key,
    encode_agreed_key,
    encode_exchange_data,
    encrypt_message,
    encrypt_part,
    open_message,
)

OAKLEY = min(known_primes())
"""The 1024-bit group of RFC 2409."""
KEY = SessionKey(CipherCode.AES, bytes(range(32)))
NOW, OLD = (2, 11), (2, 3)


def message(version=NOW):
    return request(
        1, b"\0\0\0\x03a/b" + b"\0" * 8, request_id=9, expiration=77, site_version=version
    )


def test_both_sides_agree():
    """Each side's exponent and the other's value make one key."""
    ours, theirs = 0x1234567 << 200, 0x89ABCDE << 200
    y_ours, y_theirs = public_value(OAKLEY, 2, ours), public_value(OAKLEY, 2, theirs)
    shared = agree(ours, DhPublicKey(y_theirs, OAKLEY, 2))
    assert shared == agree(theirs, DhPublicKey(y_ours, OAKLEY, 2))
    assert len(shared) == 128
    assert exponent_bytes(OAKLEY) == 64


def test_leading_zeros_are_skipped_while_they_can_be_spared():
    """32 octets are always taken."""
    tail = bytes(range(1, 33))
    assert derive_session_key(b"\0" * 10 + tail).octets == tail
    assert derive_session_key(b"\0" * 3 + tail[:31]).octets == b"\0" + tail[:31]
    assert derive_session_key(tail + b"more").octets == tail
    with pytest.raises(SessionFailed):
        derive_session_key(b"short")


@given(st.binary(min_size=24, max_size=24))
def test_des_keys_have_odd_parity(shared):
    """Every octet of a DES or DESede key has an odd number of bits, the upper seven unchanged."""
    for cipher in (CipherCode.DES, CipherCode.DESEDE):
        key = derive_session_key(shared, cipher)
        for made, given_ in zip(key.octets, shared, strict=False):
            assert made.bit_count() % 2 == 1
            assert made >> 1 == given_ >> 1


@pytest.mark.parametrize(
    ("p", "g"),
    [
        (OAKLEY, 1),
        (OAKLEY, OAKLEY - 1),
        (OAKLEY - 2, 2),
        (OAKLEY * 3, 2),
        ((1 << 1023) + 1, 2),
        ((1 << 512) - 569, 2),
        (1 << 5000, 2),
        (23, 5),
        (0, 0),
    ],
)
def test_other_groups_are_refused(p, g):
    """Small, huge and composite moduli and idle generators."""
    with pytest.raises(SessionFailed):
        check_group(p, g)


def test_a_prime_that_is_not_safe_is_refused():
    """(p-1)/2 must be prime too."""
    assert not is_safe_prime(2**127 - 1)
    assert not is_safe_prime(0xFFFFFFFFFFFFFFC5)
    assert is_safe_prime(min(known_primes()))


@pytest.mark.parametrize("y", [0, 1, OAKLEY - 1, OAKLEY, OAKLEY + 5])
def test_public_values_lie_inside_the_group(y):
    """0, 1, p-1 and beyond give the secret away."""
    with pytest.raises(SessionFailed):
        check_public(DhPublicKey(y, OAKLEY, 2))
    check_public(DhPublicKey(4, OAKLEY, 2))


def test_the_smallest_group_is_a_setting():
    """1024 bits are accepted by default; the floor can be raised."""
    check_group(OAKLEY, 2)
    with pytest.raises(SessionFailed, match="1024"):
        check_group(OAKLEY, 2, Policy(min_dh_bits=2048))


def test_the_known_groups_are_those_of_the_rfcs():
    """Their first and last octets, and that they are safe primes (the two smallest)."""
    groups = sorted(known_primes())
    assert [p.bit_length() for p in groups] == [1024, 1536, 2048, 2048, 3072, 3072, 4096, 4096]
    assert f"{groups[0]:x}".endswith("49286651ece65381ffffffffffffffff")
    assert any(f"{p:x}".endswith("886b423861285c97ffffffffffffffff") for p in groups)
    assert all(is_safe_prime(p) for p in groups[:2])


@pytest.mark.parametrize("cipher", list(CipherCode))
@pytest.mark.parametrize("version", [NOW, OLD])
def test_an_encrypted_message_comes_back(cipher, version):
    """CBC with its IV in front; ECB without below 2.4."""
    key = SessionKey(cipher, bytes(range(1, {1: 8, 2: 24, 3: 32}[cipher] + 1)))
    whole = mac_message(message(version), key.octets, counter=1)
    envelope, data = encrypt_message(whole, key, iv=b"i" * key.iv_bytes, policy=EVERYTHING)
    assert envelope.encrypted
    assert envelope.length == len(data)
    assert data.startswith(b"i" * key.iv_bytes) is (version == NOW)
    found, credential = open_message(envelope, data, key, policy=EVERYTHING)
    assert found.body == whole.body
    assert credential.counter == 1


def test_weak_ciphers_need_the_policy():
    """DES, DESede and ECB are refused in both directions."""
    des = SessionKey(CipherCode.DES, bytes(range(8)))
    for key, version, weak in [(des, NOW, Weak.CIPHER_DES), (KEY, OLD, Weak.CIPHER_ECB)]:
        with pytest.raises(SignatureInvalid, match=weak.value):
            encrypt_part(b"part", key, version, iv=b"i" * key.iv_bytes)
        with pytest.raises(SignatureInvalid, match=weak.value):
            decrypt_part(b"x" * 32, key, version)


def test_every_failure_to_decrypt_looks_the_same():
    """Bad padding, bad length, unreadable content and a wrong MAC: one text."""
    whole = mac_message(message(), KEY.octets, counter=1)
    envelope, data = encrypt_message(whole, KEY, iv=b"i" * 16)
    other_mac = mac_message(message(), b"other key", counter=1)
    envelope_2, wrong_mac = encrypt_message(other_mac, KEY, iv=b"i" * 16)
    nonsense = encrypt_part(b"nonsense", KEY, NOW, iv=b"i" * 16)
    texts = set()
    for env, octets in [
        (envelope, data[:-1]),
        (envelope, data[:16]),
        (envelope, b""),
        (envelope, data[:-1] + bytes([data[-1] ^ 1])),
        (envelope, nonsense),
        (envelope_2, wrong_mac),
    ]:
        with pytest.raises(SessionFailed) as error:
            open_message(env, octets, KEY)
        texts.add(str(error.value))
    assert len(texts) == 1


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_any_bytes_decrypt_or_fail_as_a_session(data):
    """Nothing else comes out of decryption."""
    envelope, _ = encrypt_message(message(), KEY, iv=b"i" * 16)
    with pytest.raises(SessionFailed):
        decrypt_message(envelope, data, KEY)
    with pytest.raises(SessionFailed):
        open_message(envelope, data, KEY)


def test_the_iv_must_fit():
    """A wrong length is refused, not padded."""
    with pytest.raises(SessionFailed):
        encrypt_part(b"part", KEY, NOW, iv=b"short")


def test_a_session_key_hides_itself():
    """Its repr shows the cipher only."""
    assert repr(KEY) == "SessionKey(AES)"


def test_a_transported_key_is_read():
    """PKCS#1 v1.5, the code in front; other octets are parse errors or another key."""
    rsa_key = rsa.generate_private_key(65_537, 2048)
    plain = encode_agreed_key(SessionKey(CipherCode.AES, b"k" * 16))
    sealed = rsa_key.public_key().encrypt(plain, padding.PKCS1v15())
    assert decode_agreed_key(decrypt_transported_key(sealed, rsa_key)).octets == b"k" * 16
    with pytest.raises(ParseError):
        decrypt_transported_key(b"short", rsa_key)
    for octets in (b"", b"\0\0\0\x09" + b"k" * 16, b"\0\0\0\x03" + b"k" * 15):
        with pytest.raises(ParseError):
            decode_agreed_key(octets)


def test_the_reply_of_a_set_up_names_the_cipher():
    """From 2.4 on; before that DES is meant. Unknown codes are parse errors."""
    for version, code in [(NOW, CipherCode.AES), (OLD, CipherCode.DES)]:
        data = encode_exchange_data(code, b"key", version)
        assert decode_exchange_data(data, version) == (code, b"key")
    with pytest.raises(ParseError):
        decode_exchange_data(b"\0\0\0\x09key", NOW)
    with pytest.raises(ParseError):
        decode_exchange_data(b"\0", NOW)


def test_a_counter_is_taken_once():
    """Repeats, zero and those below the oldest kept are refused."""
    window = ReplayWindow(3)
    for counter in (5, 3, 9):
        window.take(counter)
    for counter in (5, 0, -1, 2):
        with pytest.raises(SessionMessageRejected):
            window.take(counter)
    window.take(4)  # 3, the oldest, is given up
    for counter in (3, 4):
        with pytest.raises(SessionMessageRejected):
            window.take(counter)
    window.take(2**32 - 1)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 10))
def test_no_counter_passes_twice(counters, size):
    """Whatever the order and the size of the window."""
    window, passed = ReplayWindow(size), []
    for counter in counters:
        try:
            window.take(counter)
        except SessionMessageRejected:
            continue
        passed.append(counter)
    assert len(set(passed)) == len(passed)
    assert 0 not in passed
