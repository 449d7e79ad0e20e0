"""EPCIS documents: what is in them, whatever of the three shapes they have (traceability §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from protocol.epcis.errors import ValidationException
from protocol.epcis.jcs import loads
from protocol.epcis.xml import parse_xml

MAX_OCTETS = 64 * 1024 * 1024
"""Of one document; a face may take less."""
_BLANKS = b"\xef\xbb\xbf \t\r\n"


@dataclass(frozen=True, slots=True)
class Document:
    """A document, a query document or one bare event.

    context: the outermost @context, as written. events: as written, not checked. path: where the
    events stand, as a JSON pointer. value: the whole.
    """

    kind: Literal["document", "query", "event"]
    context: Any
    events: tuple[Any, ...]
    path: str
    value: Mapping[str, Any]


def parse_document(data: bytes, what: str = "the document") -> Document:
    """A document in JSON or XML. Raises ParseError, or ValidationException for another shape."""
    return open_document(read_value(data, what))


def read_value(data: bytes, what: str = "the document") -> Any:
    """The JSON form of JSON or XML text; which of them its first character tells.

    Raises ParseError, or ValidationException for XML that is no EPCIS.
    """
    if data.lstrip(_BLANKS)[:1] == b"<":
        return parse_xml(data, what)
    return loads(data, what)


def open_document(value: Any) -> Document:
    """The events of a document, a query document or a bare event; nothing else is checked.

    Raises ValidationException for what is none of the three.
    """
    if not isinstance(value, Mapping):
        raise ValidationException(f"a JSON {_shape(value)} is no EPCIS document; write an object")
    context = value.get("@context")
    body = value.get("epcisBody")
    if body is None and "eventTime" in value:
        return Document("event", context, (value,), "", value)
    if isinstance(body, Mapping):
        if "queryResults" in body:
            path = "/epcisBody/queryResults/resultsBody/eventList"
            return Document("query", context, _events(value, path), path, value)
        if isinstance(body.get("event"), Mapping):
            return Document("document", context, (body["event"],), "/epcisBody/event", value)
        path = "/epcisBody/eventList"
        return Document("document", context, _events(value, path), path, value)
    raise ValidationException(
        "no EPCIS document: it has neither epcisBody with an eventList nor an eventTime"
    )


def _events(value: Any, path: str) -> tuple[Any, ...]:
    for name in path.split("/")[1:]:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, list):
        raise ValidationException(f"{path} is no list of events; write [] for none")
    return tuple(value)


def _shape(value: Any) -> str:
    return {list: "array", str: "string", type(None): "null", bool: "boolean"}.get(
        type(value), "number"
    )
