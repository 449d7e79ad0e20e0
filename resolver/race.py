"""Attempts that start one after the other and run side by side; the first success counts.

Serves the race of IPv6 and IPv4 (RFC 8305), the way from UDP to TCP to HTTP, and a second site
beside a slow first one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from protocol.errors import (
    BiaoshiError,
    RecursionTooDeep,
    ServerBusy,
    SignatureInvalid,
    UpstreamError,
)

T = TypeVar("T")

_WORST_FIRST = (RecursionTooDeep, SignatureInvalid, ServerBusy)
"""Which of several failures is told: a limit of the question, then a lie, then our own load."""


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """after_s: seconds after the start of the one before it; at once if all others have failed."""

    after_s: float
    run: Callable[[], Awaitable[T]]


async def race(attempts: Sequence[Attempt[T]]) -> T:
    """The result of the first attempt that succeeds; the others are stopped.

    Raises the most telling of the errors when all fail, UpstreamError with all of them as a rule.
    """
    running: set[asyncio.Task[T]] = set()
    failures: list[BiaoshiError] = []
    waiting = list(attempts)
    loop = asyncio.get_running_loop()
    next_at = loop.time()
    try:
        while waiting or running:
            if waiting and (not running or loop.time() >= next_at):
                running.add(asyncio.ensure_future(waiting.pop(0).run()))
                next_at = loop.time() + (waiting[0].after_s if waiting else 0)
            pause = max(0.0, next_at - loop.time()) if waiting else None
            done, running = await asyncio.wait(
                running, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, BiaoshiError):
                    raise error
                failures.append(error)
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
    raise told(failures)


def told(failures: Sequence[BiaoshiError]) -> BiaoshiError:
    """One error for several."""
    for kind in _WORST_FIRST:
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    if failures and len({type(failure) for failure in failures} - {UpstreamError}) == 1:
        # All of one more telling kind, or one of them is: that one is told.
        return next(failure for failure in failures if type(failure) is not UpstreamError)
    if len(failures) == 1:
        return failures[0]
    texts = dict.fromkeys(str(failure) for failure in failures)
    return UpstreamError("; ".join(texts) or "there is no address to ask")
