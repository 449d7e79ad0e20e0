"""Events of 2.0 in JSON -> an EPCISQueryDocument in XML: what protocol.epcis.xml reads, written.

Elements stand in the order of the EPCIS 2.0 XML schema. Words of the vocabularies become URNs or
web URIs; identifiers stay as they are. The context of an event is declared on its element, so that
events of different captures may use one prefix for different namespaces. The signature of an event
is over its JSON: this is another spelling of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr  # writing alone: nothing is parsed with it

from protocol.epcis import vocabulary
from protocol.epcis.context import namespaces
from protocol.epcis.errors import NotAcceptableException
from protocol.epcis.vocabulary import EVENT_TYPES, Vocabulary, expand, word

Json = Mapping[str, Any]


class CbvFormat(StrEnum):
    """GS1-CBV-XML-Format: how words of the vocabularies are written."""

    NO_PREFERENCE = "No_Preference"
    WEB_URI = "Always_Web_URI"
    URN = "Always_URN"
    NEVER = "Never_Translates"


_QUERY: Final = "urn:epcglobal:epcis-query:xsd:2"
_ORDER: Final = (
    *("eventTime", "recordTime", "eventTimeZoneOffset", "eventID", "errorDeclaration"),
    *("certificationInfo", "parentID", "epcList", "inputEPCList", "inputQuantityList"),
    *("outputEPCList", "outputQuantityList", "transformationID", "childEPCs", "action", "bizStep"),
    *("disposition", "readPoint", "bizLocation", "bizTransactionList", "quantityList"),
    *("childQuantityList", "sourceList", "destinationList", "sensorElementList"),
    *("persistentDisposition", "ilmd"),
)
_RANK: Final = {name: float(at) for at, name in enumerate(_ORDER)}
_MOVED: Final[Mapping[str, Mapping[str, float]]] = {
    "TransactionEvent": {"bizTransactionList": _RANK["parentID"] - 0.5},
    "AssociationEvent": {"childQuantityList": _RANK["action"] - 0.5},
}
"""What stands elsewhere in one type of event."""
_ITEMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("epcList", "childEPCs", "inputEPCList", "outputEPCList"), "epc"),
    **dict.fromkeys(
        ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"),
        "quantityElement",
    ),
    "bizTransactionList": "bizTransaction",
    "sourceList": "source",
    "destinationList": "destination",
    "sensorElementList": "sensorElement",
    "correctiveEventIDs": "correctiveEventID",
}
"""List -> the element of each of its items."""
_TYPES: Final[Mapping[str, Vocabulary]] = {
    "bizTransaction": vocabulary.BIZ_TRANSACTION,
    "source": vocabulary.SOURCE_DEST,
    "destination": vocabulary.SOURCE_DEST,
}
_WORDS: Final[Mapping[str, Vocabulary]] = {
    "bizStep": vocabulary.BIZ_STEP,
    "disposition": vocabulary.DISPOSITION,
    "set": vocabulary.DISPOSITION,
    "unset": vocabulary.DISPOSITION,
    "reason": vocabulary.ERROR_REASON,
}
_REPORT: Final[Mapping[str, Vocabulary]] = {
    "type": vocabulary.MEASUREMENT,
    "exception": vocabulary.ALERT,
    "component": vocabulary.COMPONENT,
}
_INNER: Final = ("id", "epcClass", "quantity", "uom", "unset", "set", "sensorMetadata")
"""What comes first within a standard field."""
_NCNAME: Final = re.compile(r"[^\W\d][\w.\-]*")
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def query_document(
    events: Iterable[Json], created: str, query: str, cbv: CbvFormat = CbvFormat.NO_PREFERENCE
) -> bytes:
    """An EPCISQueryDocument in XML. created: its creationDate; query: the name of the query.

    Raises NotAcceptableException for an event that has no form in XML.
    """
    body = "".join(_Event(event, cbv).text for event in events)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<epcisq:EPCISQueryDocument xmlns:epcisq="{_QUERY}" schemaVersion="2.0"'
        f" creationDate={quoteattr(created)}><EPCISBody><epcisq:QueryResults>"
        f"<queryName>{_text(query)}</queryName><resultsBody><EventList>{body}</EventList>"
        "</resultsBody></epcisq:QueryResults></EPCISBody></epcisq:EPCISQueryDocument>"
    ).encode()


class _Event:
    """One event. text: its element."""

    def __init__(self, event: Json, cbv: CbvFormat) -> None:
        self._known = namespaces(event.get("@context"))
        self._cbv = cbv
        self._declared = dict[str, str]()
        kind = str(event.get("type"))
        rank = {**_RANK, **_MOVED.get(kind, {})}
        fields = sorted(
            (item for item in event.items() if item[0] not in ("type", "@context")),
            key=lambda item: rank.get(item[0], len(rank)),
        )
        name = kind if kind in EVENT_TYPES else self._name(kind)
        inner = "".join(part for field in fields for part in self._field(*field))
        declared = (f" xmlns:{p}={quoteattr(uri)}" for p, uri in sorted(self._declared.items()))
        self.text = f"<{name}{''.join(declared)}>{inner}</{name}>"

    def _name(self, name: str) -> str:
        """The qualified name of an extension; its namespace is declared on the event."""
        prefix, colon, local = name.partition(":")
        namespace = self._known.get(prefix)
        if not colon:
            return _checked(name, name)
        if namespace is None or local.startswith("//") or not _NCNAME.fullmatch(prefix):
            cut = max(name.rfind(mark) for mark in "/#:") + 1
            namespace, prefix, local = name[:cut], "ns", name[cut:]
        return f"{self._declare(prefix, namespace)}:{_checked(local, name)}"

    def _declare(self, wished: str, namespace: str) -> str:
        prefix, at = wished, 1  # xml… is not for others
        while self._declared.get(prefix, namespace) != namespace or prefix[:3].lower() == "xml":
            at += 1
            prefix = f"{wished}{at}"
        self._declared[prefix] = namespace
        return prefix

    def _field(self, name: str, value: Any) -> Iterator[str]:
        """A standard field, or an extension, with everything in it."""
        if ":" in name or name.startswith("@"):
            yield from self._extension(name, value)
        elif name in _ITEMS and isinstance(value, list):
            inner = "".join(self._item(_ITEMS[name], item) for item in value)
            yield f"<{name}>{inner}</{name}>"
        elif name == "sensorReport":
            yield from (self._attributes(name, one, _REPORT) for one in value)
        elif name == "sensorMetadata":
            yield self._attributes(name, value, {})
        elif isinstance(value, list):
            for one in value:
                yield from self._field(name, one)
        else:
            yield f"<{name}>{self._content(name, value)}</{name}>"

    def _item(self, name: str, item: Any) -> str:
        if name not in _TYPES:
            return f"<{name}>{self._content(name, item)}</{name}>"
        kind = item.get("type")
        head = "" if kind is None else f" type={_attribute(self._word(_TYPES[name], kind))}"
        return f"<{name}{head}>{_text(item[name])}</{name}>"

    def _content(self, name: str, value: Any) -> str:
        if isinstance(value, Mapping):
            fields = sorted(value.items(), key=lambda item: _inner_rank(item[0]))
            return "".join(part for field in fields for part in self._field(*field))
        return _text(self._word(_WORDS[name], value) if name in _WORDS else value)

    def _attributes(self, name: str, value: Json, words: Mapping[str, Vocabulary]) -> str:
        head, inner = "", ""
        for member, one in value.items():
            if isinstance(one, Mapping | list):
                inner += "".join(self._extension(member, one))
            else:
                text = self._word(words[member], one) if member in words else one
                head += f" {self._name(member)}={_attribute(text)}"
        return f"<{name}{head}>{inner}</{name}>"

    def _extension(self, name: str, value: Any) -> Iterator[str]:
        """An extension; a list repeats its element.

        What JSON-LD and converters from XML mark with @ says how to read a value, which XML says
        otherwise: it is left out. `@value` and `#text` are the text itself.
        """
        if isinstance(value, list):
            for one in value:
                yield from self._extension(name, one)
        elif name in ("#text", "@value"):
            yield _text(value)
        elif not name.startswith("@"):
            qualified = self._name(name)
            if isinstance(value, Mapping):
                parts = (part for item in value.items() for part in self._extension(*item))
                yield f"<{qualified}>{''.join(parts)}</{qualified}>"
            else:
                yield f"<{qualified}>{_text(value)}</{qualified}>"

    def _word(self, words: Vocabulary, text: Any) -> Any:
        """A word as a URN where its vocabulary has one, unless web URIs are asked for."""
        if not isinstance(text, str):
            return text
        uri = expand(words, text)
        bare = word(words, uri)
        if bare == uri or words.urn is None or self._cbv is CbvFormat.WEB_URI:
            return uri
        return words.urn + bare


def _inner_rank(name: str) -> int:
    return _INNER.index(name) if name in _INNER else len(_INNER) + (":" in name)


def _checked(local: str, name: str) -> str:
    if not _NCNAME.fullmatch(local):
        raise NotAcceptableException(
            f"the field {name[:80]!r} has no name in XML; ask for application/json"
        )
    return local


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    text = "" if value is None else str(value)
    if _NOT_XML.search(text):
        raise NotAcceptableException(
            "an event holds a character that XML has none for; ask for application/json"
        )
    return text


def _text(value: Any) -> str:
    return escape(_plain(value))


def _attribute(value: Any) -> str:
    return quoteattr(_plain(value))
