"""Events and documents for the tests of the EPCIS face, and short ways to ask it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.resolver.http.node_in_process import ADMIN, SECRET, Served

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
ITEM = "https://id.gs1.org/01/09506000134352/21/%s"
URN = "urn:epc:id:sgtin:9506000.013435.%s"


def event(number=1, **more):
    made = {
        "type": "ObjectEvent",
        "eventID": f"urn:uuid:00000000-0000-4000-8000-{number:012d}",
        "eventTime": f"2026-03-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "eventTimeZoneOffset": "+08:00",
        "epcList": [ITEM % number],
        "action": "OBSERVE",
        "bizStep": "shipping",
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def document(*events, context=CONTEXT):
    return {
        "@context": context,
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-01T10:00:00Z",
        "epcisBody": {"eventList": list(events)},
    }


def bare(described):
    return {"@context": [CONTEXT], **described}


@dataclass
class Epcis:
    """The face of one node."""

    node: Served

    async def post(self, path, body, *, user=(ADMIN, SECRET), **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.node.ask(
            "POST", "/epcis" + path, tls=True, user=user, body=body, headers=named
        )

    async def get(self, path, *, anybody=False, **headers):
        user = None if anybody else (ADMIN, SECRET)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.node.ask("GET", "/epcis" + path, tls=True, user=user, headers=named)

    async def delete(self, path):
        return await self.node.ask("DELETE", "/epcis" + path, tls=True, user=(ADMIN, SECRET))

    async def capture(self, *events, **headers):
        """Capture events and wait for the job."""
        answer = await self.post("/capture", document(*events), **headers)
        assert answer.status == 202, answer.body
        return await self.finished(answer.headers["Location"])

    async def finished(self, location):
        async with asyncio.timeout(20):
            while True:
                job = (await self.get(location.removeprefix("/epcis"))).json
                if not job["running"]:
                    return job
                await asyncio.sleep(0.01)

    async def events(self, query="", **more):
        """The eventIDs of a whole answer, in its order."""
        return [one["eventID"][-4:] for one in await self.all(query, **more)]

    async def all(self, query="", *, path="/events", **more):
        answer = await self.get(f"{path}{'?' if query else ''}{query}", **more)
        assert answer.status == 200, answer.body
        return list_of(answer)


def list_of(answer):
    return answer.json["epcisBody"]["queryResults"]["resultsBody"]["eventList"]


def next_page(answer):
    """The target of the next page, within the face; None at the end."""
    link = answer.headers.get("Link")
    return None if link is None else link.partition(">")[0].removeprefix("</epcis")


def quoted(text):
    return quote(text, safe="")


@pytest.fixture
def epcis(served):
    return Epcis(served)
