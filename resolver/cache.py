"""Answers of other sites, kept in wire form until their TTL (threats N7, N8).

Only what everybody may read is kept, under the name as identities compare it (prefix folded,
suffix as written: only its service knows whether case counts there). Absent names and failures
live in maps of their own, so that a flood of random names pushes out no record. Nothing here
waits, and both clocks are passed in: `now` (monotonic) ages entries, `wall` (seconds since 1970)
is for absolute TTLs and signatures that end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from protocol.errors import ResponseCode
from protocol.name import (
    PREFIX_RECORDS,
    described_prefix,
    fold_prefix,
    is_arcwise,
    lines,
    parent_prefix,
    prefix_of,
)
from resolver.config import CacheSettings
from resolver.metrics import Metrics
from resolver.sieve import Sieve
from resolver.wire_values import (
    EMPTY,
    Slice,
    choose,
    join,
    least_ttl_s,
    lower_ttls,
    public_only,
    slices,
)

_LONGEST_S = 172_800
"""No client of the Handle protocol counts more than two days (do-irp 18.5)."""
_OVERHEAD = 600
"""Octets that an entry costs besides its name and values (measured with sys.getsizeof)."""
_SIGNATURE = b"HS_SIGNATURE"
_ENDS = (b"", b"/", b".")
"""What may follow a prefix in a name that lies under it."""


class State(Enum):
    """How good an entry still is."""

    FRESH = "fresh"
    STALE = "stale"  # its TTL is past; may be given while the owner is silent
    DEAD = "dead"  # must not be given any more


@dataclass(slots=True)
class Entry:
    """One kept answer.

    code: SUCCESS, HANDLE_NOT_FOUND or VALUES_NOT_FOUND. values: u4 count and the public values.
    stored_at, expires_at, stale_until: monotonic. valid_until: seconds since 1970, when the first
    signature over it ends; None without one. proof: what was verified of it, in words;
    None when nothing was tried. zone: the prefix whose node holds the name.
    """

    handle: bytes
    code: ResponseCode
    values: bytes
    stored_at: float
    expires_at: float
    stale_until: float
    valid_until: float | None = None
    authoritative: bool = False
    proof: str | None = None
    zone: bytes = b""
    uses: int = 0
    vouchers: tuple[tuple[bytes, bytes], ...] = ()
    """The prefix records that the proof rests on; see resolver.standing."""
    proved_until: float = 0.0
    """Monotonic: until then the vouchers need not be looked at."""
    _slices: tuple[Slice, ...] | None = field(default=None, repr=False)

    def parts(self) -> tuple[Slice, ...]:
        """Where the values lie, found out once."""
        if self._slices is None:
            self._slices = slices(self.values)
        return self._slices

    @property
    def signed(self) -> bool:
        return any(part.type == _SIGNATURE for part in self.parts())

    def select(
        self, indexes: Sequence[int] = (), types: Sequence[bytes] = (), *, ttl_s: int | None = None
    ) -> bytes:
        """The asked values, copied. ttl_s: lower the TTLs to it, unless a signature covers them."""
        if not indexes and not types:
            chosen = self.values
        else:
            chosen = join(self.values, choose(self.parts(), indexes, types))
        return chosen if ttl_s is None or self.signed else lower_ttls(chosen, ttl_s)


@dataclass(frozen=True, slots=True)
class Failure:
    """A name that could not be resolved lately. until: monotonic. error: what happened."""

    error: Exception
    until: float
    pause_s: float


class Cache:
    """Entries by name. One for each process; all calls from its event loop."""

    def __init__(
        self,
        settings: CacheSettings,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings
        self.changed: set[bytes] | None = None
        """Keys of records that came or went since somebody looked; None while nobody does."""
        self._doubts: dict[bytes, float] = {}
        self._now = now
        self._wall = wall
        self._metrics = metrics or Metrics()
        self._records: Sieve[bytes, Entry] = Sieve(
            settings.max_entries, settings.max_bytes, self._evicted
        )
        self._absent: Sieve[bytes, Entry] = Sieve(settings.max_negative, settings.max_bytes // 4)
        self._failures: Sieve[bytes, Failure] = Sieve(settings.max_negative, settings.max_negative)

    def _evicted(self, key: bytes, _entry: Entry) -> None:
        self._metrics.cache["evicted"].inc()
        self._note(key)

    def _note(self, key: bytes) -> None:
        if self.changed is not None:
            self.changed.add(key)

    def now(self) -> float:
        """The clock that entries are aged by."""
        return self._now()

    def __len__(self) -> int:
        return len(self._records) + len(self._absent)

    @property
    def weight(self) -> int:
        """Octets in use, as counted against `max_bytes`."""
        return self._records.weight + self._absent.weight

    def find(self, handle: bytes) -> Entry | None:
        """A kept answer, fresh or stale (ask state()). Counted as a use."""
        key = fold_prefix(handle)
        return self._records.get(key) or self._absent.get(key)

    def peek(self, handle: bytes) -> Entry | None:
        """The same, not counted as a use."""
        key = fold_prefix(handle)
        return self._records.peek(key) or self._absent.peek(key)

    def fresh(self, handle: bytes) -> Entry | None:
        """A kept answer within its TTL."""
        entry = self.find(handle)
        fresh = entry is not None and self.state(entry) is State.FRESH
        return entry if fresh else None

    def stale(self, handle: bytes) -> Entry | None:
        """A record past its TTL that may still be given. Never an absence: that heals by itself."""
        entry = self._records.get(fold_prefix(handle))
        alive = entry is not None and self.state(entry) is not State.DEAD
        return entry if alive else None

    def state(self, entry: Entry) -> State:
        """How good an entry is now. A signature that ended makes it dead at once."""
        now = self._now()
        if entry.valid_until is not None and self._wall() > entry.valid_until:
            return State.DEAD
        if now < entry.expires_at:
            if self._doubts and entry.stored_at <= self._doubted_at(entry):
                return State.STALE
            return State.FRESH
        return State.STALE if now < entry.stale_until else State.DEAD

    def _doubted_at(self, entry: Entry) -> float:
        """When the node that holds an entry's name was last found to have changed something."""
        doubts = self._doubts
        if not is_arcwise(entry.handle):
            return doubts.get(entry.zone, -1.0)
        # Which of its arcs is the node's is not kept: whichever was told counts.
        return max((doubts.get(zone, -1.0) for zone in lines(entry.zone)), default=-1.0)

    def left_s(self, entry: Entry) -> float:
        """Seconds until a fresh entry is stale, 0 for others."""
        until = entry.expires_at - self._now()
        if entry.valid_until is not None:
            until = min(until, entry.valid_until - self._wall())
        return max(0.0, until)

    def age_s(self, entry: Entry) -> float:
        """Seconds since an entry was fetched."""
        return self._now() - entry.stored_at

    def put(
        self,
        handle: bytes,
        code: ResponseCode,
        values: bytes = EMPTY,
        *,
        valid_until: float | None = None,
        authoritative: bool = False,
        proof: str | None = None,
        keep: bool = True,
        most_s: float = _LONGEST_S,
    ) -> Entry:
        """Keep an answer and return it. Values that are not public are left out. most_s: the longest
        life, whatever its TTL.

        An entry with no time left is returned but not kept. Raises ParseError when the values are
        no value list.
        """
        values = public_only(values)
        now, wall = self._now(), self._wall()
        parts = slices(values)
        found = least_ttl_s(parts, wall) if code == ResponseCode.SUCCESS else None
        life = float(self.settings.negative_ttl_s) if found is None else found
        life = min(life, self.settings.max_ttl_s, _LONGEST_S, most_s)
        expires = now + life
        entry = Entry(
            handle,
            code,
            values,
            stored_at=now,
            expires_at=expires,
            stale_until=expires + (self.settings.stale_max_s if parts else 0),
            valid_until=valid_until,
            authoritative=authoritative,
            proof=proof,
            zone=zone_of(handle),
            _slices=parts,
        )
        if keep:
            self._keep(entry, life)
        return entry

    def restore(self, entry: Entry) -> None:
        """Keep an entry of an earlier process that is not dead."""
        if self.state(entry) is not State.DEAD:
            self._keep(entry, entry.expires_at - entry.stored_at)
            self._metrics.cache["loaded"].inc()

    def records(self) -> Iterator[Entry]:
        """Every kept record, fresh or stale."""
        for key in tuple(self._records.keys()):
            entry = self._records.peek(key)
            if entry is not None:
                yield entry

    def record(self, key: bytes) -> Entry | None:
        """The record under a key of `changed`, not counted as a use."""
        return self._records.peek(key)

    def _keep(self, entry: Entry, life: float) -> None:
        key = fold_prefix(entry.handle)
        self._failures.remove(key)
        home, other = self._records, self._absent
        if entry.code != ResponseCode.SUCCESS:
            home, other = other, home
        other.remove(key)
        self._note(key)
        if life <= 0:
            home.remove(key)
            return
        home.put(key, entry, len(key) + len(entry.values) + _OVERHEAD)
        self._metrics.cache_entries.set(len(self))
        self._metrics.cache_octets.set(self.weight)

    def fail(self, handle: bytes, error: Exception) -> Failure:
        """Note that a name could not be resolved; the pause doubles up to its limit."""
        key = fold_prefix(handle)
        known = self._failures.get(key)
        first, most = self.settings.failure_first_s, self.settings.failure_max_s
        pause = first if known is None else min(most, known.pause_s * 2)
        error.__traceback__ = error.__context__ = None  # frames would keep whole look-ups alive
        failure = Failure(error, self._now() + pause, pause)
        self._failures.put(key, failure)
        return failure

    def failure(self, handle: bytes) -> Failure | None:
        """The failure that still pauses a name."""
        failure = self._failures.get(fold_prefix(handle))
        return failure if failure is not None and self._now() < failure.until else None

    def doubt(self, handle: bytes, least_age_s: float) -> bool:
        """Have a name fetched anew; until then it counts as stale. False when it is younger."""
        entry = self.find(handle)
        if entry is None or self._now() - entry.stored_at < least_age_s:
            return False
        entry.expires_at = min(entry.expires_at, self._now())
        return True

    def doubt_zone(self, zone: bytes) -> None:
        """Have every name that a prefix's node holds fetched anew when it is next asked for.

        Costs nothing now: entries older than this moment count as stale.
        """
        self._doubts[zone.upper()] = self._now()
        self._metrics.cache["doubted"].inc()

    def purge(self, handle: bytes) -> bool:
        """Forget a name: its record, its absence and its failure. Whether there was anything."""
        key = fold_prefix(handle)
        self._note(key)
        gone = [self._records.remove(key), self._absent.remove(key), self._failures.remove(key)]
        return any(each is not None for each in gone)

    def purge_prefix(self, prefix: bytes) -> int:
        """Forget a prefix, everything under it and every prefix derived from it; how many names."""
        folded = prefix.upper()
        under = [key for key in self._keys() if within(key, folded)]
        return sum(self.purge(key) for key in dict.fromkeys(under))

    def purge_all(self) -> int:
        """Forget everything."""
        return sum(self.purge(key) for key in dict.fromkeys(self._keys()))

    def _keys(self) -> Iterator[bytes]:
        for part in (self._records, self._absent, self._failures):
            yield from part.keys()


def zone_of(handle: bytes) -> bytes:
    """The prefix whose node holds a name: that of a prefix record is its parent's, the root's empty."""
    at = described_prefix(handle)
    return prefix_of(handle) if at is None else parent_prefix(at) or b""


def lies_at(key: bytes, zone: bytes) -> bool:
    """Whether the node of a folded prefix may hold a name, as the cache compares it."""
    held = zone_of(key)
    return held == zone or (is_arcwise(key) and zone in lines(held))


def within(key: bytes, prefix: bytes) -> bool:
    """Whether a name, as the cache compares it, lies under a folded prefix or describes one there.

    Octets are compared, so that a purge of a prefix looks at 100,000 names in some 70 ms.
    """
    if key.startswith(prefix):
        return key[len(prefix) : len(prefix) + 1] in _ENDS
    if key.startswith(PREFIX_RECORDS):
        at = len(PREFIX_RECORDS) + len(prefix)
        return key[len(PREFIX_RECORDS) : at] == prefix and key[at : at + 1] in _ENDS
    if not is_arcwise(key):
        return False
    held = prefix_of(key)
    return held == prefix or held.startswith(prefix + b".")
