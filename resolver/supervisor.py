"""The supervisor: starts a node's writer and readers, keeps them alive, stops and reloads them.

One thread, no event loop, no store and no connection: it only forks, listens to its children
and waits. A child that dies is started again, at once the first time and then with growing
pauses; one that is silent is killed. Readers keep their sockets, because these are the
supervisor's.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import structlog

from resolver.board import Board
from resolver.child import Channel
from resolver.config import ProcessSettings
from resolver.exits import Exit
from resolver.forked import Forked, fork

log = structlog.get_logger()

_TICK_S: Final = 0.5
_STEADY_S: Final = 10.0
"""A process that was ready so long starts with a clean sheet when it dies."""
MOST_PAUSE_S: Final = 0.5
"""Before a process that had been ready is started again: clients wait for it."""
_KILL_AFTER_S: Final = 5.0
"""Beyond the grace of a drain: then a stopping process is killed."""


class StartFailed(Exception):
    """A process could not start. code: the exit code of the node."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """A stop was asked for before the node was ready."""


class Supervisor:
    """Slots 0 … readers-1 are readers, the last is the writer.

    main: runs a child, `main(slot, generation, channel) -> exit code`.
    reread: reads the settings again for a reload; None when they are wrong (said in the log).
    on_stop: called once when the node begins to stop.
    """

    def __init__(
        self,
        board: Board,
        settings: ProcessSettings,
        main: Callable[[int, int, Channel], int],
        *,
        reread: Callable[[], ProcessSettings | None],
        on_stop: Callable[[], None],
    ) -> None:
        self._board = board
        self._settings = settings
        self._main = main
        self._reread = reread
        self._on_stop = on_stop
        self._children: dict[int, Forked] = {}
        self._current: list[Forked | None] = [None] * board.slots
        self._generation = [0] * board.slots
        self._failures = [0] * board.slots
        self._restart_at: dict[int, float] = {}
        self._to_replace: list[int] = []
        self._incoming: Forked | None = None
        self._stops = 0
        self._stopping = False
        self._reload_asked = False
        self._looked = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def writer(self) -> int:
        """The writer's slot."""
        return self._board.readers

    # Starting

    def start(self) -> None:
        """Start the writer, then the readers; returns when all are ready.

        Raises StartFailed (everything is stopped by then) or Stopped.
        """
        self._listen()
        try:
            self._launch(self.writer)
            self._await_ready()
            for slot in range(self._board.readers):
                self._launch(slot)
            self._await_ready()
        except BaseException:
            self.kill()
            raise

    def resume(self) -> None:
        """Start all at once after a supervisor that was killed, and wait for none.

        The node worked before, so that one which dies meanwhile is started again as ever.
        """
        self._listen()
        for slot in (self.writer, *range(self._board.readers)):
            self._launch(slot)

    def _listen(self) -> None:
        self._board.supervisor = os.getpid()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._asked_to_reload)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _await_ready(self) -> None:
        while not all(child.ready for child in self._children.values()):
            self._wait(_TICK_S)
            for child in self._reap():
                raise StartFailed(*(child.failed or (f"{child.name} died while starting", 1)))
            if self._stops:
                raise Stopped
            for child in self._children.values():
                if not child.ready and self._age(child.started) > self._settings.start_s:
                    raise StartFailed(
                        f"{child.name} was not ready after {self._settings.start_s:g} s; "
                        "see its log lines, or raise processes.start_s",
                        Exit.UNAVAILABLE,
                    )

    def _launch(self, slot: int) -> Forked:
        """Fork a process for a slot. Its generation differs in parity from the one it replaces."""
        old = self._current[slot]
        generation = (old.generation if old else self._generation[slot]) + 1
        self._generation[slot] = generation
        name = "writer" if slot == self.writer else f"reader-{slot}"
        child = fork(
            slot,
            generation,
            name,
            lambda channel: self._main(slot, generation, channel),
            others=self._children.values(),
            wakeup=self._wake_read,
        )
        self._children[child.pid] = child
        self._selector.register(child.sock, selectors.EVENT_READ, child)
        self._board.started(slot, generation, child.pid)
        if old is None:
            self._current[slot] = child
        return child

    # Running

    def run(self, on_ready: Callable[[], None] = lambda: None) -> int:
        """Keep the node alive until it is told to stop; gives the exit code.

        on_ready: called once, when the writer and every reader are ready.
        """
        waiting = True
        while not self._stops:
            if waiting and all(child and child.ready for child in self._current):
                waiting = False
                on_ready()
            self._wait(self._pause())
            for child in self._reap():
                self._ended(child)
            self._watch()
            if self._reload_asked:
                self._begin_reload()
            self._go_on_reloading()
            self._restart_due()
        return self._drain()

    def _wait(self, seconds: float) -> None:
        """Sleep until a child speaks, a signal comes or the time is over."""
        self._board.beat()
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            else:
                key.data.read()

    def _pause(self) -> float:
        due = [at - time.monotonic() for at in self._restart_at.values()]
        return max(0.0, min([_TICK_S, *due]))

    def _reap(self) -> list[Forked]:
        """The children that ended since last time."""
        ended = []
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if not found:
                continue
            child = self._children.pop(pid)
            child.read()
            self._selector.unregister(child.sock)
            child.sock.close()
            self._board.ended(child.slot, child.generation)
            if self._current[child.slot] is child:
                self._current[child.slot] = None
            code = os.waitstatus_to_exitcode(status)
            expected = child.stopping_since is not None
            (log.info if expected else log.warning)(
                "process_ended", name=child.name, pid=pid, status=code, why=child.failed
            )
            ended.append(child)
        return ended

    def _ended(self, child: Forked) -> None:
        """Decide what follows the end of a child."""
        slot = child.slot
        if child is self._incoming:
            self._incoming = None
            self._to_replace.clear()
            log.error("reload_failed", name=child.name, why=child.failed)
            if self._current[slot] is not None:
                return  # the old one goes on
        elif child.stopping_since is not None:
            return
        elif self._incoming is not None and self._incoming.slot == slot:
            self._current[slot] = self._incoming
            return
        steady = child.ready_since is not None and self._age(child.ready_since) > _STEADY_S
        self._failures[slot] = 1 if steady else self._failures[slot] + 1
        worked = child.ready_since is not None
        pause = self._back_off(self._failures[slot], worked=worked)
        self._restart_at[slot] = time.monotonic() + pause
        self._board.restarted(writer=slot == self.writer)

    def _back_off(self, failures: int, *, worked: bool) -> float:
        """Seconds to wait. worked: it was ready once, so that starting it again is of use."""
        if failures <= 1:
            return 0.0
        most = self._settings.restart_most_s
        if worked:
            most = min(most, MOST_PAUSE_S)
        return float(min(0.1 * 2.0 ** min(failures - 2, 20), most))

    def _restart_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, at in self._restart_at.items() if at <= now]:
            del self._restart_at[slot]
            child = self._launch(slot)
            log.info("process_restarted", name=child.name, pid=child.pid)

    def _watch(self) -> None:
        """Kill what hangs. A pause of our own (a suspended machine) is nobody's fault."""
        now = time.monotonic()
        late = now - self._looked > max(self._settings.watchdog_s / 2, 4 * _TICK_S)
        self._looked = now
        for child in self._children.values():
            if late:
                child.beat = now
            limit = self._settings.watchdog_s
            if child.slot == self.writer:
                limit = self._settings.writer_watchdog_s
            slow = not child.ready and now - child.started > self._settings.start_s
            over = self._over_time(child)
            if now - child.beat > max(limit, 2.0) or slow or over:
                log.error(
                    "process_killed",
                    name=child.name,
                    pid=child.pid,
                    silent_s=round(now - child.beat, 1),
                    started=child.ready,
                    stopping=over,
                )
                child.kill()
                child.beat = now

    def _over_time(self, child: Forked) -> bool:
        since = child.stopping_since
        return since is not None and self._age(since) > self._settings.drain_s + _KILL_AFTER_S

    @staticmethod
    def _age(since: float) -> float:
        return time.monotonic() - since

    # Reloading

    def _begin_reload(self) -> None:
        self._reload_asked = False
        settings = self._reread()
        if settings is None:
            return
        self._settings = settings
        self._to_replace = [self.writer, *range(self._board.readers)]
        log.info("reload_started")

    def _go_on_reloading(self) -> None:
        """Replace one process after another; each reader overlaps with its successor."""
        if self._incoming is not None:
            if not self._incoming.ready:
                return
            self._hand_over(self._incoming)
        if not self._to_replace:
            return
        slot = self._to_replace[0]
        old = self._current[slot]
        if slot == self.writer and old is not None:
            old.stop()  # the store has one writer: the old one ends before the new one starts
            return
        del self._to_replace[0]
        if slot not in self._restart_at:  # else it is about to start with the new settings anyway
            self._incoming = self._launch(slot)

    def _hand_over(self, incoming: Forked) -> None:
        """The new process is ready: it is the current one, the old one drains."""
        old = self._current[incoming.slot]
        self._current[incoming.slot] = incoming
        self._incoming = None
        if old is not None and old is not incoming:
            old.stop()
        log.info("process_replaced", name=incoming.name, pid=incoming.pid)
        if not self._to_replace:
            self._board.reloaded()
            log.info("reload_done")

    # Stopping

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1

    def _asked_to_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_asked = True

    def _drain(self) -> int:
        """Readers finish, then the writer. A second request to stop kills what is left."""
        log.info("stopping")
        self._board.draining = True
        self._on_stop()
        asked = self._stops
        for writer_too in (False, True):
            while leaving := [
                child
                for child in self._children.values()
                if writer_too or child.slot != self.writer
            ]:
                if self._stops > asked:
                    self.kill()
                    return Exit.REFUSED
                for child in leaving:
                    child.stop()
                self._wait(_TICK_S)
                self._reap()
                self._watch()
        log.info("stopped")
        return Exit.OK

    def kill(self) -> None:
        """Kill every child and wait for its end."""
        for child in self._children.values():
            child.stopping_since = child.stopping_since or time.monotonic()
            child.kill()
        while self._children:
            self._wait(0.05)
            self._reap()
