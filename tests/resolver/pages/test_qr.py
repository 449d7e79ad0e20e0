"""QR codes and label sheets, as the command writes them."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from protocol.errors import BiaoshiError
from resolver.cli import build
from resolver.pages.label_sheet import A4, LAYOUTS

BASE = "https://id.example.org"
app = build("qr")


def run(*arguments):
    return CliRunner().invoke(app, ["qr", *map(str, arguments)])


@pytest.mark.parametrize(
    ("identifier", "address"),
    [
        ("88.118.8/COIL-1", f"{BASE}/88.118.8/COIL-1"),
        ("88.118.8/钢卷", f"{BASE}/88.118.8/%E9%92%A2%E5%8D%B7"),
        ("(01)09521234543213(21)S1", f"{BASE}/01/09521234543213/21/S1"),
    ],
)
def test_a_code_leads_to_the_address(tmp_path, identifier, address):
    """The title of the SVG and the line below the text say where it leads."""
    out = tmp_path / "code.svg"
    assert run(identifier, "--base", BASE, "--out", out).exit_code == 0
    assert f"<title>{address}</title>" in out.read_text()
    png = tmp_path / "code.png"
    assert run(identifier, "--base", BASE, "--out", png).exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert address in run(identifier, "--base", BASE).stdout


def test_sheets_hold_every_label_within_the_paper(tmp_path):
    """PDF with Chinese and SVG a file a page; what is in a cell is escaped."""
    file = tmp_path / "labels.csv"
    rows = "".join(f"88.118.8/C-{n},钢卷 <{n}> & more,Q235B\n" for n in range(30))
    file.write_text("identifier,title,text\n" + rows, encoding="utf-8")
    pdf = tmp_path / "labels.pdf"
    assert run("--sheet", file, "--base", BASE, "--out", pdf).exit_code == 0
    assert pdf.read_bytes().startswith(b"%PDF") and b"STSong-Light" in pdf.read_bytes()
    svg = tmp_path / "labels.svg"
    done = run("--sheet", file, "--base", BASE, "--format", "svg", "--out", svg, "--frames")
    assert done.exit_code == 0
    pages = [(tmp_path / f"labels-{n}.svg").read_text() for n in (1, 2)]
    assert sum(len(re.findall("<path", page)) for page in pages) == 30
    assert "&lt;0&gt; &amp; more" in pages[0] and "<0>" not in pages[0]


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_layouts_fit_a4(name):
    """The last label of a page ends on the paper."""
    layout = LAYOUTS[name]
    x, y = layout.place(layout.count - 1)
    assert x + layout.width <= A4[0] + 0.01 and y + layout.height <= A4[1] + 0.01


@pytest.mark.parametrize(
    "arguments",
    [
        ("88.118.8/X", "--base", "ftp://x"),
        ("88.118.8/X", "--format", "pdf"),
        (),
        ("--sheet", "/nowhere.csv"),
        ("--sheet", "/nowhere.csv", "--size", "1x1"),
    ],
)
def test_what_cannot_be_done_is_said(arguments):
    """An error of ours, with words."""
    assert isinstance(run(*arguments).exception, BiaoshiError)
