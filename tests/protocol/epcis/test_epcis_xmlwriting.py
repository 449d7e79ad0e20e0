"""protocol.epcis.xmlwriting: what is written in XML reads back as the same event."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.epcis.context import join, namespaces
from protocol.epcis.document import open_document
from protocol.epcis.errors import NotAcceptableException
from protocol.epcis.eventhash import event_hash
from protocol.epcis.vocabulary import EVENT_TYPES
from protocol.epcis.xml import parse_xml
from protocol.epcis.xmlwriting import CbvFormat, query_document
from tests.protocol.epcis.shared_epcis import MINIMAL, needs_vectors, read
from tests.protocol.epcis.test_epcis_xml import JSON

CREATED = "2026-03-02T10:00:00Z"


def written(event: dict[str, Any], cbv: CbvFormat = CbvFormat.NO_PREFERENCE) -> str:
    return query_document([event], CREATED, "mine", cbv).decode()


def same(event: dict[str, Any], context: Any) -> bool:
    """Whether the hash of an event outlives XML, under both rule sets and in all spellings."""
    whole = {**event, "@context": join(context, event.get("@context"))}
    for cbv in CbvFormat:
        found = open_document(parse_xml(query_document([whole], CREATED, "mine", cbv)))
        for version in ("2.0", "2.1"):
            there = event_hash(event, context, version)
            if event_hash(found.events[0], found.context, version).hash != there.hash:
                return False
    return True


def prefixes(value: Any) -> set[str]:
    """The prefixes of all names in an event."""
    if isinstance(value, list):
        return {prefix for one in value for prefix in prefixes(one)}
    if not isinstance(value, dict):
        return set()
    named = {name.partition(":")[0] for name in value if ":" in name}
    return named | {
        prefix for name in value if name != "@context" for prefix in prefixes(value[name])
    }


def test_every_kind_of_field_reads_back() -> None:
    """Lists, words, sensors, declarations, master data and extensions keep their hash."""
    document = open_document(JSON)
    assert all(same(event, document.context) for event in document.events)


@needs_vectors
def test_the_sample_documents_read_back() -> None:
    """Every valid sample keeps its hashes, where its prefixes are declared: XML has no others."""
    seen = 0
    for row in read("manifest.json"):
        if row["schema_valid"] is not True or row["category"] not in ("document", "querydoc"):
            continue
        document = open_document(read(row["file"]))
        for event in document.events:
            known = namespaces(document.context, event.get("@context"))
            if event["type"] in EVENT_TYPES and prefixes(event) <= known.keys():
                assert same(event, document.context), row["file"]
                seen += 1
    assert seen >= 95


def test_elements_stand_in_the_order_of_the_schema() -> None:
    """The schema of XML has sequences; a transaction begins with its documents."""
    event = {**MINIMAL, "bizTransactionList": [{"type": "po", "bizTransaction": "urn:x:1"}]}
    text = written(event)
    assert text.index("<eventTime>") < text.index("<eventTimeZoneOffset>") < text.index("<epcList>")
    assert text.index("<epcList>") < text.index("<action>") < text.index("<bizTransactionList>")
    text = written({**event, "type": "TransactionEvent"})
    assert text.index("<bizTransactionList>") < text.index("<epcList>")
    assert '<bizTransaction type="urn:epcglobal:cbv:btt:po">urn:x:1<' in text
    assert "<queryName>mine</queryName>" in text


def test_a_prefix_may_mean_something_else_in_each_event() -> None:
    """Namespaces are declared on the events, not on the document."""
    one = {**MINIMAL, "@context": {"ex": "https://one.example/"}, "ex:f": "1"}
    two = {**MINIMAL, "@context": {"ex": "https://two.example/"}, "ex:f": {"ex:g": ["<", None]}}
    found = open_document(parse_xml(query_document([one, two], CREATED, "q")))
    assert [
        event_hash(event, found.context).hash == event_hash(source).hash
        for event, source in zip(found.events, (one, two), strict=True)
    ] == [True, True]


def test_a_name_that_is_a_whole_uri() -> None:
    """It is cut where a name of XML can begin."""
    text = written({**MINIMAL, "https://ns.example/a#b": 1, "urn:x:c": True})
    assert 'xmlns:ns="https://ns.example/a#"' in text
    assert "<ns:b>1</ns:b>" in text
    assert "<ns2:c>true</ns2:c>" in text


@pytest.mark.parametrize("more", [{"ex:1st": 1}, {"ex:a b": 1}, {"ex:a": "\x01"}])
def test_what_xml_cannot_say_is_refused(more: dict[str, Any]) -> None:
    """Names and characters that XML has none for: 406, with the way out."""
    with pytest.raises(NotAcceptableException, match="ask for application/json"):
        written({**MINIMAL, "@context": {"ex": "https://ns.example/"}, **more})
