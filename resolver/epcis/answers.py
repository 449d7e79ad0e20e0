"""Events and collections as they are answered: documents put together from stored octets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from protocol.epcis.event import INSTANCE_FIELDS, QUANTITY_FIELDS
from protocol.epcis.identity import canonical_id
from protocol.epcis.jcs import loads
from protocol.epcis.moment import format_time_us
from protocol.epcis.xmlwriting import query_document
from registry.events.index import parse_event
from registry.events.row import EventRow
from resolver.epcis.versions import EpcFormat, Form

CONTEXT: Final = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
PRIVATE: Final = "private, no-store"
SIMPLE: Final = "SimpleEventQuery"
"""The name of a query that has none."""
_PLACES: Final = ("readPoint", "bizLocation")
_TYPED: Final = (
    ("sourceList", "source"),
    ("destinationList", "destination"),
    ("bizTransactionList", "bizTransaction"),
)


def event_octets(row: EventRow, spelling: EpcFormat = EpcFormat.NO_PREFERENCE) -> bytes:
    """An event as an answer has it, with its recordTime.

    Identifiers keep the spelling in which they were captured, unless Digital Links are asked for:
    a URN cannot be made of a link without the length of the company prefix (§4.1).
    """
    stored = row.event
    if spelling is EpcFormat.DIGITAL_LINK:
        stored = orjson.dumps(as_links(parse_event(row.event)))
    return b'{"recordTime":"%b",%b' % (format_time_us(row.record_us).encode(), stored[1:])


def found(rows: Iterable[EventRow], form: Form, now_us: int, *, query: str = "") -> bytes:
    """An EPCISQueryDocument of events in the form that was asked for."""
    events = (event_octets(row, form.epc) for row in rows)
    if not form.is_xml:
        return document(events, now_us, query=query)
    name = query or SIMPLE
    return query_document(map(loads, events), format_time_us(now_us), name, form.cbv)


def document(
    events: Iterable[bytes], now_us: int, *, query: str = "", subscription: str | None = None
) -> bytes:
    """An EPCISQueryDocument of events."""
    results: dict[str, Any] = {"queryName": query or SIMPLE}
    if subscription is not None:
        results = {"subscriptionID": subscription, **results}
    return (
        b'{"@context":["%b"],"type":"EPCISQueryDocument","schemaVersion":"2.0",'
        b'"creationDate":"%b","epcisBody":{"queryResults":{%b,"resultsBody":{"eventList":[%b]}}}}'
    ) % (
        CONTEXT.encode(),
        format_time_us(now_us).encode(),
        orjson.dumps(results)[1:-1],
        b",".join(events),
    )


def collection(members: Iterable[Any]) -> bytes:
    """A collection of resources."""
    shape = {"@context": [CONTEXT], "type": "Collection", "member": list(members)}
    return orjson.dumps(shape)


def listed(shapes: Sequence[Mapping[str, Any]]) -> bytes:
    """Jobs, queries or subscriptions: an array, as the standard's description has it."""
    return orjson.dumps(shapes)


def respond(body: bytes, media: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """200 with a body that depends on who asks."""
    return web.Response(
        body=body, headers={"Content-Type": media, "Cache-Control": PRIVATE, **(headers or {})}
    )


def as_links(event: dict[str, Any]) -> dict[str, Any]:
    """An event with its EPC URNs as Digital Links."""
    made = dict(event)
    if isinstance(made.get("parentID"), str):
        made["parentID"] = _link(made["parentID"])
    for name in INSTANCE_FIELDS:
        if isinstance(made.get(name), list):
            made[name] = [_link(item) for item in made[name]]
    for name in QUANTITY_FIELDS:
        if isinstance(made.get(name), list):
            made[name] = [_member(item, "epcClass") for item in made[name]]
    for name in _PLACES:
        if name in made:
            made[name] = _member(made[name], "id")
    for name, member in _TYPED:
        if isinstance(made.get(name), list):
            made[name] = [_member(item, member) for item in made[name]]
    return made


def _member(item: Any, name: str) -> Any:
    return {**item, name: _link(item[name])} if isinstance(item, dict) and name in item else item


def _link(text: Any) -> Any:
    return canonical_id(text) if isinstance(text, str) and text[:8].lower() == "urn:epc:" else text
