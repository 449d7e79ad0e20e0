"""What a trace is asked for: parameters within their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from protocol.epcis.identity import MAX_TEXT, canonical_id
from protocol.epcis.moment import parse_time_us
from protocol.errors import BadIdentifier, InvalidValue, ParseError, ValuesNotFound
from protocol.identifier import parse
from resolver.trace.spans import ALWAYS, EVER, WHOLE, Span
from resolver.trace.walk import Direction, Limits, Step, first_step

NAMES: Final = ("direction", "depth", "at", "from", "to", "classes", "hops", "events")
HOPS: Final = ("none", "iterative", "delegated")
EVENTS: Final = ("references", "whole", "proof")
MOST_DEPTH: Final = 200
DEFAULTS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. start: canonical. span: what of its life is of interest."""

    start: str
    direction: Direction = Direction.BACK
    span: Span = WHOLE
    limits: Limits = DEFAULTS
    at: int | None = None
    hops: str = "none"
    events: str = "references"

    def first(self) -> Step:
        """Where the walk begins. At a moment: with what it held then, and all before (after) it."""
        if self.at is None:
            return first_step(self.start, self.span)
        back = self.direction is Direction.BACK
        during = Span(self.span.start, self.at) if back else Span(self.at, self.span.stop)
        return Step(0, self.start, False, during, Span(self.at, self.at))

    def key(self) -> tuple[Any, ...]:
        """Everything that the answer depends on."""
        return (
            self.start,
            str(self.direction),
            *self.span,
            self.at,
            self.limits.depth,
            self.limits.classes,
            self.hops,
            self.events,
        )


def parse_asked(start: str, params: Mapping[str, str], bounds: Limits) -> Asked:
    """A question from its parameters. bounds: of this node. Raises ParseError, InvalidValue."""
    for name in params:
        if name not in NAMES:
            raise InvalidValue(f"{name[:40]!r} is no parameter of a trace: {', '.join(NAMES)} are")
    direction = _one_of(params, "direction", ("back", "forward"))
    depth = _integer(params, "depth", bounds.depth, MOST_DEPTH)
    at, span = _time(params, "at"), _span(params)
    return Asked(
        canonical_start(start),
        Direction(direction),
        span,
        replace(
            bounds,
            depth=min(depth, bounds.depth),
            classes=_one_of(params, "classes", ("0", "1")) == "1",
        ),
        at,
        _one_of(params, "hops", HOPS),
        _one_of(params, "events", EVENTS),
    )


def canonical_start(text: str) -> str:
    """An identifier in any spelling as events are found by it. Raises ParseError."""
    if not text or len(text) > MAX_TEXT or any(ord(char) < 0x20 for char in text):
        raise ParseError("a trace begins at an identifier of 1 to 4096 printable characters")
    own = canonical_id(text)
    if own != text or "://" in text or text[:4].lower() == "urn:":
        return own
    try:
        return canonical_id(parse(text).handle.decode())
    except (BadIdentifier, UnicodeDecodeError):
        return text


def _span(params: Mapping[str, str]) -> Span:
    at, start, stop = (_time(params, name) for name in ("at", "from", "to"))
    span = Span(EVER if start is None else start, ALWAYS if stop is None else stop)
    if span.stop < span.start:
        raise ValuesNotFound("`to` lies before `from`: there is nothing between them")
    if at is not None and not span.start <= at <= span.stop:
        raise ValuesNotFound("`at` lies outside of `from` and `to`: nothing is both")
    return span


def _time(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name)
    return None if text is None else parse_time_us(text)


def _integer(params: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= most):
        raise InvalidValue(f"`{name}` is a number from 0 to {most}, not {text[:40]!r}")
    return int(text)


def _one_of(params: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    text = params.get(name, known[0])
    if text not in known:
        raise InvalidValue(f"`{name}` is one of {', '.join(known)}, not {text[:40]!r}")
    return text
