"""One HTTP connection: aiohttp's protocol with limits on time, number and what a peer may pin.

aiohttp bounds lines, headers and pipelined requests; it has no deadline for a request's head, no
limit a source and no answer to a peer that does not read. The Gate adds these with one sweep a
second over all connections instead of a timer each. Private names of aiohttp used here and in
resolver.http.fastpath are listed and checked by tests/resolver/http/test_aiohttp_internals.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from resolver.http.problem import problem

if TYPE_CHECKING:
    from resolver.config import LimitSettings
    from resolver.metrics import Metrics

SERVER_NAME: Final = "Biaoshi"
SWEEP_S: Final = 1.0
STUCK_S: Final = 30
"""A peer that takes none of the octets waiting for it for so long is cut off."""
_LINE_BYTES: Final = 16_384
_FIELD_BYTES: Final = 8_190
_HEADERS: Final = 100


class Gate:
    """All connections of one face (http or https) of one reader."""

    def __init__(
        self,
        limits: LimitSettings,
        metrics: Metrics,
        face: str,
        *,
        proved: Callable[[str], None] = lambda _: None,
    ) -> None:
        """proved: told the address of each connection, which it shows to be no forged one."""
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
        self.octets_out = metrics.octets[face, "out"]
        self._sweeping: asyncio.Task[None] | None = None

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

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """One second has passed: close what is over its time."""
        self.tick += 1
        for connection in tuple(self._all):
            connection.check(self.tick)


class Connection(RequestHandler):
    """The protocol of one connection."""

    __slots__ = ("_active", "_gate", "_head_since", "_host", "_stuck_since", "_unsent")

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
        self._host = ""
        self._active = gate.tick
        self._head_since: int | None = None
        self._stuck_since: int | None = None
        self._unsent = 0

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
        if self._manager is None:
            return
        self._active = self._gate.tick
        self._gate.octets_in.inc(len(data))
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self._head_since = None
        elif self._head_since is None and data:
            self._head_since = self._active

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
        if request.writer.output_size > 0:
            raise ConnectionError("the response had begun")
        if status >= 500:
            self.log_exception("request handling failed", exc_info=exc)
        title = "The request is no HTTP request" if status == 400 else "The request failed"
        response = problem(status, "bad-request" if status == 400 else "internal", title)
        response.headers["Server"] = SERVER_NAME  # this answer passes no resource of ours
        response.force_close()
        return response
