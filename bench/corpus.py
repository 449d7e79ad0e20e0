"""Real registries as a corpus: USB, PCI and OUI vendors and their products.

Debian's `hwdata` package holds the vendor and product numbers of the USB and PCI
registries, `ieee-data` (or an `oui.txt` within hwdata) the vendors of the OUI registry.
Each vendor becomes an enterprise prefix, each product a record whose LIFECYCLE value says
what its registry says: maker, model, numbers, and the edition that lists it.

    python -m bench.corpus --under 88.118 > products.jsonl
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

FOLDERS = (Path("/usr/share/hwdata"), Path("/usr/share/misc"), Path("/usr/share/ieee-data"))

_VENDOR = re.compile(r"^([0-9a-fA-F]{4}) {2}(\S.*)$")
_PRODUCT = re.compile(r"^\t([0-9a-fA-F]{4}) {2}(\S.*)$")
_OUI = re.compile(r"^([0-9A-F]{6})\s+\(base 16\)\s+(\S.*)$")
_EDITION = re.compile(r"^#\s*Version:\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry's file and how its vendors are numbered below a prefix.

    first_code: enterprise codes are this number plus the vendor's own number, so that
    vendors of different registries never share a code.
    """

    name: str
    file: str
    first_code: int


REGISTRIES = (
    Registry("usb", "usb.ids", 1_000_000),
    Registry("pci", "pci.ids", 2_000_000),
    Registry("oui", "oui.txt", 30_000_000),
)


@dataclass(frozen=True, slots=True)
class Vendor:
    """A maker and its products, (number, name) each; an OUI vendor has none of its own."""

    registry: str
    number: str
    name: str
    edition: str
    products: tuple[tuple[str, str], ...]

    def code(self) -> int:
        """The enterprise code under a second-level prefix."""
        first = next(r.first_code for r in REGISTRIES if r.name == self.registry)
        return first + int(self.number, 16)


def find(registry: Registry) -> Path | None:
    """Where the registry's file lies on this machine, or None."""
    return next((d / registry.file for d in FOLDERS if (d / registry.file).is_file()), None)


def read_ids(lines: Iterable[str], registry: str) -> Iterator[Vendor]:
    """Vendors of a `*.ids` file: `vvvv  name`, then tab-indented `pppp  name`.

    Stops at the class list that follows the vendors (`C 00  …`).
    """
    edition, number, name = "", "", ""
    products: list[tuple[str, str]] = []
    for line in lines:
        if match := _EDITION.match(line):
            edition = match[1]
        elif match := _PRODUCT.match(line):
            products.append((match[1].lower(), match[2].strip()))
        elif match := _VENDOR.match(line):
            if number:
                yield Vendor(registry, number, name, edition, tuple(products))
            number, name, products = match[1].lower(), match[2].strip(), []
        elif line.startswith("C "):
            break
    if number:
        yield Vendor(registry, number, name, edition, tuple(products))


def read_oui(lines: Iterable[str]) -> Iterator[Vendor]:
    """Vendors of IEEE's oui.txt: `001122     (base 16)  name`."""
    for line in lines:
        if match := _OUI.match(line.rstrip()):
            yield Vendor("oui", match[1].lower(), match[2], "", ())


def vendors(names: Iterable[str] = ("usb", "pci", "oui")) -> Iterator[Vendor]:
    """Every vendor of the named registries that are on this machine."""
    wanted = set(names)
    for registry in REGISTRIES:
        path = find(registry) if registry.name in wanted else None
        if path is None:
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from read_oui(lines) if registry.name == "oui" else read_ids(lines, registry.name)


def missing() -> list[str]:
    """Files of registries that are not on this machine."""
    return [registry.file for registry in REGISTRIES if find(registry) is None]


def prefix(vendor: Vendor, under: str) -> str:
    """The vendor's enterprise prefix: `88.118.1001133`."""
    return f"{under}.{vendor.code()}"


def rows(vendor: Vendor, under: str) -> Iterator[dict[str, object]]:
    """A vendor's records as the Handle REST API writes them, product by product.

    A vendor without products (OUI) gives one record, its assignment.
    """
    owner = prefix(vendor, under)
    if not vendor.products:
        yield _row(owner, vendor, vendor.number, vendor.name, {"assignment": vendor.number})
    for number, name in vendor.products:
        yield _row(owner, vendor, number, name, {"product": number})


def _row(
    owner: str, vendor: Vendor, number: str, name: str, extra: dict[str, str]
) -> dict[str, object]:
    lifecycle = {
        "stage": "listed",
        "registry": vendor.registry,
        "edition": vendor.edition,
        "vendor": vendor.number,
        **extra,
    }
    text = json.dumps({k: v for k, v in lifecycle.items() if v}, ensure_ascii=False)
    return {
        "handle": f"{owner}/{number}",
        "values": [
            {"index": 1, "type": "DESC", "data": name},
            {"index": 2, "type": "MAKER", "data": vendor.name},
            {"index": 3, "type": "LIFECYCLE", "data": text},
        ],
    }


def prefix_batch(makers: Iterable[Vendor], under: str) -> Iterator[str]:
    """A Handle batch file that creates each maker's prefix record and homes the prefix.

    The records point to the second-level node's own service: it holds the identifiers of
    enterprises that run no node.
    """
    owners = []
    for maker in makers:
        owner = prefix(maker, under)
        owners.append(f"0.NA/{owner}\n")
        yield f"CREATE 0.NA/{owner}\n"
        yield f"100 HS_ADMIN 86400 1110 ADMIN 200:111111111111:0.NA/{under}\n"
        yield f"1 HS_SERV 86400 1110 UTF8 0.NA/{under}\n"
        yield f"2 DESC 86400 1110 UTF8 {maker.name}\n\n"
    yield "HOME 127.0.0.1:2641:TCP\n"
    yield from owners


def write(file: Path, under: str, limit: int) -> tuple[Path, str | None]:
    """Write products to `file` and the makers' prefixes to a batch file beside it.

    limit: most records; 0 = all. Returns the batch file and the first product's identifier,
    None when no registry is on this machine.
    """
    makers: list[Vendor] = []
    first: str | None = None
    written = 0
    with file.open("w", encoding="utf-8") as out:
        for vendor in vendors():
            if limit and written >= limit:
                break
            makers.append(vendor)
            for row in rows(vendor, under):
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                first = first or str(row["handle"])
                written += 1
    batch = file.with_suffix(".prefixes.txt")
    batch.write_text("".join(prefix_batch(makers, under)), encoding="utf-8")
    return batch, first


def main(
    under: Annotated[str, typer.Option(help="second-level prefix of the vendors")] = "88.118",
    registry: Annotated[
        list[str] | None, typer.Option(help="usb, pci or oui; may repeat (all)")
    ] = None,
    limit: Annotated[int, typer.Option(help="stop after so many records; 0 = all")] = 0,
) -> None:
    """Write the corpus as JSON lines for `biaoshi register`."""
    for file in missing():
        print(f"{file} is not here: apt-get install hwdata ieee-data", file=sys.stderr)
    written = 0
    for vendor in vendors(registry or ("usb", "pci", "oui")):
        for row in rows(vendor, under):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
            if written == limit:
                return


if __name__ == "__main__":
    typer.run(main)
