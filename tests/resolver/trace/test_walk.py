"""Walks over small histories that a person can check."""

from __future__ import annotations

import pytest

from protocol.epcis.event import time_us
from registry.events.index import EventIndex
from resolver.trace.spans import Span
from resolver.trace.views import Views
from resolver.trace.walk import Direction, Walk, first_step
from tests.registry.conftest import *  # noqa: F403 - its fixtures
from tests.registry.test_events import capture

ROOT = "https://id.gs1.org"
ORE = f"{ROOT}/01/09506000111117/10/ORE1"
COIL = f"{ROOT}/01/09506000122229/21/C1"
COIL_2 = f"{ROOT}/01/09506000122229/21/C2"
BLANKS = f"{ROOT}/01/09506000133331/10/B1"
PART = f"{ROOT}/01/09506000144443/21/P1"
PART_2 = f"{ROOT}/01/09506000144443/21/P2"
MACHINE = f"{ROOT}/8004/9506000M1"
MOTOR = f"{ROOT}/8004/9506000MOTOR"
PALLET = f"{ROOT}/00/095060000000000013"
TRUCK = f"{ROOT}/8003/09506000000010T1"


def at(minute, **fields):
    made = {
        "eventID": f"urn:test:{minute}:{fields['type']}",
        "eventTime": f"2026-03-01T{minute // 60:02d}:{minute % 60:02d}:00.000Z",
        "eventTimeZoneOffset": "+00:00",
    }
    return {**made, **fields}


def make(minute, inputs=(), outputs=(), **more):
    fields = {}
    for name, things in (("input", inputs), ("output", outputs)):
        single = [one for one in things if isinstance(one, str)]
        lots = [
            {"epcClass": one[0], "quantity": one[1]} for one in things if isinstance(one, tuple)
        ]
        if single:
            fields[f"{name}EPCList"] = single
        if lots:
            fields[f"{name}QuantityList"] = lots
    return at(minute, type="TransformationEvent", **fields, **more)


def pack(minute, parent, *children, action="ADD", kind="AggregationEvent"):
    fields = {"childEPCs": list(children)} if children else {}
    return at(minute, type=kind, action=action, parentID=parent, **fields)


def see(minute, *things, action="OBSERVE", **more):
    return at(minute, type="ObjectEvent", action=action, epcList=list(things), **more)


@pytest.fixture
def trace(desk):
    def run(events, id_, direction, span=None):
        done = capture(desk, *events)
        assert {one.status for one in done} <= {"created", "unchanged"}, done
        with desk.store.snapshot() as state:
            walk = Walk(Views(EventIndex(state), lambda _: True), Direction(direction))
            walk.run([first_step(id_, *([span] if span else []))])
        return walk

    return run


def ids(walk):
    return set(walk.reached)


CHAIN = [
    make(1, [(ORE, 100)], [COIL, COIL_2]),
    make(10, [COIL], [(BLANKS, 40)]),
    make(20, [(BLANKS, 1)], [PART]),
    make(21, [(BLANKS, 1)], [PART_2]),
    pack(30, MACHINE, PART, MOTOR, kind="AssociationEvent"),
    see(40, MACHINE, bizStep="shipping"),
]


def test_back_to_the_ore(trace):
    """A machine leads to its parts, blanks, coil and ore, and to no other coil."""
    walk = trace(CHAIN, MACHINE, "back")
    assert ids(walk) == {MACHINE, PART, MOTOR, BLANKS, COIL, ORE}
    assert walk.reached[PART].certain
    assert not walk.reached[COIL].certain


def test_forward_to_the_machine(trace):
    """A coil leads to both parts and to the machine around one of them, not to its motor."""
    walk = trace(CHAIN, COIL, "forward")
    assert ids(walk) == {COIL, BLANKS, PART, PART_2, MACHINE}
    assert walk.reached[MACHINE].carrier
    kinds = {(edge.source, edge.target): edge.kind for edge in walk.edges}
    assert kinds[PART, MACHINE] == "association"
    assert any(view.step == "shipping" for view in walk.events.values())


def test_a_reused_pallet_joins_nothing(trace):
    """Two boxes that the same pallet held one after the other know nothing of each other."""
    events = [
        pack(1, PALLET, COIL),
        see(2, PALLET, bizStep="departing"),
        pack(3, PALLET, action="DELETE"),
        pack(4, PALLET, COIL_2),
        see(5, PALLET, bizStep="arriving"),
        make(6, [PALLET], [PART]),
    ]
    assert ids(trace(events, COIL, "forward")) == {COIL, PALLET}
    walk = trace(events, PART, "back")
    assert ids(walk) == {PART, PALLET, COIL_2}
    steps = {view.step for view in trace(events, COIL, "back").events.values()}
    assert steps == {None, "departing"}


def test_nested_carriers(trace):
    """A truck's way is that of the pallet in it and of the coil on that, while they are."""
    events = [
        pack(1, PALLET, COIL),
        see(2, TRUCK, bizStep="loading"),
        pack(3, TRUCK, PALLET),
        see(4, TRUCK, bizStep="transporting"),
        pack(5, PALLET, COIL, action="DELETE"),
        see(6, TRUCK, bizStep="unloading"),
    ]
    walk = trace(events, COIL, "forward")
    assert ids(walk) == {COIL, PALLET, TRUCK}
    assert {view.step for view in walk.events.values()} == {None, "transporting"}


def test_cycles_end(trace):
    """Rework, and two things that contain each other, end."""
    events = [
        make(1, [COIL, PART], [COIL, PART_2]),
        pack(2, PALLET, TRUCK),
        pack(3, TRUCK, PALLET),
    ]
    assert ids(trace(events, COIL, "back")) == {COIL, PART}
    assert ids(trace(events, COIL, "forward")) == {COIL, PART_2}
    assert ids(trace(events, PALLET, "forward")) == {PALLET, TRUCK}


def test_items_of_a_lot(trace):
    """A lot in the master data leads back from an item and forward to it, uncertain."""
    events = [
        make(1, [COIL], [(BLANKS, 2)]),
        see(2, f"{ROOT}/01/09506000133331/21/7", action="ADD", ilmd={"cbvmda:lotNumber": "B1"}),
    ]
    item = events[1]["epcList"][0]
    walk = trace(events, item, "back")
    assert ids(walk) == {item, BLANKS, COIL}
    assert not walk.reached[BLANKS].certain
    assert ids(trace(events, COIL, "forward")) == {item, BLANKS, COIL}


def test_what_came_later_made_nothing(trace):
    """An input that was itself made after its use is no ancestor."""
    events = [make(5, [COIL], [PART]), make(9, [ORE.replace("10", "10")], [COIL])]
    assert ids(trace(events, PART, "back")) == {PART, COIL}


def test_only_a_span(trace):
    """Asked for a time, a trace knows nothing of what came after."""
    us = time_us(see(25, COIL))
    assert ids(trace(CHAIN, COIL, "forward", Span(us, 1 << 62))) == {COIL}
    assert ids(trace(CHAIN, MACHINE, "back", Span(0, us))) == {MACHINE}
