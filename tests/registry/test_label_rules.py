"""The writer and labels: who may loosen them, and what a hidden record tells others."""

from __future__ import annotations

import json

import pytest

from protocol.change import Kind
from protocol.errors import ResponseCode
from protocol.labels import LABEL
from protocol.record import HandleValue, Reference
from registry.grants import GRANT, Grants
from registry.reads import CLOSED
from registry.store import Table
from tests.registry.conftest import ADMIN, STRANGER, admin, url

NAME = b"88.118.8/x"
EDITOR = Reference(b"88.118.8/editor", 300)
OWNER = Reference(b"88.118.8/owner", 300)
READER = Reference(b"88.118.8/reader", 300)
CLERK = Reference(b"88.118.8/clerk", 300)


def labels(shape, index=50):
    return HandleValue(index, LABEL, json.dumps(shape).encode())


def level(number):
    return {"class": "production", "level": number}


HIDDEN = {"2": level(3)}


@pytest.fixture
def held(desk):
    outcome = desk.create(
        NAME,
        url(),
        HandleValue(2, b"BOM", b"secret"),
        labels(HIDDEN),
        admin(0x0070, b"88.118.8/editor", 300, 100),
        admin(0x0FFF, b"88.118.8/owner", 300, 101),
    )
    assert outcome.status == "created", outcome
    return desk


LOOSER = [
    (Kind.MODIFY, (labels({"2": level(1)}),), {}),
    (Kind.MODIFY, (labels({"2": level(2)}),), {}),
    (Kind.MODIFY, (labels({}),), {}),
    (Kind.MODIFY, (labels({"*": level(2)}),), {}),
    (Kind.MODIFY, (HandleValue(50, b"DESC", b"no labels"),), {}),
    (Kind.REMOVE, (), {"indexes": (50,)}),
    (Kind.ADD, (labels({"2": level(1)}),), {"overwrite": True}),
    (Kind.MERGE, (labels({"2": level(1)}),), {}),
]


@pytest.mark.parametrize(("kind", "values", "rest"), LOOSER)
def test_who_may_only_edit_loosens_nothing(held, kind, values, rest):
    """Rights to add, modify and remove values do not loosen a label, by any operation."""
    outcome = held.do(kind, NAME, *values, actor=EDITOR, **rest)
    assert outcome.status == "refused"
    assert held.values(NAME)[50] == labels(HIDDEN).data


@pytest.mark.parametrize("actor", [OWNER, ADMIN, None], ids=["owner", "server", "operator"])
def test_leaving_labels_out_loosens_nothing(held, actor):
    """A record that is replaced without its labels, or loses them, is refused to anybody."""
    for kind, values, rest in (
        (Kind.CREATE, (url(), HandleValue(2, b"BOM", b"secret")), {"overwrite": True}),
        (Kind.REMOVE, (), {"indexes": (50,)}),
        (Kind.MODIFY, (HandleValue(50, b"DESC", b"no labels"),), {}),
    ):
        outcome = held.do(kind, NAME, *values, actor=actor, **rest)
        assert outcome.status == "refused"
        assert "labels" in outcome.error


@pytest.mark.parametrize("actor", [OWNER, ADMIN, None], ids=["owner", "server", "operator"])
def test_the_entitled_loosen_labels_by_saying_so(held, actor):
    """Who may read values and modify administrators may, with a 0.LABEL value that says it."""
    assert held.do(Kind.MODIFY, NAME, labels({"2": level(1)}), actor=actor).status == "changed"
    assert held.do(Kind.REMOVE, NAME, indexes=(50,), actor=actor).status == "changed"


def test_tightening_takes_no_more_than_writing(held):
    """An editor may close what was open."""
    shape = {**HIDDEN, "1": level(3)}
    assert held.do(Kind.MODIFY, NAME, labels(shape), actor=EDITOR).status == "changed"


@pytest.mark.parametrize(
    "shape",
    [
        b"{",
        b'{"2":{"level":9}}',
        b'{"9":{"level":2}}',
        b'{"50":{"level":2}}',
        b'{"2":{"class":"x"}}',
    ],
)
def test_labels_are_checked_when_they_are_written(desk, shape):
    """Unknown levels, classes and indexes are refused."""
    outcome = desk.create(NAME, url(), url(index=2), HandleValue(50, LABEL, shape))
    assert outcome.code == ResponseCode.INVALID_VALUE


def test_labels_have_one_value_that_permissions_show(desk):
    """Two 0.LABEL values, one that is withheld, one in a prefix record: refused."""
    two = desk.create(NAME, url(), labels({}), labels({}, 51))
    withheld = desk.create(NAME, url(), HandleValue(50, LABEL, b"{}", permissions=12))
    prefix = desk.do(Kind.ADD, b"0.NA/88.118.8", labels({"*": level(2)}))
    assert {two.status, withheld.status, prefix.status} == {"refused"}


@pytest.fixture
def unseen(desk):
    everything = (url(), admin(0x0FFF, b"88.118.8/owner", 300), labels({"*": level(2)}))
    outcome = desk.create(NAME, *everything)
    assert outcome.status == "created", outcome
    return desk


@pytest.mark.parametrize("kind", [Kind.CREATE, Kind.ADD, Kind.MODIFY, Kind.REMOVE, Kind.DELETE])
@pytest.mark.parametrize("rest", [{}, {"overwrite": True}, {"expected_version": 1}])
def test_a_hidden_record_is_refused_like_none(unseen, kind, rest):
    """Code, status, version and words for a stranger are those of a name without a record."""
    for values in ((url(),), (url(b"http://other/"),)):
        more = {"indexes": (1,)} if kind is Kind.REMOVE else {}
        there = unseen.do(kind, NAME, *values, actor=STRANGER, **rest, **more)
        none = unseen.do(kind, b"88.118.8/y", *values, actor=STRANGER, **rest, **more)
        assert there.status == none.status == "refused"
        assert (there.code, there.version) == (none.code, none.version)
        assert there.error.replace("8/x", "8/y") == none.error


def test_no_table_but_the_private_part_has_a_hidden_value(unseen):
    """Ready JSON, NAPTR and log leaves show nothing of it."""
    with unseen.store.snapshot() as state:
        for table in (Table.JSON, Table.NAPTR, Table.CHANGES):
            assert not any(b"example.org" in raw for _, raw in state.scan(table))


def test_grants_are_given_by_the_entitled_only(desk):
    """A registrar of the prefix writes no grants; an administrator with all rights does."""
    desk.do(
        Kind.CREATE,
        b"0.NA/88.118.8",
        admin(0x0FFF, b"88.118.8/owner", 300, 110),
        admin(0x0001, b"88.118.8/clerk", 300, 111),
    )
    values = (
        HandleValue(1001, GRANT, b'{"to":"300:99/a"}'),
        HandleValue(2, LABEL, CLOSED),
        admin(0x0FFF, b"88.118.8/owner", 300),
    )
    name = b"88.118.8/0.GRANTS"
    assert desk.create(name, *values, actor=CLERK).status == "refused"
    assert desk.create(name, *values[:1], actor=OWNER).status == "refused"
    assert desk.create(name, HandleValue(1, GRANT, b"{}"), values[1], actor=OWNER).status == (
        "refused"
    )
    assert desk.create(name, *values, actor=OWNER).status == "created"
    grants = Grants(desk.store.getter(Table.RECORDS))
    assert [one.to.text() for one in grants.of(b"88.118.8")] == ["300:99/a"]
    assert desk.do(Kind.REMOVE, name, indexes=(1001,), actor=OWNER).status == "changed"
    assert grants.of(b"88.118.8") == ()


def test_only_the_node_logs_reads(desk):
    """No identity writes, changes or removes what the node logged of reads."""
    name = b"88.118.8/0.READS/1"
    value = HandleValue(1, b"0.READS", b"[]")
    assert desk.create(name, value, actor=ADMIN).status == "refused"
    assert desk.create(name, value, labels({"*": level(3)})).status == "created"
    assert desk.do(Kind.DELETE, name, actor=ADMIN).status == "refused"
    assert desk.do(Kind.ADD, name, url(index=7), actor=ADMIN).status == "refused"
