from __future__ import annotations

import asyncio
import json

from protocol.errors import ServerBusy
from resolver.http import registrations
from tests.resolver.http.node_in_process import ADMIN, SECRET, value

NDJSON = {"Content-Type": "application/x-ndjson"}


def row(handle, data="x", **more):
    return {"handle": handle, "values": [{"index": 1, "type": "DESC", "data": data}], **more}


def lines(*rows):
    return b"".join(
        (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in rows
    )


async def post(served, body, headers=None, user=(ADMIN, SECRET), tls=True):
    answer = await served.ask(
        "POST",
        "/api/registrations",
        tls=tls,
        user=user,
        body=body,
        headers={**NDJSON, **(headers or {})},
    )
    results = []
    if answer.status == 200:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        results = [json.loads(line) for line in answer.body.splitlines()]
    return answer, results


async def test_a_result_per_row(served):
    """Each row gives a line with its own number, in order; the records can be read at once."""
    _, results = await post(served, lines(row("86.999/a"), row("86.999/b", line=77), row("10.5/x")))
    assert [one["line"] for one in results] == [1, 77, 3]
    assert [one["status"] for one in results] == ["created", "created", "refused"]
    assert results[0]["handle"] == "86.999/a"
    assert results[0]["version"] == results[0]["sequence"] > 0
    assert "10.5" in results[2]["error"]
    assert (await served.ask("GET", "/api/handles/86.999/b")).status == 200


async def test_rows_that_cannot_be_read(served):
    """A broken row is refused with its reason; the others go on; empty lines are no rows."""
    _, results = await post(
        served,
        lines(
            b"{",
            b"",
            [],
            {"values": []},
            {"handle": "86.999/a"},
            row("86.999/b", on_exists="maybe"),
            row("86.999/b", on_exists=[]),
            row("86.999/c", expected_version="1"),
            {"handle": "86.999/d", "values": [{"index": 0, "type": "X", "data": "x"}]},
            row("86.999/good"),
        ).removesuffix(b"\n"),
    )
    assert [one["status"] for one in results] == ["refused"] * 8 + ["created"]
    assert all(one["error"] for one in results[:8])
    assert results[4]["handle"] == "86.999/b"


async def test_on_exists(served):
    """refuse, replace and merge; the same content again is unchanged."""
    served.register("86.999/a", value(1, "DESC", "old"), value(2, "X", "kept"))
    _, results = await post(
        served,
        lines(
            row("86.999/a"),
            row("86.999/n"),
            row("86.999/n"),
            row("86.999/a", "merged", on_exists="merge"),
            row("86.999/b", on_exists="merge"),
        ),
    )
    statuses = [one["status"] for one in results]
    assert statuses == ["refused", "created", "unchanged", "replaced", "created"]
    read = (await served.ask("GET", "/api/handles/86.999/a?type=X")).json
    assert read["responseCode"] == 1
    _, results = await post(served, lines(row("86.999/a", "whole", on_exists="replace")))
    assert results[0]["status"] == "replaced"
    read = (await served.ask("GET", "/api/handles/86.999/a?type=X")).json
    assert read["responseCode"] == 200


async def test_expected_version(served):
    """A row may name the version it expects; another one refuses it."""
    version = served.register("86.999/a", value(1, "DESC", "old")).version
    _, results = await post(
        served,
        lines(
            row("86.999/a", "new", on_exists="replace", expected_version=version),
            row("86.999/a", "newer", on_exists="replace", expected_version=version),
            row("86.999/b", expected_version=0),
        ),
    )
    assert [one["status"] for one in results] == ["replaced", "refused", "created"]


async def test_idempotency_key(served):
    """The same request again gives the first results and writes nothing."""
    body = lines(row("86.999/a"), row("86.999/b"), b"{")
    _, first = await post(served, body, {"Idempotency-Key": "k"})
    _, again = await post(served, body, {"Idempotency-Key": "k"})
    assert again == first
    other = lines(row("86.999/z"), row("86.999/new"))
    answer, _ = await post(served, other, {"Idempotency-Key": "k"})
    assert answer.status == 422
    assert served.row("86.999/new") is None
    answer, _ = await post(served, body, {"Idempotency-Key": "k" * 300})
    assert answer.status == 400


async def test_needs_an_identity(served):
    """Over TLS 401 with challenges, over plain HTTP 403; nothing is written."""
    body = lines(row("86.999/a"))
    answer, _ = await post(served, body, user=None)
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.headers.getall("WWW-Authenticate")) == 2
    answer, _ = await post(served, body, tls=False)
    assert answer.status == 403
    answer, _ = await post(served, body, user=(ADMIN, b"wrong"))
    assert answer.status == 401
    assert served.row("86.999/a") is None


async def test_rights_are_checked(served):
    """An identity without rights gets refusals."""
    served.register("86.999/user", value(1, "HS_SECKEY", "other", permissions=0b1100))
    _, results = await post(served, lines(row("86.999/a")), user=("1:86.999/user", b"other"))
    assert results[0]["status"] == "refused"
    assert served.row("86.999/a") is None


async def test_media_type_and_limits(served, monkeypatch):
    """Other media types, encoded bodies, long rows and too many rows are refused."""
    for headers in ({"Content-Type": "text/csv"}, {"Content-Encoding": "gzip"}):
        answer, _ = await post(served, lines(row("86.999/a")), headers)
        assert answer.status == 400
    monkeypatch.setattr(registrations, "LINE_BYTES", 1000)
    answer, _ = await post(served, b"x" * 5000)
    assert answer.status == 413
    _, results = await post(served, lines(b'"' + b"x" * 2000 + b'"', row("86.999/a")))
    assert [one["status"] for one in results] == ["refused", "created"]


async def test_batches(served, monkeypatch):
    """Many rows go to the writer in batches; results keep their order."""
    monkeypatch.setattr(registrations, "BATCH_ROWS", 40)
    served.node.writer.batches.clear()
    body = lines(*(row(f"86.999/n{n}") for n in range(333)))
    _, results = await post(served, body)
    assert [one["line"] for one in results] == list(range(1, 334))
    assert {one["status"] for one in results} == {"created"}
    assert served.node.writer.batches == [40] * 8 + [13]


async def test_busy(served, monkeypatch):
    """A full queue at the start is 503 with a time to wait; later it is waited for."""
    served.node.writer.error = ServerBusy("the queue is full", 2.0)
    answer, _ = await post(served, lines(row("86.999/a")))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    served.node.writer.error = None
    monkeypatch.setattr(registrations, "BATCH_ROWS", 1)
    submit, calls = served.node.writer.submit, []

    async def sometimes(changes, *, atomic=False):
        calls.append(changes)
        if len(calls) in (2, 3):
            raise ServerBusy("the queue is full", 0.01)
        return await submit(changes, atomic=atomic)

    monkeypatch.setattr(served.node.writer, "submit", sometimes)
    _, results = await post(served, lines(row("86.999/a"), row("86.999/b"), row("86.999/c")))
    assert [one["status"] for one in results] == ["created"] * 3


async def open_stream(served):
    """A raw request whose body is sent bit by bit."""
    import base64
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", served.https, ssl=context)
    user = base64.b64encode(ADMIN.replace(":", "%3A").encode() + b":" + SECRET)
    writer.write(
        b"POST /api/registrations HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + user + b"\r\n"
        b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return reader, writer


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_results_come_while_rows_are_sent(served):
    """A sender that pauses gets the results of what it sent so far."""
    reader, writer = await open_stream(served)
    for name in ("a", "b"):
        writer.write(chunk(lines(row(f"86.999/{name}"))))
        seen = b""
        while b'"status":"created"' not in seen:
            seen += await reader.readline()
        assert f"86.999/{name}".encode() in seen
    writer.write(b"0\r\n\r\n")
    assert (await rest_of(reader)).endswith(b"0\r\n\r\n")
    writer.close()


async def test_torn_body_leaves_whole_rows(served):
    """A connection that breaks inside a row has registered the rows before it."""
    reader, writer = await open_stream(served)
    writer.write(chunk(lines(row("86.999/a")) + b'{"handle":"86.999/b"'))
    while b'"status":"created"' not in await reader.readline():
        pass
    writer.transport.abort()
    assert served.row("86.999/a") is not None
    assert served.row("86.999/b") is None


async def test_signatures(served):
    """Rows are signed with the node's key; one that brings a wrong signature is refused."""
    from protocol.record import decode_values
    from resolver.lookup import Query

    _, results = await post(served, lines(row("86.999/s")))
    assert results[0]["status"] == "created"
    answer = served.node.lookup.answer_now(Query(b"86.999/s"))
    values = decode_values(answer.values)
    assert [one.type for one in values] == [b"DESC", b"HS_SIGNATURE"]
    resolved = await served.ask("GET", "/api/resolve?id=86.999/s&verify=1")
    assert resolved.json["verification"]["status"] == "verified"
    signature = {"index": 400, "type": "HS_SIGNATURE", "data": values[1].data.decode()}
    forged = row("86.999/t")
    forged["values"].append(signature)
    same = row("86.999/s")
    same["values"].append(signature)
    changed = row("86.999/s", "other", on_exists="replace")
    changed["values"].append(signature)
    _, results = await post(served, lines(forged, same, changed))
    assert [one["status"] for one in results] == ["refused", "unchanged", "refused"]


async def test_results_do_not_block_a_sender_that_reads_last(served):
    """A sender that reads nothing before its last row gets every result all the same."""
    reader, writer = await open_stream(served)
    size = 20_000
    body = b"".join(b'{"handle":"10.5/%d","values":[]}\n' % n for n in range(size))
    for at in range(0, len(body), 100_000):
        writer.write(chunk(body[at : at + 100_000]))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    text = await rest_of(reader)
    assert text.count(b'"status":"refused"') == size
    writer.close()


async def rest_of(reader):
    parts = []
    while True:
        part = await reader.read(1 << 20)
        parts.append(part)
        if not part or part.endswith(b"0\r\n\r\n"):
            return b"".join(parts)
