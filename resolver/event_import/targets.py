"""Where imported events go: a node's EPCIS face, a node's folder, a file, or nowhere."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from protocol.change import Change
from protocol.epcis.jcs import canonical
from protocol.epcis.moment import format_time_us
from protocol.errors import BiaoshiError, SettingsError, UpstreamError
from registry.alter import REFUSED
from registry.events.capture import make_change, node_event_signer, operator_of
from registry.keys import load_keys
from resolver.config_file import load_settings
from resolver.event_import import Event, Refusal
from resolver.registering import Row
from resolver.registering.connection import Connection, error_of
from resolver.registering.local import LocalSink
from resolver.writer_link import open_writer

_WAIT_S: Final = 0.02
_WAIT_MOST_S: Final = 1.0
JOB_MOST_S: Final = 600.0
LABEL_HEADER: Final = "Biaoshi-Label"
_INSTANCE: Final = re.compile(r"/([0-9]{1,6})")


def document(events: Sequence[Mapping[str, Any]], contexts: list[Any], now_us: int) -> bytes:
    """An EPCISDocument of events, JSON."""
    return canonical(
        {
            "@context": contexts,
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": format_time_us(now_us),
            "epcisBody": {"eventList": list(events)},
        }
    )


class Nowhere:
    """A dry run."""

    def send(self, _events: Sequence[Event]) -> list[Refusal]:
        """Nothing is refused; what was sent here passed every check that needs no node."""
        return []

    def close(self) -> None:
        """Nothing is open."""


class LinesFile:
    """One event a line, each with its @context: what `biaoshi epcis` and POST /events take."""

    def __init__(self, file: BinaryIO, contexts: list[Any]) -> None:
        self._file = file
        self._contexts = contexts

    def send(self, events: Sequence[Event]) -> list[Refusal]:
        """Write lines."""
        for one in events:
            self._file.write(canonical({"@context": self._contexts, **one.event}) + b"\n")
        return []

    def close(self) -> None:
        self._file.flush()


class DocumentFile:
    """One EPCISDocument, written at the end."""

    def __init__(self, file: BinaryIO, contexts: list[Any], now_us: int) -> None:
        self._file = file
        self._contexts = contexts
        self._now_us = now_us
        self._events: list[Mapping[str, Any]] = []

    def send(self, events: Sequence[Event]) -> list[Refusal]:
        """Keep them."""
        self._events += [one.event for one in events]
        return []

    def close(self) -> None:
        self._file.write(document(self._events, self._contexts, self._now_us) + b"\n")
        self._file.flush()


class Remote:
    """A node's EPCIS face: a capture job a batch, waited for."""

    def __init__(
        self,
        connection: Connection,
        contexts: list[Any],
        *,
        label: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._contexts = contexts
        self._sleep = sleep
        self._now = now
        self._headers = {
            "Content-Type": "application/json",
            "GS1-Capture-Error-Behaviour": "proceed",
            **({LABEL_HEADER: label} if label is not None else {}),
        }

    def send(self, events: Sequence[Event]) -> list[Refusal]:
        """Capture them. An event that is there already is no refusal. Raises UpstreamError."""
        body = document([one.event for one in events], self._contexts, int(self._now() * 1e6))
        answer = self._connection.request("POST", "/epcis/capture", body, self._headers)
        if answer.status == 401:  # a session ends after a while
            self._connection.renew()
            answer = self._connection.request("POST", "/epcis/capture", body, self._headers)
        if answer.status != 202 or answer.location is None:
            raise error_of(answer, self._connection.credentials)
        job = self._finished(urlsplit(answer.location).path)
        errors = job.get("errors")
        return [_refusal(events, one) for one in errors] if isinstance(errors, list) else []

    def _finished(self, location: str) -> dict[str, Any]:
        """The job, once it is done."""
        wait_s, waited_s = _WAIT_S, 0.0
        while True:
            answer = self._connection.request("GET", location)
            if answer.status != 200:
                raise error_of(answer, self._connection.credentials)
            job = answer.json()
            if not isinstance(job, dict):
                raise UpstreamError("the node's answer is no capture job; is it a node's address?")
            if job.get("running") is False:
                return job
            if waited_s > JOB_MOST_S:
                raise UpstreamError(f"{location} is not done after {JOB_MOST_S:.0f} s; try later")
            self._sleep(wait_s)
            waited_s += wait_s
            wait_s = min(_WAIT_MOST_S, wait_s * 2)

    def close(self) -> None:
        self._connection.close()


def _refusal(events: Sequence[Event], problem: Any) -> Refusal:
    """The event that a problem of a job is about."""
    fields = problem if isinstance(problem, dict) else {}
    told = str(fields.get("detail") or fields.get("title") or "refused")
    instance = str(fields.get("instance") or "")
    at = _INSTANCE.findall(instance)
    if at and int(at[-1]) < len(events):
        return Refusal(events[int(at[-1])].lines, told)
    name = instance.removeprefix("eventID:")
    lines = next((one.lines for one in events if one.event.get("eventID") == name), ())
    return Refusal(lines, told)


class Local:
    """A node's folder: through its running writer, else under the store's lock."""

    def __init__(self, sink: LocalSink, make: Callable[[Mapping[str, Any]], Change]) -> None:
        self._sink = sink
        self._make = make

    def send(self, events: Sequence[Event]) -> list[Refusal]:
        """Sign and write them, as the node's own operator."""
        refusals, rows = [], []
        for at, one in enumerate(events):
            try:
                rows.append(Row(at, self._make(one.event)))
            except BiaoshiError as error:
                refusals.append(Refusal(one.lines, str(error)))
        results = self._sink.send(rows) if rows else []
        return refusals + [
            Refusal(events[result.line].lines, result.error or "refused")
            for result in results
            if result.status == REFUSED
        ]

    def close(self) -> None:
        """The writer is closed by who opened it."""


@contextmanager
def local_target(
    folder: Path, contexts: list[Any], label: Mapping[str, Any] | None
) -> Iterator[Local]:
    """The target of a node's folder. Raises SettingsError, StoreError."""
    settings = load_settings(folder)
    prefix = settings.node.prefix.encode().upper()
    if not prefix:
        raise SettingsError(f"{folder} has no prefix yet; events are captured under one")
    signer = node_event_signer(load_keys(folder), prefix)
    issuer = operator_of(prefix)

    def make(event: Mapping[str, Any]) -> Change:
        now_us = time.time_ns() // 1000
        return make_change(
            event, issuer=issuer, signer=signer, now_us=now_us, context=contexts, label=label
        )

    with open_writer(folder) as writer:
        yield Local(LocalSink(writer, None), make)


def parse_label(text: str) -> tuple[str, Mapping[str, Any]]:
    """A label as a header and as the writer takes it: `public`, a level, or JSON."""
    from resolver.epcis.taking import parse_label as read

    try:
        found = read(text)
    except BiaoshiError as error:
        raise SettingsError(f"--label: {error}") from None
    if found is None:
        raise SettingsError("--label is empty; write public, 1, 2, 3 or a JSON object")
    return json.dumps(json.loads(text)) if text.startswith("{") else text, found
