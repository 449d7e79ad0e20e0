"""A trace as a picture: origins above, the thing in the middle, what became of it below.

SVG of elements with titles and links; it needs no script. Colours and fonts are those of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import east_asian_width

from protocol.epcis.identity import level_of
from resolver.pages.life import Graph
from resolver.pages.markup import Markup, tag
from resolver.pages.words import Words
from resolver.trace.walk import Edge, EdgeKind

WIDTH: Final = 920
BOX_W: Final = 208
BOX_H: Final = 46
ROW_H: Final = 92
PER_ROW: Final = 4
MOST_ROWS: Final = 3
"""Rows of one layer; what is above them is counted in one box."""
_MARGIN: Final = 12
_COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class Box:
    """A thing in the picture. hidden: for the box that stands for several, how many."""

    id: str
    x: float
    y: float
    carrier: bool = False
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes in reading order and the edges between those that have one."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, Edge], ...]
    height: float


def lay_out(graph: Graph) -> Picture:
    """Places for the things of a trace. The number of an edge is its place in graph.edges."""
    layers: dict[int, list[str]] = {}
    for id_, rank in _ranks(graph).items():
        layers.setdefault(rank, []).append(id_)
    neighbours: dict[str, list[str]] = {}
    for edge in graph.edges:
        neighbours.setdefault(edge.source, []).append(edge.target)
        neighbours.setdefault(edge.target, []).append(edge.source)
    boxes: dict[str, Box] = {}
    hidden: list[Box] = []
    y = float(_MARGIN)
    for rank in sorted(layers):
        inorder = _ordered(layers[rank], neighbours, boxes)
        shown = inorder[: PER_ROW * MOST_ROWS - (len(inorder) > PER_ROW * MOST_ROWS)]
        cells = [*shown, ""] if len(shown) < len(inorder) else shown
        for at in range(0, len(cells), PER_ROW):
            row = cells[at : at + PER_ROW]
            for place, id_ in enumerate(row):
                x = (WIDTH - len(row) * (BOX_W + 16)) / 2 + place * (BOX_W + 16) + 8
                if id_:
                    boxes[id_] = Box(id_, x, y, _is_carrier(graph, id_))
                else:
                    hidden.append(Box("", x, y, hidden=len(inorder) - len(shown)))
            y += ROW_H
    edges = [
        (number, edge)
        for number, edge in enumerate(graph.edges)
        if edge.source in boxes and edge.target in boxes and edge.source != edge.target
    ]
    height = max(y - ROW_H + BOX_H + _MARGIN, BOX_H + 2 * _MARGIN)
    return Picture((*boxes.values(), *hidden), tuple(edges), height)


def _ranks(graph: Graph) -> dict[str, int]:
    """The layer of each thing: below 0 what it comes from or holds, above 0 what it went into."""
    ranks = {graph.start: 0}
    for sign, reached in ((-1, graph.back), (1, graph.forward)):
        for id_, node in reached.items():
            ranks.setdefault(id_, sign * node.depth)
    return ranks


def _is_carrier(graph: Graph, id_: str) -> bool:
    nodes = [side[id_] for side in (graph.back, graph.forward) if id_ in side]
    return bool(nodes) and id_ != graph.start and all(node.carrier for node in nodes)


def _ordered(
    ids: Sequence[str], neighbours: Mapping[str, Sequence[str]], boxes: Mapping[str, Box]
) -> list[str]:
    """By where their neighbours above stand, so that fewer lines cross."""

    def place(id_: str) -> tuple[float, str]:
        above = [boxes[other].x for other in neighbours.get(id_, ()) if other in boxes]
        return (sum(above) / len(above) if above else WIDTH / 2, id_)

    return sorted(ids, key=place)


def draw(
    graph: Graph, words: Words, name: Callable[[str], str], address: Callable[[str], str | None]
) -> Markup:
    """The picture. name: of a thing; address: of its page."""
    picture = lay_out(graph)
    at = {box.id: box for box in picture.boxes if box.id}
    title = words("graph_title", name=name(graph.start))
    edges = [_edge(number, edge, at, words, name) for number, edge in picture.edges]
    boxes = [_box(box, graph.start, words, name, address) for box in picture.boxes]
    return tag(
        "svg",
        tag("title", title, id="picture-title"),
        _ARROW,
        edges,
        boxes,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {picture.height:.0f}",
        role="group",
        aria_labelledby="picture-title",
    )


_ARROW: Final = Markup(
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
)


def _edge(
    number: int, edge: Edge, at: Mapping[str, Box], words: Words, name: Callable[[str], str]
) -> Markup:
    kind = "stay" if edge.kind in (EdgeKind.AGGREGATION, EdgeKind.ASSOCIATION) else ""
    classes = " ".join(filter(None, (kind, "" if edge.certain else "maybe"))) or None
    text = f"{name(edge.source)} → {words(str(edge.kind))} → {name(edge.target)}"
    return tag(
        "a",
        tag("title", text),
        tag(
            "path",
            d=_line(at[edge.source], at[edge.target]),
            class_=classes,
            marker_end="url(#arrow)",
        ),
        href=f"#edge-{number}",
        data_of=f"{number_of(edge.source)} {number_of(edge.target)}",
    )


def _line(one: Box, other: Box) -> str:
    """A curve from box to box: down, up or along the row."""
    half, middle = BOX_W / 2, BOX_H / 2
    if one.y == other.y:
        right = other.x > one.x
        x1, x2 = (one.x + BOX_W, other.x) if right else (one.x, other.x + BOX_W)
        y, dip = one.y + middle, one.y + BOX_H + 18
        return f"M{x1:.0f} {y:.0f}C{x1 + 20 * (1 if right else -1):.0f} {dip:.0f} {x2:.0f} {dip:.0f} {x2:.0f} {y:.0f}"
    down = other.y > one.y
    y1, y2 = (one.y + BOX_H, other.y) if down else (one.y, other.y + BOX_H)
    x1, x2, bend = one.x + half, other.x + half, (y2 - y1) / 2
    return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"


def _box(
    box: Box,
    start: str,
    words: Words,
    name: Callable[[str], str],
    address: Callable[[str], str | None],
) -> Markup:
    x, y = f"{box.x:.0f}", f"{box.y:.0f}"
    frame = tag("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=7)
    if box.hidden:
        text = words("graph_more", count=box.hidden)
        return tag("g", frame, _text(box, 28, text, None))
    title = name(box.id)
    small = short(box.id, 32) if title != box.id else words(f"level_{level_of(box.id)}")
    inner = [
        tag("title", f"{title} ({box.id})"),
        frame,
        _text(box, 20, short(title, _COLUMNS), None),
        _text(box, 37, small, "small"),
    ]
    classes = "self" if box.id == start else "carrier" if box.carrier else None
    return tag(
        "a",
        inner,
        href=address(box.id),
        class_=classes,
        data_node=number_of(box.id),
        data_of=number_of(box.id),
    )


def _text(box: Box, down: int, text: str, class_: str | None) -> Markup:
    return tag("text", text, x=f"{box.x + 10:.0f}", y=f"{box.y + down:.0f}", class_=class_)


def number_of(id_: str) -> str:
    """A word that stands for an identifier in attributes."""
    return f"n{sum(ord(char) * 31 ** (at % 12) for at, char in enumerate(id_)) % 16**10:x}"


def short(text: str, columns: int) -> str:
    """A text that takes no more columns; its middle makes way, wide characters count two."""
    if _columns(text) <= columns:
        return text
    tail = text[-(columns // 3) :] if _columns(text) == len(text) else ""
    left, used = "", 1 + len(tail)
    for char in text:
        used += _columns(char)
        if used > columns:
            break
        left += char
    return f"{left}…{tail}"


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
