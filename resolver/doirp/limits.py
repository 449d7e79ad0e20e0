"""How much one source may have: UDP amplification, proven sources, rates of costly work.

A UDP source can be forged, so what an unproven network (/24, /56) gets is bounded: beyond a free
allowance a minute at most `factor` times what it sent (threats N1). A source that completed a TCP
exchange is proven for ten minutes; the proof is kept in a file mapped by every reader process,
because the kernel spreads one source over all of them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import inf
from pathlib import Path
from struct import Struct

from xxhash import xxh3_64_intdigest

PROVEN_S = 600.0
_SLOTS = 16_384
_SLOT = Struct("=QI4x")
_MINUTE_S = 60.0
_MEMO = 4096


@lru_cache(_MEMO)
def network_of(host: str) -> bytes:
    """The network a source is counted under: /24 for IPv4, /56 for IPv6; octets of its start.

    host: a numeric address, with or without an IPv6 zone. An IPv4 address written as IPv6
    counts as IPv4. Text that is no address counts as a network of its own.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.encode()
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return address.packed[:7]
        address = address.ipv4_mapped
    return address.packed[:3]


class Proven:
    """Addresses that showed that they receive what is sent to them.

    A direct-mapped table of 16,384 address hashes and times in a file shared between processes;
    a collision forgets the older address, which then has to prove itself again. Writers do not
    lock: a torn slot matches no address.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        now: Callable[[], float],
        counting: Callable[[], bool] = lambda: True,
    ) -> None:
        """path: the shared file; None: memory of this process. counting: whether exchanges prove
        anything yet; the node's own probes before it is ready do not.
        """
        self._now = now
        self._counting = counting
        self._noted: dict[str, float] = {}
        size = _SLOTS * _SLOT.size
        if path is None:
            self._table = mmap.mmap(-1, size)
            return
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_size != size:
                os.ftruncate(file, size)
            self._table = mmap.mmap(file, size)
        finally:
            os.close(file)

    def saw(self, host: str) -> None:
        """The address completed an exchange just now; noted once a minute."""
        now = self._now()
        if self._noted.get(host, 0.0) > now or not self._counting():
            return
        if len(self._noted) >= _SLOTS:
            self._noted.clear()
        self._noted[host] = now + _MINUTE_S
        self.add(host)

    def add(self, host: str) -> None:
        """Note an address in the shared table."""
        digest = xxh3_64_intdigest(host.encode())
        _SLOT.pack_into(
            self._table, (digest % _SLOTS) * _SLOT.size, digest, int(self._now()) & 0xFFFFFFFF
        )

    def has(self, host: str) -> bool:
        """Whether the address completed an exchange in the last ten minutes."""
        digest = xxh3_64_intdigest(host.encode())
        stored, when = _SLOT.unpack_from(self._table, (digest % _SLOTS) * _SLOT.size)
        return bool(stored == digest and 0 <= self._now() - when <= PROVEN_S)


Account = list[float]
"""[octets received, octets sent, octets that may be sent without more ado] of one network."""


class Amplification:
    """Octets received from and sent to networks in the running minute.

    `accounts` maps an address to the account of its network and is read by the datagram loop
    itself, so that an ordinary answer costs one look-up here. Addresses shown to be proven are
    also in `proven`, and share an account without bounds. All is forgotten each minute by
    `turn()`.
    """

    def __init__(
        self,
        table: Proven,
        *,
        now: Callable[[], float],
        allowance_bytes: int,
        factor: float,
        max_sources: int = 65_536,
    ) -> None:
        self.accounts: dict[str, Account] = {}
        self.known: dict[bytes, Account] = {}
        """The same by socket address, as the kernel writes it, for the loop over batches."""
        self.proven: set[str] = set()
        self._allowance_bytes = allowance_bytes
        self.factor = factor
        self._networks: dict[bytes, Account] = {}
        self._crowd = self._new_account()  # shared by whoever comes when the table is full
        self._unbound: Account = [0, 0, inf]
        self._table = table
        self._now = now
        self._max = max_sources
        self._until = now() + _MINUTE_S

    def _new_account(self) -> Account:
        return [0, 0, self._allowance_bytes]

    def turn(self) -> None:
        """Start a new minute when the old one is over; called once a loop turn."""
        now = self._now()
        if now >= self._until or now < self._until - _MINUTE_S:
            self._until = now + _MINUTE_S
            self.accounts.clear()
            self.known.clear()
            self.proven.clear()
            self._networks.clear()
            self._crowd = self._new_account()
            self._unbound = [0, 0, inf]

    def account(self, host: str) -> Account:
        """The account of an address's network, opened when it is new."""
        account = self.accounts.get(host)
        if account is None:
            if len(self.accounts) >= self._max:
                return self._crowd
            account = self._networks.setdefault(network_of(host), self._new_account())
            self.accounts[host] = account
        return account

    def learn(self, octets: bytes, host: str) -> Account:
        """The account of an address, to be found in `known` from now on."""
        if len(self.known) >= self._max:
            self.known.clear()
        account = self.known[octets] = self.account(host)
        return account

    def received(self, host: str, size: int) -> None:
        """Count a datagram that came in."""
        self.account(host)[0] += size

    def may_send(self, host: str, size: int, *, short: bool = True) -> bool:
        """Whether `size` octets may go to an address now; counts them when they may.

        short: the answer has few enough datagrams for anybody; a longer one needs proof.
        """
        account = self.account(host)
        total = account[1] + size
        over = total > account[2] and total > self.factor * account[0]
        if over or not (short or account is self._unbound):
            if not self._table.has(host):
                return False
            self.proven.add(host)
            account = self.accounts[host] = self._unbound
            self.known.clear()
            total = account[1] + size
        account[1] = total
        return True


class Bucket:
    """A token bucket: `burst` at once, `rate_per_s` in the long run."""

    __slots__ = ("_burst", "_left", "_rate", "_when")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._left = burst
        self._when = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take tokens, or take none and say no."""
        passed = max(0.0, now - self._when)
        self._when = now
        self._left = min(self._burst, self._left + passed * self._rate)
        if self._left < amount:
            return False
        self._left -= amount
        return True

    def empty(self, now: float) -> bool:
        """Whether the next take() of one would be refused; takes nothing."""
        return min(self._burst, self._left + max(0.0, now - self._when) * self._rate) < 1.0


class Buckets:
    """A bucket a key (a network, an account), for a bounded number of keys.

    When there are too many keys the oldest goes: its owner starts with a full bucket again.
    """

    def __init__(
        self, rate_per_s: float, burst: float, *, now: Callable[[], float], max_keys: int = 8192
    ) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._now = now
        self._max = max_keys
        self._buckets: dict[bytes, Bucket] = {}

    def take(self, key: bytes) -> bool:
        """One token of a key's bucket, or no."""
        return self._bucket(key).take(self._now())

    def refill(self, key: bytes) -> None:
        """Give a key a full bucket again."""
        self._buckets.pop(key, None)

    def empty(self, key: bytes) -> bool:
        """Whether a key has used up its tokens; opens no bucket."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.empty(self._now())

    def _bucket(self, key: bytes) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            while len(self._buckets) >= self._max:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = Bucket(self._rate, self._burst, self._now())
        return bucket
