"""Chains: from a signer to a root that is trusted, and nothing less."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from protocol.chain import ChainWalk, Roots
from protocol.errors import ParseError, SignatureInvalid
from protocol.record import HandleValue, Reference
from protocol.signature import (
    HS_CERT,
    Perm,
    Permission,
    Validity,
    issue_certificate,
    sign_record,
)

KEYS = {name: ed25519.Ed25519PrivateKey.generate() for name in ("root", "a", "b", "evil")}
ROOT, A, B = (Reference(b"0.NA/" + name, 300) for name in (b"9", b"9.1", b"9.1.2"))
HANDLE = b"9.1.2/pump"
LIFE = Validity(0, 1000)
VALUES = (HandleValue(1, b"URL", b"u"),)


def perms(prefix: bytes) -> list[Permission]:
    handle = b"0.NA/" + prefix
    kinds = (Perm.THIS_HANDLE, Perm.HANDLES_UNDER_THIS_PREFIX, Perm.DERIVED_PREFIXES)
    return [Permission(handle, kind) for kind in kinds]


def cert(subject, key, issuer, issuer_key, *, prefix=b"9", life=LIFE, chain=None):
    return issue_certificate(
        subject,
        KEYS[key].public_key(),
        perms(prefix),
        issuer,
        KEYS[issuer_key],
        validity=life,
        chain=chain,
    )


def records(**changes) -> dict[Reference, bytes]:
    """Root, its child A and A's child B, each with a certificate at 400."""
    found = {
        "root": cert(ROOT, "root", ROOT, "root"),
        "a": cert(A, "a", ROOT, "root"),
        "b": cert(B, "b", A, "a", prefix=b"9.1"),
    } | changes
    places = {"root": ROOT, "a": A, "b": B}
    return {
        Reference(places[name].handle, 400): data
        for name, data in found.items()
        if data is not None
    }


LISTED = tuple(Reference(owner.handle, 400) for owner in (B, A, ROOT))


def walk(held, *, chain=LISTED, roots=None, now=500, signer="b", handle=HANDLE, **more):
    data = sign_record(handle, VALUES, B, KEYS[signer], validity=LIFE, chain=chain)
    if roots is None:
        roots = Roots.of([KEYS["root"].public_key()], [ROOT.handle])
    steps = ChainWalk(data, handle, roots, now, **more)
    asked = []
    while (wanted := steps.needs()) is not None:
        asked.append(wanted)
        steps.give(
            HandleValue(at.index, HS_CERT, data)
            for at, data in held.items()
            if at.handle == wanted.handle and wanted.index in {0, at.index}
        )
    return steps.report(), asked


def test_a_whole_chain_is_trusted_and_authorized():
    """Signer, two certificates and the root; each record is asked for once."""
    report, asked = walk(records())
    assert (report.length, report.root_is_trusted, report.trusted) == (4, True, True)
    assert report.require() == KEYS["b"].public_key()
    assert asked == list(LISTED)


def test_without_a_list_the_issuers_are_asked():
    """The newest certificate of the issuer's own record is taken."""
    report, asked = walk(records(), chain=None)
    assert report.authorized
    assert asked == [Reference(owner.handle, 0) for owner in (B, A, ROOT)]


def test_a_certificate_may_bring_the_rest_of_the_chain():
    """Where the signature's list ends, the certificate's own goes on."""
    rest = (Reference(A.handle, 400), Reference(ROOT.handle, 400))
    held = records(b=cert(B, "b", A, "a", prefix=b"9.1", chain=rest))
    report, asked = walk(held, chain=LISTED[:1])
    assert report.authorized
    assert asked == list(LISTED)


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"a": None}, "no certificate"),
        ({"a": b"nonsense"}, "no certificate"),
        ({"a": cert(A, "a", ROOT, "evil")}, "signature"),
        ({"a": cert(A, "evil", ROOT, "root")}, "signature"),
        ({"a": cert(A, "a", ROOT, "root", life=Validity(0, 499))}, "does not hold now"),
        ({"a": cert(A, "a", ROOT, "root", life=Validity(501, 999))}, "does not hold now"),
        ({"root": cert(ROOT, "evil", ROOT, "evil")}, "trusted root"),
        ({"root": cert(ROOT, "root", ROOT, "evil")}, "signature"),
        ({"b": cert(A, "b", A, "a")}, "no certificate"),
    ],
)
def test_a_broken_chain_is_not_trusted(spoilt, why):
    """Missing, forged, expired or foreign links end the trust."""
    report, _ = walk(records(**spoilt))
    assert not report.trusted
    with pytest.raises(SignatureInvalid, match=why):
        report.require()


def test_a_certificate_for_another_prefix_does_not_authorize():
    """The chain may be trusted; it must cover the handle at every link."""
    report, _ = walk(records(a=cert(A, "a", ROOT, "root", prefix=b"8")))
    assert report.trusted
    with pytest.raises(SignatureInvalid, match="does not cover"):
        report.require()


def test_a_record_signed_by_another_key_is_not_trusted():
    """The certified key must have made the signature."""
    report, _ = walk(records(), signer="evil")
    assert not report.trusted


def test_an_expired_record_signature_is_not_trusted():
    """Its own dates count as a link's do."""
    report, _ = walk(records(), now=1001)
    assert not report.trusted


@pytest.mark.parametrize(
    ("key", "subjects", "trusted"),
    [
        ("root", [b"0.na/9"], True),
        ("root", None, True),
        ("root", [b"0.0/0.0"], False),
        ("evil", None, False),
    ],
)
def test_a_root_is_a_key_under_its_subject(key, subjects, trusted):
    """Both must be configured; None takes every subject."""
    roots = Roots.of([KEYS[key].public_key()], subjects)
    assert walk(records(), roots=roots)[0].authorized is trusted


def test_the_default_root_is_that_of_the_handle_system():
    """Subject 0.0/0.0."""
    assert Roots.of([]).subjects == {b"0.0/0.0"}


def test_a_circle_ends():
    """Two certificates that certify each other are no chain."""
    held = records(a=cert(A, "a", B, "b", prefix=b"9.1"), root=None)
    report, asked = walk(held, chain=None)
    assert len(asked) == 3
    with pytest.raises(SignatureInvalid, match="circle"):
        report.require()


def test_a_long_chain_ends():
    """More links than allowed fail before they are all fetched."""
    report, asked = walk(records(), max_links=2)
    assert len(asked) == 2
    with pytest.raises(SignatureInvalid, match="more than 2"):
        report.require()


def test_a_walk_that_was_not_finished_trusts_nothing():
    """The report before the last record says so."""
    data = sign_record(HANDLE, VALUES, B, KEYS["b"], validity=LIFE, chain=LISTED)
    steps = ChainWalk(data, HANDLE, Roots.of([]), 500)
    assert not steps.report().trusted
    with pytest.raises(SignatureInvalid, match="not finished"):
        steps.report().require()


def test_the_newest_of_several_certificates_is_taken():
    """Without an index the time of writing decides; certificates of others are passed over."""
    old = cert(B, "evil", A, "a", prefix=b"9.1")
    new = cert(B, "b", A, "a", prefix=b"9.1")
    data = sign_record(HANDLE, VALUES, B, KEYS["b"], validity=LIFE)
    roots = Roots.of([KEYS["root"].public_key()], [ROOT.handle])
    steps = ChainWalk(data, HANDLE, roots, 500)
    steps.give(
        [
            HandleValue(400, HS_CERT, old, timestamp=1),
            HandleValue(401, HS_CERT, new, timestamp=2),
            HandleValue(402, HS_CERT, cert(A, "a", ROOT, "root"), timestamp=3),
            HandleValue(403, b"URL", new, timestamp=4),
        ]
    )
    assert steps.report().signer_key == KEYS["b"].public_key()


def test_what_is_no_signature_starts_no_walk():
    """The walk needs readable claims."""
    with pytest.raises(ParseError):
        ChainWalk(b"a.b.c", HANDLE, Roots.of([]), 0)
