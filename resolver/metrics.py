"""Counters of a node: cells in a page of memory that all its processes share.

Each process has a bank of the page to itself, so counting takes no lock and no message, and what
a killed process counted is not lost. Label values come from closed sets; a name that is none of
them is refused at start. A hot loop may keep a plain int and add it once per batch of packets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

FACES: Final = ("udp", "tcp", "tunnel", "http", "https", "dns_udp", "dns_tcp")
OUTCOMES: Final = (
    "found",  # 1: a record or values
    "absent",  # 100: no such identifier
    "no_values",  # 200: the record has none of the values asked for
    "not_here",  # 301: the prefix is not homed here
    "referral",  # 302, 303
    "denied",  # 400 to 406: needs an identity or a right
    "changed",  # a write that was accepted
    "malformed",  # no message, no identifier
    "busy",  # shed, or over a limit
    "failed",  # 2 and everything else
)
SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of the time buckets."""


class Cell:
    """One number of one process."""

    __slots__ = ("_at", "_bank")

    def __init__(self, bank: memoryview, at: int) -> None:
        self._bank = bank
        self._at = at

    def inc(self, by: int = 1) -> None:
        """Count."""
        self._bank[self._at] += by

    def set(self, to: int) -> None:
        """Give a gauge its value."""
        self._bank[self._at] = to

    @property
    def value(self) -> int:
        return int(self._bank[self._at])


class Histogram:
    """Times in buckets: one cell a bucket, one for everything above, one for the sum in µs."""

    __slots__ = ("_cells",)

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells

    def observe(self, seconds: float) -> None:
        """Count one time."""
        self._cells[bisect_left(SECONDS, seconds)].inc()
        self._cells[-1].inc(int(seconds * 1e6))


@dataclass(frozen=True, slots=True)
class Spec:
    """A metric: Prometheus name without `biaoshi_`, kind, meaning, label names and their values."""

    name: str
    kind: str  # counter, gauge or histogram
    help: str
    labels: Mapping[str, tuple[str, ...]]

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """Every combination of label values, in page order."""
        return list(product(*self.labels.values()))

    @property
    def width(self) -> int:
        """Cells per combination."""
        return len(SECONDS) + 2 if self.kind == "histogram" else 1


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Spec:
    return Spec(f"{name}_total", "counter", text, labels)


def _gauge(name: str, text: str, **labels: tuple[str, ...]) -> Spec:
    return Spec(name, "gauge", text, labels)


def _histogram(name: str, text: str, **labels: tuple[str, ...]) -> Spec:
    return Spec(f"{name}_seconds", "histogram", text, labels)


_PROVED: Final = ("public_key", "secret_key", "basic", "certificate", "session")

SPECS: Final[Mapping[str, Spec]] = {
    "requests": _counter(
        "requests", "Requests answered, by face and outcome.", face=FACES, outcome=OUTCOMES
    ),
    "octets": _counter("octets", "Octets received and sent.", face=FACES, direction=("in", "out")),
    "request_time": _histogram("request", "Time from request to answer, sampled.", face=FACES),
    "lookups": _counter(
        "lookups", "Lookups by the step that answered.", source=("store", "cache", "referral")
    ),
    "connections": _gauge("connections", "Open connections.", face=FACES),
    "connections_refused": _counter(
        "connections_refused",
        "Connections closed at once because of a limit.",
        limit=("all", "source"),
    ),
    "udp_limited": _counter(
        "udp_limited",
        "UDP answers held back by the amplification limit.",
        answer=("busy", "truncated", "dropped"),
    ),
    "pending_dropped": _counter(
        "pending_dropped", "Multi-packet requests dropped: too many, or too late."
    ),
    "authentications": _counter(
        "authentications",
        "Proofs of identity.",
        method=_PROVED,
        outcome=("accepted", "refused", "delayed"),
    ),
    "challenges": _counter(
        "challenges", "Challenges.", outcome=("sent", "answered", "unknown", "dropped")
    ),
    "sessions": _gauge("sessions", "Open sessions."),
    "weak": _counter(
        "weak_algorithms",
        "Weak algorithms accepted for deployed clients.",
        kind=("dh_short", "sha1", "md5", "dsa", "pbkdf2_short", "old_version"),
    ),
    "changes": _counter(
        "changes",
        "Changes decided by the writer.",
        outcome=("created", "unchanged", "replaced", "changed", "deleted", "refused"),
    ),
    "commits": _counter("commits", "Durable transactions."),
    "commit_time": _histogram("commit", "Time of one durable transaction."),
    "queue": _gauge("queue_changes", "Changes waiting for the writer."),
    "upstream": _counter(
        "upstream_messages",
        "Messages sent to other nodes.",
        transport=("udp", "tcp", "http", "https", "dns"),
        outcome=("answered", "timeout", "refused", "malformed", "failed"),
    ),
    "cache": _counter(
        "cache",
        "What the cache of remote answers did.",
        event=(
            "hit",
            "negative",
            "stale",
            "miss",
            "evicted",
            "coalesced",
            "purged",  # by command
            "doubted",  # a zone, because a followed log grew
            "loaded",  # from the file, at start
            "shed",  # a question that would have waited, in an overloaded reader
        ),
    ),
    "cache_entries": _gauge("cache_entries", "Remote answers kept."),
    "cache_octets": _gauge("cache_octets", "Octets of remote answers kept."),
    "verifications": _counter(
        "verifications", "Signatures of remote records.", outcome=("valid", "unsigned", "invalid")
    ),
    "outbound_refused": _counter(
        "outbound_refused", "Outgoing connections that the rules forbade."
    ),
    "granted_reads": _counter(
        "granted_reads",
        "Batches of reads by a grant, written to the log.",
        outcome=("logged", "refused"),
    ),
    "delegations": _counter(
        "delegations",
        "Delegation requests.",
        event=("requested", "repeated", "refused", "delegated"),
    ),
    "store_octets": _gauge("store_octets", "Octets of the store in use."),
    "disk_free_octets": _gauge("disk_free_octets", "Octets free on the store's disk."),
    "bad_rows": _counter("bad_rows", "Rows of the store that failed their check."),
    "store_read_only": _gauge("store_read_only", "1 since a write or a sync of the store failed."),
    "rows_quarantined": _gauge("rows_quarantined", "Damaged rows set aside by the scrub."),
    "rows_mended": _counter(
        "mended_rows", "Damaged rows of events that the scrub made again from the log."
    ),
    "scrubbed": _counter("scrubbed_rows", "Rows whose digests the scrub compared."),
    "mirrored": _gauge("mirrored_changes", "The last change that a mirror confirmed."),
    "mirror_behind": _gauge(
        "mirror_behind_changes", "At a mirror: changes of the primary that are not here yet."
    ),
    "mirror_state": _gauge(
        "mirror_state",
        "At a mirror, 1 for one of: it follows, the primary is awaited, it stopped for good.",
        state=("following", "waiting", "diverged"),
    ),
}


class Family:
    """The cells of one counter or gauge: `metrics.requests["udp", "found"].inc()`."""

    def __init__(self, spec: Spec, cells: Sequence[Cell]) -> None:
        self._name = spec.name
        self._cells = dict(zip(spec.keys, cells, strict=True))

    def __getitem__(self, key: str | tuple[str, ...]) -> Cell:
        whole = (key,) if isinstance(key, str) else key
        if whole not in self._cells:
            raise KeyError(f"{self._name} has no cell {whole}: label values are a closed set")
        return self._cells[whole]

    def inc(self, by: int = 1) -> None:
        """Count one without labels."""
        self._cells[()].inc(by)

    def set(self, to: int) -> None:
        """Set a gauge without labels."""
        self._cells[()].set(to)

    @property
    def value(self) -> int:
        """The sum over all labels, of this process."""
        return sum(cell.value for cell in self._cells.values())


class Histograms:
    """The histograms of one name: `metrics.request_time["udp"].observe(0.001)`."""

    def __init__(self, spec: Spec, cells: Sequence[Cell]) -> None:
        width = spec.width
        self._made = {
            key: Histogram(cells[number * width : (number + 1) * width])
            for number, key in enumerate(spec.keys)
        }

    def __getitem__(self, key: str | tuple[str, ...]) -> Histogram:
        return self._made[(key,) if isinstance(key, str) else key]

    def observe(self, seconds: float) -> None:
        """Count one time without labels."""
        self._made[()].observe(seconds)


def layout() -> Iterator[tuple[str, Spec, int]]:
    """Attribute, metric and first cell, in page order."""
    at = 0
    for attribute, spec in SPECS.items():
        yield attribute, spec, at
        at += len(spec.keys) * spec.width


CELLS: Final = sum(len(spec.keys) * spec.width for spec in SPECS.values())
"""Numbers in one bank."""


class Metrics:
    """What one process counts. bank: CELLS signed 8-octet numbers; None: memory of its own."""

    requests: Family
    octets: Family
    request_time: Histograms
    lookups: Family
    connections: Family
    connections_refused: Family
    udp_limited: Family
    pending_dropped: Family
    authentications: Family
    challenges: Family
    sessions: Family
    weak: Family
    changes: Family
    commits: Family
    commit_time: Histograms
    queue: Family
    upstream: Family
    cache: Family
    cache_entries: Family
    cache_octets: Family
    verifications: Family
    outbound_refused: Family
    granted_reads: Family
    delegations: Family
    store_octets: Family
    disk_free_octets: Family
    bad_rows: Family
    store_read_only: Family
    rows_quarantined: Family
    rows_mended: Family
    scrubbed: Family
    mirrored: Family
    mirror_behind: Family
    mirror_state: Family

    def __init__(self, bank: memoryview | None = None) -> None:
        if bank is None:
            bank = memoryview(bytearray(CELLS * 8)).cast("q")
        self.bank = bank
        for attribute, spec, at in layout():
            cells = [Cell(bank, at + n) for n in range(len(spec.keys) * spec.width)]
            kind = Histograms if spec.kind == "histogram" else Family
            setattr(self, attribute, kind(spec, cells))


def clear_gauges(bank: memoryview) -> None:
    """Set to nought what only a living process has: its open connections and the like."""
    for _, spec, at in layout():
        if spec.kind == "gauge":
            for number in range(len(spec.keys)):
                bank[at + number] = 0
