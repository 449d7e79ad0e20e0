"""The way to the writer: portions, outcomes, one writer at a time."""

from __future__ import annotations

import pytest

from protocol.change import Change, Kind
from protocol.errors import InvalidValue, ResponseCode, ServerBusy
from protocol.record import HandleValue
from registry.writer import Outcome
from resolver import writer_link
from resolver.local import LocalServer, listen, run_folder
from resolver.running import running_lock
from resolver.writer_link import (
    SOCKET,
    WriterLink,
    decode_outcome,
    encode_outcome,
    open_writer,
    submit_handler,
)
from tests.resolver.nodes import biaoshi, make

OUTCOME = Outcome(ResponseCode.SUCCESS, "created", 3, 3, None, b"86.999/x", None)


def _changes(count, size=10):
    return [
        Change(Kind.CREATE, b"86.999/%d" % n, (HandleValue(1, b"X", b"x" * size),))
        for n in range(count)
    ]


class Writer:
    """Takes what comes and remembers its portions."""

    def __init__(self):
        self.portions = []
        self.fail_at = None

    async def submit(self, changes, atomic):
        self.portions.append((len(changes), atomic))
        if self.fail_at == len(self.portions):
            raise ServerBusy("full", 3.0)
        return [
            Outcome(ResponseCode.SUCCESS, "created", 1, 1, None, change.handle)
            for change in changes
        ]


@pytest.fixture
async def linked(tmp_path):
    run = run_folder(tmp_path)
    writer = Writer()
    server = LocalServer(listen(run / SOCKET), {"submit": submit_handler(writer.submit)})
    await server.start()
    link = WriterLink(run)
    yield writer, link
    await link.close()
    await server.close(1)


def test_an_outcome_survives_the_way():
    """All of its fields, the reason of a refusal too."""
    refused = Outcome(
        ResponseCode.INVALID_ADMIN, "refused", 2, None, "no right", b"86.999/x", "NotAuthorized"
    )
    for outcome in (OUTCOME, refused):
        assert decode_outcome(encode_outcome(outcome)) == outcome


async def test_outcomes_come_in_the_order_of_the_changes(linked, monkeypatch):
    """A batch too long for one message goes in portions and comes back as one."""
    writer, link = linked
    monkeypatch.setattr(writer_link, "_CHUNK_CHANGES", 4)
    outcomes = await link.submit(_changes(10))
    assert [outcome.handle for outcome in outcomes] == [b"86.999/%d" % n for n in range(10)]
    assert writer.portions == [(4, False), (4, False), (2, False)]


async def test_large_changes_make_small_portions(linked, monkeypatch):
    """The octets of a portion are bounded as well."""
    writer, link = linked
    monkeypatch.setattr(writer_link, "_CHUNK_BYTES", 2_000)
    assert len(await link.submit(_changes(6, size=800))) == 6
    assert max(count for count, _ in writer.portions) <= 2


async def test_an_atomic_batch_is_never_divided(linked, monkeypatch):
    """All or nothing goes in one message, or is refused as too large."""
    writer, link = linked
    monkeypatch.setattr(writer_link, "_CHUNK_CHANGES", 2)
    await link.submit(_changes(5), atomic=True)
    assert writer.portions == [(5, True)]
    monkeypatch.setattr(writer_link, "MAX_FRAME", 70_000)
    with pytest.raises(InvalidValue, match="all-or-nothing batch"):
        await link.submit(_changes(5, size=2_000), atomic=True)


async def test_a_portion_that_fails_is_told_apart(linked, monkeypatch):
    """What was written is said; what was not has a refusal with the reason."""
    writer, link = linked
    monkeypatch.setattr(writer_link, "_CHUNK_CHANGES", 2)
    writer.fail_at = 2
    outcomes = await link.submit(_changes(4))
    assert [outcome.status for outcome in outcomes] == ["created", "created", "refused", "refused"]
    assert outcomes[3].code == ResponseCode.SERVER_BUSY
    assert outcomes[3].reason == "ServerBusy"


async def test_busy_comes_with_its_time(linked):
    """A single portion raises what the writer raised."""
    writer, link = linked
    writer.fail_at = 1
    with pytest.raises(ServerBusy) as refused:
        await link.submit(_changes(1))
    assert refused.value.retry_after_s == 3.0


async def test_nothing_to_write_is_nothing(linked):
    """An empty batch has no outcomes."""
    _, link = linked
    assert await link.submit([]) == []


def test_the_command_line_writes_by_itself_where_no_node_runs(tmp_path):
    """It takes the store's lock; nobody else has it meanwhile."""
    folder = make(tmp_path / "n")
    with open_writer(folder) as writer:
        (outcome,) = writer.submit(_changes(1))
        assert outcome.status == "created"
        refused = biaoshi("serve", folder, "--readers", "1")
        assert refused.returncode == 3
        assert "has a writer already" in refused.stderr
    with open_writer(folder) as writer:
        assert writer.submit(_changes(1))[0].status == "unchanged"


def test_the_store_of_a_served_node_is_not_taken(tmp_path, monkeypatch):
    """While a supervisor runs, its writer is waited for and then missed."""
    folder = make(tmp_path / "n")
    monkeypatch.setattr(writer_link, "_APPEAR_S", 0.1)
    with (
        running_lock(folder / "run"),
        pytest.raises(ServerBusy, match="writer does not answer"),
        open_writer(folder),
    ):
        pass
