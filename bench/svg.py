"""Plain SVG plots for the report: lines over a logarithmic axis, and bars. No script, no fonts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 320, 64, 40, 28
COLOURS = ("#0b6e4f", "#b5532a", "#2b59c3", "#8a6d1d", "#7a2e8e", "#4d4d4d")


@dataclass(frozen=True, slots=True)
class Line:
    """A named row of (x, y), both above zero."""

    name: str
    points: Sequence[tuple[float, float]]


def number(value: float) -> str:
    """A short number: 12, 3.4, 15k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _scale(low: float, high: float, from_: float, to: float, *, log: bool) -> tuple[float, float]:
    """(a, b) with position = a·f(value) + b."""
    low, high = (math.log10(low), math.log10(high)) if log else (low, high)
    a = (to - from_) / ((high - low) or 1)
    return a, from_ - a * low


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**n for n in range(first, last + 1) if low <= 10.0**n <= high] or [low, high]


def lines(title: str, x_name: str, y_name: str, rows: Sequence[Line]) -> str:
    """Lines with both axes logarithmic; empty when there is nothing to draw."""
    points = [point for row in rows for point in row.points if point[0] > 0 and point[1] > 0]
    if not points:
        return ""
    low_x, high_x = min(p[0] for p in points), max(p[0] for p in points)
    low_y, high_y = min(p[1] for p in points), max(p[1] for p in points)
    ax, bx = _scale(low_x, high_x, LEFT, WIDTH - 150, log=True)
    ay, by = _scale(low_y, high_y, HEIGHT - BOTTOM, TOP + 12, log=True)
    out = [_head(title)]
    for tick in _decades(low_x, high_x):
        x = ax * math.log10(tick) + bx
        out.append(_text(x, HEIGHT - BOTTOM + 16, number(tick), "middle"))
    for tick in _decades(low_y, high_y):
        y = ay * math.log10(tick) + by
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 150}" stroke="#ddd"/>')
        out.append(_text(LEFT - 6, y + 4, number(tick), "end"))
    for at, row in enumerate(rows):
        colour = COLOURS[at % len(COLOURS)]
        path = " ".join(
            f"{ax * math.log10(x) + bx:.1f},{ay * math.log10(y) + by:.1f}"
            for x, y in sorted(row.points)
            if x > 0 and y > 0
        )
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(_text(WIDTH - 140, TOP + 16 * (at + 1), row.name, "start", colour))
    out.append(_text((LEFT + WIDTH - 150) / 2, HEIGHT - 6, x_name, "middle"))
    out.append(_text(LEFT - 50, TOP, y_name, "start"))
    return "".join(out) + "</svg>"


def bars(title: str, unit: str, rows: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars; empty when there is nothing to draw."""
    if not rows:
        return ""
    most = max(value for _, value in rows) or 1
    height = TOP + 22 * len(rows) + 10
    out = [_head(title, height)]
    for at, (name, value) in enumerate(rows):
        y = TOP + 22 * at + 4
        width = 380 * value / most
        out.append(_text(236, y + 13, name, "end"))
        out.append(f'<rect x="242" y="{y}" width="{width:.1f}" height="16" fill="{COLOURS[0]}"/>')
        out.append(_text(248 + width, y + 13, f"{value:.1f} {unit}", "start"))
    return "".join(out) + "</svg>"


def _head(title: str, height: int = HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>'
        + _text(LEFT, 14, title, "start", "#000", weight="600")
    )


def _text(
    x: float, y: float, text: str, anchor: str, colour: str = "#444", weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
