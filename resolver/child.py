"""The life of a reader or the writer between fork and exit: signals, heartbeat, channel, orphans.

A child tells its supervisor over a socket pair, a JSON object a message: {"beat"}, {"ready"},
{"failed": why, "exit": code}. Whatever comes back means stop, and so does the end of the channel:
then the supervisor is gone. Signals that a terminal or a service manager sends to the whole group
are the supervisor's business: children ignore them, or the writer would leave before the readers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from protocol.errors import BiaoshiError
from resolver.exits import exit_code

log = structlog.get_logger()

BEAT_S: Final = 1.0
PARTING_S: Final = 1.0
"""How long a face that stops waits for one more request on each of its kept connections."""
_PR_SET_PDEATHSIG: Final = 1


class Running(Protocol):
    """What a child runs once it started."""

    async def close(self, grace_s: float) -> None:
        """Finish what is in flight, up to grace_s seconds."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A child's end of the socket pair (SOCK_SEQPACKET: a send is a message)."""

    sock: socket.socket

    def tell(self, message: dict[str, Any]) -> bool:
        """Send a message; False when the supervisor is gone."""
        try:
            self.sock.send(json.dumps(message).encode())
        except BlockingIOError:
            pass  # a supervisor that is behind does not need this beat as well
        except OSError:
            return False
        return True


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def run_child(
    channel: Channel,
    start: Callable[[], Awaitable[Running]],
    *,
    grace_s: float,
    uvloop: bool,
) -> int:
    """Run one child to its end; gives the exit code. Never raises."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
            runner.run(_live(channel, start, grace_s))
    except BiaoshiError as error:
        channel.tell({"failed": str(error), "exit": exit_code(error)})
        return exit_code(error)
    except Exception as error:
        log.exception("child_failed")
        channel.tell({"failed": f"{type(error).__name__}: {error}", "exit": 1})
        return 1
    return 0


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not wanted:
        return None
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _live(channel: Channel, start: Callable[[], Awaitable[Running]], grace_s: float) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_reader(channel.sock.fileno(), _listen, channel, stop)
    beating = asyncio.ensure_future(_beat(channel, stop))
    try:
        running = await start()
        channel.tell({"ready": True})
        await stop.wait()
        await running.close(grace_s)
    finally:
        beating.cancel()
        loop.remove_reader(channel.sock.fileno())


def _listen(channel: Channel, stop: asyncio.Event) -> None:
    """A message, or the end of the channel: stop."""
    try:
        channel.sock.recv(1024)
    except BlockingIOError:
        return
    except OSError:
        pass  # the channel broke: the same as its end
    asyncio.get_running_loop().remove_reader(channel.sock.fileno())
    stop.set()


async def _beat(channel: Channel, stop: asyncio.Event) -> None:
    while channel.tell({"beat": True}):  # noqa: ASYNC110 - time passing is the event
        await asyncio.sleep(BEAT_S)
    stop.set()
