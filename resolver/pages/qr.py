"""QR codes: of an address or a text, as SVG, PNG or for a terminal (ISO/IEC 18004, by segno)."""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import Final

import segno

from protocol.errors import InvalidValue
from resolver.pages.markup import Markup

MOST: Final = 1_200
"""Octets of what a code holds: more cannot be read from a label."""
LEVELS: Final = ("L", "M", "Q", "H")


def make(text: str, level: str = "M") -> segno.QRCode:
    """The code of a text. Raises InvalidValue."""
    if not text or len(text.encode()) > MOST:
        raise InvalidValue(f"a QR code holds 1 to {MOST} octets, not {len(text.encode())}")
    if level not in LEVELS:
        raise InvalidValue(f"the error correction of a QR code is one of {', '.join(LEVELS)}")
    return segno.make(text, error=level, micro=False, boost_error=False)


def svg_inline(text: str, title: str) -> Markup:
    """For a page: an image with a name, no styles."""
    code = make(text)
    inner = code.svg_inline(scale=1, title=title, omitsize=True, svgclass=None, border=2)
    return Markup(inner.replace("<svg", '<svg role="img" shape-rendering="crispEdges"', 1))


def svg_file(text: str, scale: int = 8) -> bytes:
    """A whole SVG file with quiet zone."""
    out = BytesIO()
    make(text).save(out, kind="svg", scale=scale, light="#fff", title=text, border=4)
    return out.getvalue()


def png_file(text: str, scale: int = 8) -> bytes:
    """A PNG with quiet zone."""
    out = BytesIO()
    make(text).save(out, kind="png", scale=scale, border=4)
    return out.getvalue()


def txt(text: str) -> str:
    """For a terminal: half blocks."""
    out = StringIO()
    make(text).terminal(out, compact=True, border=2)
    return out.getvalue()
