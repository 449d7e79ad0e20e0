"""The corpus reads the registries' files as their editors write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import corpus

USB = """# Version: 2025.07.26

0001  Fry's Electronics
\t7778  Counterfeit flash drive [Kingston]
\t\t01  an interface
0002  Ingram
C 00  (Defined at Interface level)
\t01  not a product
"""

OUI = "28-6F-B9   (hex)\t\tNokia\n286FB9     (base 16)\t\tNokia Shanghai Bell Co., Ltd.\n"


def test_vendors_and_products_are_read() -> None:
    """A tab-indented line is a product of the vendor above it; classes are none."""
    fry, ingram = corpus.read_ids(USB.splitlines(keepends=True), "usb")
    assert (fry.name, fry.edition) == ("Fry's Electronics", "2025.07.26")
    assert fry.products == (("7778", "Counterfeit flash drive [Kingston]"),)
    assert ingram.products == ()


def test_oui_vendors_are_read() -> None:
    """Only the `(base 16)` line of an OUI block names a vendor."""
    (nokia,) = corpus.read_oui(OUI.splitlines(keepends=True))
    assert (nokia.number, nokia.name) == ("286fb9", "Nokia Shanghai Bell Co., Ltd.")


def test_rows_are_what_register_takes() -> None:
    """Each row has a handle under its vendor's prefix and a LIFECYCLE value that is JSON."""
    fry = next(corpus.read_ids(USB.splitlines(keepends=True), "usb"))
    (row,) = corpus.rows(fry, "88.118")
    assert row["handle"] == "88.118.1000001/7778"
    lifecycle = next(v for v in row["values"] if v["type"] == "LIFECYCLE")
    assert json.loads(lifecycle["data"])["vendor"] == "0001"


def test_registries_share_no_enterprise_code() -> None:
    """The code ranges of the registries do not overlap."""
    usb = corpus.Vendor("usb", "ffff", "x", "", ())
    pci = corpus.Vendor("pci", "0000", "x", "", ())
    oui = corpus.Vendor("oui", "000000", "x", "", ())
    assert usb.code() < pci.code() < oui.code()


def test_the_machine_s_registries_give_thousands_of_makers(tmp_path: Path) -> None:
    """With hwdata here, thousands of enterprises and tens of thousands of products come out."""
    if "usb.ids" in corpus.missing() or "pci.ids" in corpus.missing():
        pytest.skip("hwdata is not installed: apt-get install hwdata")
    file = tmp_path / "corpus.jsonl"
    batch, first = corpus.write(file, "88.118", 0)
    assert first
    assert sum(1 for _ in file.open(encoding="utf-8")) > 30_000
    assert batch.read_text(encoding="utf-8").count("CREATE ") > 5_000
