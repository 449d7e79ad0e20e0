"""Node: what a reader process holds, handed to every face.

Made by resolver.app alone. Nothing here waits; faces take the parts they need once, at start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol.errors import BiaoshiError
from protocol.name import prefix_record
from resolver.board import Board
from resolver.config import Settings
from resolver.local import Handler, LocalClient
from resolver.logs import QueryLog
from resolver.metrics import Metrics
from resolver.sockets import Ports
from resolver.writer_link import WriterLink

if TYPE_CHECKING:
    from protocol.values.hs_site import Site
    from registry.access import Access
    from registry.keys import NodeKeys
    from registry.prefixes import Prefixes
    from registry.store import Store
    from resolver.lookup import Lookup
    from resolver.recursion import Recursion


class Siblings:
    """The other readers of this node, over local sockets.

    A challenge or session id names the reader that owns it; another reader asks that one:
    `await node.siblings.ask(owner, "challenge", body)`. Bodies are msgpack-able. The verbs a
    face answers are registered before the node is ready: `node.siblings.answer(verb, handler)`.
    """

    def __init__(self, run: Path, number: int) -> None:
        self.number = number
        self.handlers: dict[str, Handler] = {}
        self._run = run
        self._clients: dict[int, LocalClient] = {}

    def answer(self, verb: str, handler: Callable[[Any], Awaitable[Any]]) -> None:
        """Answer the requests of one verb with this coroutine function."""
        self.handlers[verb] = handler

    async def ask(self, number: int, verb: str, body: Any) -> Any:
        """The answer of another reader. Raises its BiaoshiError, ServerBusy or Unfinished."""
        client = self._clients.get(number)
        if client is None:
            client = LocalClient(self._run / socket_name(number), wait_s=1.0)
            self._clients[number] = client
        return await client.ask(verb, body)

    async def wake(self) -> None:
        """Let the first reader look at once whether its parent must be told of something."""
        with contextlib.suppress(BiaoshiError):
            handler = self.handlers.get("enrol")
            if handler is not None:
                await handler(None)
            elif self.number:
                await self.ask(0, "enrol", None)

    async def close(self) -> None:
        """Drop the connections."""
        for client in self._clients.values():
            await client.close()


def socket_name(number: int) -> str:
    """The local socket of a reader, within DIR/run."""
    return f"reader-{number}.sock"


@dataclass
class Node:
    """One reader's view of the node.

    number: this reader, 0 … readers-1; readers: how many there are (closed sets for ids).
    dir: the node's folder. site: its own site record, as published, with the ports in use.
    prefix: folded octets; b"" for a recursive node without one. lookup and recursion are set by
    resolver.app once the rest is there; recursion is None unless configured.
    """

    dir: Path
    settings: Settings
    store: Store
    keys: NodeKeys
    site: Site
    ports: Ports
    writer: WriterLink
    access: Access
    prefixes: Prefixes
    metrics: Metrics
    board: Board
    siblings: Siblings
    number: int = 0
    readers: int = 1
    now: Callable[[], float] = time.time
    recursion: Recursion | None = None
    query_log: QueryLog = field(default_factory=lambda: QueryLog(0))

    lookup: Lookup = field(init=False)

    @cached_property
    def prefix(self) -> bytes:
        return self.settings.node.prefix.encode().upper()

    @cached_property
    def record_name(self) -> bytes:
        """The handle of the node's own prefix record, 0.NA/P."""
        return prefix_record(self.prefix)

    @property
    def asking(self) -> Recursion | None:
        """What the node asks others with for itself: keys and lists of callers, traces.

        Its recursion; one that answers nobody where it resolves for nobody; None: it knows no other.
        """
        return self.recursion or self._own

    @cached_property
    def _own(self) -> Recursion | None:
        from resolver.recursion import open_own

        return open_own(self.settings, self.dir, metrics=self.metrics)

    async def close(self) -> None:
        """Let go of the ways to others."""
        for one in (self.recursion, self.__dict__.get("_own")):
            if one is not None:
                await one.close()

    @property
    def ready(self) -> bool:
        """What /health/ready says: every face answered once, the writer lives, no stop yet."""
        return self.board.ready and self.board.writer_alive and not self.board.draining
