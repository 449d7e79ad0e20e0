"""What one source may have over UDP: octets a minute, and equal answers a second (threats N1).

The octets are counted as for DO-IRP (resolver.doirp.limits): by network, with an allowance, and
freely for sources that showed over TCP that they are who they say. Response rate limiting counts
equal answers to one network; a network within the rate in all cannot be over it, so the answers
are counted one by one only beyond that, in a table of fixed size.
"""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable
from typing import Final, NamedTuple

from resolver.doirp.limits import Amplification, Proven, network_of

_SLOTS = 65_536
_MOST_SOURCES = 65_536
_IPV4 = 4


class Source(NamedTuple):
    """A source address.

    account: octets [received, sent] of its network in this minute. counter: [second, answers in
    it] of its network. host: as text. network: octets that tell networks apart.
    """

    account: list[float]
    counter: list[int]
    host: str
    network: bytes


PROVEN: Final = Source([0, 0], [0, 0], "", b"")
"""Stands for every source that showed over TCP who it is: nothing of it is counted."""


class Sources:
    """The accounts of one socket. per_s: equal answers a second; 0 means any number.

    The datagram loop reads `known` itself and does the usual counting; what is unusual comes
    here. Addresses are the octets of a socket address: 4 for IPv4, 16 for IPv6.
    """

    def __init__(
        self,
        table: Proven,
        *,
        now: Callable[[], float],
        allowance_bytes: int,
        factor: float,
        per_s: int,
    ) -> None:
        self.known: dict[bytes, Source] = {}
        self.second = 0
        self.allowance_bytes = allowance_bytes
        self.factor = factor
        self.per_s = per_s or 1 << 60
        self._limit = Amplification(table, now=now, allowance_bytes=allowance_bytes, factor=factor)
        self._now = now
        self._table = table
        self._counters: dict[bytes, list[int]] = {}
        self._slots = array("I", bytes(4 * _SLOTS))
        self._used = False

    def turn(self) -> None:
        """Start a new second or minute when the old one is over; called once a loop turn."""
        self._limit.turn()
        if not self._limit.accounts or len(self.known) > _MOST_SOURCES:
            self.known.clear()
            self._counters.clear()
        second = int(self._now())
        if second != self.second:
            self.second = second
            if self._used:
                self._slots = array("I", bytes(4 * _SLOTS))
                self._used = False

    def learn(self, address: bytes) -> Source:
        """The accounts of an address not seen in this minute."""
        family = socket.AF_INET if len(address) == _IPV4 else socket.AF_INET6
        host = socket.inet_ntop(family, address)
        network = network_of(host)
        counter = self._counters.setdefault(network, [0, 0])
        source = Source(self._limit.account(host), counter, host, network)
        self.known[address] = source
        return source

    def exceeds(self, address: bytes, source: Source, size: int, what: bytes) -> bool:
        """Whether an answer may not go out that is beyond the allowance or the rate in all.

        size: of the answer; it is counted when it may. what: equal for equal answers.
        """
        if self._table.has(source.host):
            self.known[address] = PROVEN
            return False
        if source.counter[1] > self.per_s:
            self._used = True
            slot = hash((source.network, what)) % _SLOTS
            self._slots[slot] += 1
            if self._slots[slot] > self.per_s:
                return True
        return not self._limit.may_send(source.host, size)
