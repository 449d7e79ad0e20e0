"""Sheets of labels to print and stick on products: a QR code and words in each cell.

PDF by reportlab, Chinese in the font STSong-Light that PDF readers bring; SVG a file a page. Units
are millimetres; the origin is the upper left corner of the paper.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from protocol.errors import InvalidValue
from resolver.pages import qr
from resolver.pages.drawing import short
from resolver.pages.markup import Markup, tag

A4: Final = (210.0, 297.0)
MOST_LABELS: Final = 20_000
MOST_BYTES: Final = 16_777_216
FONT: Final = "STSong-Light"
_COLUMNS: Final = ("identifier", "title", "text")


@dataclass(frozen=True, slots=True)
class Layout:
    """Labels on A4, in millimetres: columns × rows of width × height from left and top, with gaps."""

    columns: int
    rows: int
    width: float
    height: float
    left: float
    top: float
    across: float = 0.0
    down: float = 0.0

    @property
    def count(self) -> int:
        """Labels of a page."""
        return self.columns * self.rows

    def place(self, number: int) -> tuple[float, float]:
        """The upper left corner of a page's label, row by row from 0."""
        row, column = divmod(number, self.columns)
        return (
            self.left + column * (self.width + self.across),
            self.top + row * (self.height + self.down),
        )


LAYOUTS: Final = {
    "70x37": Layout(3, 8, 70, 37, 0, 0.5),
    "63.5x38.1": Layout(3, 7, 63.5, 38.1, 7.2, 15.1, 2.5),
    "70x42.3": Layout(3, 7, 70, 42.3, 0, 0.4),
    "105x57": Layout(2, 5, 105, 57, 0, 6),
    "99.1x38.1": Layout(2, 7, 99.1, 38.1, 4.65, 15.1, 2.5),
    "48.5x25.4": Layout(4, 11, 48.5, 25.4, 8, 8.8),
    "38.1x21.2": Layout(5, 13, 38.1, 21.2, 4.75, 10.7, 2.5),
}
"""Usual sheets by the size of their labels, in millimetres."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label. address: what the code leads to. title and text: beside it, above the identifier."""

    identifier: str
    address: str
    title: str = ""
    text: str = ""


def read_labels(file: Path, address: Callable[[str], str]) -> list[Label]:
    """Labels of a CSV file with `identifier` and, at will, `title` and `text`; the first line names
    them (DESC@1 and NAME are titles too, as in files for `biaoshi register`). Raises InvalidValue.
    """
    if file.stat().st_size > MOST_BYTES:
        raise InvalidValue(f"{file} has more than {MOST_BYTES} octets; split it")
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        names = {name: _meaning(name) for name in reader.fieldnames or ()}
        if "identifier" not in names.values():
            raise InvalidValue(f"{file} needs a column `identifier` in its first line")
        found: list[Label] = []
        for row in reader:
            said = {names[key]: (text or "") for key, text in row.items() if key in names}
            identifier = said.get("identifier", "").strip()
            if not identifier:
                continue
            if len(found) >= MOST_LABELS:
                raise InvalidValue(f"{file} has more than {MOST_LABELS} labels; split it")
            found.append(
                Label(identifier, address(identifier), said.get("title", ""), said.get("text", ""))
            )
    if not found:
        raise InvalidValue(f"{file} names no identifier")
    return found


class Addressed:
    """What codes lead to. base: of the resolver, without a slash at the end."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def __call__(self, identifier: str) -> str:
        from resolver.pages.names import path_of

        path = path_of(identifier)
        if path is None:
            raise InvalidValue(f"{identifier!r} has no address below a resolver")
        return self.base + path


def _meaning(name: str) -> str:
    bare = name.strip().lower().partition("@")[0]
    if bare in _COLUMNS:
        return bare
    return {"id": "identifier", "desc": "title", "name": "title", "grade": "text"}.get(bare, "")


def pdf_sheets(labels: Sequence[Label], layout: Layout, *, frames: bool = False) -> bytes:
    """All pages as a PDF. frames: draw the edges of the labels."""
    pdfmetrics.registerFont(UnicodeCIDFont(FONT))
    out = BytesIO()
    canvas = Canvas(out, pagesize=(A4[0] * mm, A4[1] * mm), invariant=True)
    canvas.setTitle("Labels")
    for number, label in enumerate(labels):
        at = number % layout.count
        if number and not at:
            canvas.showPage()
        _draw(canvas, label, layout, *layout.place(at), frames=frames)
    canvas.save()
    return out.getvalue()


def _draw(
    canvas: Canvas, label: Label, layout: Layout, x: float, y: float, *, frames: bool
) -> None:
    if frames:
        canvas.setLineWidth(0.2)
        canvas.rect(x * mm, (A4[1] - y - layout.height) * mm, layout.width * mm, layout.height * mm)
    side = _side(layout)
    top = y + (layout.height - side) / 2
    code = qr.make(label.address)
    modules = code.symbol_size(border=4)[0]
    step = side / modules
    for row, line in enumerate(code.matrix):
        for start, stop in _runs(line):
            canvas.rect(
                (x + 1 + (start + 4) * step) * mm,
                (A4[1] - top - (row + 5) * step) * mm,
                (stop - start) * step * mm,
                step * mm,
                stroke=0,
                fill=1,
            )
    for down, size, text in _lines(label, layout):
        canvas.setFont(FONT, size)
        canvas.drawString((x + side + 2) * mm, (A4[1] - y - down) * mm, text)


def _runs(line: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where dark modules of a line begin and end."""
    start = None
    for at, dark in enumerate((*line, 0)):
        if dark and start is None:
            start = at
        elif not dark and start is not None:
            yield start, at
            start = None


def _side(layout: Layout) -> float:
    """The side of the code with its quiet zone."""
    return min(layout.height - 2, layout.width * 0.45)


def _lines(label: Label, layout: Layout) -> Iterator[tuple[float, float, str]]:
    """Distance from the label's upper edge (mm), size (points) and text of each line."""
    room = layout.width - _side(layout) - 4
    size = 9.0 if layout.height > 30 else 7.0 if layout.height > 24 else 5.5
    columns = max(6, int(room / (size * 0.353 * 0.56)))
    down = layout.height / 2 - 2 * size * 0.353
    for text, scale in ((label.title, 1.0), (label.text, 0.85), (label.identifier, 0.75)):
        for line in _wrapped(text, int(columns / scale), 2):
            yield down, size * scale, line
            down += size * 0.353 * 1.35 * scale


def _wrapped(text: str, columns: int, most: int) -> list[str]:
    """A text in at most so many lines; what does not fit is cut with an ellipsis."""
    lines: list[str] = []
    left = " ".join(text.split())
    while left and len(lines) < most:
        line = left if len(lines) + 1 == most else _fitting(left, columns)
        lines.append(short(line, columns))
        left = left[len(line) :].lstrip()
    return lines


def _fitting(text: str, columns: int) -> str:
    for end in range(len(text), 0, -1):
        if short(text[:end], columns) == text[:end]:
            return text[:end]
    return text[:1]


def svg_sheets(labels: Sequence[Label], layout: Layout, *, frames: bool = False) -> list[bytes]:
    """Each page as an SVG file of its own."""
    return [
        _svg_page(labels[at : at + layout.count], layout, frames=frames)
        for at in range(0, len(labels), layout.count)
    ]


def _svg_page(labels: Sequence[Label], layout: Layout, *, frames: bool) -> bytes:
    cells = [
        _svg_label(label, layout, *layout.place(at), frames=frames)
        for at, label in enumerate(labels)
    ]
    page = tag(
        "svg",
        cells,
        xmlns="http://www.w3.org/2000/svg",
        width=f"{A4[0]:g}mm",
        height=f"{A4[1]:g}mm",
        viewBox=f"0 0 {A4[0]:g} {A4[1]:g}",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{page}\n'.encode()


def _svg_label(label: Label, layout: Layout, x: float, y: float, *, frames: bool) -> Markup:
    side = _side(layout)
    code = qr.make(label.address)
    step = side / code.symbol_size(border=4)[0]
    top = y + (layout.height - side) / 2
    path = "".join(
        f"M{start + 4} {row + 4}h{stop - start}v1h-{stop - start}z"
        for row, line in enumerate(code.matrix)
        for start, stop in _runs(line)
    )
    moved = f"translate({x + 1:.3f} {top:.3f}) scale({step:.5f})"
    frame = (
        tag(
            "rect",
            x=f"{x:g}",
            y=f"{y:g}",
            width=f"{layout.width:g}",
            height=f"{layout.height:g}",
            fill="none",
            stroke="#888",
            stroke_width="0.1",
        )
        if frames
        else None
    )
    words = [
        tag(
            "text",
            text,
            x=f"{x + side + 2:.3f}",
            y=f"{y + down:.3f}",
            font_size=f"{size * 0.353:.3f}",
            font_family="Noto Sans SC, SimSun, sans-serif",
        )
        for down, size, text in _lines(label, layout)
    ]
    return tag("g", tag("title", label.address), frame, tag("path", d=path, transform=moved), words)
