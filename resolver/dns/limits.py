"""Response rate limiting: equal answers to one source network, a second at a time (threats N1)."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from resolver.doirp.limits import network_of

_SLOTS = 65_536
_MOST_HOSTS = 65_536


class Rate:
    """Counts answers to unproven networks in the running second.

    A network within `per_s` answers in all cannot be over; only beyond that are its answers
    counted one by one, in a table of fixed size (a collision counts two names as one).
    """

    def __init__(self, per_s: int, *, now: Callable[[], float]) -> None:
        self._per_s = per_s
        self._now = now
        self._networks: dict[str, bytes] = {}
        self._totals: dict[bytes, int] = {}
        self._slots = array("I", bytes(4 * _SLOTS))
        self._used = False
        self._second = 0

    def turn(self) -> None:
        """Start a new second when the old one is over; called once a loop turn."""
        second = int(self._now())
        if second == self._second:
            return
        self._second = second
        self._totals.clear()
        if self._used:
            self._slots = array("I", bytes(4 * _SLOTS))
            self._used = False
        if len(self._networks) > _MOST_HOSTS:
            self._networks.clear()

    def over(self, host: str, what: bytes) -> bool:
        """Count an answer; whether it is one too many. what: equal for equal answers."""
        if not self._per_s:
            return False
        network = self._networks.get(host)
        if network is None:
            network = self._networks[host] = network_of(host)
        total = self._totals[network] = self._totals.get(network, 0) + 1
        if total <= self._per_s:
            return False
        self._used = True
        slot = hash((network, what)) % _SLOTS
        self._slots[slot] += 1
        return self._slots[slot] > self._per_s
