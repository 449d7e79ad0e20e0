"""Overload: what would wait is shed by age, what is at hand is answered on (threats O1)."""

from __future__ import annotations

import asyncio
import time

from protocol.errors import ResponseCode
from resolver.lookup import Query
from resolver.pressure import SHED_S, TICKS, Pressure
from tests.scenarios.script import Player
from tests.scenarios.virtual import run


def test_one_late_turn_is_no_overload():
    """Only turns that are late one after the other mean that work waits too long."""
    pressure = Pressure()
    for late in (SHED_S * 2,) * (TICKS - 1):
        pressure.note(late)
    assert not pressure.overloaded
    pressure.note(SHED_S * 2)
    assert pressure.overloaded
    pressure.note(0.0)
    assert not pressure.overloaded


def test_every_socket_is_looked_at_in_a_breath():
    """A step of long work lets each face look at its own socket."""
    pressure, looked = Pressure(), []
    pressure.looks += [lambda: looked.append("v4"), lambda: looked.append("v6")]
    pressure.breathe()
    assert looked == ["v4", "v6"]


async def test_a_busy_loop_is_noticed_and_recovers():
    """Turns of 150 ms are seen as overload within a second, and its end at once."""
    pressure = Pressure()
    pressure.start()
    for _ in range(3 * TICKS):
        await asyncio.sleep(0.001)
        time.sleep(SHED_S * 1.5)
        if pressure.overloaded:
            break
    assert pressure.overloaded
    await asyncio.sleep(0.3)
    assert not pressure.overloaded
    await pressure.close(1)


def test_an_overloaded_reader_sheds_what_would_wait():
    """Names at hand are answered, others refused as busy without a message, until it is over."""

    async def main():
        player = Player()
        await player.play(
            "site R root 88\nsite E serves 88.1\n"
            "record 88.1/a URL u\nrecord 88.1/b URL u\nat 0 ask 88.1/a expect URL u"
        )
        recursion, world = player._recursion(), player.world
        for _ in range(TICKS):
            recursion.pressure.note(1.0)
        assert (await recursion.resolve(Query(b"88.1/c"))).code == ResponseCode.HANDLE_NOT_FOUND
        recursion.shed_from = world.messages = 0
        busy = await recursion.resolve(Query(b"88.1/b"))
        assert (busy.code, world.messages) == (ResponseCode.SERVER_BUSY, 0)
        assert recursion.cached(Query(b"88.1/a")).code == ResponseCode.SUCCESS
        recursion.pressure.note(0.0)
        assert (await recursion.resolve(Query(b"88.1/b"))).code == ResponseCode.SUCCESS
        await recursion.close()

    run(main())
