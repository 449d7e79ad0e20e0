"""Local sockets: answers out of order, errors, reconnect, and what a lost process means."""

from __future__ import annotations

import asyncio
import stat

import pytest

from protocol.errors import HandleNotFound, ParseError, ServerBusy, StoreError
from resolver.local import (
    LocalClient,
    LocalServer,
    Unfinished,
    connect_now,
    listen,
    pack_frame,
    receive,
    run_folder,
)


async def _echo(body):
    return body


async def _server(path, **handlers):
    server = LocalServer(listen(path), {"echo": _echo, **handlers})
    await server.start()
    return server


async def test_answers_come_as_they_are_ready(tmp_path):
    """A slow request does not hold up the one after it."""
    gate = asyncio.Event()

    async def slow(body):
        await gate.wait()
        return body

    server = await _server(tmp_path / "a.sock", slow=slow)
    client = LocalClient(tmp_path / "a.sock")
    waiting = asyncio.ensure_future(client.ask("slow", 1))
    assert await client.ask("echo", b"\0two") == b"\0two"
    assert not waiting.done()
    gate.set()
    assert await waiting == 1
    await client.close()
    await server.close(1)


async def test_an_error_arrives_as_its_own_class(tmp_path):
    """What a handler raises is raised at the caller."""

    async def fail(body):
        raise HandleNotFound(f"no {body}")

    async def busy(body):
        raise ServerBusy("full", 7.5)

    async def broken(body):
        raise RuntimeError("not for others to read")

    server = await _server(tmp_path / "a.sock", fail=fail, busy=busy, broken=broken)
    client = LocalClient(tmp_path / "a.sock")
    with pytest.raises(HandleNotFound, match="no x"):
        await client.ask("fail", "x")
    with pytest.raises(ServerBusy) as refused:
        await client.ask("busy", None)
    assert refused.value.retry_after_s == 7.5
    with pytest.raises(StoreError, match="internal error"):
        await client.ask("broken", None)
    with pytest.raises(ParseError, match="no local request 'other'"):
        await client.ask("other", None)
    await client.close()
    await server.close(1)


async def test_nobody_there_is_busy_not_a_hang(tmp_path):
    """Without a listener the caller hears so after its patience."""
    client = LocalClient(tmp_path / "none.sock", wait_s=0.05)
    with pytest.raises(ServerBusy, match=r"none\.sock does not answer"):
        await client.ask("echo", 1)


async def test_a_process_that_vanishes_leaves_it_unknown(tmp_path):
    """A request in flight when the connection breaks is neither done nor not done."""
    arrived = asyncio.Event()

    async def never(body):
        arrived.set()
        await asyncio.Event().wait()

    server = await _server(tmp_path / "a.sock", never=never)
    client = LocalClient(tmp_path / "a.sock", wait_s=0.05)
    waiting = asyncio.ensure_future(client.ask("never", 1))
    await arrived.wait()
    for served in server._connections.values():
        served._writer.transport.abort()
    with pytest.raises(Unfinished, match="same idempotency key"):
        await waiting
    await client.close()
    await server.close(0)


async def test_a_stopping_server_answers_what_it_took(tmp_path):
    """close() lets the request in flight finish, and the client goes on with the next server."""
    gate, arrived = asyncio.Event(), asyncio.Event()

    async def slow(body):
        arrived.set()
        await gate.wait()
        return body

    path = tmp_path / "a.sock"
    first = await _server(path, slow=slow)
    client = LocalClient(path)
    taken = asyncio.ensure_future(client.ask("slow", "taken"))
    await arrived.wait()
    closing = asyncio.ensure_future(first.close(5))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(client.ask("echo", "late"))
    second = await _server(path)
    gate.set()
    assert await taken == "taken"
    assert await late == "late"
    await closing
    await client.close()
    await second.close(1)


async def test_a_client_finds_a_restarted_server(tmp_path):
    """The connection is opened anew when the other process came back."""
    path = tmp_path / "a.sock"
    server = await _server(path)
    client = LocalClient(path)
    assert await client.ask("echo", 1) == 1
    await server.close(1)
    server = await _server(path)
    assert await client.ask("echo", 2) == 2
    await client.close()
    await server.close(1)


async def test_a_socket_lies_private_in_a_private_folder(tmp_path):
    """Socket 0600, folder 0700."""
    run = run_folder(tmp_path)
    sock = listen(run / "a.sock")
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / "a.sock").stat().st_mode) == 0o600
    sock.close()


async def test_a_folder_however_deep_has_room_for_its_socket(tmp_path):
    """A path beyond the 107 octets of sun_path works all the same."""
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    server = await _server(deep / "a.sock")
    client = LocalClient(deep / "a.sock")
    assert await client.ask("echo", 3) == 3
    sock = await asyncio.to_thread(connect_now, deep / "a.sock", 1.0)
    assert sock is not None
    sock.sendall(pack_frame([1, "echo", 4]))
    assert await asyncio.to_thread(receive, sock) == [1, True, 4]
    sock.close()
    await client.close()
    await server.close(1)


async def test_octets_that_are_no_request_end_the_connection(tmp_path):
    """A frame longer than the bound, or of another shape, is not waited for."""
    server = await _server(tmp_path / "a.sock")
    for octets in (b"\xff\xff\xff\xff", pack_frame({"no": 1}), pack_frame([1])):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "a.sock"))
        writer.write(octets)
        assert await reader.read() == b""
        writer.close()
    await server.close(1)


def test_no_listener_is_none(tmp_path):
    """connect_now() says None where nobody listens."""
    assert connect_now(tmp_path / "x.sock", 0.1) is None
