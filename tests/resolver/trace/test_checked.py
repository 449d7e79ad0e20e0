"""Events of other nodes: what is taken, and what is refused."""

from __future__ import annotations

import asyncio
import copy

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import ParseError, SignatureInvalid
from protocol.record import Reference
from registry.events.capture import make_change
from registry.events.index import EventIndex
from registry.events.proof import prove
from registry.tree import LogSigner
from resolver.trace.checked import checked
from resolver.trace.graph import cyclic
from resolver.trace.keybook import Keys
from tests.registry.conftest import *  # noqa: F403 - its fixtures
from tests.registry.test_events import KEY, NOW_US, SIGNER, event

OTHER = Ed25519PrivateKey.from_private_bytes(b"\5" * 32)


class Book:
    """A key book that knows one key."""

    def __init__(self, key=KEY, trust="verified"):
        self.found = Keys((key.public_key(),), trust)

    async def find(self, reference):
        assert reference.text() == "302:0.NA/88.118.8"
        return self.found


@pytest.fixture
def shape(make_desk):
    def make(issuer=b"0.NA/88.118.8"):
        desk = make_desk(log_signer=LogSigner("biaoshi/88.118.8", KEY))
        change = make_change(event(), issuer=Reference(issuer, 300), signer=SIGNER, now_us=NOW_US)
        (done,) = desk.writer.commit([change])
        with desk.store.snapshot() as state:
            return prove(state, done.sequence, EventIndex(state).row(done.sequence))

    return make


def check(shape, **book):
    return asyncio.run(checked(shape, Book(**book)))


def test_an_event_with_its_proof_is_taken(shape):
    """Signature, issuer and receipt hold, and the evidence says so."""
    found = check(shape())
    assert found.event_id == event()["eventID"]
    assert found.evidence["signature"] == "ok"
    assert found.evidence["receipt"]["verified"]


def altered(shape, **changes):
    made = copy.deepcopy(shape)
    made["event"].update(changes)
    return made


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: altered(one, bizStep="receiving"),
        lambda one: one | {"issuer": "300:0.NA/99"},
        lambda one: one | {"label": {"class": "operation", "level": 1}},
        lambda one: one | {"receipt": one["receipt"] | {"index": one["receipt"]["index"] + 1}},
        lambda one: one | {"receipt": one["receipt"] | {"proof": ["A" * 43 + "="]}},
        lambda one: one | {"signature": "x"},
        lambda one: one | {"event": None},
        lambda one: [],
    ],
)
def test_what_was_altered_is_refused(shape, spoil):
    """An event, issuer, label or receipt that is not what was signed and logged is refused."""
    with pytest.raises((SignatureInvalid, ParseError)):
        check(spoil(shape()))


def test_a_stranger_vouches_for_nothing(shape):
    """Another key, and a key whose record leads to no trusted root, are refused."""
    good = shape()
    for book in ({"key": OTHER}, {"trust": "unverified"}, {"trust": "unknown"}):
        with pytest.raises(SignatureInvalid):
            check(good, **book)


def test_an_issuer_of_another_prefix_is_refused(shape):
    """A node signs for issuers of its own prefix and of those below it."""
    with pytest.raises(SignatureInvalid):
        check(shape(b"0.NA/99"))
    assert check(shape(b"0.NA/88.118.8.1")).issuer == "300:0.NA/88.118.8.1"


def test_circles_are_found():
    """Edges within a strongly connected component, and loops, are on a circle; others are not."""
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "e"), ("f", "a")]
    assert cyclic(edges) == {("a", "b"), ("b", "c"), ("c", "a"), ("e", "e")}
