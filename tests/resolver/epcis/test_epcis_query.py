"""GET /epcis/events and the collections: parameters, pages, spellings, versions, labels."""

from __future__ import annotations

import pytest

from protocol.epcis.document import open_document
from protocol.epcis.eventhash import event_hash
from protocol.epcis.xml import parse_xml
from resolver.epcis.answers import CONTEXT
from tests.resolver.epcis.asking import ITEM, URN, document, event, list_of, next_page, quoted


async def test_parameters_select_events(epcis):
    """Each group of parameters finds what it says, in whatever spelling it is asked."""
    await epcis.capture(
        event(1, epcList=[URN % 1], bizLocation={"id": "urn:epc:id:sgln:952005.385541.0"}),
        event(2, bizStep="receiving", action="ADD"),
        event(3, bizTransactionList=[{"type": "po", "bizTransaction": "urn:example:po:1"}]),
    )
    for query, expected in (
        ("", ["0003", "0002", "0001"]),
        ("orderDirection=ASC", ["0001", "0002", "0003"]),
        (f"MATCH_epc={quoted(ITEM % 1)}", ["0001"]),
        (f"MATCH_anyEPC={quoted(URN % 1)}|{quoted(URN % 3)}", ["0003", "0001"]),
        (f"MATCH_epc={quoted('urn:epc:idpat:sgtin:9506000.013435.*')}", ["0003", "0002", "0001"]),
        ("EQ_bizStep=receiving", ["0002"]),
        (f"EQ_bizStep={quoted('https://ref.gs1.org/cbv/BizStep-shipping')}", ["0003", "0001"]),
        ("EQ_action=ADD&EQ_bizStep=receiving", ["0002"]),
        ("EQ_action=ADD&EQ_bizStep=shipping", []),
        (f"EQ_bizTransaction_po={quoted('urn:example:po:1')}", ["0003"]),
        (f"EQ_bizLocation={quoted('urn:epc:id:sgln:952005.385541.0')}", ["0001"]),
        ("eventType=ObjectEvent", ["0003", "0002", "0001"]),
        ("eventType=AggregationEvent", []),
        ("GE_eventTime=2026-03-01T00:00:02Z", ["0003", "0002"]),
        ("LT_eventTime=2026-03-01T00:00:02Z", ["0001"]),
        ("GE_recordTime=2999-01-01T00:00:00Z", []),
        ("LT_recordTime=2999-01-01T00:00:00Z&orderBy=recordTime", ["0003", "0002", "0001"]),
        ("orderBy=recordTime&orderDirection=ASC", ["0001", "0002", "0003"]),
        ("eventCountLimit=2", ["0003", "0002"]),
        ("maxEventCount=3", ["0003", "0002", "0001"]),
    ):
        assert await epcis.events(query) == expected, query


@pytest.mark.parametrize(
    ("query", "status", "name"),
    [
        ("EQ_nothing=1", 400, "QueryParameterException"),
        ("GE_eventTime=yesterday", 400, "QueryParameterException"),
        ("eventCountLimit=1&maxEventCount=1", 400, "QueryParameterException"),
        ("perPage=0", 400, "QueryParameterException"),
        ("perPage=x", 400, "QueryParameterException"),
        ("nextPageToken=xyz", 404, "NoSuchResourceException"),
        ("maxEventCount=1", 413, "QueryTooLargeException"),
        ("MATCH_epc=" + "9" * 9000, 414, "URITooLongException"),
    ],
)
async def test_bad_queries_are_problems(epcis, query, status, name):
    """A query that cannot be run is refused by the exception of the standard."""
    await epcis.capture(event(1), event(2))
    answer = await epcis.get(f"/events?{query}")
    assert (answer.status, answer.json["type"]) == (status, f"epcisException:{name}")


@pytest.mark.parametrize(
    "query", ["", "orderBy=recordTime", "orderBy=example:rank", "orderDirection=ASC"]
)
async def test_pages_stay_what_they_are_while_capture_goes_on(epcis, query):
    """Pages together are the answer as it was at the first one: no event missing, none twice."""
    await epcis.capture(*(event(n) for n in range(1, 8)))
    whole = [one["eventID"] for one in await epcis.all(query)]
    path = f"/events?perPage=3&{query}"
    found = []
    while path is not None:
        answer = await epcis.get(path)
        found += [one["eventID"] for one in list_of(answer)]
        path = next_page(answer)
        assert ("GS1-Next-Page-Token-Expires" in answer.headers) == (path is not None)
        await epcis.capture(event(50 + len(found)))
    assert found == whole


async def test_a_limit_holds_over_all_pages(epcis):
    """eventCountLimit counts the events of the whole answer."""
    await epcis.capture(*(event(n) for n in range(1, 8)))
    first = await epcis.get("/events?eventCountLimit=5&perPage=3")
    second = await epcis.get(next_page(first))
    assert (len(list_of(first)), len(list_of(second)), next_page(second)) == (3, 2, None)


async def test_a_token_belongs_to_its_query_and_caller(epcis):
    """A token is refused for another query, and for somebody else."""
    await epcis.capture(*(event(n) for n in range(1, 5)), Biaoshi_Label="public")
    path = next_page(await epcis.get("/events?perPage=2"))
    token = path.partition("nextPageToken=")[2]
    assert (await epcis.get(path)).status == 200
    for wrong in (
        f"/events?perPage=2&EQ_action=ADD&nextPageToken={token}",
        f"/epcs?nextPageToken={token}",
        f"/events?nextPageToken={token[:-2]}AA",
    ):
        assert (await epcis.get(wrong)).status == 404
    assert (await epcis.get(path, anybody=True)).status == 404
    assert (await epcis.delete(f"/nextPageToken/{token}")).status == 501


async def test_what_is_not_public_looks_absent(epcis):
    """Events above level 1 are to others as if they were not: in lists, counts and addresses."""
    await epcis.capture(event(1), Biaoshi_Label="public")
    await epcis.capture(event(2, bizStep="receiving"), event(3, bizStep="receiving"))
    assert await epcis.events() == ["0003", "0002", "0001"]
    assert await epcis.events(anybody=True) == ["0001"]
    assert await epcis.events("maxEventCount=1", anybody=True) == ["0001"]
    hidden = await epcis.get(f"/events/{quoted(event(2)['eventID'])}", anybody=True)
    absent = await epcis.get(f"/events/{quoted(event(9)['eventID'])}", anybody=True)
    assert (hidden.status, hidden.body) == (absent.status, absent.body) == (404, absent.body)
    for path in ("/bizSteps/receiving", f"/events/{quoted(event(2)['eventID'])}/proof"):
        assert (await epcis.get(path)).status == 200
        assert (await epcis.get(path, anybody=True)).status == 404
    steps = await epcis.get("/bizSteps", anybody=True)
    assert steps.json["member"] == ["shipping"]
    epcs = await epcis.get("/epcs", anybody=True)
    assert epcs.json["member"] == [ITEM % 1]


async def test_collections_and_their_events(epcis):
    """Collections name the values there are; each leads to its events."""
    place = {"id": "urn:epc:id:sgln:952005.385541.0"}
    await epcis.capture(
        event(1, readPoint=place, bizLocation=place, disposition="in_transit"), event(2)
    )
    top = (await epcis.get("/")).json["member"]
    for name, value in (
        ("eventTypes", "ObjectEvent"),
        ("bizSteps", "shipping"),
        ("dispositions", "in_transit"),
        ("epcs", ITEM % 1),
        ("readPoints", "https://id.gs1.org/414/9520053855415"),
        ("bizLocations", "https://id.gs1.org/414/9520053855415"),
    ):
        assert name in top
        answer = await epcis.get(f"/{name}")
        assert answer.json["type"] == "Collection"
        assert value in answer.json["member"]
        found = await epcis.get(f"/{name}/{quoted(value)}")
        assert found.json["member"] == ["events"]
        events = await epcis.all(path=f"/{name}/{quoted(value)}/events")
        assert event(1)["eventID"] in [one["eventID"] for one in events]
        plain = await epcis.all(path=f"/{name}/{value}/events")  # slashes as they are
        assert plain == events
        assert (await epcis.get(f"/{name}/nothing")).status == 404
        assert (await epcis.get(f"/{name}?what=1")).status == 400
    assert await epcis.all("EQ_action=ADD", path="/bizSteps/shipping/events") == []
    assert (await epcis.get("/bizSteps/shipping/events?EQ_bizStep=x")).status == 400


async def test_a_collection_is_paged(epcis):
    """All values come once, over as many pages as it takes."""
    await epcis.capture(*(event(n) for n in range(1, 8)))
    found, path = [], "/epcs?perPage=3"
    while path is not None:
        answer = await epcis.get(path)
        found += answer.json["member"]
        path = next_page(answer)
    assert sorted(found) == sorted(ITEM % n for n in range(1, 8))


async def test_identifiers_are_spelt_as_asked(epcis):
    """URNs become links where these are asked for; what was a link stays one."""
    await epcis.capture(
        event(1, epcList=[URN % 1, ITEM % 2], readPoint={"id": "urn:epc:id:sgln:952005.385541.0"})
    )
    for asked, expected in (
        (None, URN % 1),
        ("No_Preference", URN % 1),
        ("Always_EPC_URN", URN % 1),
        ("Never_Translates", URN % 1),
        ("Always_GS1_Digital_Link", ITEM % 1),
    ):
        headers = {} if asked is None else {"GS1_EPC_Format": asked}
        (one,) = await epcis.all(**headers)
        assert one["epcList"] == [expected, ITEM % 2]
        single = await epcis.get(f"/events/{quoted(event(1)['eventID'])}", **headers)
        assert list_of(single) == [one]
        assert single.json["@context"] == [CONTEXT]
    answer = await epcis.get("/events", GS1_EPC_Format="Whatever")
    assert answer.status == 400


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("GS1_EPCIS_Version", "2.0.0", 200),
        ("GS1_EPCIS_Version", "2.0", 200),
        ("GS1_EPCIS_Version", "1.2", 406),
        ("GS1_EPCIS_Min", "2.0", 200),
        ("GS1_EPCIS_Min", "2.1", 406),
        ("GS1_EPCIS_Max", "1.2", 406),
        ("GS1_CBV_Version", "3", 406),
        ("GS1_CBV_Max", "2.5", 200),
        ("Accept", "application/json", 200),
        ("Accept", "application/ld+json;q=0.5, text/html", 200),
        ("Accept", "text/html", 406),
        ("Accept", "application/xml", 200),
        ("Accept", "text/*", 200),
        ("Accept", "application/x", 406),
    ],
)
async def test_versions_and_media_are_negotiated(epcis, header, value, status):
    """What is not spoken here is 406; every answer says what is."""
    answer = await epcis.get("/events", **{header: value})
    assert answer.status == status
    assert answer.headers["GS1-EPCIS-Version"] == "2.0.0"
    assert answer.headers["GS1-CBV-Max"] == "2.0.0"
    if status == 406:
        assert answer.json["type"] == "epcisException:NotAcceptableException"


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_last_page_does_not_tell_of_hidden_events(epcis, hidden):
    """A next page is told of only where there is something on it for who asks."""
    shown = {"disposition": "in_transit", "epcList": [ITEM % 1]}
    await epcis.capture(event(2, **shown), event(3, **shown), Biaoshi_Label="public")
    if hidden:
        other = {"disposition": "recalled", "bizStep": "inspecting"}
        await epcis.capture(event(1, **other), event(4, **other), event(5), Biaoshi_Label="3")
    for path in ("/events?perPage=2", "/eventTypes/ObjectEvent/events?perPage=2"):
        page = await epcis.get(path, anybody=True)
        assert (len(list_of(page)), next_page(page)) == (2, None)
        first = await epcis.get(path.replace("2", "1"), anybody=True)
        last = await epcis.get(next_page(first), anybody=True)
        assert (len(list_of(last)), next_page(last)) == (1, None)
    for name in ("bizSteps", "dispositions", "epcs", "eventTypes"):
        page = await epcis.get(f"/{name}?perPage=1", anybody=True)
        assert (len(page.json["member"]), next_page(page)) == (1, None)


async def test_options_and_unknown_methods(epcis):
    """OPTIONS tells the methods of a resource with 204; others are 405; unknown paths 404."""
    for path, methods in (
        ("", "GET, HEAD, OPTIONS"),
        ("/capture", "GET, HEAD, OPTIONS, POST"),
        ("/events/x", "GET, HEAD, OPTIONS"),
        ("/queries/x", "DELETE, GET, HEAD, OPTIONS"),
    ):
        answer = await epcis.node.ask("OPTIONS", "/epcis" + path)
        assert (answer.status, answer.headers["Allow"], answer.body) == (204, methods, b"")
        assert answer.headers["GS1-EPCIS-Version"] == "2.0.0"
        assert answer.headers["GS1-EPC-Format"] == "No_Preference"
        assert answer.headers["GS1-Capture-Error-Behaviour"] == "all"
        assert (await epcis.node.ask("PATCH", "/epcis" + path)).status == 405
    assert (await epcis.node.ask("OPTIONS", "/epcis/nothing")).status == 404
    assert (await epcis.get("/capture/a/b")).status == 404


async def test_extensions_keep_their_context(epcis):
    """A prefix of the document's context stays with each event and finds it."""
    names = [CONTEXT, {"example": "https://example.org/ns#"}]
    told = event(1, **{"example:rank": 7})
    answer = await epcis.post("/capture", document(told, event(2), context=names))
    assert (await epcis.finished(answer.headers["Location"]))["success"]
    assert await epcis.events("EQ_example:rank=7") == ["0001"]
    (single,) = list_of(await epcis.get(f"/events/{quoted(told['eventID'])}"))
    assert single["@context"] == names[1:]
    assert (await epcis.post("/events", {**single, "@context": names})).status == 201


@pytest.mark.parametrize("path", ["/events", "/events/ID", "/bizSteps/shipping/events"])
async def test_events_are_answered_in_xml(epcis, path):
    """XML tells the same events; words are URNs, or web URIs where these are asked for."""
    context = [CONTEXT, {"example": "https://example.org/ns#"}]
    told = event(1, **{"example:rank": [7, {"example:of": "a<b"}]})
    answer = await epcis.post("/capture", document(told, context=context))
    assert (await epcis.finished(answer.headers["Location"]))["success"]
    path = path.replace("ID", quoted(told["eventID"]))
    (as_json,) = list_of(await epcis.get(path))
    for words, step in (
        (None, "urn:epcglobal:cbv:bizstep:shipping"),
        ("Always_Web_URI", "https://ref.gs1.org/cbv/BizStep-shipping"),
    ):
        headers = {} if words is None else {"GS1_CBV_XML_Format": words}
        answer = await epcis.get(path, Accept="application/xml", **headers)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/xml")
        assert answer.headers["GS1-CBV-XML-Format"] == (words or "No_Preference")
        assert f"<bizStep>{step}</bizStep>".encode() in answer.body
        found = open_document(parse_xml(answer.body))
        one = found.events[0]
        assert event_hash(one, found.context).hash == event_hash(as_json, context).hash
        assert one["recordTime"] == as_json["recordTime"]
    assert (await epcis.get(path, GS1_CBV_XML_Format="Whatever")).status == 400


async def test_an_exported_event_proves_itself(epcis):
    """Signature and receipt of an event hold, and of an altered one do not."""
    from protocol.errors import SignatureInvalid
    from registry.events.proof import verify_logged, verify_signature

    await epcis.capture(event(1), event(2))
    keys = epcis.node.node.keys.log_public
    proof = (await epcis.get(f"/events/{quoted(event(1)['eventID'])}/proof")).json
    claims = verify_signature(proof, [keys])
    assert claims.key.text() == "302:0.NA/86.999"
    assert verify_logged(proof, [keys.public_bytes_raw()]).size >= proof["receipt"]["sequence"]
    altered = {**proof, "event": {**proof["event"], "bizStep": "receiving"}}
    loosened = {**proof, "label": {"class": "operation", "level": 1}}
    for wrong in (altered, loosened):
        with pytest.raises(SignatureInvalid):
            verify_signature(wrong, [keys])
        with pytest.raises(SignatureInvalid):
            verify_logged(wrong, [keys.public_bytes_raw()])
