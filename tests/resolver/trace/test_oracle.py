"""Walks over random histories against a slow reading of the rules: plain loops over all events."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.change import Kind
from protocol.record import Reference
from registry.events.capture import make_change
from registry.events.index import EventIndex
from registry.store.lmdb_store import create
from resolver.trace.views import Views
from resolver.trace.walk import Direction, Walk, first_step
from tests.registry.conftest import Desk
from tests.registry.test_events import NOW_US, SIGNER

ROOT = "https://id.gs1.org"
BASE = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z
MINUTE = 60_000_000
SLACK = 5 * MINUTE
EVER, ALWAYS = -(1 << 62), 1 << 62
ITEMS = [f"{ROOT}/01/09506000122229/21/I{n}" for n in range(5)]
LOTS = [f"{ROOT}/01/09506000122229/10/L{n}" for n in range(2)]
CLASS = f"{ROOT}/01/09506000122229"
BOXES = [f"{ROOT}/8003/09506000000010B{n}" for n in range(3)]
THINGS = ITEMS + BOXES
QUANTITIES = [*LOTS, CLASS]
ISSUERS = [Reference(b"0.NA/88.118.8", 300), Reference(b"0.NA/99", 300)]


# --- the slow reading

RELATION = {"AggregationEvent": "aggregation", "AssociationEvent": "association"}


def quantities(event, name):
    return [one["epcClass"] for one in event.get(name, ())]


def bare(text):
    """The item of a link that spells its lot too."""
    for lot in LOTS:
        text = text.replace(lot + "/21", CLASS + "/21")
    return text


def things(event, name):
    return [bare(one) for one in event.get(name, ())]


def inputs(event):
    found = [(one, None) for one in things(event, "inputEPCList")]
    listed = event.get("inputQuantityList", ())
    return found + [(one["epcClass"], one["quantity"]) for one in listed]


def outputs(event):
    return things(event, "outputEPCList") + quantities(event, "outputQuantityList")


def children(event):
    return things(event, "childEPCs") + quantities(event, "childQuantityList")


def named(event, *, carrier):
    """Everything an event says something of; carriers are not told by what they hold."""
    found = things(event, "epcList") + quantities(event, "quantityList") + children(event)
    found += [one for one, _ in inputs(event)]
    if not carrier:
        found += outputs(event) + ([event["parentID"]] if "parentID" in event else [])
    return found


def lots_told(event):
    told = (event.get("ilmd") or {}).get("cbvmda:lotNumber")
    pairs = set()
    for name in ("epcList", "childEPCs", "inputEPCList", "outputEPCList"):
        for text in event.get(name, ()):
            spelled = [lot for lot in LOTS if text.startswith(lot + "/")]
            if spelled:
                pairs.add((bare(text), spelled[0]))
            elif told and text.startswith(CLASS + "/21"):
                pairs.add((text, f"{CLASS}/10/{told}"))
    return pairs


def is_lot(id_):
    return id_ in LOTS or id_ == CLASS


class Oracle:
    """rows: (time, number of capture, issuer, event), those that count, in order."""

    def __init__(self, rows, back):
        self.rows = sorted(rows, key=lambda row: row[:2])
        self.back = back
        self.reached = {}
        self.edges = {}
        self.events = set()
        self.known = set()

    def stays(self):
        """(child, parent, relation, start, stop, events) by looking at every pair."""
        pairs = {
            (child, event["parentID"], RELATION[event["type"]])
            for _, _, _, event in self.rows
            if event["type"] in RELATION and "parentID" in event
            for child in children(event)
        }
        for child, parent, relation in sorted(pairs):
            began = None
            for row in self.rows:
                if began is None and self.begins(row[3], child, parent, relation):
                    began = row
                elif began is not None and self.ends(row[3], child, parent, relation):
                    yield child, parent, relation, began[0], row[0], (began, row)
                    began = None
            if began is not None:
                yield child, parent, relation, began[0], ALWAYS, (began,)

    @staticmethod
    def begins(event, child, parent, relation):
        return (
            RELATION.get(event["type"]) == relation
            and event["action"] != "DELETE"
            and event.get("parentID") == parent
            and child in children(event)
        )

    @staticmethod
    def ends(event, child, parent, relation):
        same = RELATION.get(event["type"]) == relation
        if same and event["action"] == "DELETE":
            if child in children(event):
                return event.get("parentID") in (None, parent)
            return not children(event) and event.get("parentID") == parent
        if same and child in children(event) and not is_lot(child):
            return event.get("parentID") not in (None, parent)
        gone = [parent] if is_lot(child) else [child, parent]
        if event["type"] == "ObjectEvent" and event["action"] == "DELETE":
            return any(one in things(event, "epcList") for one in gone)
        if event["type"] == "TransformationEvent":
            return any(one in things(event, "inputEPCList") for one in gone)
        return False

    def run(self, start):
        self.all_stays = list(self.stays())
        whole = (EVER, ALWAYS)
        queue = [(start, False, whole, whole, None, True)]
        while queue:
            step = queue.pop()
            if step in self.known:
                continue
            self.known.add(step)
            id_, carrier, _, _, _, certain = step
            old = self.reached.get(id_, (False, True))
            self.reached[id_] = (old[0] or certain, old[1] and carrier)
            if id_ == CLASS and start != CLASS:
                continue
            queue += self.beyond(step)

    def beyond(self, step):
        id_, carrier, during, holding, issuer, certain = step
        for row in self.rows:
            if self.within(row, during, None if carrier else issuer):
                yield from self.by_event(step, row)
        for child, parent, relation, start, stop, rows in self.all_stays:
            single = not is_lot(child)
            common = max(start, during[0]), min(stop, during[1])
            if child == id_ and common[0] <= common[1]:
                self.edge(child, parent, relation, rows[0], common, single)
                self.events |= {row[1] for row in rows}
                yield parent, True, common, None, None, certain and single
            if parent == id_ and holding is not None:
                common = max(start, holding[0]), min(stop, holding[1])
                if common[0] <= common[1]:
                    self.edge(child, parent, relation, rows[0], common, single)
                    self.events |= {row[1] for row in rows}
                    span = (EVER, common[1]) if self.back else (common[0], ALWAYS)
                    yield child, False, span, common, None, certain and single

    def within(self, row, during, issuer):
        first, last = during
        if first <= row[0] <= last:
            return True
        if issuer is None or row[2] == issuer:
            return False
        if self.back:
            return last < row[0] <= last + SLACK
        return first - SLACK <= row[0] < first

    def by_event(self, step, row):
        id_, carrier, _, _, _, certain = step
        time, number, _, event = row
        if id_ in named(event, carrier=carrier):
            self.events.add(number)
        if not carrier:
            yield from self.by_lot(step, row)
        if event["type"] != "TransformationEvent":
            return
        group = [row]
        if "transformationID" in event:
            group = [
                one
                for one in self.rows
                if one[3].get("transformationID") == event["transformationID"]
            ]
        if self.back and not carrier and id_ in outputs(event):
            roles = {one in QUANTITIES for one in outputs(event) if one == id_}
            for other in group:
                for source, quantity in inputs(other[3]):
                    sure = not is_lot(source) and roles == {False}
                    at = (other[0], other[0])
                    self.edge(source, id_, "transformation", other, at, sure, quantity)
                    yield source, False, (EVER, other[0]), at, other[2], certain and sure
                    self.events.add(other[1])
        if not self.back and id_ in [one for one, _ in inputs(event)]:
            for other in group:
                for made in outputs(other[3]):
                    sure = not is_lot(id_) and not is_lot(made)
                    for source, quantity in inputs(event):
                        if source == id_:
                            at = (time, time)
                            self.edge(id_, made, "transformation", row, at, sure, quantity)
                    self.events.add(number)
                    yield made, False, (other[0], ALWAYS), None, other[2], certain and sure

    def by_lot(self, step, row):
        id_, _, during, _, _, _ = step
        for item, lot in lots_told(row[3]):
            here, other = (item, lot) if self.back else (lot, item)
            made = any(item in outputs(event) for _, _, _, event in self.rows)
            if here == id_ and not (self.back and made):
                self.edge(lot, item, "lot", row, (row[0], row[0]), False)
                self.events.add(row[1])
                span = (EVER, during[1]) if self.back else (during[0], ALWAYS)
                yield other, False, span, None, row[2], False

    def edge(self, source, target, kind, row, span, certain, quantity=None):
        key = (source, target, kind, row[3]["eventID"], certain, quantity)
        self.edges.setdefault(key, set()).add(span)


def united(spans):
    """Spans of whole microseconds, those that touch made one."""
    made = []
    for start, stop in sorted(spans):
        if made and start <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], stop))
        else:
            made.append((start, stop))
    return made


# --- histories

some_things = st.lists(st.sampled_from(THINGS), min_size=1, max_size=2, unique=True)
some_items = st.lists(
    st.sampled_from([*ITEMS, ITEMS[0].replace("/21/", "/10/L0/21/")]),
    min_size=1,
    max_size=2,
    unique=True,
)
amounts = st.lists(
    st.fixed_dictionaries({"epcClass": st.sampled_from(QUANTITIES), "quantity": st.integers(1, 3)}),
    max_size=1,
)
groups = st.sampled_from([None, None, None, "urn:test:batch:1"])


@st.composite
def made(draw):
    fields = {"type": "TransformationEvent"}
    for name in ("input", "output"):
        if draw(st.booleans()):
            fields[f"{name}EPCList"] = draw(some_things)
        fields[f"{name}QuantityList"] = draw(amounts)
        if not fields[f"{name}QuantityList"]:
            del fields[f"{name}QuantityList"]
    group = draw(groups)
    if group:
        fields["transformationID"] = group
    elif not any(name.startswith("input") for name in fields):
        fields["inputEPCList"] = draw(some_things)
    return fields


@st.composite
def packed(draw):
    kind = draw(st.sampled_from(["AggregationEvent", "AggregationEvent", "AssociationEvent"]))
    action = draw(st.sampled_from(["ADD", "ADD", "OBSERVE", "DELETE"]))
    fields = {"type": kind, "action": action}
    if action != "DELETE" or draw(st.booleans()):
        fields["childEPCs"] = draw(some_things)
        if draw(st.integers(0, 3)) == 0:
            fields["childQuantityList"] = draw(amounts) or [{"epcClass": LOTS[0], "quantity": 1}]
    if action == "ADD" or "childEPCs" not in fields or draw(st.booleans()):
        fields["parentID"] = draw(st.sampled_from([*BOXES, ITEMS[4]]))
    return fields


@st.composite
def seen(draw):
    action = draw(st.sampled_from(["ADD", "OBSERVE", "OBSERVE", "DELETE"]))
    fields = {"type": "ObjectEvent", "action": action}
    fields["epcList"] = draw(st.one_of(some_things, some_items))
    if action == "ADD" and draw(st.booleans()):
        fields["ilmd"] = {"cbvmda:lotNumber": draw(st.sampled_from(["L0", "L1"]))}
    return fields


@st.composite
def histories(draw):
    """(issuer, event) in the order of capture; some are withdrawn by a later copy."""
    found = []
    for number in range(draw(st.integers(1, 12))):
        fields = draw(st.one_of(made(), packed(), packed(), seen()))
        minute = draw(st.integers(0, 59))
        issuer = draw(st.integers(0, len(ISSUERS) - 1))
        event = {
            "eventID": f"urn:test:{number}",
            "eventTime": f"2026-03-01T00:{minute:02d}:00.000Z",
            "eventTimeZoneOffset": "+00:00",
            **fields,
        }
        found.append((issuer, event))
    for issuer, event in list(found):
        if draw(st.integers(0, 9)) == 0:
            declared = {"declarationTime": "2026-03-02T00:00:00Z"}
            found.append((issuer, {**event, "errorDeclaration": declared}))
    return found


def counting(history):
    """The rows of a history that the oracle reads: no withdrawn ones."""
    withdrawn = {event["eventID"] for _, event in history if "errorDeclaration" in event}
    for number, (issuer, event) in enumerate(history):
        if event["eventID"] not in withdrawn:
            minute = int(event["eventTime"][14:16])
            yield BASE + minute * MINUTE, number, issuer, event


class Captured:
    """A store with a history in it."""

    def __init__(self, history):
        self.folder = Path(tempfile.mkdtemp())
        create(self.folder / "store")
        self.desk = Desk(self.folder / "store")
        self.desk.do(Kind.HOME, b"0.NA/88.118.8")
        changes = [
            make_change(event, issuer=ISSUERS[issuer], signer=SIGNER, now_us=NOW_US)
            for issuer, event in history
        ]
        done = self.desk.writer.commit(changes)
        assert {one.status for one in done} == {"created"}, done
        self.number = {one.sequence: at for at, one in enumerate(done)}

    def walk(self, start, direction):
        with self.desk.store.snapshot() as state:
            walk = Walk(Views(EventIndex(state), lambda _: True), direction)
            walk.run([first_step(start)])
        return walk

    def close(self):
        self.desk.store.close()
        shutil.rmtree(self.folder)


def edges_of(walk):
    found = {}
    for edge in walk.edges:
        quantity = None if edge.quantity is None else int(edge.quantity)
        key = (edge.source, edge.target, str(edge.kind), edge.event, edge.certain, quantity)
        found.setdefault(key, set()).add(tuple(edge.span))
    return {key: united(spans) for key, spans in found.items()}


def same(told, found, wanted):
    """Say what only one of the two has."""
    only = {key: one for key, one in found.items() if wanted.get(key, ...) != one}
    missing = {key: one for key, one in wanted.items() if found.get(key, ...) != one}
    assert not only and not missing, f"{told}: walked {only}, wanted {missing}"


def compare(history):
    """Both directions from every thing."""
    captured = Captured(history)
    try:
        rows = list(counting(history))
        for direction in Direction:
            for start in (*THINGS, *LOTS):
                oracle = Oracle(rows, direction is Direction.BACK)
                oracle.run(start)
                walk = captured.walk(start, direction)
                told = (direction, start)
                found = {id_: (one.certain, one.carrier) for id_, one in walk.reached.items()}
                same(told, found, oracle.reached)
                wanted = {key: united(spans) for key, spans in oracle.edges.items()}
                same(told, edges_of(walk), wanted)
                events = {captured.number[sequence] for sequence in walk.events}
                same(told, dict.fromkeys(events), dict.fromkeys(oracle.events))
    finally:
        captured.close()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(histories())
def test_walks_agree_with_the_slow_reading(history):
    """Reached things, edges and events are those of plain loops over all events."""
    compare(history)
