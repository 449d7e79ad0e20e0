"""How the servers we ask are doing: smoothed round-trip times and pauses for silent ones.

Times as in TCP (RFC 6298). A server is left alone only after several failures in a row, so that
one question it chooses to ignore does not make it look dead to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from resolver.peers import Endpoint, Peer
from resolver.sieve import Sieve

_UNKNOWN_S = 0.05
"""The time assumed of an endpoint never asked: low, so that each gets its turn."""
_FAILURES = 3
"""Failures in a row after which an endpoint is left alone for a while."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
"""The longest pause is short: a server that comes back is noticed within it."""
_REMEMBERED_S = 300.0
"""So long a failure makes an address family, or a site, the second choice."""
_MOST = 4096


@dataclass(slots=True)
class _Health:
    srtt_s: float = _UNKNOWN_S
    known: bool = False
    failures: int = 0
    failed_at: float = 0.0
    dead_until: float = 0.0


class HealthBook:
    """What was measured, by endpoint. Bounded; forgets who is asked least."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._book: Sieve[Endpoint, _Health] = Sieve(_MOST, _MOST)

    def _of(self, endpoint: Endpoint) -> _Health:
        found = self._book.get(endpoint)
        if found is None:
            found = _Health()
            self._book.put(endpoint, found)
        return found

    def answered(self, endpoint: Endpoint, took_s: float) -> None:
        """A reply came after so many seconds."""
        health = self._of(endpoint)
        health.srtt_s = took_s if not health.known else health.srtt_s * 0.875 + took_s * 0.125
        health.known = True
        health.failures = 0
        health.dead_until = 0.0

    def failed(self, endpoint: Endpoint) -> None:
        """No reply, or no connection."""
        health = self._of(endpoint)
        health.failures += 1
        health.failed_at = self._now()
        if health.failures >= _FAILURES:
            pause = _FIRST_PAUSE_S * 2 ** min(health.failures - _FAILURES, 16)
            health.dead_until = self._now() + min(pause, _LONGEST_PAUSE_S)

    def resting(self, endpoint: Endpoint) -> bool:
        """Whether it is left alone now."""
        found = self._book.get(endpoint)
        return found is not None and self._now() < found.dead_until

    def failing(self, endpoint: Endpoint) -> bool:
        """Whether the last attempt failed, and that not long ago."""
        found = self._book.get(endpoint)
        if found is None or not found.failures:
            return False
        return self._now() < found.failed_at + _REMEMBERED_S

    def rtt_s(self, endpoint: Endpoint) -> float:
        """Smoothed round-trip time; a small guess for one never asked."""
        found = self._book.get(endpoint)
        return _UNKNOWN_S if found is None else found.srtt_s

    def rank(self, endpoint: Endpoint) -> tuple[bool, bool, float]:
        """Sort key: resting last, then failing, then by time."""
        return (self.resting(endpoint), self.failing(endpoint), self.rtt_s(endpoint))

    def best_rtt_s(self, endpoints: Iterable[Endpoint]) -> float:
        """The least time measured at one of them; the guess where none was asked yet."""
        found = (self._book.peek(each) for each in endpoints)
        return min((each.srtt_s for each in found if each and each.known), default=_UNKNOWN_S)

    def rank_peer(self, peer: Peer) -> tuple[bool, bool, float]:
        """Sort key as rank(), by the endpoints that ever answered, if any did.

        A guess for the others would make every server with an unused transport look quick.
        """
        proven = [each for each in peer.endpoints if self._answered_ever(each)]
        failing = all(map(self.failing, proven)) if proven else self._any_failing(peer.endpoints)
        return (self.all_resting(peer.endpoints), failing, self.best_rtt_s(peer.endpoints))

    def _answered_ever(self, endpoint: Endpoint) -> bool:
        found = self._book.peek(endpoint)
        return found is not None and found.known

    def _any_failing(self, endpoints: Iterable[Endpoint]) -> bool:
        return any(map(self.failing, endpoints))

    def all_resting(self, endpoints: Iterable[Endpoint]) -> bool:
        """Whether none of them is worth asking now."""
        return all(self.resting(each) for each in endpoints)
