"""Repeated datagrams: a client asks again after half a second, with the same octets (do-irp 3.1).

What takes waiting may change something; it is done once, and its replies are given again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

_KEEP_S = 15.0
_MOST = 2048
_MOST_OCTETS = 4 * 1024 * 1024


@dataclass(slots=True)
class _Known:
    until: float
    replies: Sequence[bytes] = ()

    def octets(self) -> int:
        return sum(map(len, self.replies))


class Repeats:
    """Requests of the last 15 seconds and what was replied; the oldest goes when there are many."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()
        self._octets = 0

    def seen(self, token: Hashable) -> Sequence[bytes] | None:
        """None for a new request, which is then known; its replies for one seen before.

        token: who asks, and what. No replies: the first is still being carried out.
        """
        now = self._now()
        while self._known and (
            len(self._known) >= _MOST
            or self._octets > _MOST_OCTETS
            or next(iter(self._known.values())).until <= now
        ):
            self._octets -= self._known.popitem(last=False)[1].octets()
        known = self._known.get(token)
        if known is not None:
            return known.replies
        self._known[token] = _Known(now + _KEEP_S)
        return None

    def answered(self, token: Hashable, replies: Sequence[bytes]) -> None:
        """The replies to a request seen; none: it failed, and may be tried again."""
        known = self._known.get(token)
        if known is None:
            return
        if not replies:
            del self._known[token]
            return
        known.replies = replies
        self._octets += known.octets()

    def forget(self, token: Hashable) -> None:
        """The request was not carried out."""
        self.answered(token, ())
