"""protocol.epcis.mapping: rows and a mapping file become events."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis.eventhash import event_hash
from protocol.epcis.mapping import EventMapping, Line, Made, Mapper, parse_mapping
from protocol.epcis.mapping_text import parse_template
from protocol.epcis.mapping_values import offset_of, read_number, read_time, read_truth
from protocol.epcis.schema import check_event
from protocol.errors import BiaoshiError, InvalidValue, SettingsError

SHANGHAI = timezone(timedelta(hours=8))
DIGEST = "ab" * 32
HEAD = """
[source]
time_formats = ["%d.%m.%Y %H:%M"]
decimal = ","
[context]
ex = "https://ns.example/"
[words.step]
"装配" = "assembling"
"*" = "other"
"""


def mapping(text: str) -> EventMapping:
    return parse_mapping(tomllib.loads(HEAD + text))


def made(text: str, *rows: Mapping[str, Any], digest: Any = lambda _name: DIGEST) -> list[Made]:
    lines: Iterable[Line] = (Line(at, row) for at, row in enumerate(rows, 2))
    return list(Mapper(mapping(text), SHANGHAI, digest).events(lines))


def event(text: str, *rows: Mapping[str, Any]) -> dict[str, Any]:
    """The only event, without its hash id."""
    (one,) = made(text, *rows)
    assert one.error is None
    assert one.event is not None
    assert one.event.pop("eventID") == event_hash(one.event, mapping(text).contexts()).hash
    return one.event


SIMPLE = """
[[event]]
type = "ObjectEvent"
action = "ADD"
eventTime = "{when}"
bizStep = "{step|words:step}"
epcList = ["https://id.gs1.org/01/{gtin|gtin}/21/{serial}"]
"""
ROW = {"when": "2026-03-01 08:00", "step": "装配", "gtin": "9521234543213", "serial": "a/1"}


def test_columns_constants_words_zone_and_identifiers() -> None:
    """A row becomes an event that the schema takes."""
    found = event(SIMPLE, ROW)
    assert found == {
        "type": "ObjectEvent",
        "action": "ADD",
        "eventTime": "2026-03-01T08:00:00.000+08:00",
        "eventTimeZoneOffset": "+08:00",
        "bizStep": "assembling",
        "epcList": ["https://id.gs1.org/01/09521234543213/21/a%2F1"],
    }
    assert check_event(found, mapping(SIMPLE).contexts()) == []


def test_an_empty_cell_leaves_its_part_out() -> None:
    """Texts with an empty cell vanish; a table whose columns are all empty does too."""
    text = (
        SIMPLE
        + """
readPoint = { id = "https://id.gs1.org/414/{gln}" }
quantityList = [{ epcClass = "urn:x:{lot}", quantity = "{kg}", uom = "KGM" }]
[[event.sensorElementList]]
sensorReport = [{ type = "Temperature", value = "{temp}", uom = "CEL" }]
"""
    )
    assert event(text, ROW) == event(SIMPLE, ROW)
    full = event(text, ROW | {"gln": "9521321000018", "lot": "L", "kg": "1.250,50", "temp": -3})
    assert full["readPoint"] == {"id": "https://id.gs1.org/414/9521321000018"}
    assert full["quantityList"] == [
        {"epcClass": "urn:x:L", "quantity": Decimal("1250.5"), "uom": "KGM"}
    ]
    assert full["sensorElementList"] == [
        {"sensorReport": [{"type": "Temperature", "value": -3, "uom": "CEL"}]}
    ]


def test_rows_choose_their_events() -> None:
    """`when` and `unless` decide; a row may give several events, or none."""
    text = (
        '[[event]]\ntype = "ObjectEvent"\nwhen = { step = ["A", "B"] }\n'
        '[[event]]\ntype = "TransactionEvent"\nunless = { step = "A", state = "X" }\n'
    )
    rows = [{"step": "A"}, {"step": "B"}, {"step": "C"}, {"step": "C", "state": "X"}]
    assert [(m.lines, m.event["type"]) for m in made(text, *rows) if m.event] == [
        ((2,), "ObjectEvent"),
        ((3,), "ObjectEvent"),
        ((3,), "TransactionEvent"),
        ((4,), "TransactionEvent"),
    ]


def test_groups_gather_lists_add_quantities_and_take_the_latest_time() -> None:
    """Rows of one group are one event; what is not a list comes from the first row."""
    text = """
[[event]]
type = "AggregationEvent"
group = "{pallet}"
action = "ADD"
eventTime = "{when}"
parentID = "hdl:88.118.8/{pallet}"
childEPCs = ["urn:x:{box}"]
childQuantityList = [{ epcClass = "urn:x:{lot}", quantity = "{n}" }]
"ex:by" = "{who}"
"""
    rows = [
        {"pallet": "P1", "when": "2026-03-01 08:00", "box": "1", "lot": "L", "n": 2, "who": "a"},
        {"pallet": "P2", "when": "2026-03-01 08:00", "box": "9"},
        {
            "pallet": "P1",
            "when": "2026-03-01T00:30:00Z",
            "box": "2",
            "lot": "L",
            "n": 3,
            "who": "b",
        },
        {"pallet": "P1", "when": "2026-03-01 08:10", "box": "1", "lot": "M", "n": 1},
    ]
    first, second = made(text, *rows)
    assert first.lines == (2, 4, 5)
    assert first.event is not None
    assert first.event["childEPCs"] == ["urn:x:1", "urn:x:2"]
    assert first.event["childQuantityList"] == [
        {"epcClass": "urn:x:L", "quantity": 5},
        {"epcClass": "urn:x:M", "quantity": 1},
    ]
    assert first.event["eventTime"] == "2026-03-01T00:30:00Z"
    assert first.event["eventTimeZoneOffset"] == "+00:00"
    assert first.event["ex:by"] == "a"
    assert second.lines == (3,)


DOCUMENTS = (
    SIMPLE
    + """
[[event.documents]]
uri = "https://docs.example/{cert}"
file = "{file}"
sha256 = "{sha}"
type = "cert"
title = "Inspection {cert}"
certificate = true
"""
)


def test_documents_are_referenced_with_their_digests() -> None:
    """A document stands in bizTransactionList and certificationInfo, its digest in an extension."""
    found = event(DOCUMENTS, ROW | {"cert": "3.1 A", "file": "a.pdf"})
    uri = "https://docs.example/3.1%20A"
    assert found["bizTransactionList"] == [{"type": "cert", "bizTransaction": uri}]
    assert found["certificationInfo"] == [uri]
    assert found["biaoshi:document"] == [
        {"biaoshi:uri": uri, "biaoshi:sha256": DIGEST, "biaoshi:title": "Inspection 3.1 A"}
    ]
    assert check_event(found, mapping(DOCUMENTS).contexts()) == []
    assert "biaoshi:sha256" not in event(DOCUMENTS, ROW | {"cert": "x"})["biaoshi:document"][0]
    assert (
        event(DOCUMENTS, ROW | {"cert": "x", "sha": "CD" * 32})["biaoshi:document"][0][
            "biaoshi:sha256"
        ]
        == "cd" * 32
    )
    assert "biaoshi:document" not in event(DOCUMENTS, ROW)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"sha": "12"}, "64 hex digits"),
        ({"sha": "cd" * 32, "file": "a.pdf"}, "has the SHA-256"),
    ],
)
def test_digests_that_do_not_hold_are_refused(row: dict[str, str], told: str) -> None:
    """A given digest must be one, and that of the file."""
    (one,) = made(DOCUMENTS, ROW | {"cert": "x"} | row)
    assert one.event is None
    assert told in (one.error or "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"when": "yesterday"}, "eventTime: 'yesterday'"),
        ({"gtin": "9521234543210"}, "column gtin: (01) GTIN: check digit"),
    ],
)
def test_a_bad_cell_names_its_line_and_column(change: dict[str, str], told: str) -> None:
    """One row's fault is that row's; the others go on."""
    bad, good = made(SIMPLE, ROW | change, ROW)
    assert bad.error is not None
    assert bad.error.startswith("line 2: ")
    assert told in bad.error
    assert good.event is not None


@pytest.mark.parametrize(
    ("text", "row", "texts"),
    [
        ("{a}-{b}", {"a": 1, "b": " x "}, ["1-x"]),
        ("{a}", {"a": ""}, []),
        ("{a}", {}, []),
        ("{a|default:none}", {}, ["none"]),
        ("{a|split:;}", {"a": "1; 2;;3"}, ["1", "2", "3"]),
        ("{a|split}/{b|split}", {"a": "1,2", "b": "x,y"}, ["1/x", "1/y", "2/x", "2/y"]),
        ("{a|upper|before:-}", {"a": "ab-c"}, ["AB"]),
        ("{a|lower|after:-}", {"a": "ab-C"}, ["c"]),
        ("{a|digits|pad:6}", {"a": "No. 42"}, ["000042"]),
        ("{a|nospace}", {"a": "a b\tc"}, ["abc"]),
        ("{a|number:,}", {"a": "1.234,50"}, ["1234.5"]),
        ("{{a}}", {"a": 1}, ["{a}"]),
        ("https://x/{a}", {"a": "ü/1"}, ["https://x/%C3%BC%2F1"]),
        ("https://x/{a|raw}", {"a": "b/1"}, ["https://x/b/1"]),
        ("{o.l.1.s}", {"o": {"l": [{}, {"s": True}]}}, ["true"]),
        ("{o.l.5}", {"o": {"l": []}}, []),
        ("{a.b}", {"a.b": 1}, ["1"]),
        ("{a}", {"a": [1, 2]}, ["1", "2"]),
    ],
)  # fmt: skip
def test_templates(text: str, row: dict[str, Any], texts: list[str]) -> None:
    """Holes take cells, filters change them, split gives several."""
    assert parse_template(text, {}).fill(row, {}) == texts


@pytest.mark.parametrize(
    "text",
    ["{a", "a}", "{}", "{a|unknown}", "{a|words:none}", "{a|pad:x}", "{a|pad:1000}", "x" * 5000],
)
def test_templates_that_are_none(text: str) -> None:
    """Loose braces, unknown filters and tables are told when the mapping is read."""
    with pytest.raises(SettingsError):
        parse_template(text, {})


def test_a_template_is_bounded() -> None:
    """Two splits cannot multiply without end."""
    many = ",".join(map(str, range(200)))
    with pytest.raises(InvalidValue, match="over"):
        parse_template("{a|split}{b|split}", {}).fill({"a": many, "b": many}, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[events]\nx = 1",
        "[[event]]\naction = 'ADD'",
        "[[event]]\ntype = 'ObjectEvent'\nevent_id = 'uuid'",
        "[[event]]\ntype = 'ObjectEvent'\n[[event.documents]]\nfile = 'x'",
        "[[event]]\ntype = 'ObjectEvent'\n[[event.documents]]\nuri = 'x'\nurl = 'y'",
        "[[event]]\ntype = 'ObjectEvent'\nwhen = 3",
        "event = 3",
    ],
)
def test_mappings_that_are_none(text: str) -> None:
    """What the mapping lacks or has too much is named."""
    with pytest.raises(SettingsError):
        mapping(text)


@pytest.mark.parametrize(
    "source",
    [
        {"colour": 1},
        {"header_row": 0},
        {"header_row": True},
        {"decimal": ";"},
        {"time_formats": "x"},
        {"sheet": 3},
    ],
)
def test_sources_that_are_none(source: dict[str, Any]) -> None:
    """Unknown names and values of [source] are refused."""
    with pytest.raises(SettingsError):
        parse_mapping({"source": source, "event": [{"type": "ObjectEvent"}]})


def test_several_texts_where_one_belongs_are_refused() -> None:
    """A split outside of a list is a mistake that is told."""
    (one,) = made(SIMPLE + 'disposition = "{d|split}"', ROW | {"d": "a,b"})
    assert "takes one value" in (one.error or "")


def test_cells_as_times_numbers_and_truth() -> None:
    """Times get the zone unless they have one; numbers stay exact; words of truth are known."""
    assert (
        read_time("01.03.2026 08:00", SHANGHAI, ["%d.%m.%Y %H:%M"])
        == "2026-03-01T08:00:00.000+08:00"
    )
    assert (
        read_time("2026-03-01 08:00:00.123456", SHANGHAI, []) == "2026-03-01T08:00:00.123456+08:00"
    )
    assert read_time("2026-03-01T08:00:00.5-03:30", SHANGHAI, []) == "2026-03-01T08:00:00.5-03:30"
    assert offset_of("2026-03-01T08:00:00.5-03:30") == "-03:30"
    assert offset_of("2026-03-01T08:00:00Z") == "+00:00"
    with pytest.raises(InvalidValue, match="zone"):
        read_time("2026-03-01 08:00", None, [])
    assert read_number("12 345,60", ",") == Decimal("12345.6")
    assert read_number("7.0", ".") == 7
    assert [read_truth(text) for text in ("TRUE", "0", "是")] == [True, False, True]
    with pytest.raises(InvalidValue):
        read_truth("perhaps")


CELLS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.lists(st.text(max_size=4), max_size=3)
)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["when", "step", "gtin", "serial", "cert", "file", "sha"]), CELLS
    )
)
def test_any_cells_give_an_event_or_a_told_refusal(row: dict[str, Any]) -> None:
    """No row ends the run."""
    (one,) = made(DOCUMENTS, ROW | row)
    assert (one.event is None) == (one.error is not None)


@settings(max_examples=200)
@given(
    st.text(alphabet="{}|:ab.,https/", max_size=30),
    st.dictionaries(st.sampled_from("ab"), st.text(max_size=5)),
)
def test_any_template_is_read_or_refused(text: str, row: dict[str, str]) -> None:
    """Any text is a template or a plain error, and fills without another."""
    try:
        parse_template(text, {}).fill(row, {})
    except BiaoshiError:
        return
