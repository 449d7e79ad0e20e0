"""protocol.epcis.query: every parameter, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis.errors import (
    EpcisException,
    QueryParameterException,
    QueryTooComplexException,
    QueryValidationException,
)
from protocol.epcis.query import World, parse_query
from protocol.epcis.query_json import params_of
from protocol.epcis.query_tests import TESTS
from tests.protocol.epcis.shared_epcis import needs_vectors, read

GTIN = "https://id.gs1.org/01/04012345111224"
EVENT: dict[str, Any] = {
    "@context": [{"ex": "https://ns.example/"}],
    "type": "ObjectEvent",
    "eventID": "ni:///sha-256;00?ver=CBV2.0",
    "eventTime": "2026-03-01T10:00:00.000+08:00",
    "recordTime": "2026-03-01T03:00:00.000Z",
    "epcList": ["urn:epc:id:sgtin:4012345.011122.25", "88.118.8/JXDY1"],
    "childEPCs": ["https://shop.example/01/04012345111224/10/L7/21/9"],
    "parentID": "urn:epc:id:sscc:4012345.1111111112",
    "inputEPCList": ["urn:x:in"],
    "outputEPCList": ["urn:x:out"],
    "quantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.011122.L7", "quantity": 20, "uom": "KGM"}],
    "outputQuantityList": [{"epcClass": "urn:x:class"}],
    "transformationID": "urn:x:t1",
    "action": "OBSERVE",
    "bizStep": "shipping",
    "disposition": "https://ref.gs1.org/cbv/Disp-in_transit",
    "persistentDisposition": {"set": ["completeness_verified"], "unset": ["damaged"]},
    "readPoint": {"id": "urn:epc:id:sgln:4012345.00005.dock1", "ex:door": "7"},
    "bizLocation": {"id": "https://id.gs1.org/414/4012345000054"},
    "bizTransactionList": [{"type": "po", "bizTransaction": "urn:x:po1"}, {"bizTransaction": "urn:x:any"}],
    "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:4012345.00225"}],
    "destinationList": [{"type": "location", "destination": "urn:x:d"}],
    "errorDeclaration": {
        "declarationTime": "2026-04-01T00:00:00Z",
        "reason": "did_not_occur",
        "correctiveEventIDs": ["urn:x:e2"],
        "ex:who": "QA",
    },
    "sensorElementList": [
        {
            "sensorMetadata": {
                "time": "2026-03-01T01:00:00Z",
                "startTime": "2026-03-01T00:00:00Z",
                "endTime": "2026-03-01T02:00:00Z",
                "deviceID": "urn:epc:id:giai:4000001.111",
                "bizRules": "urn:x:rule",
                "ex:cal": "2026-01-01T00:00:00Z",
            },
            "sensorReport": [
                {"type": "Temperature", "value": 21.5, "minValue": 20, "maxValue": 23, "meanValue": 21.4,
                 "sDev": 0.5, "percRank": 50, "percValue": 21.2, "uom": "CEL", "ex:note": ["a", "b"]},
                {"type": "gs1:Count", "stringValue": "x", "booleanValue": True, "hexBinaryValue": "AbC1",
                 "uriValue": "urn:x:u", "microorganism": "urn:x:m", "chemicalSubstance": "urn:x:c",
                 "dataProcessingMethod": "urn:x:p"},
            ],
            "ex:element": 1,
        }
    ],
    "ilmd": {"ex:weight": 12.5, "ex:origin": {"ex:country": "CN", "ex:mine": [{"ex:depth": "300"}]}},
    "ex:colour": "red",
    "ex:size": "0042",
    "ex:when": "2026-05-01T00:00:00+02:00",
    "ex:tree": {"ex:leaf": {"ex:twig": 3}},
}  # fmt: skip

HITS_AND_MISSES = [
    ("eventType", "AggregationEvent|ObjectEvent", "TransactionEvent"),
    ("eventType", "epcis:ObjectEvent", "urn:x:Special"),
    ("GE_eventTime", "2026-03-01T02:00:00Z", "2026-03-01T02:00:00.001Z"),
    ("LT_eventTime", "2026-03-01T02:00:00.001Z", "2026-03-01T02:00:00Z"),
    ("GE_recordTime", "2026-03-01T03:00:00Z", "2026-03-01T03:00:01Z"),
    ("LT_recordTime", "2026-03-01T03:00:01Z", "2026-03-01T03:00:00Z"),
    ("EQ_action", "ADD|OBSERVE", "DELETE"),
    ("EQ_bizStep", "urn:epcglobal:cbv:bizstep:shipping", "receiving"),
    ("EQ_bizStep", "cbv:BizStep-shipping", "https://example.com/shipping"),
    ("EQ_disposition", "in_transit", "active"),
    ("EQ_persistentDisposition_set", "completeness_verified", "damaged"),
    ("EQ_persistentDisposition_unset", "damaged", "completeness_verified"),
    ("EQ_readPoint", "https://id.gs1.org/414/4012345000054/254/dock1", "https://id.gs1.org/414/4012345000054"),
    ("WD_readPoint", "urn:epc:id:sgln:4012345.00005.0", "https://id.gs1.org/414/4012345000061"),
    ("EQ_bizLocation", "urn:epc:id:sgln:4012345.00005.0", "urn:x:other"),
    ("WD_bizLocation", "https://other.example/414/4012345000054", "urn:x:other"),
    ("EQ_transformationID", "urn:x:t1|urn:x:t2", "urn:x:t2"),
    ("EQ_bizTransaction_po", "urn:x:po1", "urn:x:any"),
    ("EQ_bizTransaction_urn:epcglobal:cbv:btt:po", "urn:x:po1", "urn:x:po2"),
    ("EQ_bizTransaction_", "urn:x:any", "urn:x:po1"),
    ("EQ_source_owning_party", "https://id.gs1.org/417/4012345002256", "urn:x:other"),
    ("EQ_destination_location", "urn:x:d", "urn:x:e"),
    ("MATCH_epc", GTIN + "/21/25", GTIN + "/21/26"),
    ("MATCH_epc", "88.118.8/JXDY1", "88.118.8/JXDY2"),
    ("MATCH_epc", GTIN + "/10/L7", GTIN + "/10/L8"),
    ("MATCH_epc", "urn:epc:idpat:sgtin:4012345.011122.*", "urn:epc:idpat:sgtin:4012345.011123.*"),
    ("MATCH_epc", "urn:epc:idpat:sgtin:4012345.*.*", "urn:epc:idpat:sgtin:5012345.*.*"),
    ("MATCH_epc", "urn:epc:idpat:sgtin:*.*.*", "urn:epc:idpat:sscc:*.*"),
    ("MATCH_parentID", "https://id.gs1.org/00/140123451111111124", "urn:x:in"),
    ("MATCH_parentID", "urn:epc:idpat:sscc:4012345.*", "urn:epc:idpat:sscc:4012346.*"),
    ("MATCH_inputEPC", "urn:x:in", "urn:x:out"),
    ("MATCH_outputEPC", "urn:x:out", "urn:x:in"),
    ("MATCH_anyEPC", "urn:x:nothing|urn:x:out", "urn:x:nothing"),
    ("MATCH_epcClass", GTIN + "/10/L7", GTIN + "/10/L8"),
    ("MATCH_epcClass", "urn:epc:idpat:sgtin:4012345.011122.*", "urn:x:class"),
    ("MATCH_outputEPCClass", "urn:x:class", GTIN + "/10/L7"),
    ("MATCH_anyEPCClass", "urn:x:class", "urn:x:other"),
    ("EQ_quantity", "19|20.0", "19"),
    ("GT_quantity", "19.9", "20"),
    ("GE_quantity", "20", "20.1"),
    ("LT_quantity", "20.1", "20"),
    ("LE_quantity", "2e1", "19"),
    ("EQ_quantity_KGM", "20", "21"),
    ("GE_quantity_KGM", "1", "21"),
    ("EQ_eventID", "ni:///sha-256;00?ver=CBV2.0", "ni:///sha-256;01?ver=CBV2.0"),
    ("GE_errorDeclarationTime", "2026-04-01T00:00:00Z", "2026-04-02T00:00:00Z"),
    ("LT_errorDeclaration_Time", "2026-04-02T00:00:00Z", "2026-04-01T00:00:00Z"),
    ("EQ_errorReason", "https://ref.gs1.org/cbv/ER-did_not_occur", "incorrect_data"),
    ("EQ_correctiveEventID", "urn:x:e2", "urn:x:e3"),
    ("GE_time", "2026-03-01T01:00:00Z", "2026-03-01T01:00:01Z"),
    ("LT_startTime", "2026-03-01T00:00:01Z", "2026-03-01T00:00:00Z"),
    ("GE_endTime", "2026-03-01T02:00:00Z", "2026-03-01T02:00:01Z"),
    ("EQ_type", "https://gs1.org/voc/Temperature", "Mass"),
    ("EQ_type", "Count", "Pressure"),
    ("EQ_deviceID", "https://id.gs1.org/8004/4000001111", "urn:x:other"),
    ("EQ_dataProcessingMethod", "urn:x:p", "urn:x:other"),
    ("EQ_bizRules", "urn:x:rule", "urn:x:other"),
    ("EQ_microorganism", "urn:x:m", "urn:x:other"),
    ("EQ_chemicalSubstance", "urn:x:c", "urn:x:other"),
    ("EQ_uriValue", "urn:x:u", "urn:x:other"),
    ("EQ_stringValue", "x|y", "y"),
    ("EQ_hexBinaryValue", "aBc1", "abc2"),
    ("EQ_booleanValue", "true", "false"),
    ("EQ_value_CEL", "21.50", "21.4"),
    ("GE_value_CEL", "21.5", "21.6"),
    ("LT_minValue_CEL", "21", "20"),
    ("GT_maxValue_CEL", "22", "23"),
    ("LE_meanValue_CEL", "21.4", "21.3"),
    ("EQ_sDev_CEL", "0.5", "0.6"),
    ("EQ_percValue_CEL", "21.2", "21.3"),
    ("GE_percRank", "50", "51"),
    ("EQ_ex:colour", "blue|red", "blue"),
    ("EQ_ex:size", "42", "43"),
    ("GT_ex:size", "41.9", "42"),
    ("GE_ex:when", "2026-04-30T22:00:00Z", "2026-05-01T00:00:00Z"),
    ("EQ_https://ns.example/colour", "red", "blue"),
    ("EQ_INNER_ex:twig", "3", "4"),
    ("EQ_ILMD_ex:weight", "12.50", "12"),
    ("EQ_INNER_ILMD_ex:country", "CN", "DE"),
    ("LT_INNER_ILMD_ex:depth", "301", "300"),
    ("EQ_ERROR_DECLARATION_ex:who", "QA", "QB"),
    ("EQ_SENSORELEMENT_ex:element", "1", "2"),
    ("LT_SENSORMETADATA_ex:cal", "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ("EQ_SENSORREPORT_ex:note", "b", "c"),
    ("EQ_readPoint_ex:door", "7", "8"),
    ("HASATTR_bizLocation", "ex:size", "ex:none"),
    ("EQATTR_bizLocation_ex:size", "big|huge", "small"),
    ("EQ_ATTR_bizLocation_ex:size", "big", "small"),
]  # fmt: skip

EXISTS = ["errorDeclaration", "sensorElementList", "ex:colour", "INNER_ex:twig", "ILMD_ex:weight",
          "INNER_ILMD_ex:mine", "ERROR_DECLARATION_ex:who", "SENSORELEMENT_ex:element",
          "SENSORMETADATA_ex:cal", "SENSORREPORT_ex:note"]  # fmt: skip

LOCATION = "https://id.gs1.org/414/4012345000054"
WORLD = World(
    parents=lambda place: {LOCATION: ["urn:x:region"]}.get(place, []),
    attributes=lambda place: {LOCATION: {"ex:size": ["big"]}}.get(place, {}),
)


def holds(name: str, *values: str, event: dict[str, Any] = EVENT) -> bool:
    return parse_query({name: list(values)}).matches(event, WORLD)


@pytest.mark.parametrize(("name", "hit", "miss"), HITS_AND_MISSES)
def test_each_parameter_finds_and_passes_over(name: str, hit: str, miss: str) -> None:
    """One value finds the event and another does not; an event without the field is never found."""
    assert holds(name, hit)
    assert not holds(name, miss)
    if name[:2] in ("EQ", "MA", "WD") and name != "EQ_booleanValue":
        assert holds(name, miss, hit)
        assert holds(name, f"{miss}|{hit}")
    assert not holds(name, hit, event={"type": "x:y"})


@pytest.mark.parametrize("field", EXISTS)
def test_exists_asks_for_presence(field: str) -> None:
    """EXISTS_ takes no value, or true, and finds events that have the field."""
    for value in ("", "true", "1", "null"):
        assert holds(f"EXISTS_{field}", value)
    assert not holds(f"EXISTS_{field}", "", event={})
    with pytest.raises(QueryParameterException):
        holds(f"EXISTS_{field}", "false")


def test_every_fixed_parameter_is_tried() -> None:
    """The table above has a row for each parameter with a fixed name, or its twin comparison."""
    tried = {name for name, *_ in HITS_AND_MISSES} | {f"EXISTS_{field}" for field in EXISTS}
    stems = {name.partition("_")[2] for name in tried}
    assert {
        name for name in TESTS if name not in tried and name.partition("_")[2] not in stems
    } == {"MATCH_inputEPCClass"}


def test_places_lie_in_places() -> None:
    """WD_ follows the hierarchy that is handed in, from the part of a place upwards."""
    assert holds("WD_bizLocation", "urn:x:region")
    assert holds("WD_readPoint", "urn:x:region")
    assert not holds("EQ_bizLocation", "urn:x:region")
    assert not parse_query({"WD_bizLocation": ["urn:x:region"]}).matches(EVENT)


def test_parameters_are_joined_by_and() -> None:
    """Two parameters hold together."""
    assert parse_query({"EQ_action": ["OBSERVE"], "EQ_bizStep": ["shipping"]}).matches(EVENT)
    assert not parse_query({"EQ_action": ["OBSERVE"], "EQ_bizStep": ["packing"]}).matches(EVENT)
    assert parse_query({}).matches(EVENT)


def test_prefixes_of_the_query_are_its_own() -> None:
    """With a context the same prefix may mean another namespace, and another prefix the same."""
    other = {"o": "https://ns.example/", "ex": "https://different.example/"}
    assert parse_query({"EQ_o:colour": ["red"]}, other).matches(EVENT)
    assert not parse_query({"EQ_ex:colour": ["red"]}, other).matches(EVENT)


def test_what_an_index_may_use() -> None:
    """Windows, ids and event ids are canonical; a pattern over a range gives none."""
    query = parse_query(
        {
            "GE_eventTime": ["1970-01-01T00:00:01Z"],
            "LT_recordTime": ["1970-01-01T00:00:02Z"],
            "MATCH_epc": ["urn:epc:idpat:sgtin:4012345.011122.*|urn:x:1"],
            "MATCH_parentID": ["urn:epc:idpat:sscc:4012345.*"],
            "EQ_eventID": ["urn:x:a|urn:x:b"],
        }
    )
    assert (query.event_time.start_us, query.event_time.stop_us) == (1_000_000, None)
    assert query.record_time.stop_us == 2_000_000
    assert query.ids == {"MATCH_epc": {GTIN, "urn:x:1"}}
    assert query.event_ids == ("urn:x:a", "urn:x:b")


def test_how_the_answer_is_wanted() -> None:
    """Order, direction, limits and paging are read; the default is the newest first."""
    query = parse_query(
        {
            "orderBy": ["recordTime"],
            "orderDirection": ["ASC"],
            "eventCountLimit": ["5"],
            "perPage": ["2"],
            "nextPageToken": ["abc"],
        }
    )
    assert (query.order_by, query.descending) == ("recordTime", False)
    assert (query.event_count_limit, query.per_page, query.next_page_token) == (5, 2, "abc")
    assert parse_query({"maxEventCount": ["7"], "orderBy": ["ex:size"]}).max_event_count == 7
    assert parse_query({}).descending


@pytest.mark.parametrize(
    "params",
    [
        {"EQ_unknown": ["x"]},
        {"eq_bizStep": ["shipping"]},
        {"MATCH_everything": ["x"]},
        {"GE_eventTime": ["yesterday"]},
        {"GE_eventTime": ["2026-03-01T00:00:00Z|2026-03-02T00:00:00Z"]},
        {"eventType": ["SpecialEvent"]},
        {"EQ_action": ["CREATE"]},
        {"EQ_action": [""]},
        {"EQ_action": []},
        {"GE_quantity": ["much"]},
        {"GE_quantity": ["1|2"]},
        {"GE_value_celsius": ["1"]},
        {"EQ_booleanValue": ["yes"]},
        {"GT_ex:size": ["large"]},
        {"EQ_ex:": ["x"]},
        {"EQ_:x": ["x"]},
        {"HASATTR_bizStep": ["x"]},
        {"EQATTR_bizLocation": ["x"]},
        {"MATCH_epc": ["urn:epc:idpat:sgtin:4012345.*.5"]},
        {"MATCH_epc": ["urn:epc:idpat:sgtin:40*.*.*"]},
        {"orderBy": ["bizStep"]},
        {"orderDirection": ["SIDEWAYS"]},
        {"eventCountLimit": ["0"]},
        {"eventCountLimit": ["-1"]},
        {"perPage": ["many"]},
        {"eventCountLimit": ["1"], "maxEventCount": ["1"]},
    ],
)
def test_unknown_parameters_and_values_are_refused(params: dict[str, list[str]]) -> None:
    """QueryParameterException, whose message names the parameter."""
    with pytest.raises(QueryParameterException) as caught:
        parse_query(params)
    assert caught.value.exception == "QueryParameterException"
    assert caught.value.status == 400


def test_queries_are_bounded() -> None:
    """Too many parameters or values raise QueryTooComplexException."""
    with pytest.raises(QueryTooComplexException):
        parse_query({f"EQ_ex:a{at}": ["1"] for at in range(200)})
    with pytest.raises(QueryTooComplexException):
        parse_query({"MATCH_epc": ["|".join("a" * 2_000)]})


def test_a_query_in_json() -> None:
    """Numbers and flags where they are meant become the texts of a URL; the rest is refused."""
    params = params_of(
        {
            "@context": "x",
            "eventType": ["ObjectEvent"],
            "GE_quantity": 1.5,
            "EXISTS_ex:a": None,
            "EQ_booleanValue": True,
        }
    )
    assert params == {
        "eventType": ["ObjectEvent"],
        "GE_quantity": ["1.5"],
        "EXISTS_ex:a": [""],
        "EQ_booleanValue": ["true"],
    }
    for wrong in ({}, 5, 5.5, True, None):
        with pytest.raises(QueryValidationException, match="write it as a text"):
            params_of({"EQ_action": [wrong]})
    with pytest.raises(QueryValidationException):
        params_of([])


@needs_vectors
def test_the_query_bodies_of_the_vectors() -> None:
    """The valid sample parses, the invalid one does not."""
    parse_query(params_of(read("documents/oe-querylang_SimpleEventQuery.json")))
    with pytest.raises(QueryParameterException):
        parse_query(
            params_of(read("documents/oe-querylang_Invalid__Query_with_invalid_values.json"))
        )


NAMES = st.sampled_from(
    [
        *TESTS,
        "EQ_ex:a",
        "EQ_INNER_ILMD_ex:a",
        "EXISTS_SENSORREPORT_ex:a",
        "EQ_value_CEL",
        "EQ_source_x",
        "orderBy",
        "HASATTR_bizLocation",
    ]
) | st.text(max_size=20)
VALUES = st.lists(
    st.text(max_size=20)
    | st.sampled_from(["urn:epc:idpat:sgtin:*.*.*", "2026-03-01T00:00:00Z", "1", "ADD", "x:y"]),
    max_size=3,
)


@settings(max_examples=300)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_parameters_are_read_or_refused(params: dict[str, list[str]]) -> None:
    """Any names and values give a query that answers, or an exception of the binding."""
    try:
        query = parse_query(params)
    except EpcisException:
        return
    assert query.matches(EVENT) in (True, False)
    assert query.matches(
        {"type": 3, "epcList": "x", "readPoint": [], "ilmd": 1, "sensorElementList": {}}
    ) in (True, False)
