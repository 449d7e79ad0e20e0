"""Personal data lies in records of its own, labelled, and can be erased; every proof stays."""

from __future__ import annotations

from protocol.change import Change, Kind
from protocol.labels import LABEL
from protocol.record import HandleValue
from registry.check import check_node
from registry.erase import changes_of
from registry.log import sequence_key
from registry.store import Table
from tests.registry.conftest import admin, url

PERSON = b"Li Hua, +86 10 0000 0000"
CLOSED = b'{"*":{"class":"management","level":3,"purpose":"personal"}}'


def test_personal_data_is_erased_apart_from_identifier_data(desk):
    """The person's record and its log content go; the product's record and every leaf stay."""
    person, product = b"88.118.8/person-7", b"88.118.8/pump-7"
    owner = admin(0x0FFF, b"0.NA/88.118.8", 200)
    desk.create(person, HandleValue(1, b"CONTACT", PERSON), HandleValue(50, LABEL, CLOSED), owner)
    desk.create(product, url(), HandleValue(2, b"KEEPER", person), owner)
    with desk.store.snapshot() as state:
        leaves = list(state.scan(Table.CHANGES))
        assert not any(PERSON in leaf for _, leaf in leaves)
    assert desk.do(Kind.DELETE, person).status == "deleted"
    wanted = changes_of(desk.store, person)
    assert len(wanted) == 2
    erased = desk.writer.commit([Change(Kind.ERASE, person, attributes={"sequences": wanted})])
    assert erased[0].error is None, erased
    with desk.store.snapshot() as state:
        for table in Table:
            assert not any(PERSON in raw for _, raw in state.scan(table)), table
        kept = [state.get(Table.CHANGES, key) == leaf for key, leaf in leaves]
        assert all(kept)
        assert all(state.get(Table.BODIES, sequence_key(number)) is None for number in wanted)
    assert check_node(desk.store) == []
    assert desk.values(product)[2] == person
