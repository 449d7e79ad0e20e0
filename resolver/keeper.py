"""The keeper: the outermost process of a node. It holds the sockets and forks the supervisor anew.

A killed supervisor takes its children with it; the keeper has everything imported and every socket
open, so that the next one answers within a fraction of a second and no client sees a closed port.
A supervisor that hangs does no harm at once: its children go on answering. But none of them would
be replaced, and no signal heeded; so it is killed after a while and takes them with it. The keeper
does nothing else, so that there is little that could end it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import structlog

from resolver.child import die_with
from resolver.exits import Exit
from resolver.supervisor import MOST_PAUSE_S

log = structlog.get_logger()

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MOST_PAUSE_S: Final = 5.0
_STEADY_S: Final = 10.0
_LOOK_S: Final = 1.0


class Keeper:
    """Runs `supervise` in a child for as long as that is killed.

    supervise: the supervisor's life; told whether it is the first; gives the exit code.
    was_ready: whether the one that died had got as far as answering. beats: a number that grows
    while it lives; one that was ready and whose number stands still for watchdog_s is killed.
    on_stop: called in the keeper when the node is told to stop.
    """

    def __init__(
        self,
        supervise: Callable[[bool], int],
        *,
        was_ready: Callable[[], bool],
        beats: Callable[[], int],
        watchdog_s: float,
        on_stop: Callable[[], None],
    ) -> None:
        self._beats = beats
        self._watchdog_s = watchdog_s
        self._supervise = supervise
        self._was_ready = was_ready
        self._on_stop = on_stop
        self._child = 0
        self._stopping = False

    def run(self) -> int:
        """Until the supervisor ends by itself; its exit code."""
        failures, first = 0, True
        for number in _SIGNALS:
            signal.signal(number, self._pass_on)
        while True:
            started = time.monotonic()
            code = os.waitstatus_to_exitcode(self._one(first=first))
            # The first start may fail for good: it is said and ends the node. A later one failed
            # because something was killed meanwhile, or its predecessor still holds the store.
            if code == Exit.OK or (first and code > 0):
                return code
            if self._stopping:
                return Exit.REFUSED
            first = False
            failures = 1 if time.monotonic() - started > _STEADY_S else failures + 1
            log.error("supervisor_died", status=code, failures=failures)
            if failures > 1:
                most = MOST_PAUSE_S if self._was_ready() else _MOST_PAUSE_S
                time.sleep(min(0.1 * 2.0 ** min(failures - 2, 10), most))
            if self._stopping:
                return Exit.OK

    def _one(self, *, first: bool) -> int:
        """One supervisor, to its end; its wait status."""
        # Signals wait until the child has shed our handlers and we know its number.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        keeper = os.getpid()
        self._child = os.fork()
        if not self._child:
            self._be_supervisor(keeper, first=first)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            self._watch(self._child)
            return os.waitpid(self._child, 0)[1]
        finally:
            self._child = 0

    def _watch(self, child: int) -> None:
        """Until the supervisor ends, by itself or because it hung."""
        try:
            ends = os.pidfd_open(child)
        except (
            OSError,
            AttributeError,
        ):  # an old kernel: its end is waited for, and no hanging seen
            return
        try:
            poll = select.poll()
            poll.register(ends, select.POLLIN)
            beats, since = self._beats(), time.monotonic()
            looked = since
            while not poll.poll(_LOOK_S * 1000):
                now, before = time.monotonic(), beats
                beats = self._beats()
                # Were we away ourselves (a suspended machine), so was everybody.
                away, looked = now - looked > 4 * _LOOK_S, now
                if beats != before or away or not self._was_ready():
                    since = now
                elif now - since > self._watchdog_s:
                    log.error("supervisor_hung", pid=child, silent_s=round(now - since, 1))
                    os.kill(child, signal.SIGKILL)
                    since = now
        finally:
            os.close(ends)

    def _be_supervisor(self, keeper: int, *, first: bool) -> None:
        code: int = Exit.REFUSED
        try:
            os.setpgid(0, 0)  # a terminal's Ctrl-C comes through the keeper, and once
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            die_with(keeper)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = self._supervise(first)
        except BaseException:
            log.exception("supervisor_failed")
        finally:
            os._exit(code)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if not self._stopping:
                self._on_stop()
            self._stopping = True
        if self._child:
            os.kill(self._child, number)
