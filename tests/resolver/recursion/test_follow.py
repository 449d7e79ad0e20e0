"""Followed logs: a node's checkpoint grows, and what is cached of it is doubted."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from protocol.errors import UpstreamError
from resolver.config import CacheSettings, OutboundSettings
from resolver.follow import Follower, read_checkpoint
from resolver.guard import Guard


class Log:
    """A node's log over HTTP."""

    def __init__(self):
        self.size, self.status, self.reads = 1, 200, 0
        self.read = asyncio.Event()

    async def answer(self, _):
        self.reads += 1
        self.read.set()
        body = f"biaoshi/88.1\n{self.size}\nroot{self.size}=\n\n— biaoshi/88.1 sig\n"
        return web.Response(status=self.status, text=body)

    async def seen(self, times=2):
        for _ in range(times):
            self.read.clear()
            await self.read.wait()


@pytest.fixture
async def served():
    made = Log()
    app = web.Application()
    app.router.add_get("/log/checkpoint", made.answer)
    app.router.add_get("/odd/log/checkpoint", _odd)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def _odd(_):
    return web.Response(body=b"\xff" * 100_000)


async def test_growth_is_told_once(served):
    """The first look tells nothing; each later difference tells once, a silence in between too."""
    doubted = []

    async def doubt(prefix):
        doubted.append(prefix)

    settings = CacheSettings(follow=(("88.1", served.address),), follow_s=0.1)
    follower = Follower(settings, Guard(OutboundSettings()), doubt)
    (watch,) = [asyncio.ensure_future(each) for each in follower.watches()]
    try:
        await served.seen(3)
        assert doubted == []
        served.size = 2
        await served.seen(3)
        assert doubted == [b"88.1"]
        served.status = 503
        await served.seen(1)
        served.status = 200
        await served.seen(2)
        assert doubted == [b"88.1", b"88.1"]
    finally:
        watch.cancel()


async def test_what_is_no_checkpoint(served):
    """Another status, an endless body or another text is refused with the address."""
    guard = Guard(OutboundSettings(allow=("127.0.0.0/8",)))
    assert await read_checkpoint(guard, served.address) == (b"1", b"root1=")
    served.status = 404
    with pytest.raises(UpstreamError, match="404"):
        await read_checkpoint(guard, served.address)
    with pytest.raises(UpstreamError, match="more than"):
        await read_checkpoint(guard, served.address + "/odd")
