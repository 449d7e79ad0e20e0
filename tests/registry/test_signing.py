"""Signatures on records, from a node's own key up to the root, and what the writer makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.chain import ChainWalk, Roots
from protocol.change import Kind
from protocol.errors import InvalidValue
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Reference
from protocol.signature import verify_record
from protocol.values.hs_site import Server, Site, address_octets
from registry.keys import NodeKeys
from registry.prefix_record import (
    Holder,
    adopted_values,
    delegated_values,
    own_issuer,
    own_prefix_values,
    secret_of,
)
from registry.rules import WriterSettings
from registry.signing import (
    NodeSigners,
    certificate_chain,
    free_index,
    node_signer,
    signatures,
)
from registry.store.row import HAS_SIGNATURE
from tests.registry.conftest import ADMIN, url

NOW = 1_700_000_000
H = b"88.118.8/pump-7"
ROOT, PREFIX = b"88.118", b"88.118.8"


def site(address: str, keys: NodeKeys) -> Site:
    return Site((Server(1, address_octets(address), encode_public_key(keys.site_public)),))


@pytest.fixture(scope="module")
def parent() -> NodeKeys:
    return NodeKeys(generate_private_key(65537, 2048), Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def child() -> NodeKeys:
    return NodeKeys(generate_private_key(65537, 2048), Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def tree(parent, child):
    """The prefix records of a root and of its child, by name."""
    sites = (site("127.0.0.1", child), site("::1", child))
    root = own_prefix_values(
        parent, ROOT, [site("127.0.0.1", parent)], now_s=NOW, issuer=own_issuer(parent, ROOT)
    )
    holder = Holder(PREFIX, sites, child.site_public, child.log_public, has_secret=True)
    made = delegated_values(holder, own_issuer(parent, ROOT), now_s=NOW)
    return {b"0.NA/88.118": root, b"0.NA/88.118.8": made}


def walk(tree, handle, signature, parent, now=NOW):
    roots = Roots.of([parent.site_public], subjects=None)
    steps = ChainWalk(signature.data, handle, roots, now)
    while (wanted := steps.needs()) is not None:
        values = tree.get(wanted.handle.upper(), ())
        steps.give([v for v in values if wanted.index in {0, v.index}])
    return steps.report()


def test_prefix_records_hold_what_the_seams_say(tree):
    """Every well-known index has its type, in the child's record as the parent made it."""
    record = tree[b"0.NA/88.118.8"]
    assert {v.index: v.type.decode() for v in record} == {
        1: "HS_SITE",
        2: "HS_SITE.6",
        100: "HS_ADMIN",
        101: "HS_ADMIN",
        102: "HS_ADMIN",
        200: "HS_VLIST",
        300: "HS_PUBKEY",
        302: "HS_PUBKEY",
        400: "HS_CERT",
        402: "HS_CERT",
        410: "HS_SIGNATURE",
    }


@pytest.mark.parametrize("name", [b"0.NA/88.118", b"0.NA/88.118.8"])
def test_prefix_records_verify_up_to_the_root(tree, parent, name):
    """The signature over a prefix record holds, and its chain ends at the trusted root key."""
    values = tree[name]
    signature = signatures(values)[0]
    verify_record(name, values, signature.data, parent.site_public, NOW).require()
    report = walk(tree, name, signature, parent)
    assert report.authorized, report.problems


@pytest.mark.parametrize("rsa", [False, True])
def test_records_verify_up_to_the_root(tree, parent, child, rsa):
    """A product signed by the child's key verifies through both certificates."""
    signer = node_signer(child, PREFIX, tree[b"0.NA/88.118.8"], rsa=rsa)
    assert signer.reference == Reference(b"0.NA/88.118.8", 300 if rsa else 302)
    values = signer.sign(H, (url(), url(b"two", 2)), NOW)
    key = child.site_public if rsa else child.log_public
    verify_record(H, values, values[-1].data, key, NOW).require()
    assert walk(tree, H, values[-1], parent).authorized
    assert not walk(tree, b"88.118.9/other", values[-1], parent).authorized


def test_root_records_verify_too(tree, parent):
    """A product of the root's own prefix verifies with its self-made certificate."""
    signer = node_signer(parent, ROOT, tree[b"0.NA/88.118"])
    values = signer.sign(b"88.118/x", (url(),), NOW)
    assert walk(tree, b"88.118/x", values[-1], parent).authorized


def test_a_node_that_waits_signs_without_a_chain(child):
    """Before the delegation there are no certificates, and the signer names none."""
    values = own_prefix_values(child, PREFIX, [site("::1", child)], now_s=NOW)
    assert [v.index for v in values] == [2, 100, 101, 200, 300, 302]
    assert certificate_chain(b"0.NA/88.118.8", values, 302) is None
    assert node_signer(child, PREFIX, values).chain is None


def test_the_secret_stays_with_the_child(tree, child):
    """The child's copy has the secret beside, not publicly readable; an empty one is refused."""
    copy = adopted_values(tree[b"0.NA/88.118.8"], b"word", NOW)
    assert secret_of(copy) == b"word"
    assert not next(v for v in copy if v.index == 301).public
    assert secret_of(tree[b"0.NA/88.118.8"]) is None
    with pytest.raises(InvalidValue):
        own_prefix_values(child, PREFIX, (), now_s=NOW, secret=b"")


def test_signing_again_replaces_the_own_signature(child, tree):
    """A record has one signature of a signer, at a free index from 400 on."""
    signer = node_signer(child, PREFIX, tree[b"0.NA/88.118.8"])
    once = signer.sign(H, (url(), HandleValue(400, b"X", b"")), NOW)
    assert once[-1].index == 401
    twice = signer.sign(H, once, NOW + 1)
    assert [v.index for v in twice] == [1, 400, 401]
    assert free_index(twice) == 402


@pytest.fixture
def works(make_desk, tree, child):
    """A writer at the child, its prefix record in place, renewing the node's signatures."""
    signer = node_signer(child, PREFIX, tree[b"0.NA/88.118.8"])
    desk = make_desk(signers=NodeSigners(child, PREFIX))
    desk.time = NOW
    done = desk.do(Kind.CREATE, b"0.NA/88.118.8", *tree[b"0.NA/88.118.8"])
    assert done.status == "created", done.error
    return desk, signer


def test_a_signature_brought_along_must_hold(works):
    """A signed record is taken when the signature verifies, and refused with the reason when not."""
    desk, signer = works
    values = signer.sign(H, (url(),), NOW)
    assert desk.create(H, *values, actor=ADMIN).status == "created"
    assert desk.row(H).flags & HAS_SIGNATURE
    moved = desk.create(b"88.118.8/other", *values, actor=ADMIN)
    assert (moved.status, moved.reason) == ("refused", "SignatureInvalid")
    spoilt = (replace(values[0], data=b"http://evil.example/"), *values[1:])
    assert "values changed [1]" in desk.create(H, *spoilt, actor=ADMIN, overwrite=True).error
    grown = (*values, url(b"more", 9))
    assert "[9]" in desk.create(H, *grown, overwrite=True).error
    foreign = replace(signer, reference=Reference(b"0.NA/99", 302))
    assert "not known here" in desk.create(H, *foreign.sign(H, (url(),), NOW), overwrite=True).error
    assert desk.create(H, HandleValue(400, b"HS_SIGNATURE", b"x")).status == "refused"
    other_key = replace(signer, key=Ed25519PrivateKey.generate())
    assert desk.create(b"88.118.8/o3", *other_key.sign(b"88.118.8/o3", (url(),), NOW)).status == (
        "refused"
    )


def test_signed_again_is_unchanged(works):
    """The same values signed again at another time are the same content."""
    desk, signer = works
    desk.create(H, *signer.sign(H, (url(),), NOW))
    assert desk.create(H, *signer.sign(H, (url(),), NOW + 9)).status == "unchanged"
    other = H.upper()
    assert desk.create(other, *signer.sign(other, (url(),), NOW + 9)).status == "unchanged"
    assert desk.create(H, *signer.sign(H, (url(b"n"),), NOW + 9)).status == "refused"
    again = signer.sign(other, (url(b"n"),), NOW + 9)
    assert desk.create(other, *again, overwrite=True).status == "replaced"
    assert desk.row(H).name == other


def test_the_node_renews_its_own_signature(works, child):
    """When a record that the node signed changes, its signature follows."""
    desk, signer = works
    desk.create(H, *signer.sign(H, (url(), url(b"two", 2)), NOW))
    desk.time += 60
    assert desk.do(Kind.MODIFY, H, url(b"new"), actor=ADMIN).status == "changed"
    assert desk.do(Kind.REMOVE, H, indexes=(2,), actor=ADMIN).status == "changed"
    values = desk.row(H).values()
    assert [v.index for v in values] == [1, 400]
    verify_record(H, values, values[1].data, child.log_public, desk.time).require()


def test_the_node_signs_what_asks_for_it(works, child):
    """A change with the attribute `sign` is signed as the record is in the end, merged too."""
    desk, _ = works
    sign = {"attributes": {"sign": True}}
    assert desk.do(Kind.MERGE, H, url(), **sign).status == "created"
    assert desk.do(Kind.MERGE, H, url(b"two", 2), **sign).status == "changed"
    values = desk.row(H).values()
    assert [v.index for v in values] == [1, 2, 400]
    verify_record(H, values, values[2].data, child.log_public, desk.time).require()
    assert desk.do(Kind.MERGE, H, url(b"two", 2), **sign).status == "unchanged"
    assert desk.create(H, url(), url(b"two", 2), **sign).status == "unchanged"
    desk.do(Kind.HOME, b"99")
    assert desk.create(b"99/x", url(), **sign).status == "created"
    assert desk.values(b"99/x") == {1: b"http://example.org/"}


def test_unsigned_records_where_signatures_are_required(make_desk, tree, child):
    """With unsigned = refuse a record without a valid covering signature is not taken."""
    desk = make_desk(settings=WriterSettings(unsigned="refuse"))
    desk.time = NOW
    desk.do(Kind.CREATE, b"0.NA/88.118.8", *tree[b"0.NA/88.118.8"])
    signer = node_signer(child, PREFIX, tree[b"0.NA/88.118.8"])
    assert "must be signed" in desk.create(H, url()).error
    assert desk.create(H, *signer.sign(H, (url(),), NOW)).status == "created"
    assert "must be signed" in desk.do(Kind.MODIFY, H, url(b"n")).error
    assert desk.values(H)[1] == b"http://example.org/"


def test_a_prefix_has_its_own_policy(make_desk):
    """What a homed prefix says about unsigned records goes before the setting."""
    desk = make_desk()
    policy = {"attributes": {"unsigned": "refuse"}}
    assert desk.do(Kind.HOME, b"88.5", **policy).status == "created"
    assert "must be signed" in desk.create(b"88.5/x", url()).error
    assert desk.create(b"88.118.8/x", url()).status == "created"
    assert desk.do(Kind.HOME, b"88.5", attributes={"unsigned": "accept"}).status == "changed"
    assert desk.create(b"88.5/x", url()).status == "created"
    assert desk.do(Kind.HOME, b"88.6", attributes={"unsigned": "maybe"}).status == "refused"
