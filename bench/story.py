"""The demo's story: ore becomes steel coils, blanks, stamped parts and machines, over three nodes.

Each company books what it does in a file of its own system; `biaoshi events import` maps the rows
to EPCIS events and captures them at the company's node. Everything is made up, and the same each
time.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

STEEL, CARRIER, EQUIPMENT = "88.118.8", "88.118.7", "88.118.9"
COILS, BLANKS_EACH, PARTS_EACH = 8, 16, 4
"""Coils of the ore, blanks of a coil, parts of a machine."""
MACHINES = COILS * BLANKS_EACH // PARTS_EACH
ORE = f"{STEEL}/ORE-2601"
BAD_COIL = f"{STEEL}/COIL-2"
BAD_MACHINES = BLANKS_EACH // PARTS_EACH
"""Machines with parts of one coil."""

MAPPING = """\
[source]
time_zone = "Asia/Shanghai"

[[event]]
when = { kind = "new" }
type = "ObjectEvent"
action = "ADD"
eventTime = "{when}"
bizStep = "{step}"
disposition = "{state}"
epcList = ["hdl:{one}"]
readPoint = { id = "hdl:{place}" }

[[event]]
when = { kind = "seen" }
type = "ObjectEvent"
action = "OBSERVE"
eventTime = "{when}"
bizStep = "{step}"
disposition = "{state}"
epcList = ["hdl:{one}"]
readPoint = { id = "hdl:{place}" }
destinationList = [{ type = "possessing_party", destination = "hdl:{to}" }]

[[event]]
when = { kind = "made" }
group = "{group}"
type = "TransformationEvent"
eventTime = "{when}"
bizStep = "{step}"
inputEPCList = ["hdl:{other}"]
outputEPCList = ["hdl:{one}"]
readPoint = { id = "hdl:{place}" }

[[event]]
when = { kind = "packed" }
group = "{group}"
type = "AggregationEvent"
action = "ADD"
eventTime = "{when}"
bizStep = "{step}"
parentID = "hdl:{other}"
childEPCs = ["hdl:{one}"]
readPoint = { id = "hdl:{place}" }

[[event]]
when = { kind = "unpacked" }
group = "{group}"
type = "AggregationEvent"
action = "DELETE"
eventTime = "{when}"
bizStep = "{step}"
parentID = "hdl:{other}"
childEPCs = ["hdl:{one}"]
readPoint = { id = "hdl:{place}" }

[[event]]
when = { kind = "fitted" }
group = "{group}"
type = "AssociationEvent"
action = "ADD"
eventTime = "{when}"
bizStep = "{step}"
disposition = "{state}"
parentID = "hdl:{other}"
childEPCs = ["hdl:{one}"]
readPoint = { id = "hdl:{place}" }
"""


class Booking(NamedTuple):
    """One row of a company's file. group: rows of one event. to: who has it next."""

    kind: str
    when: str
    step: str
    one: str
    other: str
    place: str
    state: str = ""
    group: str = ""
    to: str = ""


def machine(number: int) -> str:
    """The identifier of a machine, from 1."""
    return f"{EQUIPMENT}/PRESS-{number:03d}"


def _coil(number: int) -> str:
    return f"{STEEL}/COIL-{number}"


def _blank(number: int) -> str:
    return f"{STEEL}/BLANK-{number:03d}"


def _part(number: int) -> str:
    return f"{EQUIPMENT}/PART-{number:03d}"


def _pallet(number: int) -> str:
    return f"{STEEL}/PALLET-{number}"


def _blanks_of(coil: int) -> range:
    return range((coil - 1) * BLANKS_EACH + 1, coil * BLANKS_EACH + 1)


def _day(number: int, hour: int = 8) -> str:
    return f"2026-03-{number:02d} {hour:02d}:00:00"


def steel_works() -> Iterator[Booking]:
    """From ore to pallets of blanks."""
    mill, yard = f"{STEEL}/MILL", f"{STEEL}/YARD"
    yield Booking("new", _day(1), "commissioning", ORE, "", f"{STEEL}/ORE-YARD", "active")
    for n in range(1, COILS + 1):
        yield Booking("made", _day(2), "creating_class_instance", _coil(n), ORE, mill, group="heat")
    for n in range(1, COILS + 1):
        yield Booking("seen", _day(3), "inspecting", _coil(n), "", mill, "conformant")
        for b in _blanks_of(n):
            cut = f"cut-{n}"
            yield Booking(
                "made", _day(4, 7 + n), "assembling", _blank(b), _coil(n), mill, group=cut
            )
        for b in _blanks_of(n):
            pack = f"pack-{n}"
            yield Booking(
                "packed", _day(5, 7 + n), "packing", _blank(b), _pallet(n), yard, group=pack
            )
        yield Booking(
            "seen",
            _day(6),
            "shipping",
            _pallet(n),
            "",
            yard,
            "in_transit",
            to=f"{CARRIER}/HUB-EAST",
        )


def carrier_works() -> Iterator[Booking]:
    """Pallets on the road, as the carrier's drivers scan them."""
    for n in range(1, COILS + 1):
        for day, step, place, to in (
            (6, "loading", f"{STEEL}/YARD", ""),
            (7, "departing", f"{CARRIER}/HUB-EAST", ""),
            (8, "arriving", f"{CARRIER}/HUB-WEST", f"{EQUIPMENT}/GATE"),
        ):
            when = _day(day, 10 + n)
            yield Booking("seen", when, step, _pallet(n), "", place, "in_transit", to=to)


def equipment_works() -> Iterator[Booking]:
    """From pallets to machines in service, and the recall of those with parts of one coil."""
    gate, hall, site = f"{EQUIPMENT}/GATE", f"{EQUIPMENT}/HALL", f"{EQUIPMENT}/CUSTOMER-1"
    for n in range(1, COILS + 1):
        yield Booking("seen", _day(9), "receiving", _pallet(n), "", gate, "in_progress")
        for b in _blanks_of(n):
            out = f"unpack-{n}"
            yield Booking("unpacked", _day(10), "unpacking", _blank(b), _pallet(n), gate, group=out)
        for b in _blanks_of(n):
            stamp = f"stamp-{b}"
            yield Booking(
                "made", _day(11, 7 + n), "assembling", _part(b), _blank(b), hall, group=stamp
            )
    for n in range(1, MACHINES + 1):
        first = (n - 1) * PARTS_EACH + 1
        for p in range(first, first + PARTS_EACH):
            fit = f"fit-{n}"
            yield Booking(
                "fitted", _day(12), "assembling", _part(p), machine(n), hall, "active", fit
            )
        yield Booking("seen", _day(14), "shipping", machine(n), "", hall, "in_transit")
        yield Booking("seen", _day(16), "installing", machine(n), "", site, "active")
    yield Booking(
        "seen", _day(20), "repairing", machine(_first_bad()), "", site, "needs_replacement"
    )
    for n in range(_first_bad(), _first_bad() + BAD_MACHINES):
        yield Booking("seen", _day(22), "holding", machine(n), "", site, "recalled")


def _first_bad() -> int:
    """The first machine with parts of the bad coil."""
    return BAD_MACHINES * (int(BAD_COIL.rpartition("-")[2]) - 1) + 1


SAMPLE = machine(_first_bad())
"""The machine whose page is shown."""


def steel_records() -> Iterator[tuple[str, str, str]]:
    """Identifier, Chinese and English name of each thing and place of the steel maker."""
    yield ORE, "铁矿石批次 2601", "iron ore, lot 2601"
    yield f"{STEEL}/MILL", "轧钢车间", "rolling mill"
    yield f"{STEEL}/YARD", "发货场", "shipping yard"
    yield f"{STEEL}/ORE-YARD", "矿石堆场", "ore yard"
    for n in range(1, COILS + 1):
        yield _coil(n), f"冷轧钢卷 {n}", f"cold-rolled coil {n}"
        yield _pallet(n), f"托盘 {n}", f"pallet {n}"
        for b in _blanks_of(n):
            yield _blank(b), f"钢坯片 {b}", f"steel blank {b}"


def carrier_records() -> Iterator[tuple[str, str, str]]:
    """The same of the carrier's hubs."""
    yield f"{CARRIER}/HUB-EAST", "东部物流中心", "eastern hub"
    yield f"{CARRIER}/HUB-WEST", "西部物流中心", "western hub"


def equipment_records() -> Iterator[tuple[str, str, str]]:
    """The same of the machine builder."""
    yield f"{EQUIPMENT}/GATE", "收货门", "goods gate"
    yield f"{EQUIPMENT}/HALL", "装配车间", "assembly hall"
    yield f"{EQUIPMENT}/CUSTOMER-1", "客户工厂", "customer's plant"
    for n in range(1, COILS * BLANKS_EACH + 1):
        yield _part(n), f"冲压件 {n}", f"stamped part {n}"
    for n in range(1, MACHINES + 1):
        yield machine(n), f"伺服冲床 {n}", f"servo press {n}"


def write_records(file: Path, rows: Iterable[Sequence[str]]) -> Path:
    """A file for `biaoshi register`."""
    return _write(file, ("identifier", "DESC@1", "DESC.EN@2"), rows)


def write_bookings(file: Path, rows: Iterable[Booking]) -> Path:
    """A file for `biaoshi events import`."""
    return _write(file, Booking._fields, rows)


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return file
