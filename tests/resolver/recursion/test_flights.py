"""resolver.flights: one fetch for many askers."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import ServerBusy, UpstreamError
from resolver.flights import Flights


async def test_a_thousand_askers_make_one_fetch():
    """Whoever asks while a fetch runs gets its result."""
    flights, go, starts = Flights(10), asyncio.Event(), []

    async def fetch():
        starts.append(1)
        await go.wait()
        return "record"

    waiting = [asyncio.shield(flights.join("key", fetch)) for _ in range(1000)]
    go.set()
    assert await asyncio.gather(*waiting) == ["record"] * 1000
    assert len(starts) == 1
    assert len(flights) == 0


async def test_a_fetch_outlives_its_asker():
    """An asker that gives up does not end the fetch of the others."""
    flights, go = Flights(10), asyncio.Event()

    async def fetch():
        await go.wait()
        return 7

    async def ask():
        return await asyncio.shield(flights.join("key", fetch))

    first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 7


async def test_flights_are_bounded():
    """Above the limit a new key is told to come back; a running one may still be joined."""
    flights = Flights(1)
    flights.join("a", asyncio.Event().wait)
    flights.join("a", asyncio.Event().wait)
    with pytest.raises(ServerBusy):
        flights.join("b", asyncio.Event().wait)
    await flights.close()
    assert len(flights) == 0


async def test_a_failure_reaches_every_asker_and_the_next_starts_anew():
    """A failed fetch leaves nothing behind."""
    flights = Flights(10)

    async def fail():
        raise UpstreamError("silent")

    results = await asyncio.gather(
        flights.join("a", fail), flights.join("a", fail), return_exceptions=True
    )
    assert [type(each) for each in results] == [UpstreamError, UpstreamError]
    assert len(flights) == 0
