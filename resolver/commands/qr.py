"""`biaoshi qr`: the QR code of an identifier's page, and sheets of labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from protocol.errors import InvalidValue, SettingsError
from protocol.schemes.gs1_link import CANONICAL

app = typer.Typer(name="qr", help="QR codes of identifiers; label sheets.")

_EPILOG: Final = """\b
Examples:
  biaoshi qr 88.118.8/COIL-1 --base https://id.example.org
  biaoshi qr '(01)09521234543213(21)S1' --format svg --out label.svg
  biaoshi qr 88.118.8/COIL-1 --base https://id.example.org --format png --out coil.png
  biaoshi qr --sheet products.csv --base https://id.example.org --format pdf --out labels.pdf
\b
A sheet is a CSV file with a column `identifier` and, at will, `title` and `text`; a file for
`biaoshi register` will do: DESC and NAME are titles.
\b
Exit codes: 0 written; 1 the identifier or a row is wrong; 2 an option or a file cannot be used."""
_FORMATS: Final = ("txt", "svg", "png")
_SHEETS: Final = ("pdf", "svg")
_SIZES: Final = "70x37, 63.5x38.1, 70x42.3, 105x57, 99.1x38.1, 48.5x25.4, 38.1x21.2"


@app.command(epilog=_EPILOG)
def qr(
    identifier: Annotated[
        str, typer.Argument(metavar="[ID]", show_default=False, help="In any spelling.")
    ] = "",
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A sheet of labels, of this CSV file.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="txt, svg or png; of a sheet pdf or svg.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write. Default: standard output.")
    ] = None,
    base: Annotated[
        str, typer.Option(metavar="URL", help="What addresses begin with: of your resolver.")
    ] = CANONICAL,
    size: Annotated[str, typer.Option(help=f"Of a label on A4, in mm: {_SIZES}.")] = "70x37",
    frames: Annotated[bool, typer.Option("--frames", help="Draw the edges of the labels.")] = False,
) -> None:
    """Print or write the QR code that leads to an identifier's page."""
    if base.partition("://")[0] not in ("http", "https") or not base.isprintable():
        raise SettingsError(f"--base is an address such as https://id.example.org, not {base!r}")
    if (sheet is None) == (not identifier):
        raise SettingsError("give an identifier, or --sheet FILE")
    if sheet is not None:
        _sheet(sheet, form or "pdf", out, base, size, frames=frames)
    else:
        _write(_code(identifier, form or _of_name(out), base), out)


def _of_name(out: Path | None) -> str:
    """The format that a file's name says."""
    ending = "" if out is None else out.suffix[1:].lower()
    return ending if ending in _FORMATS else "txt"


def _code(identifier: str, form: str, base: str) -> bytes:
    from resolver.pages import qr as codes
    from resolver.pages.label_sheet import Addressed

    if form not in _FORMATS:
        raise SettingsError(f"--format of a code is one of {', '.join(_FORMATS)}, not {form!r}")
    address = Addressed(base)(_spelled(identifier))
    if form == "svg":
        return codes.svg_file(address)
    if form == "png":
        return codes.png_file(address)
    return f"{codes.txt(address)}{address}\n".encode()


def _spelled(identifier: str) -> str:
    """The identifier in the form that its path is made of."""
    from protocol.identifier import parse

    return parse(identifier).handle.decode()


def _sheet(file: Path, form: str, out: Path | None, base: str, size: str, *, frames: bool) -> None:
    from resolver.pages.label_sheet import (
        LAYOUTS,
        Addressed,
        pdf_sheets,
        read_labels,
        svg_sheets,
    )

    if form not in _SHEETS:
        raise SettingsError(f"--format of a sheet is pdf or svg, not {form!r}")
    layout = LAYOUTS.get(size)
    if layout is None:
        raise SettingsError(f"--size is one of {_SIZES}, not {size!r}")
    address = Addressed(base)
    try:
        labels = read_labels(file, lambda text: address(_spelled(text)))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    if form == "pdf":
        _write(pdf_sheets(labels, layout, frames=frames), out)
        return
    pages = svg_sheets(labels, layout, frames=frames)
    if len(pages) > 1 and out is None:
        raise InvalidValue(f"{len(labels)} labels are {len(pages)} pages of SVG; give --out FILE")
    for number, page in enumerate(pages, 1):
        named = out
        if out is not None and len(pages) > 1:
            named = out.with_name(f"{out.stem}-{number}{out.suffix}")
        _write(page, named)


def _write(data: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(data)
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        raise SettingsError(f"{out} cannot be written: {error.strerror}") from None
