"""Record signatures and certificates: what is changed, moved, taken away or expired is seen."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import parse_jws, sign_jws
from protocol.keys.policy import EVERYTHING, Policy, Weak
from protocol.record import HandleValue, Reference
from protocol.signature import (
    HS_SIGNATURE,
    Perm,
    Permission,
    Validity,
    issue_certificate,
    parse_certificate,
    parse_signature,
    permits,
    require_record,
    sign_record,
    verify_record,
)

RSA = rsa.generate_private_key(65_537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
HANDLE = b"20.5000/pump-7"
SIGNER = Reference(b"0.NA/20.5000", 302)
LIFE = Validity(not_before=100, expires=200, issued=100)
VALUES = (
    HandleValue(1, b"URL", b"https://example.org/7"),
    HandleValue(2, b"DESC", "Pumpe 7, grün".encode()),
    HandleValue(301, b"HS_SECKEY", b"secret", permissions=12),
)


def signed(key=ED, handle=HANDLE, values=VALUES, **more):
    return sign_record(handle, values, SIGNER, key, validity=more.pop("validity", LIFE), **more)


def report(data, *, handle=HANDLE, values=VALUES, key=ED, now=150, policy=EVERYTHING):
    return verify_record(handle, values, data, key.public_key(), now, policy=policy)


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
def test_a_signed_record_verifies(key):
    """Every public value is verified; the secret one needs no signature."""
    found = report(signed(key), key=key)
    found.require()
    assert (found.verified, found.unsigned, found.uncovered) == ((1, 2), (301,), ())


def test_time_stamp_and_order_are_outside_the_digest():
    """The server's time stamp may change; so may the order of values."""
    values = tuple(replace(value, timestamp=77) for value in reversed(VALUES))
    report(signed(), values=values).require()


@pytest.mark.parametrize(
    "change", [{"data": b"x"}, {"ttl": 1}, {"ttl_type": 1}, {"permissions": 15}, {"type": b"URl"}]
)
def test_a_changed_value_is_a_bad_digest(change):
    """Data, TTL, permissions and type are covered."""
    found = report(signed(), values=(replace(VALUES[0], **change), *VALUES[1:]))
    assert (found.bad_digest, found.verified) == ((1,), (2,))
    with pytest.raises(SignatureInvalid, match="changed"):
        found.require()


def test_a_value_at_another_index_is_seen():
    """The digest list binds the index: one is missing, one is covered by nothing."""
    found = report(signed(), values=(replace(VALUES[0], index=9), *VALUES[1:]))
    assert (found.missing, found.uncovered) == ((1,), (9,))
    with pytest.raises(SignatureInvalid):
        found.require()


def test_a_value_taken_away_is_missing():
    """It is a fault for a whole record and none for a partial answer."""
    found = report(signed(), values=VALUES[1:])
    assert found.missing == (1,)
    with pytest.raises(SignatureInvalid, match="taken away"):
        found.require()
    found.require(partial=True)


def test_a_second_value_at_a_signed_index_is_bad():
    """A forged twin of a signed value is no verified value."""
    twin = replace(VALUES[0], data=b"https://evil.example")
    found = report(signed(), values=(*VALUES, twin))
    assert found.bad_digest == (1,)
    with pytest.raises(SignatureInvalid):
        found.require()


def test_a_value_added_later_is_covered_by_nothing():
    """Until a second signature covers it."""
    later = HandleValue(3, b"EMAIL", b"a@example.org")
    first = report(signed(), values=(*VALUES, later))
    with pytest.raises(SignatureInvalid, match=r"\[3\]"):
        first.require()
    second = report(signed(values=(later,)), values=(*VALUES, later))
    require_record((*VALUES, later), (first, second))
    with pytest.raises(SignatureInvalid):
        require_record((*VALUES, later), (first,))
    with pytest.raises(SignatureInvalid):
        require_record(VALUES, ())


def test_a_signature_moved_to_another_handle_is_refused():
    """`sub` names the handle; the prefix part is compared without case."""
    with pytest.raises(SignatureInvalid, match="another handle"):
        report(signed(), handle=b"20.5000/pump-8").require()
    with pytest.raises(SignatureInvalid, match="another handle"):
        report(signed(), handle=b"20.5000/PUMP-7").require()
    moved = signed(handle=b"abc.D/x")
    report(moved, handle=b"ABC.d/x").require()


@pytest.mark.parametrize(("now", "holds"), [(99, False), (100, True), (200, True), (201, False)])
def test_both_ends_of_the_validity_count(now, holds):
    """nbf <= now <= exp."""
    assert report(signed(), now=now).date_in_range is holds


def test_the_wrong_key_does_not_verify():
    """Of either type."""
    for key in (RSA, ed25519.Ed25519PrivateKey.generate()):
        found = report(signed(), key=key)
        assert not found.signature_verifies
        with pytest.raises(SignatureInvalid):
            found.require()


def test_signatures_themselves_need_none():
    """An HS_SIGNATURE value is neither signed nor missed."""
    own = HandleValue(400, HS_SIGNATURE, b"x")
    assert b"400" not in parse_jws(signed(values=(*VALUES, own))).payload
    report(signed(), values=(*VALUES, own)).require()


def payload_of(**changes):
    payload = json.loads(parse_jws(signed()).payload)
    payload.update(changes)
    return json.dumps({name: value for name, value in payload.items() if value is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"digests": None},
        {"digests": []},
        {"digests": {"alg": "MD5", "digests": []}},
        {"digests": {"alg": "SHA-256", "digests": [{"index": "1", "digest": ""}]}},
        {"digests": {"alg": "SHA-256", "digests": [{"index": 1, "digest": "*"}]}},
        {"digests": {"alg": "SHA-256", "digests": [{"index": True, "digest": ""}]}},
        {"iss": 7},
        {"sub": None},
        {"exp": "never"},
        {"nbf": True},
        {"chain": "400:0.NA/20.5000"},
        {"chain": [1]},
        {"chain": ["x"] * 51},
    ],
)
def test_other_payloads_are_invalid(changes):
    """A signed payload that is no record signature verifies nothing."""
    found = report(sign_jws(payload_of(**changes).encode(), ED))
    assert found.signature_verifies
    assert not found.valid_payload
    with pytest.raises(SignatureInvalid):
        found.require()


def test_sha1_digests_need_the_policy():
    """They are read only where the policy names them."""
    data = sign_jws(payload_of(digests={"alg": "SHA-1", "digests": []}).encode(), ED)
    assert not report(data, policy=Policy()).valid_payload
    assert report(data, policy=Policy(weak=frozenset({Weak.DIGEST_SHA1}))).valid_payload


def test_an_index_listed_twice_vouches_for_neither():
    """Two digests for one index cannot both hold."""
    listed = json.loads(payload_of())["digests"]
    listed["digests"].append({"index": 1, "digest": "AAAA"})
    assert report(sign_jws(payload_of(digests=listed).encode(), ED)).bad_digest == (1,)


def test_the_chain_is_written_as_references():
    """iss, sub and chain are what deployed software reads."""
    chain = (Reference(b"0.NA/20.5000", 402), Reference(b"0.NA/20", 400))
    payload = json.loads(parse_jws(signed(chain=chain)).payload)
    assert list(payload) == ["digests", "chain", "iss", "sub", "exp", "nbf", "iat"]
    assert payload["chain"] == ["402:0.NA/20.5000", "400:0.NA/20"]
    assert payload["iss"] == "302:0.NA/20.5000"
    assert parse_signature(parse_jws(signed(chain=chain))).claims.chain == chain


def test_names_that_are_not_utf8_cannot_be_signed():
    """JSON carries text only."""
    with pytest.raises(ParseError):
        signed(handle=b"20.5000/\xff")


@settings(max_examples=100)
@given(st.binary(max_size=120))
def test_any_bytes_verify_nothing(data):
    """A report that is not sound, or ParseError."""
    with contextlib.suppress(ParseError):
        assert not report(data).sound
    with contextlib.suppress(ParseError):
        parse_certificate(data)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "exp", "nbf", "chain", "digests", "perms", "publicKey"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["alg", "digests", "kty", "perm"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_signed_payload_is_read_or_refused(payload):
    """Signed nonsense is still nonsense: no other error comes out."""
    data = sign_jws(json.dumps(payload).encode(), ED)
    with contextlib.suppress(ParseError):
        report(data)
    with contextlib.suppress(ParseError):
        parse_certificate(data)


def certificate(**more):
    return issue_certificate(
        SIGNER,
        more.pop("subject_key", ED.public_key()),
        [Permission(b"0.NA/20.5000", Perm.HANDLES_UNDER_THIS_PREFIX)],
        Reference(b"0.NA/20", 300),
        RSA,
        validity=LIFE,
        **more,
    )


def test_a_certificate_names_key_and_permissions():
    """What was issued is read again, and verifies with the issuer's key while it holds."""
    found = parse_certificate(certificate())
    assert found.subject == SIGNER
    assert found.claims.issuer == Reference(b"0.NA/20", 300)
    assert found.public_key == ED.public_key()
    assert not found.self_issued
    found.verify(RSA.public_key(), 150)
    for key, now in [(RSA, 201), (RSA, 99), (ED, 150)]:
        with pytest.raises(SignatureInvalid):
            found.verify(key.public_key(), now)


@pytest.mark.parametrize(
    ("perm", "owner", "handle", "covered"),
    [
        (Perm.EVERYTHING, b"", b"x/y", True),
        (Perm.THIS_HANDLE, b"0.NA/20.5000", b"0.na/20.5000", True),
        (Perm.THIS_HANDLE, b"0.NA/20.5000", b"20.5000/x", True),
        (Perm.THIS_HANDLE, b"0.NA/20.5000", b"20.50009/x", False),
        (Perm.THIS_HANDLE, b"20.5000/x", b"20.5000/x", True),
        (Perm.THIS_HANDLE, b"20.5000/x", b"20.5000/x/y", False),
        (Perm.HANDLES_UNDER_THIS_PREFIX, b"0.NA/ab", b"AB/x", True),
        (Perm.HANDLES_UNDER_THIS_PREFIX, b"0.NA/ab", b"0.NA/AB", False),
        (Perm.HANDLES_UNDER_THIS_PREFIX, b"20.5000/x", b"20.5000/y", False),
        (Perm.DERIVED_PREFIXES, b"0.NA/20", b"0.NA/20.5", True),
        (Perm.DERIVED_PREFIXES, b"0.NA/20", b"20.5.6/x", True),
        (Perm.DERIVED_PREFIXES, b"0.NA/20", b"20/x", False),
        (Perm.DERIVED_PREFIXES, b"0.NA/20", b"0.NA/20", False),
        (Perm.DERIVED_PREFIXES, b"0.NA/20", b"0.NA/201", False),
        (Perm.DERIVED_PREFIXES, b"0.NA/20", b"noslash", False),
        ("somethingElse", b"0.NA/20", b"20/x", False),
    ],
)
def test_permissions_cover_what_they_name(perm, owner, handle, covered):
    """The table of permissions, its edges included."""
    assert permits([Permission(owner, perm)], handle) is covered
