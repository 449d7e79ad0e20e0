"""10320/loc: several locations of one thing and how to choose among them (do-irp 12.4).

Where a client is and chance are passed in; redirecting is the HTTP face's matter.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from urllib.parse import quote

from protocol.errors import ParseError
from protocol.xmltree import Element, format_xml, parse_xml

ROOT = "locations"
_NO_NAMESPACE = "no_nslocs"
DEFAULT_ORDER = ("locatt", "address", "country", "score", "weighted")


@dataclass(frozen=True, slots=True)
class Location:
    """attributes: as written, in order; the known ones have properties."""

    attributes: tuple[tuple[str, str], ...]

    def attribute(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)

    @property
    def href(self) -> str:
        return self.attribute("href") or ""

    def of_name(self, name: str) -> Location:
        """With the href that its `href_template` gives for a name, where it has none.

        `{hdl}` stands for the name with all but letters, digits and `-._~` encoded, `{hdl:path}`
        for the same with its slashes kept.
        """
        template = self.attribute("href_template")
        if template is None or self.href:
            return self
        href = template.replace("{hdl}", quote(name, safe="")).replace(
            "{hdl:path}", quote(name, safe="/")
        )
        return Location((*self.attributes, ("href", href)))

    @property
    def weight(self) -> float:
        """1 where it is missing or no number; 0: only when nothing else is left."""
        return _number(self.attribute("weight"), 1.0)

    @property
    def score(self) -> float:
        return _number(self.attribute("score"), 0.0)


@dataclass(frozen=True, slots=True)
class Locations:
    """chooseby: the methods in their order.

    namespace_locs: the locations that the prefix's namespace gives apply as well.
    """

    locations: tuple[Location, ...]
    chooseby: tuple[str, ...] = DEFAULT_ORDER
    namespace_locs: bool = True


@dataclass(frozen=True, slots=True)
class Caller:
    """What choosing may look at.

    locatt: (attribute, value) that was asked for. address: of the client. country: its two-letter
    code, lower or upper case. draw: a random number, 0 ≤ draw < 1.
    """

    draw: float
    locatt: tuple[str, str] | None = None
    address: str | None = None
    country: str | None = None


def decode_loc(data: bytes | memoryview) -> Locations:
    """Locations without href are kept, never chosen. Raises ParseError."""
    root = parse_xml(bytes(data))
    if root.name != ROOT:
        raise ParseError(f"10320/loc begins with <{root.name}>, not <{ROOT}>")
    chooseby = root.attribute("choose_by") or root.attribute("chooseby")
    order = tuple(word.strip().lower() for word in chooseby.split(",")) if chooseby else ()
    return Locations(
        tuple(Location(element.attributes) for element in root.all("location")),
        tuple(word for word in order if word) or DEFAULT_ORDER,
        (root.attribute(_NO_NAMESPACE) or "").lower() not in {"yes", "true", "1"},
    )


def encode_loc(locations: Locations) -> bytes:
    """The data of a 10320/loc value."""
    head: list[tuple[str, str]] = []
    if locations.chooseby != DEFAULT_ORDER:
        head.append(("chooseby", ",".join(locations.chooseby)))
    if not locations.namespace_locs:
        head.append((_NO_NAMESPACE, "true"))
    return format_xml(
        Element(
            ROOT,
            tuple(head),
            tuple(Element("location", location.attributes) for location in locations.locations),
        )
    )


def choose(locations: Locations, caller: Caller) -> Location | None:
    """The location for this caller; None when there is none with an href.

    A method that would leave nothing is undone; chance decides among what is left in the end.
    """
    left = [location for location in locations.locations if location.href]
    for method in locations.chooseby:
        if len(left) < 2:
            break
        keep = _METHODS.get(method)
        if keep is not None:
            left = keep(left, caller) or left
    return _weighted(left, caller)[0] if left else None


def _locatt(left: Sequence[Location], caller: Caller) -> list[Location]:
    if caller.locatt is None:
        return []
    name, value = caller.locatt
    return [location for location in left if location.attribute(name) == value]


def _address(left: Sequence[Location], caller: Caller) -> list[Location]:
    if caller.address is None:
        return []
    try:
        address = ipaddress.ip_address(caller.address)
    except ValueError:
        return []
    return [
        location
        for location in left
        if any(
            _within(address, word) for word in (location.attribute("addresses") or "").split(",")
        )
    ]


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network.strip(), strict=False)
    except ValueError:
        return False


def _country(left: Sequence[Location], caller: Caller) -> list[Location]:
    wanted = (caller.country or "").lower()
    same = [
        location
        for location in left
        if wanted and (location.attribute("country") or "").lower() == wanted
    ]
    return same or [location for location in left if not location.attribute("country")]


def _score(left: Sequence[Location], _: Caller) -> list[Location]:
    best = max(location.score for location in left)
    return [location for location in left if location.score == best]


def _weighted(left: Sequence[Location], caller: Caller) -> list[Location]:
    total = sum(location.weight for location in left)
    if total <= 0:
        return [left[min(int(caller.draw * len(left)), len(left) - 1)]]
    mark = caller.draw * total
    for location in left:
        mark -= location.weight
        if mark < 0:
            return [location]
    return [next(location for location in reversed(left) if location.weight > 0)]


_METHODS: dict[str, Callable[[Sequence[Location], Caller], list[Location]]] = {
    "locatt": _locatt,
    "address": _address,
    "country": _country,
    "score": _score,
    "weighted": _weighted,
}


def _number(text: str | None, default: float) -> float:
    try:
        number = float(text) if text is not None else default
    except ValueError:
        return default
    return number if isfinite(number) and number >= 0 else default
