"""Lifecycle events in the store: captured once, found by all they name, checked, copied, erased."""

from __future__ import annotations

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.change import Kind
from protocol.epcis.event import Role
from protocol.epcis.identity import canonical_id, parents_of
from protocol.epcis.jcs import canonical
from protocol.errors import SignatureInvalid, StoreError
from protocol.event_signature import EventClaims, read_claims, sign_event, verify_event
from protocol.jws import parse_jws
from protocol.record import Reference
from registry.check import check_node
from registry.erase import erase_writes
from registry.events.capture import EventSigner, make_change, signed_change
from registry.events.index import EventIndex
from registry.events.keys import Index, sequence_of
from registry.events.row import decode_event_row
from registry.follow import copy_log
from registry.log import sequence_key
from registry.receipt import Opened, make_receipt
from registry.scrub import Done, Scrub, quarantine, quarantined
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore, create
from registry.store.row import QUARANTINED
from tests.registry.conftest import ADMIN, STRANGER, admin, url

KEY = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
SIGNER = EventSigner(Reference(b"0.NA/88.118.8", 302), KEY)
ITEM = "https://id.gs1.org/01/09506000134352/21/%s"
CLASS = "https://id.gs1.org/01/09506000134352"
NOW_US = 1_700_000_000_000_000


def event(number=1, **more):
    return {
        "type": "ObjectEvent",
        "eventID": f"urn:uuid:00000000-0000-4000-8000-{number:012d}",
        "eventTime": f"2026-03-01T10:{number // 60 % 60:02d}:{number % 60:02d}.000+08:00",
        "eventTimeZoneOffset": "+08:00",
        "epcList": [ITEM % number],
        "action": "OBSERVE",
        "bizStep": "shipping",
        **more,
    }


def change_of(described, actor=None, **more):
    issuer = actor or Reference(b"0.NA/88.118.8", 300)
    return make_change(described, issuer=issuer, signer=SIGNER, now_us=NOW_US, actor=actor, **more)


def capture(desk, *events, actor=None, **more):
    return desk.writer.commit([change_of(one, actor, **more) for one in events])


def found(desk, identifier, **more):
    with desk.store.snapshot() as state:
        return [hit.sequence for hit in EventIndex(state).of(identifier, **more)]


def stored(desk, sequence):
    with desk.store.snapshot() as state:
        return EventIndex(state).event(sequence)


def test_an_event_is_captured_once(desk):
    """The same event again is unchanged, at the sequence of its first capture."""
    (first,) = capture(desk, event())
    (again,) = capture(desk, event())
    assert (first.status, again.status) == ("created", "unchanged")
    assert first.sequence == again.sequence
    both = capture(desk, event(2), event(2))
    assert [one.status for one in both] == ["created", "unchanged"]


def test_other_content_under_an_id_is_refused(desk):
    """An eventID that is taken by other content is refused as existing."""
    capture(desk, event())
    (other,) = capture(desk, event(bizStep="receiving"))
    assert (other.status, other.reason) == ("refused", "HandleExists")


def test_an_event_is_found_by_what_it_names(desk):
    """Identifier in any spelling, class, step, place, document, transformation and time lead to it."""
    described = event(
        readPoint={"id": "urn:epc:id:sgln:952005.385541.0"},
        bizTransactionList=[{"type": "po", "bizTransaction": "urn:example:po:1"}],
    )
    (one,) = capture(desk, described)
    (made,) = capture(
        desk,
        {
            "type": "TransformationEvent",
            "eventID": "urn:uuid:1",
            "eventTime": "2026-03-02T00:00:00Z",
            "eventTimeZoneOffset": "+00:00",
            "inputEPCList": [ITEM % 1],
            "outputEPCList": [ITEM % 99],
            "transformationID": "urn:example:t:1",
        },
    )
    assert found(desk, "urn:epc:id:sgtin:9506000.013435.1") == [one.sequence, made.sequence]
    assert found(desk, ITEM % 1, newest_first=True) == [made.sequence, one.sequence]
    assert found(desk, ITEM % 1, roles=[Role.INPUT]) == [made.sequence]
    assert found(desk, CLASS) == []
    assert found(desk, CLASS, coarse=True) == [one.sequence, made.sequence, made.sequence]
    with desk.store.snapshot() as state:
        index = EventIndex(state)
        assert index.by_transformation("urn:example:t:1") == (made.sequence,)
        steps = index.by_value(Index.STEP, "https://ref.gs1.org/cbv/BizStep-shipping")
        assert [sequence for sequence, _ in steps] == [one.sequence]
        place = index.by_value(Index.READ_POINT, "https://id.gs1.org/414/9520053855415")
        document = index.by_value(Index.DOCUMENT, "urn:example:po:1")
        assert [*place] == [*document] != []
        assert [s for s, _ in index.by_time(newest_first=True)] == [made.sequence, one.sequence]
        assert index.by_event_id("urn:uuid:1") == (made.sequence,)


def test_a_span_of_time_has_its_first_moment_and_not_its_last(desk):
    """start_us is inclusive, stop_us exclusive."""
    outcomes = capture(desk, *(event(n, epcList=[ITEM % 7]) for n in range(5)))
    sequences = [one.sequence for one in outcomes]
    times = [stored(desk, sequence).time_us for sequence in sequences]
    assert found(desk, ITEM % 7, start_us=times[1], stop_us=times[3]) == sequences[1:3]
    back = found(desk, ITEM % 7, start_us=times[1], stop_us=times[3], newest_first=True)
    assert back == sequences[2:0:-1]


def test_a_declaration_withdraws_and_names_the_correction(desk):
    """A copy with an errorDeclaration is kept beside the event, which is withdrawn then."""
    (first,) = capture(desk, event())
    declared = event(
        errorDeclaration={
            "declarationTime": "2026-04-01T00:00:00Z",
            "reason": "incorrect_data",
            "correctiveEventIDs": ["urn:uuid:right"],
        }
    )
    assert not stored(desk, first.sequence).withdrawn
    (copy,) = capture(desk, declared)
    (again,) = capture(desk, declared)
    assert (copy.status, again.sequence) == ("created", copy.sequence)
    for sequence in (first.sequence, copy.sequence):
        assert stored(desk, sequence).withdrawn
        assert stored(desk, sequence).corrected_by == ("urn:uuid:right",)
    assert stored(desk, copy.sequence).declares
    assert not stored(desk, first.sequence).declares
    (changed,) = capture(desk, {**declared, "bizStep": "receiving"})
    assert changed.reason == "HandleExists"


def test_only_the_issuer_declares_an_error(desk):
    """An administrator of another prefix cannot withdraw an event."""
    desk.do(Kind.HOME, b"0.NA/99")
    desk.create(b"0.NA/99", admin(0x0FFF, b"0.NA/99", 300))
    desk.create(b"0.NA/88.118.8", admin(0x0FFF, b"0.NA/88.118.8", 300))
    (first,) = capture(desk, event(), actor=ADMIN)
    assert first.status == "created"
    declared = event(errorDeclaration={"declarationTime": "2026-04-01T00:00:00Z"})
    (refused,) = capture(desk, declared, actor=STRANGER)
    assert refused.reason == "NotAuthorized"
    (done,) = capture(desk, declared, actor=ADMIN)
    assert done.status == "created"


def test_who_administers_no_prefix_here_captures_nothing(desk):
    """An identity without the right to register under a homed prefix is refused."""
    (one,) = capture(desk, event(), actor=STRANGER)
    assert one.reason == "NotAuthorized"
    desk.do(Kind.HOME, b"0.NA/99")
    desk.create(b"0.NA/99", admin(0x0FFE, b"0.NA/99", 300))
    (two,) = capture(desk, event(), actor=STRANGER)
    assert two.reason == "NotAuthorized"
    desk.create(b"0.NA/99", admin(0x0001, b"0.NA/99", 300), overwrite=True)
    (three,) = capture(desk, event(), actor=STRANGER)
    assert three.status == "created"
    assert stored(desk, three.sequence).issuer == "300:0.NA/99"


def test_nobody_issues_in_anothers_name(desk):
    """The issuer that is signed must be the actor that was proved."""
    change = make_change(
        event(), issuer=ADMIN, signer=SIGNER, now_us=NOW_US, actor=Reference(b"0.NA/88.118.8", 301)
    )
    assert desk.writer.commit([change])[0].reason == "NotAuthorized"


def test_atomic_captures_are_all_or_none(desk):
    """One refused event of an atomic batch leaves no row of the others."""
    capture(desk, event(1))
    changes = [change_of(one) for one in (event(2), event(1, bizStep="receiving"))]
    outcomes = desk.writer.commit(changes, atomic=True)
    assert [one.status for one in outcomes] == ["refused", "refused"]
    assert found(desk, ITEM % 2) == []


def test_the_signature_binds_event_issuer_key_time_and_label(desk):
    """The stored JWS verifies over the stored octets, and over no others."""
    label = {"class": "operation", "level": 1}
    (one,) = capture(desk, event(recordTime="2020-01-01T00:00:00Z"), label=label)
    kept = stored(desk, one.sequence)
    claims = verify_event(kept.raw, kept.signature, KEY.public_key())
    assert claims == EventClaims(
        Reference(b"0.NA/88.118.8", 300), SIGNER.reference, NOW_US // 1_000_000, label
    )
    assert b"recordTime" not in kept.raw
    assert kept.json()["recordTime"] == "2023-11-14T22:13:20.000Z"
    with pytest.raises(SignatureInvalid):
        verify_event(kept.raw.replace(b"shipping", b"receiving"), kept.signature, KEY.public_key())


def test_a_client_may_bring_its_own_signature(desk):
    """A compact JWS by the actor's key is kept as the event's signature."""
    own = Ed25519PrivateKey.generate()
    actor = Reference(b"0.NA/88.118.8", 303)
    claims = EventClaims(actor, actor, NOW_US // 1_000_000, {"class": "product", "level": 1})
    octets = canonical(event())
    head, _, signature = sign_event(octets, claims, own).split(b".")
    whole = parse_whole(head, octets, signature)
    change, _ = signed_change(whole, [own.public_key()], actor=actor, now_us=NOW_US)
    desk.create(b"0.NA/88.118.8", admin(0x0FFF, b"0.NA/88.118.8", 303))
    (one,) = desk.writer.commit([change])
    kept = stored(desk, one.sequence)
    assert kept.own_signature
    assert kept.label == {"class": "product", "level": 1}
    assert read_claims(kept.signature).key == actor
    with pytest.raises(SignatureInvalid):
        signed_change(whole, [KEY.public_key()], actor=actor, now_us=NOW_US)
    with pytest.raises(SignatureInvalid):
        signed_change(whole, [own.public_key()], actor=ADMIN, now_us=NOW_US)


def parse_whole(head, octets, signature):
    from protocol.keys.jwk import format_base64url

    whole = b"%b.%b.%b" % (head, format_base64url(octets).encode(), signature)
    parse_jws(whole)
    return whole


def test_an_event_has_a_receipt(desk):
    """The leaf of an event is in the tree, and its body opens for who may see it."""
    from registry.tree import LogSigner

    desk.writer._log_signer = LogSigner("biaoshi/88.118.8", KEY)
    (one,) = capture(desk, event())
    with desk.store.snapshot() as state:
        receipt = make_receipt(state, one.sequence, Opened.BODY)
    assert receipt.index == one.sequence - 1
    assert b"shipping" in (receipt.body or b"")


def test_a_copied_log_gives_the_same_tables(desk, tmp_path):
    """A mirror that only has leaves and bodies makes the same event rows."""
    outcomes = capture(desk, *(event(n) for n in range(20)))
    capture(desk, event(3, errorDeclaration={"declarationTime": "2026-04-01T00:00:00Z"}))
    desk.create(b"88.118.8/a", url())
    with desk.store.snapshot() as state:
        desk.store.apply(erase_writes(state, [outcomes[5].sequence]))
        last = state.count(Table.CHANGES)
    create(tmp_path / "copy")
    copy = LmdbStore.open(tmp_path / "copy")
    copy_log(desk.store, copy, last)
    assert check_node(copy) == []
    assert tables(copy) == tables(desk.store)
    copy.close()


def tables(store):
    with store.snapshot() as state:
        return [list(state.scan(table)) for table in (Table.EVENTS, Table.TRACE, Table.SECONDARY)]


def test_an_erased_event_is_gone_and_the_log_adds_up(desk):
    """Erasing takes content and index rows; leaf and proofs stay, and the check finds no fault."""
    one, two = capture(desk, event(1), event(2))
    with desk.store.snapshot() as state:
        desk.store.apply(erase_writes(state, [one.sequence]))
    assert found(desk, ITEM % 1) == []
    assert found(desk, ITEM % 2) == [two.sequence]
    with desk.store.snapshot() as state:
        assert EventIndex(state).event(one.sequence) is None
    assert check_node(desk.store) == []


@pytest.mark.parametrize("table", [Table.EVENTS, Table.TRACE, Table.SECONDARY])
def test_the_check_misses_no_lost_row(desk, table):
    """A row of an event that is lost or added is found by the check."""
    capture(desk, event(1), event(2))
    with desk.store.snapshot() as state:
        key, value = next(iter(state.scan(table)))
    desk.store.apply([Write(table, key, None)])
    assert check_node(desk.store)
    desk.store.apply([Write(table, key, value)])
    assert check_node(desk.store) == []
    if table is not Table.EVENTS:
        more = key[:-1] + b"\xfe"
        desk.store.apply([Write(table, more, b"")])
        assert check_node(desk.store)
        desk.store.apply([Write(table, more, None)])


@given(
    st.from_regex(
        r"https://id\.gs1\.org/01/[0-9]{14}/(21|10)/[A-Za-z0-9\-._~]{1,20}", fullmatch=True
    )
)
def test_plain_items_are_canonical(text):
    """What is taken for canonical without looking is what the careful way makes of it."""
    assert canonical_id(text) == text
    assert parents_of(text) == (text.rsplit("/", 2)[0],)


def flipped(raw, bit):
    made = bytearray(raw)
    made[bit // 8] ^= 1 << bit % 8
    return bytes(made)


def scrubbed(desk):
    """What a whole pass finds, after it was seen to: (name, why, what became of it)."""
    return [
        (one.name(), one.why, quarantine(desk.store, one, 1)) for one in Scrub(desk.store).whole()
    ]


def test_every_flipped_bit_of_an_event_is_refused(desk):
    """No event is read from a row with a flipped bit, and the scrub makes it again from the log."""
    (one,) = capture(desk, event())
    key = sequence_key(one.sequence)
    raw = desk.store.get(Table.EVENTS, key)
    for bit in range(len(raw) * 8):
        with pytest.raises(StoreError):
            decode_event_row(flipped(raw, bit))
    desk.store.apply([Write(Table.EVENTS, key, flipped(raw, 1000))])
    with pytest.raises(StoreError), desk.store.snapshot() as state:
        EventIndex(state).event(one.sequence)
    ((name, why, done),) = scrubbed(desk)
    assert (name, done) == (b"event %d" % one.sequence, Done.MENDED)
    assert "checksum" in why
    assert desk.store.get(Table.EVENTS, key) == raw
    assert check_node(desk.store) == scrubbed(desk) == []


def test_an_exchanged_event_is_told_by_its_digest(desk):
    """A valid row of another event is found although its checksum holds; so is a lost index row."""
    one, two = capture(desk, event(1), event(2))
    before = tables(desk.store)
    raw = desk.store.get(Table.EVENTS, sequence_key(two.sequence))
    with desk.store.snapshot() as state:
        lost = next(key for key, _ in state.scan(Table.TRACE) if sequence_of(key) == two.sequence)
    desk.store.apply(
        [Write(Table.EVENTS, sequence_key(one.sequence), raw), Write(Table.TRACE, lost, None)]
    )
    assert [done for _, _, done in scrubbed(desk)] == [Done.MENDED, Done.MENDED]
    assert tables(desk.store) == before
    assert check_node(desk.store) == []


def test_an_event_without_a_sound_log_is_set_aside(desk):
    """Rotten in both places: set aside with the reason, refused, named by the check, erasable."""
    one, two = capture(desk, event(1), event(2))
    key = sequence_key(one.sequence)
    raw, body = desk.store.get(Table.EVENTS, key), desk.store.get(Table.BODIES, key)
    desk.store.apply(
        [
            Write(Table.EVENTS, key, flipped(raw, 700)),
            Write(Table.BODIES, key, flipped(body, 8 * len(body) - 1)),
        ]
    )
    ((_, why, done),) = scrubbed(desk)
    assert done is Done.ASIDE
    assert desk.store.get(Table.EVENTS, key) == QUARANTINED
    assert scrubbed(desk) == []
    said = "\n".join(check_node(desk.store))
    assert f"events: {one.sequence} is quarantined: {why}" in said
    with desk.store.snapshot() as state:
        (aside,) = quarantined(state)
        assert (aside.name(), aside.why) == (b"event %d" % one.sequence, why)
        with pytest.raises(StoreError, match="quarantined"):
            EventIndex(state).event(one.sequence)
        assert EventIndex(state).event(two.sequence)
    # Erased, it is gone like any other, and nothing is kept of it.
    with desk.store.snapshot() as state:
        desk.store.apply(erase_writes(state, [one.sequence]))
    with desk.store.snapshot() as state:
        assert list(quarantined(state)) == []
        assert EventIndex(state).event(one.sequence) is None


def test_rows_from_before_checksums_are_read(desk):
    """A row without a checksum is read, and a rotten one is found by its digest all the same."""
    (one,) = capture(desk, event())
    key = sequence_key(one.sequence)
    raw = desk.store.get(Table.EVENTS, key)
    old = raw[9:]
    assert decode_event_row(old) == decode_event_row(raw)
    desk.store.apply([Write(Table.EVENTS, key, old)])
    assert check_node(desk.store) == scrubbed(desk) == []
    desk.store.apply([Write(Table.EVENTS, key, old.replace(b"shipping", b"skipping"))])
    assert [done for _, _, done in scrubbed(desk)] == [Done.MENDED]
    assert desk.store.get(Table.EVENTS, key) == raw


IDS = st.integers(1, 6).map(lambda n: ITEM % n)
MINUTES = st.integers(0, 30).map(lambda n: f"2026-03-01T10:{n:02d}:00Z")
EVENTS = st.fixed_dictionaries(
    {
        "type": st.just("AggregationEvent"),
        "eventTime": MINUTES,
        "eventTimeZoneOffset": st.just("+00:00"),
        "action": st.sampled_from(["ADD", "OBSERVE", "DELETE"]),
        "parentID": IDS,
        "childEPCs": st.lists(IDS, max_size=4, unique=True),
    },
    optional={"bizStep": st.sampled_from(["packing", "shipping"])},
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(described=st.lists(EVENTS, min_size=1, max_size=12), sizes=st.integers(1, 5))
def test_the_index_says_what_the_events_say(make_desk, described, sizes):
    """Whatever was captured: the index of an identifier is what reading every event gives."""
    desk = make_desk()
    numbered = [{**one, "eventID": f"urn:x:{n}"} for n, one in enumerate(described)]
    for at in range(0, len(numbered), sizes):
        capture(desk, *numbered[at : at + sizes])
    with desk.store.snapshot() as state:
        index = EventIndex(state)
        rows = {sequence: orjson.loads(row.event) for sequence, row in index.since(0)}
        assert len(rows) == len(numbered)
        for number in range(1, 7):
            name = ITEM % number
            expected = {(s, Role.PARENT) for s, e in rows.items() if e["parentID"] == name}
            expected |= {(s, Role.CHILD) for s, e in rows.items() if name in e["childEPCs"]}
            hits = list(index.of(name))
            assert {(hit.sequence, hit.role) for hit in hits} == expected
            assert [hit.time_us for hit in hits] == sorted(hit.time_us for hit in hits)
    desk.store.close()
    desk.store = LmdbStore.open(desk.store.path)
    assert check_node(desk.store) == []
