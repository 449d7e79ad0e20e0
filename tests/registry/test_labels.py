"""Labels: what they hide, who may loosen them, what signatures over them prove."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import InvalidValue, SignatureInvalid
from protocol.labels import (
    LABEL,
    hidden,
    is_unseen,
    labels_in,
    level_at,
    open_values,
    parse_labels,
)
from protocol.record import HandleValue, Record, Reference, encode_values
from protocol.signature import require_record, verify_record
from registry.batch_signing import BatchSigner
from registry.log import Body, commits_to, decode_leaf, entry
from registry.signing import RecordSigner, signatures
from registry.store.row import (
    decode_row,
    encode_row,
    has_labelled,
    has_private,
    public_body,
    ready_json,
)
from registry.store.row import (
    is_unseen as row_unseen,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = RecordSigner(Reference(b"0.NA/86.1", 302), KEY)
NAME, NOW = b"86.1/x", 1_800_000_000
SECRET = b"a secret recipe"


def labels(shape, index=50):
    return HandleValue(index, LABEL, json.dumps(shape).encode())


def three(shape):
    return (
        HandleValue(1, b"URL", b"https://example.org"),
        HandleValue(2, b"BOM", SECRET),
        HandleValue(3, b"COST", SECRET + b"!"),
        labels(shape),
    )


def level(number, **more):
    return {"class": "production", "level": number, **more}


def report(values, one):
    return verify_record(NAME, values, one.data, KEY.public_key(), NOW)


def signed(values):
    return SIGNER.sign(NAME, values, NOW)


def test_an_open_signature_shows_nothing_of_hidden_values():
    """What the public sees verifies whole, and neither names nor digests anything else."""
    values = signed(three({"2": level(2), "3": level(3)}))
    shown = open_values(values)
    assert [value.type for value in shown] == [b"URL", b"HS_SIGNATURE"]
    report(shown, shown[1]).require()
    assert len(signatures(values)) == 4


def test_a_hidden_value_verifies_alone():
    """Whoever gets one hidden value and its own signature can check both, and sees no other."""
    values = signed(three({"2": level(2), "3": level(3)}))
    closed = hidden(values, lambda value, label: label["level"] < 3)
    shown = tuple(value for value in values if value.index not in closed)
    assert {value.type for value in shown} == {b"URL", b"BOM", b"HS_SIGNATURE"}
    require_record(shown, [report(shown, one) for one in signatures(shown)])
    for one in signatures(shown):
        assert not report(values, one).bad_digest
        assert set(report(values, one).verified) <= {1, 2}


@pytest.mark.parametrize("after", [{"2": level(2), "3": level(2)}, {}, {"3": level(3)}])
def test_changing_a_label_breaks_the_signature(after):
    """The signature over the whole record covers its labels."""
    values = signed(three({"2": level(2), "3": level(3)}))
    changed = tuple(labels(after) if value.type == LABEL else value for value in values)
    whole = [one for one in signatures(values) if 50 in report(values, one).verified]
    assert len(whole) == 1
    report(values, whole[0]).require()
    with pytest.raises(SignatureInvalid):
        report(changed, whole[0]).require()
    with pytest.raises(SignatureInvalid):
        without = tuple(value for value in values if value.type != LABEL)
        report(without, whole[0]).require()


def test_signing_together_and_alone_gives_the_same_parts():
    """A batch signs the same parts of labelled records as one signature each."""
    values = three({"2": level(2), "3": level(3)})
    together = BatchSigner(SIGNER, 100).sign([(NAME, values), (NAME, values[:1])], NOW)
    assert [len(signatures(one)) for one in together] == [4, 1]
    for one in signatures(together[0]):
        assert report(together[0], one).sound


def test_signing_again_replaces_every_signature():
    """Renewing leaves no signature of an earlier state."""
    once = signed(three({"2": level(2), "3": level(3)}))
    again = signed(tuple(v for v in once if v.index != 3))
    assert len(signatures(again)) == 3


def test_the_row_leaves_hidden_values_out_of_what_is_ready():
    """The public part, the ready JSON and the leaf's digest have nothing of hidden values."""
    values = signed(three({"2": level(2), "3": level(3)}))
    raw = encode_row(Record(NAME, values), 7, NOW)
    assert has_labelled(raw)
    assert not has_private(raw)
    assert not row_unseen(raw)
    assert SECRET not in public_body(raw)
    assert LABEL not in public_body(raw)
    assert public_body(raw) == encode_values(open_values(values))
    assert SECRET not in ready_json(Record(NAME, values), 7, NOW)
    assert set(decode_row(raw).values()) == set(values)
    logged = entry(7, NOW, NAME.upper(), Body("create", NAME, None, values), bytes(32))
    assert commits_to(decode_leaf(logged.leaf), NAME.upper(), logged.body)


def test_withheld_by_permission_still_counts_as_private():
    """Permissions answer as before beside labels."""
    values = (*three({"2": level(2)}), HandleValue(300, b"HS_SECKEY", b"x", permissions=12))
    assert has_private(encode_row(Record(NAME, values), 7, NOW))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"2":{"level":4}}', b'{"x":{}}', b'{"2":{},"02":{}}', b"\xff"]
)
def test_labels_that_cannot_be_read_close_everything(data):
    """Damage hides; it never shows."""
    values = (*three({})[:3], HandleValue(50, LABEL, data))
    assert is_unseen(values)


def test_two_label_values_close_everything():
    """There is one 0.LABEL value a record."""
    assert is_unseen((*three({}), labels({"2": level(1)}, 51)))


@pytest.mark.parametrize("shape", [{"0": level(2)}, {"2": level(2, colour="red")}, {"2": 2}, []])
def test_labels_have_known_members(shape):
    """Anything else is refused by name."""
    with pytest.raises(InvalidValue):
        parse_labels(json.dumps(shape).encode())


LABELLED = st.dictionaries(
    st.sampled_from(["*", "1", "2", "3"]), st.builds(level, st.integers(1, 3)), max_size=4
)


@given(LABELLED, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_nobody_sees_above_a_level(shape, most):
    """Of any labels and any viewer: no value, label or signature shows what lies above."""
    values = signed(three(shape))
    closed = hidden(values, lambda value, label: label["level"] <= most)
    shown = [value for value in values if value.index not in closed]
    found = labels_in(values)
    for value in values:
        if value.type in {b"URL", b"BOM", b"COST"}:
            assert (value in shown) is (level_at(found, value.index) <= most)
    above = {v.index for v in values if v.index in closed and v.type != b"HS_SIGNATURE"}
    for one in signatures(shown):
        assert not above & set(report(values, one).verified)
    for value in shown:
        if value.type == LABEL:
            assert all(label["level"] <= most for label in json.loads(value.data).values())
    if any(value.type in {b"URL", b"BOM", b"COST"} for value in shown):
        require_record(shown, [report(shown, one) for one in signatures(shown)])
