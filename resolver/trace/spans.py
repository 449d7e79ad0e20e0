"""Spans of time, and what of a span has not been covered yet. Microseconds, both ends inside."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

EVER = -(1 << 62)
ALWAYS = 1 << 62


class Span(NamedTuple):
    """From start to stop, both inside; empty when stop < start."""

    start: int = EVER
    stop: int = ALWAYS

    def meet(self, other: Span) -> Span | None:
        """What two spans share; None: nothing."""
        start, stop = max(self.start, other.start), min(self.stop, other.stop)
        return Span(start, stop) if start <= stop else None


WHOLE = Span()


class Covered:
    """Spans that were looked at: disjoint, in order."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def add(self, span: Span) -> list[Span]:
        """Cover a span; its parts that were not covered before, in order."""
        first = bisect_left(self._spans, span.start, key=lambda one: one.stop)
        last = first
        fresh: list[Span] = []
        at = span.start
        while last < len(self._spans) and self._spans[last].start <= span.stop:
            held = self._spans[last]
            if at < held.start:
                fresh.append(Span(at, held.start - 1))
            at = held.stop + 1
            last += 1
        if at <= span.stop:
            fresh.append(Span(at, span.stop))
        touched = self._spans[first:last]
        start = min([span.start, *(one.start for one in touched[:1])])
        stop = max([span.stop, *(one.stop for one in touched[-1:])])
        self._spans[first:last] = [Span(start, stop)]
        return fresh

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    def joined(self) -> Iterator[Span]:
        """The same with neighbours made one."""
        last: Span | None = None
        for span in self._spans:
            if last is not None and span.start <= last.stop + 1:
                last = Span(last.start, span.stop)
                continue
            if last is not None:
                yield last
            last = span
        if last is not None:
            yield last
