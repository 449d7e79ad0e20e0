"""protocol.epcis.xml: both XML forms give the JSON form, with the same hash."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis.document import parse_document, read_value
from protocol.epcis.errors import ValidationException
from protocol.epcis.eventhash import event_hash
from protocol.epcis.schema import check_document
from protocol.errors import BiaoshiError, ParseError

V12 = b"""<?xml version="1.0" encoding="UTF-8"?>
<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:1" schemaVersion="1.2"
    creationDate="2026-03-01T10:00:00Z" xmlns:ex="https://ns.example/"
    xmlns:sbdh="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader">
  <EPCISHeader>
    <sbdh:StandardBusinessDocumentHeader>
      <sbdh:Sender><sbdh:Identifier>urn:epc:id:sgln:4012345.00005.0</sbdh:Identifier></sbdh:Sender>
    </sbdh:StandardBusinessDocumentHeader>
    <extension><EPCISMasterData><VocabularyList>
      <Vocabulary type="urn:epcglobal:epcis:vtype:Location"><VocabularyElementList>
        <VocabularyElement id="urn:epc:id:sgln:4012345.00005.0">
          <attribute id="urn:epcglobal:cbv:mda#name">Works 1</attribute>
          <children><id>urn:epc:id:sgln:4012345.00005.dock1</id></children>
        </VocabularyElement>
      </VocabularyElementList></Vocabulary>
    </VocabularyList></EPCISMasterData></extension>
  </EPCISHeader>
  <EPCISBody><EventList>
    <ObjectEvent>
      <eventTime>2026-03-01T18:00:00.0005+08:00</eventTime>
      <eventTimeZoneOffset>+08:00</eventTimeZoneOffset>
      <baseExtension>
        <eventID>urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8</eventID>
        <errorDeclaration>
          <declarationTime>2026-04-01T00:00:00Z</declarationTime>
          <reason>urn:epcglobal:cbv:er:incorrect_data</reason>
          <correctiveEventIDs><correctiveEventID>urn:x:2</correctiveEventID></correctiveEventIDs>
          <ex:who>QA</ex:who>
        </errorDeclaration>
      </baseExtension>
      <epcList><epc> urn:epc:id:sgtin:4012345.011122.25 </epc></epcList>
      <action>ADD</action>
      <bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep>
      <disposition>urn:epcglobal:cbv:disp:active</disposition>
      <readPoint><id>urn:epc:id:sgln:4012345.00005.0</id><extension><ex:door>7</ex:door></extension></readPoint>
      <bizTransactionList>
        <bizTransaction type="urn:epcglobal:cbv:btt:po">urn:x:po1</bizTransaction>
        <bizTransaction>urn:x:any</bizTransaction>
      </bizTransactionList>
      <extension>
        <quantityList><quantityElement>
          <epcClass>urn:epc:class:lgtin:4012345.011122.L7</epcClass>
          <quantity>12.50</quantity><uom>KGM</uom>
        </quantityElement></quantityList>
        <sourceList><source type="urn:epcglobal:cbv:sdt:location">urn:x:s</source></sourceList>
        <ilmd>
          <ex:weight unit="KGM">3.50</ex:weight>
          <ex:part>a</ex:part><ex:part>b</ex:part>
          <ex:origin><ex:country>CN</ex:country></ex:origin>
          <m:lotNumber xmlns:m="urn:epcglobal:cbv:mda">0007</m:lotNumber>
        </ilmd>
        <extension>
          <sensorElementList><sensorElement>
            <sensorMetadata time="2026-03-01T09:00:00Z" ex:cal="yes"/>
            <sensorReport type="gs1:Temperature" value="21.50" booleanValue="true" uom="CEL"/>
            <ex:probe>9</ex:probe>
          </sensorElement></sensorElementList>
          <persistentDisposition><set>urn:epcglobal:cbv:disp:conformant</set></persistentDisposition>
        </extension>
      </extension>
      <ex:free xmlns:other="https://other.example/"><other:a>1</other:a></ex:free>
      <free xmlns="https://third.example/">z</free>
    </ObjectEvent>
    <extension><TransformationEvent>
      <eventTime>2026-03-01T10:00:00Z</eventTime><eventTimeZoneOffset>+08:00</eventTimeZoneOffset>
      <inputEPCList><epc>urn:x:1</epc></inputEPCList>
      <outputQuantityList><quantityElement><epcClass>urn:x:2</epcClass><quantity/></quantityElement></outputQuantityList>
    </TransformationEvent></extension>
  </EventList></EPCISBody>
</epcis:EPCISDocument>"""

JSON: dict[str, Any] = {
    "@context": [
        "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
        {"ex": "https://ns.example/"},
        {"other": "https://other.example/"},
        {"ns": "https://third.example/"},
    ],
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-03-01T10:00:00Z",
    "sender": "urn:epc:id:sgln:4012345.00005.0",
    "epcisHeader": {
        "epcisMasterData": {
            "vocabularyList": [
                {
                    "type": "urn:epcglobal:epcis:vtype:Location",
                    "vocabularyElementList": [
                        {
                            "id": "urn:epc:id:sgln:4012345.00005.0",
                            "attributes": [
                                {"id": "urn:epcglobal:cbv:mda#name", "attribute": "Works 1"}
                            ],
                            "children": ["urn:epc:id:sgln:4012345.00005.dock1"],
                        }
                    ],
                }
            ]
        }
    },
    "epcisBody": {
        "eventList": [
            {
                "type": "ObjectEvent",
                "eventTime": "2026-03-01T18:00:00.0005+08:00",
                "eventTimeZoneOffset": "+08:00",
                "eventID": "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8",
                "errorDeclaration": {
                    "declarationTime": "2026-04-01T00:00:00Z",
                    "reason": "incorrect_data",
                    "correctiveEventIDs": ["urn:x:2"],
                    "ex:who": "QA",
                },
                "epcList": ["urn:epc:id:sgtin:4012345.011122.25"],
                "action": "ADD",
                "bizStep": "commissioning",
                "disposition": "active",
                "readPoint": {"id": "urn:epc:id:sgln:4012345.00005.0", "ex:door": "7"},
                "bizTransactionList": [
                    {"type": "po", "bizTransaction": "urn:x:po1"},
                    {"bizTransaction": "urn:x:any"},
                ],
                "quantityList": [
                    {
                        "epcClass": "urn:epc:class:lgtin:4012345.011122.L7",
                        "quantity": Decimal("12.50"),
                        "uom": "KGM",
                    }
                ],
                "sourceList": [{"type": "location", "source": "urn:x:s"}],
                "ilmd": {
                    "ex:weight": {"#text": "3.50", "unit": "KGM"},
                    "ex:part": ["a", "b"],
                    "ex:origin": {"ex:country": "CN"},
                    "cbvmda:lotNumber": "0007",
                },
                "sensorElementList": [
                    {
                        "sensorMetadata": {"time": "2026-03-01T09:00:00Z", "ex:cal": "yes"},
                        "ex:probe": "9",
                        "sensorReport": [
                            {
                                "type": "Temperature",
                                "value": Decimal("21.50"),
                                "booleanValue": True,
                                "uom": "CEL",
                            }
                        ],
                    }
                ],
                "persistentDisposition": {"set": ["conformant"]},
                "ex:free": {"other:a": "1"},
                "ns:free": "z",
            },
            {
                "type": "TransformationEvent",
                "eventTime": "2026-03-01T10:00:00Z",
                "eventTimeZoneOffset": "+08:00",
                "inputEPCList": ["urn:x:1"],
                "outputQuantityList": [{"epcClass": "urn:x:2"}],
            },
        ]
    },
}


def in_version_2(document: bytes) -> bytes:
    """The same document without the wrappers of 1.2."""
    for wrapper in (b"baseExtension", b"extension"):
        document = document.replace(b"<%b>" % wrapper, b"").replace(b"</%b>" % wrapper, b"")
    return document.replace(b"xsd:1", b"xsd:2").replace(b'"1.2"', b'"2.0"')


@pytest.mark.parametrize("data", [V12, in_version_2(V12)])
def test_both_versions_give_the_json_form(data: bytes) -> None:
    """What 1.2 wraps stands where 2.0 has it, and both are the JSON document, which is valid."""
    assert read_value(data) == JSON
    assert check_document(read_value(data)) == []


def test_the_hash_is_the_same_for_xml_and_json() -> None:
    """Each event has one hash id, however it was written."""
    xml = parse_document(V12)
    for version in ("2.0", "2.1"):
        for one, other in zip(xml.events, JSON["epcisBody"]["eventList"], strict=True):
            assert event_hash(one, xml.context, version) == event_hash(
                other, JSON["@context"], version
            )  # type: ignore[arg-type]


def test_prefixes_that_mean_two_things_are_told_apart() -> None:
    """A prefix that is bound twice gets two names in the context."""
    data = b"""<ObjectEvent><eventTime>2026-03-01T10:00:00Z</eventTime>
      <a:x xmlns:a="https://one.example/">1</a:x><a:x xmlns:a="https://two.example/">2</a:x>
      <cbv:x xmlns:cbv="https://not-cbv.example/">3</cbv:x></ObjectEvent>"""
    document = parse_document(data)
    prehash = event_hash(document.events[0], document.context).prehash
    assert prehash.endswith(
        "{https://not-cbv.example/}x=3{https://one.example/}x=1{https://two.example/}x=2"
    )


@pytest.mark.parametrize("namespace", ["urn:epcglobal:cbv:mda", "urn:epcglobal:cbv:mda:"])
def test_a_namespace_is_hashed_as_it_is_written(namespace: str) -> None:
    """Published hashes know both spellings of the master data's namespace, and tell them apart."""
    data = f"""<ObjectEvent xmlns:cbvmda="{namespace}"><eventTime>2026-03-01T10:00:00Z</eventTime>
      <cbvmda:lotNumber>7</cbvmda:lotNumber></ObjectEvent>"""
    document = parse_document(data.encode())
    assert document.events[0]["cbvmda:lotNumber"] == "7"
    prehash = event_hash(document.events[0], document.context).prehash
    assert prehash.endswith(f"{{{namespace}}}lotNumber=7")


def test_a_query_document() -> None:
    """Query results keep the query's name, with or without a body around them."""
    event = b"<ObjectEvent><eventTime>2026-03-01T10:00:00Z</eventTime></ObjectEvent>"
    inner = b"<queryName>q</queryName><resultsBody><EventList>%b</EventList></resultsBody>" % event
    for body in (b"<EPCISBody><QueryResults>%b</QueryResults></EPCISBody>" % inner, inner):
        found = parse_document(b"<EPCISQueryDocument>%b</EPCISQueryDocument>" % body)
        assert (found.kind, len(found.events)) == ("query", 1)
        assert found.value["epcisBody"]["queryResults"]["queryName"] == "q"


def test_words_of_no_vocabulary_stay() -> None:
    """An unknown word of CBV is left for the schema to refuse; a foreign URI passes."""
    data = V12.replace(b"bizstep:commissioning", b"bizstep:shoving")
    assert [p.path for p in check_document(read_value(data))] == ["/epcisBody/eventList/0/bizStep"]
    data = V12.replace(b"urn:epcglobal:cbv:bizstep:commissioning", b"https://x.example/step")
    assert check_document(read_value(data)) == []


def test_a_document_type_that_declares_nothing() -> None:
    """A bare name before the root, as published examples have it, changes nothing."""
    head, rest = V12.split(b"?>", 1)
    assert read_value(head + b"?><!DOCTYPE project>" + rest) == read_value(V12)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"<", ParseError),
        (b"<a/>", ValidationException),
        (b"<EPCISDocument/>", ValidationException),
        (b"<EPCISDocument><EPCISBody/></EPCISDocument>", ValidationException),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><ObjectEvent>&b;</ObjectEvent>', ParseError),
        (b'<!DOCTYPE a SYSTEM "http://x/"><ObjectEvent/>', ParseError),
        (b'<!DOCTYPE a PUBLIC "-//x" "x.dtd"><ObjectEvent/>', ParseError),
        (b"<!DOCTYPE a []><ObjectEvent/>", ParseError),
        (b"<!DOCTYPE a><ObjectEvent>&b;</ObjectEvent>", ParseError),
        (b"<ObjectEvent>" * 100, ParseError),
        (b"<ObjectEvent><x:y/></ObjectEvent>", ParseError),
        (b'<?xml version="1.0" encoding="nonsense"?><ObjectEvent/>', ParseError),
        (b"<ObjectEvent>\xff</ObjectEvent>", ParseError),
    ],
)
def test_other_xml_is_refused(data: bytes, error: type[Exception]) -> None:
    """Document types that declare, entities, endless nesting and other documents are refused."""
    with pytest.raises(error):
        parse_document(data)


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_mutated_documents_are_read_or_refused(seed: int, changes: int) -> None:
    """A document with random octets changed gives a value or a plain error."""
    draw = random.Random(seed)
    data = bytearray(V12)
    for _ in range(changes):
        at = draw.randrange(len(data))
        kind = draw.random()
        if kind < 0.4:
            data[at] = draw.randrange(256)
        elif kind < 0.7:
            del data[at : at + draw.randrange(1, 200)]
        else:
            data[at:at] = data[draw.randrange(len(data)) :][: draw.randrange(1, 300)]
    try:
        document = parse_document(bytes(data))
        for event in document.events:
            event_hash(event, document.context)
    except BiaoshiError:
        return
    json.dumps(document.value, default=str)
    check_document(document.value)
