"""Latencies in buckets, their percentiles, and HdrHistogram's text of them.

The generator counts (bench/native/measure.c): 1024 buckets for each doubling, so that a value is
known to three significant digits, which is HdrHistogram's own layout. A bucket is named by the
highest value that falls into it, and that is what a percentile says: "so many took at most this".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SUB_BUCKETS = 1024
_TICKS = 5
"""Lines of the text for each halving of what is left to 100 %, HdrHistogram's default."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """buckets: (highest nanoseconds, count), ascending, none empty."""

    buckets: tuple[tuple[int, int], ...] = ()

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """One histogram of several runs."""
        counts: dict[int, int] = {}
        for part in parts:
            for top, count in part.buckets:
                counts[top] = counts.get(top, 0) + count
        return cls(tuple(sorted(counts.items())))

    @property
    def total(self) -> int:
        """How many latencies were counted."""
        return sum(count for _, count in self.buckets)

    @property
    def most(self) -> int:
        """The largest, ns; 0 of none."""
        return self.buckets[-1][0] if self.buckets else 0

    @property
    def mean(self) -> float:
        """The mean, ns; 0 of none."""
        return sum(top * count for top, count in self.buckets) / (self.total or 1)

    @property
    def deviation(self) -> float:
        """The standard deviation, ns."""
        mean = self.mean
        square = sum(count * (top - mean) ** 2 for top, count in self.buckets)
        return math.sqrt(square / (self.total or 1))

    def percentile(self, share: float) -> int:
        """The least value, ns, that `share` (0 … 1) of all do not exceed; 0 of none."""
        want, seen = math.ceil(share * self.total), 0
        for top, count in self.buckets:
            seen += count
            if seen >= want:
                return top
        return 0

    def summary_us(self) -> dict[str, float]:
        """The usual percentiles in microseconds."""
        named = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
        return {name: round(self.percentile(share) / 1000, 1) for name, share in named.items()}

    def hdr_text(self, unit_ns: float = 1000.0) -> str:
        """The percentile distribution as HdrHistogram's tools write and plot it.

        unit_ns: nanoseconds in one unit of the first column; microseconds by default.
        """
        head = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
        rows = [self._hdr_row(share, unit_ns) for share in _shares(self.total)]
        groups = math.ceil(math.log2((self.most or 1) / SUB_BUCKETS + 1)) + 1
        tail = (
            f"#[Mean    = {self.mean / unit_ns:12.3f},"
            f" StdDeviation   = {self.deviation / unit_ns:12.3f}]\n"
            f"#[Max     = {self.most / unit_ns:12.3f}, Total count    = {self.total:12d}]\n"
            f"#[Buckets = {groups:12d}, SubBuckets     = {SUB_BUCKETS:12d}]\n"
        )
        return head + "".join(rows) + tail

    def _hdr_row(self, share: float, unit_ns: float) -> str:
        top = self.percentile(share)
        seen = sum(count for value, count in self.buckets if value <= top)
        line = f"{top / unit_ns:12.3f} {share:2.12f} {seen:10d}"
        return f"{line}\n" if share >= 1 else f"{line} {1 / (1 - share):14.2f}\n"


def _shares(total: int) -> Iterator[float]:
    """The shares a percentile text lists: finer the nearer to 1, up to one in `total`."""
    share = 0.0
    while total and share < 1 - 1 / total:
        yield share
        halvings = math.floor(math.log2(1 / (1 - share))) + 1
        share += 1 / (_TICKS * 2**halvings)
    if total:
        yield 1.0
