"""EPCIS 1.2 and 2.0 in XML -> the JSON shape of 2.0.

One reading for both: what 1.2 wraps in `extension` and `baseExtension` stands where 2.0 has it.
CBV URNs become bare words, as the JSON binding wants them; identifiers stay as they are written.
Numbers keep their digits. Elements and attributes of other namespaces are extensions, under
prefixes that the document's @context declares. The result is not checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from protocol.epcis import vocabulary
from protocol.epcis.context import BUILT_IN
from protocol.epcis.errors import ValidationException
from protocol.epcis.vocabulary import CBV, CONTEXT, EVENT_TYPES, VOC, Vocabulary, word
from protocol.epcis.xmltext import Element, Tree, parse_tree

Json = dict[str, Any]

_EPCIS_NAMESPACES: Final = frozenset(
    (
        "",
        *(
            f"urn:epcglobal:epcis{part}:xsd:{v}"
            for part in ("", "-query", "-masterdata")
            for v in (1, 2)
        ),
    )
)
_WRAPPERS: Final = frozenset(("extension", "baseExtension"))
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?"
)
_PREFIX: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_MAX_EXPONENT: Final = 400
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


def parse_xml(data: bytes, what: str = "the document") -> Json:
    """The JSON form of a document, a query document or one event in XML.

    Raises ParseError for what is no XML, ValidationException for other XML.
    """
    return _Reader(parse_tree(data, what)).document()


def _number(text: str) -> Any:
    """A number with its digits; the text where it is none, for the schema to refuse."""
    if not _NUMBER.fullmatch(text):
        return text
    found = Decimal(text)
    if abs(found.adjusted()) > _MAX_EXPONENT:
        return text
    return int(found) if found == found.to_integral_value() and abs(found) < 10**18 else found


def _boolean(text: str) -> Any:
    return _TRUTH.get(text, text)


def _text(text: str) -> Any:
    return text


def _word(words: Vocabulary) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        """The bare word of a URN, a web URI or a CURIE of the vocabulary; others as they are."""
        uri = next(
            (uri + text[4:] for curie, uri in _CURIES.items() if text.startswith(curie)), text
        )
        bare = word(words, uri)
        return text if bare == uri else bare

    return read


_CURIES: Final = {"gs1:": VOC, "cbv:": CBV}
_REPORT: Final[Mapping[str, Callable[[str], Any]]] = {
    "type": _word(vocabulary.MEASUREMENT),
    "exception": _word(vocabulary.ALERT),
    "component": _word(vocabulary.COMPONENT),
    "booleanValue": _boolean,
    **dict.fromkeys(
        ("value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"), _number
    ),
}
_LEAVES: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(
        (
            "eventTime",
            "recordTime",
            "eventTimeZoneOffset",
            "eventID",
            "parentID",
            "action",
            "transformationID",
        ),
        _text,
    ),
    "bizStep": _word(vocabulary.BIZ_STEP),
    "disposition": _word(vocabulary.DISPOSITION),
}
_EPC_LISTS: Final = frozenset(("epcList", "childEPCs", "inputEPCList", "outputEPCList"))
_QUANTITY_LISTS: Final = frozenset(
    ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")
)
_TYPED_LISTS: Final[Mapping[str, tuple[str, Vocabulary]]] = {
    "bizTransactionList": ("bizTransaction", vocabulary.BIZ_TRANSACTION),
    "sourceList": ("source", vocabulary.SOURCE_DEST),
    "destinationList": ("destination", vocabulary.SOURCE_DEST),
}


_BUILT_IN_PREFIX: Final = {namespace: prefix for prefix, namespace in BUILT_IN.items()}


def _may_mean(prefix: str, namespace: str) -> bool:
    """Whether a document may use a prefix so: a known one only with or without a last colon."""
    return BUILT_IN.get(prefix, namespace).rstrip(":") == namespace.rstrip(":")


def _is_standard(element: Element) -> bool:
    return element.namespace in _EPCIS_NAMESPACES


def _unwrapped(element: Element) -> Iterable[Element]:
    """Children, those of `extension` and `baseExtension` in their place."""
    for child in element.children:
        if _is_standard(child) and child.name in _WRAPPERS:
            yield from _unwrapped(child)
        else:
            yield child


def _add(fields: Json, name: str, value: Any) -> None:
    """A second value of a name makes a list (traceability §2.1 step 14)."""
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


class _Reader:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._prefixes = dict[str, str]()
        self._context = dict[str, str]()

    def document(self) -> Json:
        root = self._tree.root
        if root.name in EVENT_TYPES:
            event = self._event(root)
            return {"@context": self._contexts(), **event}
        if root.name not in ("EPCISDocument", "EPCISQueryDocument"):
            raise ValidationException(
                f"the XML is a {root.name[:60]}; write an EPCISDocument, EPCISQueryDocument or event"
            )
        body = root if root.first("resultsBody") is not None else root.first("EPCISBody")
        if body is None:
            raise ValidationException(f"the {root.name} has no EPCISBody")
        results = root if body is root else body.first("QueryResults")
        content = {"eventList": self._events(body)} if results is None else self._results(results)
        head: Json = {"type": root.name, "schemaVersion": "2.0"}
        if root.plain("creationDate"):
            head["creationDate"] = root.plain("creationDate")
        head |= self._header(root.first("EPCISHeader"))
        return {"@context": self._contexts(), **head, "epcisBody": content}

    def _contexts(self) -> list[Any]:
        return [CONTEXT, *({prefix: uri} for prefix, uri in self._context.items())]

    def _results(self, results: Element) -> Json:
        found: Json = {}
        for name in ("queryName", "subscriptionID"):
            element = results.first(name)
            if element is not None:
                found[name] = element.text
        body = results.first("resultsBody")
        found["resultsBody"] = {"eventList": self._events(body) if body is not None else []}
        return {"queryResults": found}

    def _events(self, body: Element) -> list[Json]:
        events = body.first("EventList")
        if events is None:
            raise ValidationException(f"the {body.name} has no EventList")
        return [self._event(element) for element in _unwrapped(events)]

    def _name(self, namespace: str, local: str) -> str:
        """`prefix:local` for an extension; declares the prefix in the context."""
        if not namespace:
            return local
        return f"{self._prefix(namespace)}:{local}"

    def _prefix(self, namespace: str) -> str:
        """A prefix for a namespace as it is written: hashes are made of it (traceability §2.4)."""
        found = self._prefixes.get(namespace)
        if found is not None:
            return found
        wished = _BUILT_IN_PREFIX.get(namespace) or self._tree.prefixes.get(namespace) or "ns"
        wished = prefix = wished if _PREFIX.fullmatch(wished) else "ns"
        at = 1
        while prefix in self._prefixes.values() or not _may_mean(prefix, namespace):
            at += 1
            prefix = f"{wished}{at}"
        self._prefixes[namespace] = prefix
        if BUILT_IN.get(prefix) != namespace:
            self._context[prefix] = namespace
        return prefix

    def _event(self, element: Element) -> Json:
        kind = element.name
        if not _is_standard(element):
            kind = self._name(element.namespace, element.name)
        event: Json = {"type": kind}
        certificates: list[str] = []
        for child in _unwrapped(element):
            if not _is_standard(child):
                self._extend(event, child)
            elif child.name == "certificationInfo":
                certificates.append(child.text)
            else:
                event[child.name] = self._field(child)
        if certificates:
            event["certificationInfo"] = certificates if len(certificates) > 1 else certificates[0]
        return event

    def _field(self, element: Element) -> Any:
        """The JSON of a standard field; of an unknown one as an extension, which no schema takes."""
        name = element.name
        if name in _LEAVES:
            return _LEAVES[name](element.text)
        if name in _EPC_LISTS:
            return [child.text for child in element.all("epc")]
        if name in _QUANTITY_LISTS:
            return [self._quantity(child) for child in element.all("quantityElement")]
        if name in _TYPED_LISTS:
            return self._typed(element, *_TYPED_LISTS[name])
        readers: Mapping[str, Callable[[Element], Any]] = {
            "readPoint": self._place,
            "bizLocation": self._place,
            "persistentDisposition": _persistent,
            "sensorElementList": self._sensors,
            "errorDeclaration": self._declaration,
            "ilmd": self._ilmd,
        }
        reader = readers.get(name)
        return reader(element) if reader is not None else self._value(element)

    def _quantity(self, element: Element) -> Json:
        found: Json = {}
        for child in _unwrapped(element):
            if child.text:  # an empty quantity is an unknown one
                found[child.name] = _number(child.text) if child.name == "quantity" else child.text
        return found

    def _typed(self, element: Element, member: str, words: Vocabulary) -> list[Json]:
        found = []
        for child in element.all(member):
            kind = child.plain("type")
            head = {"type": _word(words)(kind)} if kind else {}
            found.append({**head, member: child.text})
        return found

    def _place(self, element: Element) -> Json:
        found: Json = {}
        for child in _unwrapped(element):
            if _is_standard(child):
                found[child.name] = child.text
            else:
                self._extend(found, child)
        return found

    def _declaration(self, element: Element) -> Json:
        found: Json = {}
        for child in _unwrapped(element):
            if not _is_standard(child):
                self._extend(found, child)
            elif child.name == "correctiveEventIDs":
                found[child.name] = [one.text for one in child.all("correctiveEventID")]
            elif child.name == "reason":
                found[child.name] = _word(vocabulary.ERROR_REASON)(child.text)
            else:
                found[child.name] = child.text
        return found

    def _ilmd(self, element: Element) -> Json:
        found: Json = {}
        for child in _unwrapped(element):
            self._extend(found, child)
        return found

    def _sensors(self, element: Element) -> list[Json]:
        return [self._sensor(child) for child in element.all("sensorElement")]

    def _sensor(self, element: Element) -> Json:
        found: Json = {}
        reports: list[Json] = []
        for child in _unwrapped(element):
            if not _is_standard(child):
                self._extend(found, child)
            elif child.name == "sensorReport":
                reports.append(self._attributes(child, _REPORT))
            elif child.name == "sensorMetadata":
                found[child.name] = self._attributes(child, {})
            else:
                found[child.name] = self._value(child)
        return {**found, "sensorReport": reports}

    def _attributes(self, element: Element, readers: Mapping[str, Callable[[str], Any]]) -> Json:
        found: Json = {}
        for (namespace, name), text in element.attributes.items():
            read = readers.get(name, _text) if not namespace else _text
            found[self._name(namespace, name)] = read(text)
        for child in _unwrapped(element):
            self._extend(found, child)
        return found

    def _extend(self, fields: Json, element: Element) -> None:
        _add(fields, self._name(element.namespace, element.name), self._value(element))

    def _value(self, element: Element) -> Any:
        """An extension element: its text, or an object of attributes, text and children."""
        if not element.children and not element.attributes:
            return element.text
        found: Json = {}
        if element.text:
            found["#text"] = element.text
        for (namespace, name), text in element.attributes.items():
            found[self._name(namespace, name)] = text
        for child in element.children:
            self._extend(found, child)
        return found

    def _header(self, header: Element | None) -> Json:
        """Who sent the document, and its master data."""
        if header is None:
            return {}
        found: Json = {}
        sbdh = header.first("StandardBusinessDocumentHeader")
        if sbdh is not None:
            for name, path in _SBDH.items():
                element = sbdh.find(*path)
                if element is not None and element.text:
                    found[name] = element.text
        master = next((c for c in _unwrapped(header) if c.name == "EPCISMasterData"), None)
        vocabularies = master.first("VocabularyList") if master is not None else None
        if vocabularies is not None:
            lists = [self._vocabulary(one) for one in vocabularies.all("Vocabulary")]
            found["epcisHeader"] = {"epcisMasterData": {"vocabularyList": lists}}
        return found

    def _vocabulary(self, element: Element) -> Json:
        found: Json = {"type": element.plain("type") or ""}
        elements = element.first("VocabularyElementList")
        if elements is not None:
            found["vocabularyElementList"] = [
                self._vocabulary_element(one) for one in elements.all("VocabularyElement")
            ]
        return found

    def _vocabulary_element(self, element: Element) -> Json:
        found: Json = {"id": element.plain("id") or ""}
        attributes = [
            {"id": one.plain("id") or "", "attribute": self._attribute(one)}
            for one in element.all("attribute")
        ]
        if attributes:
            found["attributes"] = attributes
        children = element.first("children")
        if children is not None:
            found["children"] = [one.text for one in children.all("id")]
        return found

    def _attribute(self, element: Element) -> Any:
        if not element.children:
            return element.text
        inner: Json = {}
        for child in element.children:
            self._extend(inner, child)
        return inner


def _persistent(element: Element) -> Json:
    found: Json = {}
    for child in element.children:
        found.setdefault(child.name, []).append(_word(vocabulary.DISPOSITION)(child.text))
    return found


_SBDH: Final[Mapping[str, tuple[str, ...]]] = {
    "sender": ("Sender", "Identifier"),
    "receiver": ("Receiver", "Identifier"),
    "instanceIdentifier": ("DocumentIdentification", "InstanceIdentifier"),
}
