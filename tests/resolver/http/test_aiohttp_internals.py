"""The private names of aiohttp that our connection relies on, so that an upgrade cannot lose one."""

from __future__ import annotations

import inspect
from importlib.metadata import version

from aiohttp import web_protocol

NAMES = (
    "_close",
    "_force_close",
    "_keepalive_handle",
    "_manager",
    "_messages",
    "_paused",
    "_request_count",
    "_request_in_progress",
    "_waiter",
    "transport",
)


def test_the_release_is_one_that_was_looked_at():
    """The range in pyproject.toml is the one these names were read in."""
    major, minor = map(int, version("aiohttp").split(".")[:2])
    assert (3, 13) <= (major, minor) < (3, 15)


def test_names():
    """Each private name is set by the protocol and used as we think."""
    source = inspect.getsource(web_protocol) + inspect.getsource(web_protocol.BaseProtocol)
    for name in NAMES:
        assert f"self.{name}" in source, name


def test_a_waiting_protocol_has_a_waiter():
    """start() waits for a request in _waiter and nowhere else."""
    source = inspect.getsource(web_protocol.RequestHandler.start)
    assert source.count("await self._waiter") == 1
    assert "self._messages.popleft()" in source
