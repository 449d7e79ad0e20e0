"""From a request body to changes: documents read, events checked, each made a signed change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from protocol.change import Change
from protocol.epcis.document import Document, open_document
from protocol.epcis.errors import UnsupportedMediaTypeException, ValidationException
from protocol.epcis.event import event_id, is_declared_error
from protocol.epcis.jcs import loads
from protocol.epcis.schema import Problem, check_document, check_event, check_rules
from protocol.epcis.xml import parse_xml
from protocol.errors import BiaoshiError, InvalidValue
from protocol.record import Reference
from registry.events.capture import EventSigner, make_change
from resolver.epcis import problems

JSON_TYPES: Final = frozenset(("application/json", "application/ld+json"))
XML_TYPES: Final = frozenset(("application/xml", "text/xml"))
FLAGGED: Final = frozenset(("gs1-identifier", "eventid-mismatch", "sensor-time"))
"""Rules beyond the schema that are told and do not refuse an event."""
SHOWN: Final = 8
"""Problems told in one message."""


@dataclass(frozen=True, slots=True)
class Sender:
    """For whom events are captured: what make_change() wants to know of it."""

    actor: Reference
    prefix: bytes | None
    memberships: tuple[Reference, ...]
    label: Mapping[str, Any] | None
    earlier: Callable[[str], Mapping[str, Any] | None] = lambda _: None
    """The label of the event that has an eventID already: a copy that declares an error keeps it
    where it is given none."""


class Taken(NamedTuple):
    """One event of a document. change: None where it is refused; problem then says why."""

    change: Change | None
    problem: dict[str, Any] | None
    warnings: tuple[str, ...] = ()


def read_body(body: bytes, media: str) -> Document:
    """The document of a request body. Raises UnsupportedMediaTypeException, ParseError,
    ValidationException.
    """
    if media in JSON_TYPES:
        return open_document(loads(body))
    if media in XML_TYPES:
        return open_document(parse_xml(body))
    raise UnsupportedMediaTypeException(
        f"{media[:80]!r} is not read here; send {', '.join(sorted(JSON_TYPES | XML_TYPES))}"
    )


def require_valid(document: Document, *, events: bool) -> None:
    """Raise ValidationException unless the document is one by the schema.

    events: its events too; else only what is around them.
    """
    if document.kind == "event":
        raise ValidationException(
            "a bare event is captured by POST /events; /capture takes an EPCISDocument"
        )
    found = check_document(document.value)
    if not events:
        inner = f"{document.path}/"
        found = [problem for problem in found if not problem.path.startswith(inner)]
    if found:
        raise ValidationException(told(found))


def told(found: Sequence[Problem]) -> str:
    """Problems as one message."""
    lines = [f"{one.path or '/'}: {one.message}" for one in found[:SHOWN]]
    more = len(found) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def take_events(
    document: Document, sender: Sender, signer: EventSigner, now_us: int, *, valid: bool
) -> Iterator[Taken]:
    """Each event of a document as a change, or why not. valid: the schema was asked already."""
    for at, event in enumerate(document.events):
        try:
            yield take_event(event, document.context, sender, signer, now_us, valid=valid)
        except BiaoshiError as error:
            problem = problems.shape_of(error)
            yield Taken(None, problem | {"instance": f"{document.path}/{at}"})


def take_event(
    event: Any,
    context: Any,
    sender: Sender,
    signer: EventSigner,
    now_us: int,
    *,
    valid: bool = False,
) -> Taken:
    """One event as a change. Raises ValidationException, InvalidValue, ParseError."""
    rules = refuse_invalid(event, context, now_us, valid=valid)
    label = sender.label
    if label is None and is_declared_error(event):
        label = sender.earlier(event_id(event) or "")
    change = make_change(
        event,
        issuer=sender.actor,
        signer=signer,
        now_us=now_us,
        actor=sender.actor,
        context=context,
        label=label,
        prefix=sender.prefix,
        memberships=sender.memberships,
        mismatch=any(one.rule == "eventid-mismatch" for one in rules),
    )
    warnings = tuple(f"{one.path}: {one.message}"[:300] for one in rules)
    return Taken(change, None, warnings)


def refuse_invalid(event: Any, context: Any, now_us: int, *, valid: bool = False) -> list[Problem]:
    """What is told of an event that is taken. Raises ValidationException for one that is not."""
    found = [] if valid else check_event(event, context)
    if not found:
        rules = check_rules(event, context, now_us=now_us)
        found = [one for one in rules if one.rule not in FLAGGED]
    if found:
        raise ValidationException(told(found))
    return rules


def parse_label(header: str | None) -> Mapping[str, Any] | None:
    """The label of a request: a level, `public`, or a JSON object. Raises InvalidValue."""
    from registry.labels import PUBLIC, check_label

    if header is None:
        return None
    text = header.strip()
    if text == "public":
        return check_label({"level": PUBLIC})
    if text in {"1", "2", "3"}:
        return check_label({"level": int(text)})
    try:
        label = orjson.loads(text)
    except ValueError:
        label = text
    if label == {}:
        raise InvalidValue(f"{text[:40]!r} is a label that says nothing; leave the header out")
    return check_label(label)
