"""protocol.epcis.eventhash against the vectors and rows of our own."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis.document import open_document
from protocol.epcis.eventhash import event_hash
from protocol.errors import InvalidValue
from tests.protocol.epcis.shared_epcis import MINIMAL, needs_vectors, read

HEAD = (
    "eventType=ObjectEventeventTime=2026-03-01T10:00:00.000ZeventTimeZoneOffset=+01:00"
    "epcListepc=https://id.gs1.org/01/09521234543213/21/A1action=OBSERVE"
    "bizStep=https://ref.gs1.org/cbv/BizStep-shipping"
    "disposition=https://ref.gs1.org/cbv/Disp-in_transit"
    "readPointid=https://id.gs1.org/414/9521321000018"
)
CONTEXT = [MINIMAL["@context"], {"ex": "https://ns.example/"}]


@needs_vectors
def test_every_row_of_the_vectors() -> None:
    """Pre-hash string and hash of every row under its rule set; the caveats' readings are ours too."""
    rows = read("event-hash.json")
    assert len(rows) > 100
    for row in rows:
        document = open_document(read(row["file"]))
        found = event_hash(document.events[row["event"]], document.context, row["cbv"][3:])
        assert found.prehash == row["prehash"], (row["file"], row["event"], row["cbv"])
        assert found.hash == row["hash"]


def prehash(version: str = "2.0", **fields: Any) -> str:
    """What follows the head of the minimal event."""
    text = event_hash(MINIMAL | fields, CONTEXT, version).prehash  # type: ignore[arg-type]
    assert text.startswith(HEAD)
    return text[len(HEAD) :]


def test_the_minimal_event() -> None:
    """The hash is that of the pre-hash string's octets, and names its rule set."""
    found = event_hash(MINIMAL)
    assert found.prehash == HEAD
    digest = hashlib.sha256(HEAD.encode()).hexdigest()
    assert found.hash == f"ni:///sha-256;{digest}?ver=CBV2.0"
    assert event_hash(MINIMAL, version="2.1").hash.endswith(digest + "?ver=CBV2.1")
    assert event_hash(MINIMAL, algorithm="sha3-256").hash.startswith("ni:///sha3-256;")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.0", "1"),
        ("0012", "12"),
        ("0.3400", "0.34"),
        ("+7", "7"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("12345678901234567890.10", "12345678901234567890.1"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1E-7", "0.0000001"),
        ("1e999", "1e999"),
        ("12a", "12a"),
        (" a b ", "a b"),
        ("٣", "٣"),
        ("gs1:Temperature", "https://ref.gs1.org/voc/Temperature"),
        ("cbv:my_own", "https://ref.gs1.org/cbv/my_own"),
        ("ex:value", "ex:value"),
        ("urn:epcglobal:cbv:disp:active", "https://ref.gs1.org/cbv/Disp-active"),
        ("urn:epc:id:pgln:4012345.00225", "https://id.gs1.org/417/4012345002256"),
        ("http://x/01/9521234543213/21/a(b)", "https://id.gs1.org/01/09521234543213/21/a%28b%29"),
        (True, "true"),
    ],
)
def test_values_are_normalised_in_extensions_too(value: object, text: str) -> None:
    """Space, vocabulary, number, identifier, in this order, in any field."""
    assert prehash(**{"ex:v": value}) == f"{{https://ns.example/}}v={text}"


def test_times_are_told_by_the_field_name() -> None:
    """A name with `time` holds a time; a value that is none stays."""
    assert prehash(**{"ex:bakeTime": "2026-03-01T12:00:00.0005+02:00"}) == (
        "{https://ns.example/}bakeTime=2026-03-01T10:00:00.001Z"
    )
    assert prehash(**{"ex:bakeTime": "noon"}) == "{https://ns.example/}bakeTime=noon"


def test_extensions_nest_and_repeat() -> None:
    """An array repeats its key, children are sorted, what is empty gives nothing."""
    tree = {"ex:b": [2, "x", {"ex:d": 1, "ex:c": [True, None, []]}], "ex:a": {}, "ex:e": ""}
    n = "{https://ns.example/}"
    assert prehash(**{"ex:t": tree}) == f"{n}t{n}b=2{n}b=x{n}b{n}c=true{n}d=1"


SENSOR = {
    "sensorElementList": [
        {
            "sensorMetadata": {"time": "2026-03-01T10:00:00Z", "ex:m": 1},
            "sensorReport": [{"type": "Temperature", "value": 2.50, "ex:r": "z", "component": "x"}],
            "ex:e": 9,
        }
    ],
    "readPoint": {"id": "https://id.gs1.org/414/9521321000018", "ex:p": "q"},
}


def test_extensions_inside_fields_under_both_rule_sets() -> None:
    """2.0 collects them after ilmd, 2.1 leaves them in place and names the sensor list."""
    n = "{https://ns.example/}"
    report = (
        "sensorReporttype=https://ref.gs1.org/voc/Temperaturevalue=2.5"
        "component=https://ref.gs1.org/cbv/Comp-x"
    )
    metadata = "sensorMetadatatime=2026-03-01T10:00:00.000Z"
    assert prehash(**SENSOR, **{"ex:top": 0}) == (
        f"sensorElement{metadata}{report}readPoint{n}p=q"
        f"sensorElementsensorMetadata{n}m=1sensorReport{n}r=z{n}e=9{n}top=0"
    )
    assert prehash("2.1", **SENSOR, **{"ex:top": 0}) == (
        f"{n}p=qsensorElementListsensorElement{metadata}{n}m=1{report}{n}r=z{n}e=9{n}top=0"
    )


def test_lists_are_sorted_and_empty_ones_vanish() -> None:
    """Order in a list does not matter; an empty list does not even give its name."""
    event = MINIMAL | {
        "quantityList": [
            {"epcClass": "urn:x:2", "quantity": 1},
            {"uom": "KGM", "epcClass": "urn:x:1"},
        ],
        "sourceList": [],
        "destinationList": [{"type": "location", "destination": "urn:x:d"}],
        "persistentDisposition": {"unset": ["damaged", "active"], "set": ["stolen"]},
    }
    cbv = "https://ref.gs1.org/cbv/"
    wanted = HEAD.replace(
        "action=",
        "quantityListquantityElementepcClass=urn:x:1uom=KGM"
        "quantityElementepcClass=urn:x:2quantity=1action=",
    ).replace(
        "readPoint",
        f"persistentDispositionset={cbv}Disp-stolenunset={cbv}Disp-activeunset={cbv}Disp-damaged"
        "readPoint",
    )
    wanted += f"destinationListtype={cbv}SDT-locationdestination=urn:x:d"
    assert event_hash(event).prehash == wanted


def test_what_is_left_out() -> None:
    """Record time, event id, error declaration, certification and comments do not count."""
    extra = {
        "recordTime": "2026-03-02T10:00:00Z",
        "eventID": "urn:x:1",
        "errorDeclaration": {"declarationTime": "2026-03-02T10:00:00Z"},
        "certificationInfo": "https://example.com/cert",
        "rdfs:comment": "x",
        "comment": "y",
        "@context": {"ex2": "https://two.example/"},
    }
    assert prehash(**extra) == ""


def test_an_inner_context_adds_prefixes() -> None:
    """The event's own @context names its prefixes, and wins."""
    fields = {"@context": {"ex": "https://inner.example/"}, "ex:a": 1, "no:b": 2}
    assert prehash(**fields) == "no:b=2{https://inner.example/}a=1"


def test_unknown_rule_sets_are_refused() -> None:
    """A version or algorithm that is none raises, and so does endless nesting."""
    with pytest.raises(InvalidValue, match="rule set"):
        event_hash(MINIMAL, version="3.0")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="algorithm"):
        event_hash(MINIMAL, algorithm="md5")
    deep: Any = "x"
    for _ in range(80):
        deep = {"ex:n": deep}
    with pytest.raises(InvalidValue, match="nested"):
        event_hash(MINIMAL | {"ex:n": deep})


NAMES = st.sampled_from(
    [
        "type",
        "eventTime",
        "epcList",
        "quantityList",
        "readPoint",
        "sensorElementList",
        "ilmd",
        "ex:a",
        "persistentDisposition",
        "sourceList",
        "@context",
        "sensorReport",
        "sensorMetadata",
        "id",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=200)
@given(st.dictionaries(NAMES, JSON), st.sampled_from(["2.0", "2.1"]))
def test_any_json_object_has_a_hash(event: dict[str, Any], version: str) -> None:
    """An event of any shape has one, and the order of its members does not matter."""
    found = event_hash(event, version=version)  # type: ignore[arg-type]
    again = event_hash(dict(reversed(event.items())), version=version)  # type: ignore[arg-type]
    assert found == again
