"""POST /epcis/capture, its jobs, and POST /epcis/events."""

from __future__ import annotations

import pytest

from protocol.epcis.jcs import canonical
from protocol.event_signature import EventClaims, sign_event
from protocol.keys import encode_public_key
from protocol.keys.jwk import format_base64url
from registry.check import check_node
from registry.records import read_record
from resolver.epcis.jobs import Job
from tests.resolver.epcis.asking import URN, bare, document, event, list_of, next_page, quoted
from tests.resolver.http.node_in_process import ADMIN, SECRET, as_reference, value


async def test_a_document_is_captured_by_a_job(epcis):
    """202, a finished job, and the events with a recordTime."""
    job = await epcis.capture(event(1), event(2))
    assert (job["running"], job["success"], job["errors"]) == (False, True, [])
    assert job["captureErrorBehaviour"] == "rollback"
    found = await epcis.all()
    assert [one["eventID"] for one in found] == [event(2)["eventID"], event(1)["eventID"]]
    assert all("recordTime" in one for one in found)
    assert check_node(epcis.node.node.store) == []


async def test_capturing_again_changes_nothing(epcis):
    """The same document again is stored and adds no event."""
    await epcis.capture(event(1))
    job = await epcis.capture(event(1))
    assert job["success"]
    assert await epcis.events() == ["0001"]


async def test_events_without_an_id_get_the_hash_of_their_content(epcis):
    """A missing eventID is the CBV hash id, so a repetition is recognised."""
    for _ in range(2):
        assert (await epcis.capture(event(1, eventID=None)))["success"]
    (one,) = await epcis.all()
    assert one["eventID"].startswith("ni:///sha-256;")
    path = f"/events/{quoted(one['eventID'])}"
    assert list_of(await epcis.get(path)) == [one]
    assert (await epcis.all(f"EQ_eventID={quoted(one['eventID'])}")) == [one]


async def test_rollback_stores_all_or_none(epcis):
    """An event that cannot be stored takes the others of its document with it."""
    await epcis.capture(event(1))
    job = await epcis.capture(event(2), event(1, bizStep="receiving"))
    assert (job["running"], job["success"]) == (False, False)
    (error,) = job["errors"]
    assert error["type"] == "epcisException:ResourceAlreadyExistsException"
    assert await epcis.events() == ["0001"]


async def test_a_reading_after_its_event_is_told(epcis):
    """It is captured, as GS1's own examples have it, and the job warns of it."""
    late = [
        {"sensorMetadata": {"time": "2026-03-05T00:00:00Z"}, "sensorReport": [{"type": "Mass"}]}
    ]
    job = await epcis.capture(event(1, sensorElementList=late))
    assert job["success"]
    (warning,) = job["warnings"]
    assert "/sensorElementList/0/sensorMetadata/time" in warning


async def test_proceed_stores_what_it_can(epcis):
    """With proceed, events that are refused are told and the others stored."""
    broken = event(4, eventTimeZoneOffset="Z")
    job = await epcis.capture(
        event(1),
        broken,
        event(2, eventTime="2999-01-01T00:00:00Z"),
        event(3),
        GS1_Capture_Error_Behaviour="proceed",
    )
    assert (job["running"], job["success"], len(job["errors"])) == (False, False, 2)
    assert {one["instance"] for one in job["errors"]} == {
        "/epcisBody/eventList/1",
        "/epcisBody/eventList/2",
    }
    assert await epcis.events() == ["0003", "0001"]


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"{", 400, "ValidationException"),
        (b"[]", 400, "ValidationException"),
        (document(event(1, eventTimeZoneOffset="Z")), 400, "ValidationException"),
        (bare(event(1)), 400, "ValidationException"),
        ({**document(event(1)), "@context": None}, 400, "ValidationException"),
    ],
)
async def test_what_is_no_document_is_refused_at_once(epcis, body, status, name):
    """Syntax is checked before the 202."""
    answer = await epcis.post("/capture", body, Content_Type="application/json")
    assert (answer.status, answer.json["type"]) == (status, f"epcisException:{name}")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_other_media_are_refused(epcis):
    """A body of another kind is 415."""
    answer = await epcis.post("/capture", b"a,b", Content_Type="text/csv")
    assert answer.status == 415
    assert answer.json["type"] == "epcisException:UnsupportedMediaTypeException"


async def test_too_many_events_are_413(epcis):
    """The limits of a capture stand in headers and are kept."""
    most = int((await epcis.get("/")).headers["GS1-EPCIS-Capture-Limit"])
    answer = await epcis.post("/capture", document(*[event(1)] * (most + 1)))
    assert answer.status == 413
    assert answer.json["type"] == "epcisException:CaptureLimitExceededException"
    big = b" " * (int(answer.headers["GS1-EPCIS-Capture-File-Size-Limit"]) + 1)
    answer = await epcis.post("/capture", big, Content_Type="application/json")
    assert answer.status == 413


async def test_capturing_needs_an_identity(epcis):
    """Nobody and wrong credentials get 401 with a challenge; strangers 403."""
    for path in ("/capture", "/events"):
        answer = await epcis.post(path, document(event(1)), user=None)
        assert answer.status == 401
        assert answer.json["type"] == "epcisException:SecurityException"
        assert answer.headers.getall("WWW-Authenticate")
    answer = await epcis.post("/capture", document(event(1)), user=(ADMIN, b"wrong"))
    assert answer.status == 401
    epcis.node.register("86.999/alice", value(301, "HS_SECKEY", b"secret", permissions=0b1100))
    answer = await epcis.post("/capture", document(event(1)), user=("301:86.999/alice", b"secret"))
    assert answer.status == 403


async def test_jobs_are_listed_to_their_owner(epcis):
    """Jobs come newest first, in pages; others see neither list nor job."""
    for number in range(3):
        await epcis.capture(event(number))
    first = await epcis.get("/capture?perPage=2")
    assert len(first.json) == 2
    rest = await epcis.get(next_page(first))
    assert len(rest.json) == 1
    assert next_page(rest) is None
    ids = [job["captureID"] for job in first.json + rest.json]
    assert ids == sorted(ids, reverse=True)
    assert (await epcis.get("/capture", anybody=True)).json == []
    hidden = await epcis.get(f"/capture/{ids[0]}", anybody=True)
    absent = await epcis.get("/capture/00", anybody=True)
    assert (hidden.status, hidden.body) == (absent.status, absent.body) == (404, absent.body)


async def test_a_job_that_was_cut_off_is_taken_up_again(epcis):
    """A job that was promised is finished by the next start of its reader."""
    import orjson

    from registry.notes import Note
    from resolver.epcis.jobs import DOCUMENTS, Jobs

    node = epcis.node.node
    now_us = int(node.now() * 1_000_000)
    job = Job("00ab", ADMIN, 0, now_us, "rollback", "application/json", 1, b"86.999", [], None)
    body = orjson.dumps(document(event(1)))
    await node.writer.keep([job.note(new=True), Note(DOCUMENTS + b"00ab", body)])
    jobs = Jobs(node)
    jobs.resume()
    assert (await epcis.finished("/epcis/capture/00ab"))["success"]
    assert await epcis.events() == ["0001"]
    await jobs.close()


async def test_one_event_is_captured_at_once(epcis):
    """POST /events answers 201 and where the event is; taken ids are 409."""
    answer = await epcis.post("/events", bare(event(1)))
    assert answer.status == 201
    location = answer.headers["Location"]
    (one,) = list_of(await epcis.get(location.removeprefix("/epcis")))
    assert one["eventID"] == event(1)["eventID"]
    again = await epcis.post("/events", bare(event(1)))
    assert (again.status, again.headers["Location"]) == (201, location)
    other = await epcis.post("/events", bare(event(1, bizStep="receiving")))
    assert other.status == 409
    assert other.json["type"] == "epcisException:ResourceAlreadyExistsException"
    assert (await epcis.post("/events", event(1))).status == 400  # without a context
    assert (await epcis.post("/events", document(event(1)))).status == 400


async def test_an_error_is_declared_by_a_copy(epcis):
    """A copy with an errorDeclaration is taken, and asked for by its filter."""
    await epcis.capture(event(1), event(2))
    declaration = {"declarationTime": "2026-04-01T00:00:00Z", "reason": "incorrect_data"}
    assert (await epcis.capture(event(1, errorDeclaration=declaration)))["success"]
    assert await epcis.events() == ["0002", "0001", "0001"]
    (declared,) = await epcis.all("EXISTS_errorDeclaration=true")
    assert declared["errorDeclaration"] == declaration
    first, second = list_of(await epcis.get(f"/events/{quoted(event(1)['eventID'])}"))
    assert second["errorDeclaration"] == declaration
    assert "errorDeclaration" not in first


async def test_a_declaration_withdraws_for_whom_it_shows(epcis):
    """A stricter copy does not show in a trace or a page to those who may not see it."""
    await epcis.capture(event(1), Biaoshi_Label="public")
    pages = ("/api/trace/" + quoted(URN % 1), "/page/" + quoted(URN % 1))
    before = [await epcis.node.ask("GET", page) for page in pages]
    declared = {"errorDeclaration": {"declarationTime": "2026-04-01T00:00:00Z"}}
    await epcis.capture(event(1, **declared), Biaoshi_Label="3")
    after = [await epcis.node.ask("GET", page) for page in pages]
    assert [one.status for one in before] == [one.status for one in after] == [200, 200]
    for part in ("complete", "nodes", "events", "stats"):
        assert before[0].json[part] == after[0].json[part]
    own = await epcis.node.ask("GET", pages[0], tls=True, user=(ADMIN, SECRET))
    assert own.status == 404 or own.json["stats"]["withdrawn"]


async def test_a_declaration_is_as_visible_as_its_event(epcis):
    """A copy keeps the label of its event, and none may be more public than it."""
    declared = {"errorDeclaration": {"declarationTime": "2026-04-01T00:00:00Z"}}
    await epcis.capture(event(1), Biaoshi_Label="public")
    await epcis.capture(event(2))
    assert (await epcis.capture(event(1, **declared)))["success"]
    assert await epcis.events("EXISTS_errorDeclaration=true", anybody=True) == ["0001"]
    assert not (await epcis.capture(event(2, **declared), Biaoshi_Label="public"))["success"]
    answer = await epcis.post("/events", bare(event(2, **declared)), Biaoshi_Label="1")
    assert answer.status == 400
    assert (await epcis.capture(event(2, **declared)))["success"]
    assert await epcis.events("EXISTS_errorDeclaration=true", anybody=True) == ["0001"]


async def test_an_event_may_be_signed_by_its_issuer(epcis):
    """A JWS of the actor's key is kept; one of another key, or of other octets, is refused."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    own = Ed25519PrivateKey.generate()
    actor = as_reference(ADMIN)
    key = as_reference("303:0.NA/86.999")
    node = epcis.node
    record = read_record(node.node.store, b"0.NA/86.999")
    public = value(303, "HS_PUBKEY", encode_public_key(own.public_key()))
    node.register("0.NA/86.999", *record.values, public)
    octets = canonical(bare(event(1)))
    now = int(node.node.now())

    def jws(octets, signing=own):
        head, _, tail = sign_event(octets, EventClaims(actor, key, now, None), signing).split(b".")
        return b"%b.%b.%b" % (head, format_base64url(octets).encode(), tail)

    answer = await epcis.post("/events", jws(octets), Content_Type="application/jose")
    assert answer.status == 201, answer.body
    spaced = b'{"a": 1}'
    for wrong in (jws(octets, Ed25519PrivateKey.generate()), jws(spaced), b"a.b.c", b""):
        answer = await epcis.post("/events", wrong, Content_Type="application/jose")
        assert answer.status == 400, answer.body
    proof = (await epcis.get(f"/events/{quoted(event(1)['eventID'])}/proof")).json
    assert proof["issuer"] == ADMIN


async def test_what_a_schema_cannot_say_is_told(epcis):
    """A wrong check digit is a warning of the job, and a false hash id is kept as it is."""
    wrong = event(1, epcList=["https://id.gs1.org/01/09506000134353/21/1"])
    false = event(2, eventID="ni:///sha-256;" + "0" * 64 + "?ver=CBV2.0", epcList=[URN % 2])
    job = await epcis.capture(wrong, false)
    assert job["success"]
    assert len(job["warnings"]) == 2
    assert len(await epcis.all()) == 2


XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:1" schemaVersion="1.2"
    creationDate="2026-03-01T10:00:00Z">
  <EPCISBody><EventList><ObjectEvent>
    <eventTime>2026-03-01T09:00:00Z</eventTime>
    <eventTimeZoneOffset>+08:00</eventTimeZoneOffset>
    <epcList><epc>urn:epc:id:sgtin:9506000.013435.7</epc></epcList>
    <action>OBSERVE</action>
    <bizStep>urn:epcglobal:cbv:bizstep:shipping</bizStep>
  </ObjectEvent></EventList></EPCISBody>
</epcis:EPCISDocument>"""


@pytest.mark.parametrize("media", ["application/xml", "text/xml"])
async def test_xml_is_captured_as_well(epcis, media):
    """A document in EPCIS 1.2 XML becomes the same events; broken XML is 400."""
    answer = await epcis.post("/capture", XML, Content_Type=media)
    assert answer.status == 202, answer.body
    assert (await epcis.finished(answer.headers["Location"]))["success"]
    (one,) = await epcis.all("EQ_bizStep=shipping")
    assert one["epcList"] == [URN % 7]
    assert (await epcis.post("/capture", XML[:-9], Content_Type=media)).status == 400
