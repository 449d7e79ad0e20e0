"""Follower: looks at the logs of other nodes, so that the cache learns of changes before the TTL.

A node's log is public, its content is not: leaves hold salted digests, so that what changed cannot
be told from outside (plan §7). What can be told is that something did: the checkpoint's size or
root differs. Then every name that the node holds is doubted, and fetched anew when it is next
asked for; names that nobody asks for cost nothing. The checkpoint's signature is not looked at:
whoever forges one makes us ask again, whoever withholds it leaves us with the TTL we had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import aiohttp
import structlog

from protocol.errors import BiaoshiError, UpstreamError
from resolver.config import CacheSettings
from resolver.guard import Guard, parse_url
from resolver.transport_http import tls_context

log = structlog.get_logger()

PATH: Final = "/log/checkpoint"
_MOST_OCTETS: Final = 16_384
_MOST_PAUSE_S: Final = 300.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)

Doubt = Callable[[bytes], Awaitable[None]]


class Follower:
    """Watches the logs of `cache.follow`. doubt: called with the prefix of one that grew."""

    def __init__(self, settings: CacheSettings, guard: Guard, doubt: Doubt) -> None:
        self._settings = settings
        self._guard = guard
        self._doubt = doubt

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """One endless watch for each log."""
        return [
            self._watch(prefix.encode().upper(), address.rstrip("/"))
            for prefix, address in self._settings.follow
        ]

    async def _watch(self, prefix: bytes, address: str) -> None:
        known: tuple[bytes, bytes] | None = None
        failures = 0
        await self._trust(address)
        while True:
            try:
                found = await read_checkpoint(self._guard, address)
            except BiaoshiError as error:
                failures += 1
                if failures == 1:
                    log.warning("follow_failed", address=address, why=str(error))
            else:
                # After a silence it is not known what was missed.
                if known is not None and (found != known or failures):
                    await self._doubt(prefix)
                known, failures = found, 0
            pause = self._settings.follow_s * 2 ** min(failures, 10)
            await asyncio.sleep(min(pause, max(_MOST_PAUSE_S, self._settings.follow_s)))

    async def _trust(self, address: str) -> None:
        """The operator named this address: its class is allowed, as a root's is."""
        try:
            url = parse_url(address)
            await self._guard.trust_host(url.host, url.port)
        except BiaoshiError as error:
            log.warning("follow_failed", address=address, why=str(error))


async def read_checkpoint(guard: Guard, address: str) -> tuple[bytes, bytes]:
    """Size and root of a node's log, as its checkpoint says them. Raises UpstreamError."""
    target = parse_url(address + PATH)
    try:
        async with (
            guard.http_session() as session,
            session.get(
                f"{target.origin}{target.path}",
                allow_redirects=False,
                ssl=tls_context(),
                timeout=_TIMEOUT,
            ) as response,
        ):
            if response.status != 200:
                raise UpstreamError(f"{address}{PATH} answers {response.status}; has it a log?")
            body = b""
            async for chunk in response.content.iter_chunked(_MOST_OCTETS):
                body += chunk
                if len(body) > _MOST_OCTETS:
                    raise UpstreamError(f"{address}{PATH} sends more than {_MOST_OCTETS} octets")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UpstreamError(f"{address}{PATH} cannot be read: {str(error) or 'time-out'}") from None
    lines = body.split(b"\n")
    if len(lines) < 4 or not lines[1].isdigit():
        raise UpstreamError(f"{address}{PATH} is no checkpoint")
    return lines[1], lines[2]
