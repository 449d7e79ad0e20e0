"""resolver.verify: what of a record was signed, by whom, and whether that counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.chain import Roots
from protocol.errors import SignatureInvalid, UpstreamError
from protocol.record import HandleValue, Reference
from protocol.signature import Perm, Permission, Validity, issue_certificate, sign_record
from resolver.verify import Need, Verifier, earliest_end
from tests.scenarios.virtual import run
from tests.scenarios.world import key_of

NOW = 1_800_000_000
NAME = b"88.1/pump"
ROOT, CHILD, OTHER = key_of("root"), key_of("child"), key_of("other")
ROOTS = Roots.of([ROOT.public_key()], subjects=None)
TRUSTED = Validity(NOW - 10, NOW + 1000)


def cert(subject, key, issuer, issuer_key, perms, chain, validity=TRUSTED):
    data = issue_certificate(
        Reference(subject, 300),
        key.public_key(),
        perms,
        Reference(issuer, 300),
        issuer_key,
        validity=validity,
        chain=[Reference(each, 400) for each in chain],
    )
    return HandleValue(400, b"HS_CERT", data)


ALL = [Permission(b"", Perm.EVERYTHING)]
UNDER = [Permission(b"0.NA/88.1", Perm.HANDLES_UNDER_THIS_PREFIX)]
RECORDS = {
    b"0.NA/88": (cert(b"0.NA/88", ROOT, b"0.NA/88", ROOT, ALL, []),),
    b"0.NA/88.1": (cert(b"0.NA/88.1", CHILD, b"0.NA/88", ROOT, UNDER, [b"0.NA/88"]),),
}
VALUES = (HandleValue(1, b"URL", b"https://example.org/7"), HandleValue(2, b"DESC", b"pump"))


def signature(
    values=VALUES,
    *,
    key=CHILD,
    name=NAME,
    index=410,
    validity=TRUSTED,
    who=b"0.NA/88.1",
    up=(b"0.NA/88.1", b"0.NA/88"),
):
    chain = [Reference(each, 400) for each in up]
    data = sign_record(name, values, Reference(who, 300), key, validity=validity, chain=chain)
    return HandleValue(index, b"HS_SIGNATURE", data)


def verify(values, need=Need.WHEN_SIGNED, roots=ROOTS, records=RECORDS, name=NAME):
    asked = []

    async def fetch(wanted):
        asked.append(wanted)
        return records.get(wanted, ())

    verifier = Verifier(wall=lambda: NOW)
    return run(verifier.verify(name, values, need, roots, fetch)), asked


def test_a_signed_record():
    """Digests, chain and time window hold; each certificate's record is fetched once."""
    found, asked = verify((*VALUES, signature()))
    assert found.status == "verified"
    assert found.signers == ("300:0.NA/88.1",)
    assert found.root == "300:0.NA/88"
    assert found.values == (1, 2)
    assert found.expires == NOW + 1000
    assert asked == [b"0.NA/88.1", b"0.NA/88"]
    assert "digests hold: 2" in found.lines()[0]


def test_what_is_off_is_not_checked():
    """Need.OFF fetches nothing and says so."""
    found, asked = verify((*VALUES, signature(key=OTHER)), Need.OFF)
    assert (found.status, asked) == ("off", [])


def test_unsigned_records():
    """A missing signature is said, or refused where one is required."""
    assert verify(VALUES)[0].status == "unsigned"
    with pytest.raises(SignatureInvalid, match="unsigned"):
        verify(VALUES, Need.REQUIRED)


def tampered():
    return (replace(VALUES[0], data=b"evil"), VALUES[1], signature())


def added():
    return (*VALUES, HandleValue(3, b"URL", b"evil"), signature())


def taken():
    return (VALUES[0], signature())


def moved():
    return (*VALUES, signature(name=b"88.1/other"))


def stranger():
    return (*VALUES, signature(key=OTHER))


def expired():
    return (*VALUES, signature(validity=Validity(NOW - 10, NOW - 1)))


def early():
    return (*VALUES, signature(validity=Validity(NOW + 1, None)))


def garbage():
    return (*VALUES, HandleValue(410, b"HS_SIGNATURE", b"not a jws"))


def unauthorised():
    return (*VALUES, signature(who=b"0.NA/88.2", key=OTHER))


BAD = [tampered, added, taken, moved, stranger, expired, early, garbage, unauthorised]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_does_not_hold_is_refused(make):
    """Changed, added and missing values, other names, keys and times: all refused."""
    with pytest.raises(SignatureInvalid):
        verify(make())


def test_another_prefix_may_not_sign():
    """A certificate for one prefix does not cover names under another."""
    values = (*VALUES, signature(name=b"88.2/pump"))
    with pytest.raises(SignatureInvalid, match="cover"):
        verify(values, name=b"88.2/pump")


def test_a_strangers_signature_beside_a_good_one():
    """It vouches for nothing and spoils nothing."""
    found, _ = verify((*VALUES, signature(key=OTHER, index=411), signature()))
    assert found.signers == ("300:0.NA/88.1",)


def test_several_signatures_may_cover_a_record_together():
    """Each value needs one good signature, not the same one."""
    third = HandleValue(3, b"LIFECYCLE", b"made")
    one, two = signature(VALUES), signature((third,), index=411)
    assert verify((*VALUES, third, one, two))[1]


def test_a_trusted_signature_that_lists_a_changed_value_refuses_the_record():
    """Even when another signature covers the value as it is now."""
    changed = (replace(VALUES[0], data=b"new"), VALUES[1])
    with pytest.raises(SignatureInvalid, match="changed"):
        verify((*changed, signature(), signature(changed, index=411)))


def test_without_root_keys():
    """No root key: that is said, and refused where verification is required."""
    none = Roots.of([], subjects=None)
    assert "no root key" in verify((*VALUES, signature()), roots=none)[0].status
    with pytest.raises(SignatureInvalid, match="no root key"):
        verify((*VALUES, signature()), Need.REQUIRED, roots=none)


def test_a_chain_to_another_root():
    """A root that is not configured is no root."""
    with pytest.raises(SignatureInvalid, match="root"):
        verify((*VALUES, signature()), roots=Roots.of([OTHER.public_key()], subjects=None))


def test_missing_certificates():
    """A certificate that is not there breaks the chain."""
    with pytest.raises(SignatureInvalid, match="no certificate"):
        verify((*VALUES, signature()), records={})


def test_unreachable_certificates_are_no_verdict():
    """When a certificate cannot be fetched the record is neither good nor bad."""

    async def fetch(wanted):
        raise UpstreamError("silent")

    verifier = Verifier(wall=lambda: NOW)
    with pytest.raises(UpstreamError):
        run(verifier.verify(NAME, (*VALUES, signature()), Need.WHEN_SIGNED, ROOTS, fetch))


def test_chains_that_run_in_circles_end():
    """Two prefixes that certify each other lead to no root, after a bounded number of fetches."""
    records = {
        b"0.NA/88.1": (cert(b"0.NA/88.1", CHILD, b"0.NA/88.2", OTHER, ALL, [b"0.NA/88.2"]),),
        b"0.NA/88.2": (cert(b"0.NA/88.2", OTHER, b"0.NA/88.1", CHILD, ALL, [b"0.NA/88.1"]),),
    }
    with pytest.raises(SignatureInvalid, match="circle"):
        verify((*VALUES, signature(up=(b"0.NA/88.1",))), records=records)


def test_the_end_of_unverified_signatures_is_known():
    """The earliest end counts; garbage has none."""
    values = (signature(), signature(validity=Validity(None, NOW + 5)), HandleValue(1, b"URL", b""))
    assert earliest_end(values) == NOW + 5
    assert earliest_end((HandleValue(410, b"HS_SIGNATURE", b"x"),)) is None
