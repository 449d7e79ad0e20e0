"""One HTTP connection: aiohttp's protocol with limits on time, number and what a peer may pin.

aiohttp bounds lines, headers and pipelined requests; it has no deadline for a request's head, no
limit a source and no answer to a peer that does not read. The Gate adds these with one sweep a
second over all connections instead of a timer each. Private names of aiohttp used here and in
resolver.http.fastpath are listed and checked by tests/resolver/http/test_aiohttp_internals.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from resolver.http.fastpath import Tally, fast_answers, is_whole
from resolver.http.problem import problem

if TYPE_CHECKING:
    from resolver.config import LimitSettings
    from resolver.metrics import Metrics
    from resolver.node import Node

SERVER_NAME: Final = "Biaoshi"
SWEEP_S: Final = 1.0
STUCK_S: Final = 30
"""A peer that takes none of the octets waiting for it for so long is cut off."""
_LINE_BYTES: Final = 16_384
_FIELD_BYTES: Final = 8_190
_HEADERS: Final = 100
_UNREADABLE: Final = (
    f"a method, a line or a length is not as RFC 9112 has it, or too long: a line has at most "
    f"{_LINE_BYTES} octets, a header {_FIELD_BYTES}, a request {_HEADERS} headers"
)


class Gate:
    """All connections of one face (http or https) of one reader."""

    def __init__(
        self,
        limits: LimitSettings,
        metrics: Metrics,
        face: str,
        node: Node | None = None,
        *,
        proved: Callable[[str], None] = lambda _: None,
    ) -> None:
        """node: whose hot reads are answered here; None leaves all to aiohttp.

        proved: told the address of each connection, which it shows to be no forged one.
        """
        self.tally = Tally()
        soon = asyncio.get_running_loop().call_soon
        self.fast = None if node is None else fast_answers(node, self.tally, face, soon)
        self.limits = limits
        self._proved = proved
        self.face = face
        self.tick = 0
        """Seconds since the start, as coarse as the sweep."""
        self._all: set[Connection] = set()
        self._by_source: Counter[str] = Counter()
        self._open = metrics.connections[face]
        self._refused = metrics.connections_refused
        self.octets_in = metrics.octets[face, "in"]
        self._octets_out = metrics.octets[face, "out"]
        self._found = metrics.requests[face, "found"]
        self._absent = metrics.requests[face, "absent"]
        self._lookups = metrics.lookups["store"]
        self._sweeping: asyncio.Task[None] | None = None
        self.parting = False
        """The next response on a connection is its last."""
        self._empty = asyncio.Event()

    def start(self) -> None:
        """Begin to sweep."""
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_forever())

    def stop(self) -> None:
        """End the sweep."""
        if self._sweeping is not None:
            self._sweeping.cancel()

    def admit(self, connection: Connection, host: str) -> bool:
        """Count a connection in, or say no."""
        if len(self._all) >= self.limits.connections:
            self._refused["all"].inc()
            return False
        if self._by_source[host] >= self.limits.connections_per_source:
            self._refused["source"].inc()
            return False
        self._proved(host)
        self._all.add(connection)
        self._by_source[host] += 1
        self._open.inc()
        return True

    def leave(self, connection: Connection, host: str) -> None:
        """Count a connection out."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        self._by_source[host] -= 1
        if not self._by_source[host]:
            del self._by_source[host]
        self._open.inc(-1)
        if not self._all:
            self._empty.set()

    async def part(self, seconds: float) -> None:
        """Give each connection one more response, with `Connection: close`, or so much time.

        A client that is busy thus never writes into a connection that is being closed.
        """
        self.parting, self.fast = True, None
        if self._all:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """One second has passed: close what is over its time, hand over what was counted."""
        self.tick += 1
        self.count()
        for connection in tuple(self._all):
            connection.check(self.tick)

    def count(self) -> None:
        """Move what the fast way counted to the metrics."""
        tally = self.tally
        found, absent, received, sent = tally.take()
        self._found.inc(found)
        self._absent.inc(absent)
        self._lookups.inc(found + absent)
        self.octets_in.inc(received)
        self._octets_out.inc(sent)


class Connection(RequestHandler):
    """The protocol of one connection."""

    __slots__ = (
        "_active",
        "_clean",
        "_gate",
        "_head_since",
        "_host",
        "_stuck_since",
        "_unsent",
    )

    def __init__(self, manager: Any, gate: Gate, *, loop: asyncio.AbstractEventLoop) -> None:
        limits = gate.limits
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=limits.idle_s,
            access_log=None,  # type: ignore[arg-type]  # costs more than the lookup
            max_line_size=_LINE_BYTES,
            max_headers=_HEADERS,
            max_field_size=_FIELD_BYTES,
            lingering_time=min(5.0, limits.request_s),
            read_bufsize=min(65_536, limits.buffer_bytes),
            auto_decompress=False,
        )
        self._gate = gate
        self._clean = True
        self._host = ""
        self._active = gate.tick
        self._head_since: int | None = None
        self._stuck_since: int | None = None
        self._unsent = 0

    @property
    def parting(self) -> bool:
        """Whether the response being made is the last one here."""
        return self._gate.parting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        self._host = str(name[0]) if isinstance(name, tuple) and name else ""
        if not self._gate.admit(self, self._host):
            transport.abort()  # type: ignore[attr-defined]
            self._manager = None  # connection_lost() then knows that nothing was begun
            return
        self._active = self._gate.tick
        # A connection that says nothing has the time of one head, not of an idle one.
        self._head_since = self._gate.tick
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._gate.leave(self, self._host)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        gate, fast = self._gate, self._gate.fast
        if fast is not None and self._clean and not self._messages:
            waiter = self._waiter  # as _rests(), which is the rarer case
            if self._rests() if waiter is None else not (self._paused or waiter.done()):
                reply = fast(data)
                if reply is not None:
                    self._active = gate.tick
                    self._head_since = None
                    self.transport.write(reply)  # type: ignore[union-attr]
                    return
        self._give(data)

    def _rests(self) -> bool:
        """Whether an answer given now is the next thing on this connection, which has no waiter.

        aiohttp waits for a request, or (here) was never given one and its task has yet to start;
        its parser holds nothing (_clean) and the peer reads.
        """
        return not (self._request_count or self._paused or self._close or self._force_close)

    def _give(self, data: bytes) -> None:
        """Let aiohttp have it."""
        if self._manager is None:
            return
        self._active = self._gate.tick
        self._gate.octets_in.inc(len(data))
        if self._clean and data:
            self._clean = is_whole(data)
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self._head_since = None
        elif self._head_since is None and data:
            self._head_since = self._active

    def _process_keepalive(self) -> None:
        """Idle connections are the sweep's business: aiohttp does not see the fast answers."""
        self._keepalive_handle = None

    def check(self, tick: int) -> None:
        """Close when a head is late, the peer reads nothing or nothing happens at all."""
        limits, transport = self._gate.limits, self.transport
        if transport is None or transport.is_closing():
            return
        unsent = transport.get_write_buffer_size()
        if unsent and unsent >= self._unsent > 0:
            self._stuck_since = tick if self._stuck_since is None else self._stuck_since
            if tick - self._stuck_since >= STUCK_S:
                transport.abort()
        else:
            self._stuck_since = None
        self._unsent = unsent
        if self._messages or self._request_in_progress or unsent:
            return
        late = self._head_since is not None and tick - self._head_since > limits.request_s
        if late or tick - self._active > limits.idle_s:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A request that does not parse: nothing of it is repeated, and the connection ends."""
        del message
        if isinstance(exc, ConnectionError):
            raise exc  # the peer went away: there is nobody to tell
        if request.writer.output_size > 0:
            raise ConnectionError("the response had begun")
        if status >= 500:
            self.log_exception("request handling failed", exc_info=exc)
        title = "The request is no HTTP request" if status == 400 else "The request failed"
        told = _UNREADABLE if status == 400 else None
        response = problem(
            status, "bad-request" if status == 400 else "internal", title, detail=told
        )
        response.headers["Server"] = SERVER_NAME  # this answer passes no resource of ours
        response.force_close()
        return response
