"""A node with a small works: a coil, blanks cut of it, stamped parts, a pallet, a machine."""

from __future__ import annotations

import pytest

from tests.resolver.epcis.asking import Epcis
from tests.resolver.http.node_in_process import value

COIL = "86.999/COIL-1"
BLANKS = [f"86.999/BLANK-{n}" for n in range(1, 4)]
PARTS = [f"86.999/PART-{n}" for n in range(1, 4)]
PALLET = "86.999/PALLET-1"
MACHINE = "86.999/MACHINE-1"
MILL, PRESS, YARD, SITE = (f"86.999/PLACE-{n}" for n in ("MILL", "PRESS", "YARD", "SITE"))


def at(number, kind, **more):
    return {
        "type": kind,
        "eventID": f"urn:uuid:10000000-0000-4000-8000-{number:012d}",
        "eventTime": f"2026-03-{number:02d}T08:00:00+08:00",
        "eventTimeZoneOffset": "+08:00",
        **more,
    }


def uri(name):
    return "hdl:" + name


def uris(names):
    return [uri(name) for name in names]


def story():
    """The public life of the works' things, in order."""
    place = lambda name: {"id": uri(name)}  # noqa: E731 - short on purpose
    yield at(
        1,
        "ObjectEvent",
        action="ADD",
        epcList=[uri(COIL)],
        bizStep="commissioning",
        disposition="active",
        readPoint=place(MILL),
        bizTransactionList=[{"type": "cert", "bizTransaction": "https://docs.example.org/c/1"}],
        sensorElementList=[{"sensorReport": [{"type": "Temperature", "value": 870, "uom": "CEL"}]}],
    )
    yield at(
        2,
        "TransformationEvent",
        inputEPCList=[uri(COIL)],
        outputEPCList=uris(BLANKS),
        bizStep="creating_class_instance",
        readPoint=place(PRESS),
    )
    for n in range(3):
        yield at(
            3 + n,
            "TransformationEvent",
            inputEPCList=[uri(BLANKS[n])],
            outputEPCList=[uri(PARTS[n])],
            bizStep="assembling",
            readPoint=place(PRESS),
        )
    yield at(
        10,
        "AggregationEvent",
        action="ADD",
        parentID=uri(PALLET),
        childEPCs=uris(PARTS),
        bizStep="packing",
        readPoint=place(PRESS),
    )
    yield at(
        11,
        "ObjectEvent",
        action="OBSERVE",
        epcList=[uri(PALLET)],
        bizStep="shipping",
        disposition="in_transit",
        readPoint=place(YARD),
    )
    yield at(
        12,
        "AggregationEvent",
        action="DELETE",
        parentID=uri(PALLET),
        childEPCs=uris(PARTS),
        bizStep="unpacking",
        readPoint=place(SITE),
    )
    yield at(
        13,
        "ObjectEvent",
        action="OBSERVE",
        epcList=[uri(PALLET)],
        bizStep="shipping",
        readPoint=place(YARD),
    )
    yield at(
        14,
        "AssociationEvent",
        action="ADD",
        parentID=uri(MACHINE),
        childEPCs=[uri(PARTS[0])],
        bizStep="installing",
        disposition="active",
        readPoint=place(SITE),
    )
    yield at(
        15,
        "ObjectEvent",
        action="OBSERVE",
        epcList=[uri(MACHINE)],
        bizStep="repairing",
        disposition="needs_replacement",
        readPoint=place(SITE),
    )


def stock(served):
    """Records of the works' things."""
    named = {
        COIL: ("冷轧钢卷 1", "cold rolled coil 1"),
        PARTS[0]: ("冲压件 1", "stamped part 1"),
        MACHINE: ("冲床 1", "press machine 1"),
        YARD: ("港口堆场", "harbour yard"),
    }
    for name, (chinese, english) in named.items():
        served.register(
            name,
            value(1, "DESC", chinese),
            value(2, "DESC.EN", english),
            value(3, "GRADE", "DC01"),
            value(4, "LIFECYCLE", '{"stage": "produced", "heat": "H1"}'),
            value(5, "SECRET", "never shown", permissions=0b1100),
        )
    served.register(
        "86.999/EVIL",
        value(1, "DESC", "<script>alert(1)</script>"),
        value(2, "GRADE", '"><img src=x onerror=alert(1)>'),
        value(3, "NOTE", "javascript:alert(1)"),
    )


@pytest.fixture
async def works(served):
    stock(served)
    face = Epcis(served)
    job = await face.capture(*story(), Biaoshi_Label="public")
    assert job["success"], job
    hidden = at(
        20,
        "ObjectEvent",
        action="OBSERVE",
        epcList=[uri(COIL)],
        bizStep="holding",
        readPoint={"id": "hdl:86.999/SECRET-PLACE"},
    )
    assert (await face.capture(hidden))["success"]
    return served
