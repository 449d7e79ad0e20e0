"""One forked process as its supervisor sees it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from resolver.child import Channel, die_with

_MESSAGE_BYTES: Final = 65_536
STOP: Final = b'{"stop":true}'

Main = Callable[[Channel], int]


@dataclass
class Forked:
    """A living child. Times are monotonic seconds.

    failed: why it could not start, in its own words, and the exit code it names.
    """

    slot: int
    generation: int
    name: str
    pid: int
    sock: socket.socket
    started: float = field(default_factory=time.monotonic)
    beat: float = field(default_factory=time.monotonic)
    ready_since: float | None = None
    stopping_since: float | None = None
    failed: tuple[str, int] | None = None

    @property
    def ready(self) -> bool:
        return self.ready_since is not None

    def read(self) -> None:
        """Take the messages that wait on the channel."""
        while True:
            try:
                data = self.sock.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                return
            self._take(json.loads(data))

    def _take(self, message: dict[str, Any]) -> None:
        self.beat = time.monotonic()
        if "ready" in message:
            self.ready_since = self.beat
        if "failed" in message:
            self.failed = (str(message["failed"]), int(message["exit"]))

    def kill(self) -> None:
        """SIGKILL; a process that is gone already is none."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to drain and end."""
        if self.stopping_since is None:
            self.stopping_since = time.monotonic()
            with contextlib.suppress(OSError):  # it is ending already
                self.sock.send(STOP)


def fork(
    slot: int, generation: int, name: str, main: Main, *, others: Iterable[Forked], wakeup: int
) -> Forked:
    """Start a child that runs main(channel). others: children whose channels it must not hold.

    wakeup: the supervisor's signal pipe, which is not the child's either.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setblocking(False)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Forked(slot, generation, name, pid, ours)
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with(parent)
        ours.close()
        os.close(wakeup)
        for other in others:
            other.sock.close()
        gc.freeze()
        # A batch of registrations is some ten thousand objects that live until it is written; with
        # the default of 700 they are walked again and again (6 % of the writer's time).
        gc.set_threshold(20_000, 20, 20)
        code = main(Channel(theirs))
    except BaseException:  # noqa: BLE001 - nothing may climb into the supervisor's stack
        structlog.get_logger().exception("child_failed", process=name)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
