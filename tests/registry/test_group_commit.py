"""GroupCommit: many submissions, few transactions, and nobody starves."""

from __future__ import annotations

import asyncio

import pytest

from protocol.change import Change, Kind
from protocol.errors import ReadOnly, ServerBusy, StoreError
from registry.group_commit import GroupCommit
from tests.registry.conftest import url


def creates(*names: bytes) -> list[Change]:
    return [Change(Kind.CREATE, b"88.118.8/" + name, (url(),)) for name in names]


@pytest.fixture
def counted(desk, monkeypatch):
    """The sizes of the transactions that were written."""
    sizes: list[int] = []
    commit_all = desk.writer.commit_all

    def count(submissions):
        sizes.append(sum(len(one.changes) for one in submissions))
        return commit_all(submissions)

    monkeypatch.setattr(desk.writer, "commit_all", count)
    return sizes


async def test_what_waits_shares_a_transaction(desk, counted):
    """Submissions that come together are written together; each gets its own outcomes."""
    group = GroupCommit(desk.writer)
    results = await asyncio.gather(*(group.submit(creates(b"%d" % n)) for n in range(50)))
    assert [one.status for result in results for one in result] == ["created"] * 50
    assert [r[0].handle for r in results] == [b"88.118.8/%d" % n for n in range(50)]
    assert sum(counted) == 50
    assert len(counted) <= 3
    assert group.waiting == 0
    await group.close()


async def test_large_submissions_come_in_portions_and_in_order(desk, counted):
    """A submission above the group size is split, and its outcomes stay in order."""
    group = GroupCommit(desk.writer, group_changes=10)
    names = [b"%d" % n for n in range(35)]
    done = await group.submit(creates(*names))
    assert [one.handle[9:] for one in done] == names
    assert counted == [10, 10, 10, 5]
    assert await group.submit([]) == []
    await group.close()


async def test_an_atomic_submission_is_never_split(desk, counted):
    """All or nothing holds above the group size too."""
    group = GroupCommit(desk.writer, group_changes=2)
    done = await group.submit([*creates(b"1", b"2", b"3"), Change(Kind.DELETE, b"99/x")], True)
    assert {one.status for one in done} == {"refused"}
    assert desk.row(b"88.118.8/1") is None
    await group.close()


async def test_sources_take_turns(desk, counted):
    """A source with a long queue does not hold up another."""
    group = GroupCommit(desk.writer, group_changes=5)
    order: list[str] = []

    async def one(source: str, name: bytes) -> None:
        await group.submit(creates(name), source=source)
        order.append(source)

    many = [one("bulk", b"b%d" % n) for n in range(40)]
    await asyncio.gather(*many, one("small", b"s"))
    assert order.index("small") < 10
    await group.close()


async def test_a_full_queue_is_busy_with_a_time(desk):
    """Beyond the bound the answer is busy, with the time to come again."""
    group = GroupCommit(desk.writer, queue_changes=3)
    first = asyncio.create_task(group.submit(creates(b"1", b"2")))
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy) as busy:
        await group.submit(creates(b"3", b"4"))
    assert busy.value.retry_after_s > 0
    assert len(await first) == 2
    assert desk.row(b"88.118.8/3") is None
    await group.close()


async def test_a_failed_store_fails_everyone_who_waited(desk, monkeypatch):
    """When the transaction cannot be written, nobody hears yes."""
    group = GroupCommit(desk.writer)

    def fail(writes, bare=None):
        raise StoreError("the disk failed")

    monkeypatch.setattr(desk.store, "apply", fail)
    waits = [asyncio.create_task(group.submit(creates(b"%d" % n))) for n in range(3)]
    for wait in waits:
        with pytest.raises(StoreError):
            await wait
    monkeypatch.undo()
    assert (await group.submit(creates(b"9")))[0].status == "created"
    await group.close()


async def test_a_fault_in_one_submission_spoils_no_other(desk):
    """A change that breaks the writer itself fails alone."""
    group = GroupCommit(desk.writer)
    broken = Change(Kind.CREATE, b"88.118.8/x", (None,))
    good, bad = await asyncio.gather(
        group.submit(creates(b"1")), group.submit([broken]), return_exceptions=True
    )
    assert good[0].status == "created"
    assert isinstance(bad, AttributeError)
    await group.close()


async def test_a_caller_who_left_is_skipped(desk, counted):
    """A submission whose caller gave up before its turn is not written."""
    group = GroupCommit(desk.writer)
    task = asyncio.create_task(group.submit(creates(b"1")))
    await asyncio.sleep(0)
    task.cancel()
    done = await group.submit(creates(b"2"))
    assert done[0].status == "created"
    assert sum(counted) == 1
    await group.close()


async def test_closing_finishes_what_waits(desk):
    """Closing writes what was accepted and accepts nothing more."""
    group = GroupCommit(desk.writer)
    wait = asyncio.create_task(group.submit(creates(b"1")))
    await asyncio.sleep(0)
    await group.close()
    assert (await wait)[0].status == "created"
    with pytest.raises(ReadOnly):
        await group.submit(creates(b"2"))
