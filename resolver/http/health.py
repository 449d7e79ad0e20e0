"""/health/live, /health/ready and /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from registry.fence import fence_of
from registry.store import Table
from resolver.exposition import exposition
from resolver.http.asked import Senders, in_networks
from resolver.http.problem import problem
from resolver.trust.following import read_status

if TYPE_CHECKING:
    from resolver.node import Node

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """What a supervisor of nodes asks."""

    def __init__(self, node: Node, senders: Senders) -> None:
        self._node = node
        self._senders = senders

    async def live(self, _: web.Request) -> web.Response:
        """This process answers."""
        return _json({"status": "alive"})

    async def ready(self, _: web.Request) -> web.Response:
        """Whether the node does all of its work: 200, or 503 with what is missing.

        A node that only reads (`reads: true`) still resolves; it takes no registrations.
        """
        node = self._node
        checks = {
            "faces": node.board.ready,
            "writer": node.board.writer_alive,
            "store": self._store_reads(),
            "homed": not node.prefix or node.prefix in node.prefixes.homed(),
            "serving": not node.board.draining,
            "store_writes": not node.board.gauge("store_read_only"),
            **self._log(),
        }
        whole = all(checks.values())
        body = {
            "status": "ready" if whole else "degraded",
            "reads": checks["store"] and checks["serving"],
            "checks": checks,
        }
        return _json(body, 200 if whole else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, for the networks that may read it."""
        networks = self._node.settings.http.metrics_networks
        # A proxy that nobody declared stands between: whose question it is cannot be known.
        hidden = "X-Forwarded-For" in request.headers and not self._senders.forwarded(request)
        if hidden or not in_networks(self._senders.host(request), networks):
            told = "http.metrics_networks names the networks that may read them"
            return problem(403, "not-from-here", "Metrics are not for this address", detail=told)
        with self._node.store.snapshot() as state:
            records = state.count(Table.RECORDS)
        settings = self._node.settings.node
        facts = {"role": settings.role, "prefix": settings.prefix}
        text = exposition(self._node.board, facts, records)
        return web.Response(body=text, headers={"Content-Type": METRICS_TYPE})

    def _log(self) -> dict[str, bool]:
        """A primary takes writes; a mirror follows its primary."""
        if self._node.settings.node.role == "mirror":
            return {"following": read_status(self._node.dir).get("state") == "following"}
        with self._node.store.snapshot() as state:
            return {"writes": fence_of(state) is None}

    def _store_reads(self) -> bool:
        try:
            self._node.store.get(Table.META, b"format")
        except Exception:  # noqa: BLE001 - whatever it is, the store does not read
            return False
        return True


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )
