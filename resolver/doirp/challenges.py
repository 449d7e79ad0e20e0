"""Challenges waiting for their answer: random, single use, short-lived, bound to who was asked.

A challenge holds the request it was the reply to; its answer comes on another connection as a
rule, but from the same address (do-irp 8.1, 21; threats N5).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from protocol.doirp.message import Message
from protocol.errors import AuthenticationTimeout, ServerBusy
from resolver.doirp.ids import fresh_id
from resolver.doirp.limits import network_of

_MOST_PER_SOURCE = 256
_MOST_OCTETS = 64 * 1024 * 1024
_MOST_OCTETS_PER_SOURCE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pending:
    """A challenge that was sent.

    original: the request to carry out once its sender is known. version: of the challenge's
    message. digest: of the original, as the challenge has it. session: its id where the original
    came in one, else 0.
    """

    original: Message
    nonce: bytes
    digest: bytes
    version: tuple[int, int]
    host: str
    until: float
    session: int = 0

    @property
    def octets(self) -> int:
        return len(self.original.body) + len(self.original.credential) + 512


class _Source:
    """What one network has waiting, oldest first."""

    __slots__ = ("ids", "octets")

    def __init__(self) -> None:
        self.ids: OrderedDict[int, None] = OrderedDict()
        self.octets = 0


class Challenges:
    """The challenges of one reader. Over a bound the oldest goes: the source's own, then any."""

    def __init__(
        self,
        *,
        owner: int,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        most: int,
    ) -> None:
        self._owner = owner
        self._now = now
        self._random = random
        self._most = most
        self._pending: OrderedDict[int, Pending] = OrderedDict()
        self._sources: dict[bytes, _Source] = {}
        self._octets = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, pending: Pending) -> int:
        """Keep a challenge; its id: the session's where it has one, else a new one.

        Raises ServerBusy when no id is free.
        """
        self._expire()
        number = pending.session or fresh_id(
            self._owner, self._random, self._pending, session=False
        )
        if number is None:
            raise ServerBusy("all challenge ids are in use; try again later")
        if number in self._pending:
            self._drop(number)
        key = network_of(pending.host)
        source = self._sources.setdefault(key, _Source())
        source.ids[number] = None
        source.octets += pending.octets
        self._pending[number] = pending
        self._octets += pending.octets
        while len(source.ids) > _MOST_PER_SOURCE or source.octets > _MOST_OCTETS_PER_SOURCE:
            self._drop(next(iter(source.ids)))
        while len(self._pending) > self._most or self._octets > _MOST_OCTETS:
            self._drop(next(iter(self._pending)))
        return number

    def take(self, number: int, host: str) -> Pending:
        """The challenge of an id, which is used up with this.

        Raises AuthenticationTimeout when it is unknown, used, too old, or another address's.
        """
        pending = self._pending.get(number)
        if pending is None or pending.host != host or pending.until <= self._now():
            raise AuthenticationTimeout(
                "no such challenge waits for an answer from this address: it is unknown, used or "
                "too old; send the request again"
            )
        self._drop(number)
        return pending

    def _expire(self) -> None:
        now = self._now()
        while self._pending:
            number, oldest = next(iter(self._pending.items()))
            if oldest.until > now:
                return
            self._drop(number)

    def _drop(self, number: int) -> None:
        pending = self._pending.pop(number)
        self._octets -= pending.octets
        key = network_of(pending.host)
        source = self._sources[key]
        del source.ids[number]
        source.octets -= pending.octets
        if not source.ids:
            del self._sources[key]
