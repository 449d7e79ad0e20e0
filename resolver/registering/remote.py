"""Registering at a node's address: NDJSON rows to POST /api/registrations, a result line each.

A row is `{"line","handle","values","on_exists","expected_version"?}`. A chunk that is sent again
after a broken connection carries the same Idempotency-Key, so it is written once. Operations
of batch files that are no registrations go through the Handle REST interface one by one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from protocol.change import Change, Kind
from protocol.errors import ResponseCode, UpstreamError
from protocol.handle_json import format_values
from resolver.registering import REFUSED, REPLACED, Result, Row
from resolver.registering.connection import Answer, Connection, error_of

_NDJSON = {"Content-Type": "application/x-ndjson"}
_REGISTRATIONS = (Kind.CREATE, Kind.MERGE)


class RemoteSink:
    """A node's HTTP face."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._run = os.urandom(12).hex()
        self._chunk = 0

    def prepare(self, change: Change) -> Change:
        """As it is."""
        return change

    def send(self, rows: Sequence[Row]) -> list[Result]:
        """Write the rows in their order, registrations in one request as far as they follow."""
        results: list[Result] = []
        together: list[Row] = []
        for row in rows:
            if row.change.kind in _REGISTRATIONS:
                together.append(row)
                continue
            results += self._register(together)
            results.append(self._single(row))
            together = []
        return results + self._register(together)

    def _register(self, rows: Sequence[Row]) -> list[Result]:
        if not rows:
            return []
        self._chunk += 1
        headers = {**_NDJSON, "Idempotency-Key": f"{self._run}-{self._chunk}"}
        body = b"".join(map(encode_row, rows))
        answer = self._connection.request("POST", "/api/registrations", body, headers)
        if answer.status == 401:  # a session ends after a while
            self._connection.renew()
            answer = self._connection.request("POST", "/api/registrations", body, headers)
        if answer.status != 200:
            raise error_of(answer, self._connection.credentials)
        return _results(rows, answer)

    def _single(self, row: Row) -> Result:
        """A change of a batch file by the Handle REST interface."""
        change = row.change
        if change.kind in {Kind.HOME, Kind.UNHOME}:
            told = "prefixes are homed with `biaoshi prefix`, or by a batch with --node DIR"
            return Result(row.line, change.handle, REFUSED, error=told)
        method, query = _rest(change)
        path = "/api/handles/" + quote(change.handle, safe="/") + query
        body = format_values(change.values) if method == "PUT" else None
        answer = self._connection.request(method, path, body, {"Content-Type": "application/json"})
        fields = answer.json() if answer.body else {}
        code = fields.get("responseCode") if isinstance(fields, dict) else None
        if answer.status in {200, 201} and code == ResponseCode.SUCCESS:
            return Result(row.line, change.handle, REPLACED)
        told = answer.problem() or _meaning(code, answer.status)
        return Result(row.line, change.handle, REFUSED, error=told)


def encode_row(row: Row) -> bytes:
    """The NDJSON line of a registration."""
    change = row.change
    rule = "merge" if change.kind is Kind.MERGE else "replace" if change.overwrite else "refuse"
    version = change.expected_version
    return b'{"line":%d,"handle":%b,"on_exists":"%b"%b,"values":%b}\n' % (
        row.line,
        json.dumps(change.handle.decode("utf-8", "replace")).encode(),
        rule.encode(),
        b"" if version is None else b',"expected_version":%d' % version,
        format_values(change.values),
    )


def _rest(change: Change) -> tuple[str, str]:
    """Method and query of a change of single values, or of a deletion."""
    if change.kind is Kind.DELETE:
        return "DELETE", ""
    if change.kind is Kind.REMOVE:
        return "DELETE", "?" + "&".join(f"index={index}" for index in change.indexes)
    if change.kind is Kind.ADD:
        return "PUT", "?index=various&overwrite=false"
    return "PUT", "?" + "&".join(f"index={value.index}" for value in change.values)


def _meaning(code: object, status: int) -> str:
    """What a Handle answer without a message says."""
    if code == ResponseCode.HANDLE_NOT_FOUND:
        return "does not exist; create it first, or check its spelling"
    try:
        return f"the node answered {ResponseCode(code).name} ({code}), status {status}"  # type: ignore[arg-type]
    except ValueError:
        return f"the node answered code {code}, status {status}"


def _results(rows: Sequence[Row], answer: Answer) -> list[Result]:
    lines = answer.body.splitlines()
    if len(lines) != len(rows):
        raise UpstreamError(
            f"{len(rows)} rows were sent and {len(lines)} results came back; "
            "run this again: what was registered stays"
        )
    return [_result(row, line) for row, line in zip(rows, lines, strict=True)]


def _result(row: Row, line: bytes) -> Result:
    try:
        fields: dict[str, Any] = json.loads(line)
        if fields["line"] != row.line:
            raise ValueError(f"line {fields['line']} for line {row.line}")
        status = str(fields["status"])
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamError(f"an answer row cannot be read: {error}") from None
    return Result(
        row.line,
        row.change.handle,
        REPLACED if status == "changed" else status,
        _number(fields.get("version")),
        _number(fields.get("sequence")),
        str(fields["error"]) if fields.get("error") is not None else None,
    )


def _number(value: object) -> int | None:
    return value if type(value) is int else None


class DryRemoteSink:
    """What can be said without asking the node: the rows are in order."""

    def prepare(self, change: Change) -> Change:
        """As it is."""
        return change

    def send(self, rows: Sequence[Row]) -> list[Result]:
        """Nothing is sent."""
        return [Result(row.line, row.change.handle, "valid") for row in rows]
