"""Versions, formats and media types: what a request asks for and every answer says (§3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from aiohttp import web

from protocol.epcis.errors import NotAcceptableException
from protocol.epcis.xmlwriting import CbvFormat
from protocol.errors import InvalidValue

VERSION: Final = "2.0.0"
JSON: Final = "application/json"
JSON_LD: Final = "application/ld+json"
OFFERED: Final = (JSON_LD, JSON)
XML_TYPES: Final = ("application/xml", "text/xml")
_NAMES: Final = ("GS1-EPCIS", "GS1-CBV")
_OWN: Final = (2, 0, 0)
_PART: Final = "(0|[1-9][0-9]{0,3})"
EXACT: Final = r"^2(\.0){0,2}$"
"""What versions may be asked for so that 2.0.0 is one of them; of a least and of a most one too."""
LEAST: Final = rf"^([01](\.{_PART}){{0,2}}|2(\.0){{0,2}})$"
MOST: Final = rf"^(2|[3-9]|[1-9][0-9]{{1,3}})(\.{_PART}){{0,2}}$"
_VERSION: Final = re.compile(rf"{_PART}(?:\.{_PART}){{0,2}}")


Choice = TypeVar("Choice", bound=StrEnum)


class EpcFormat(StrEnum):
    """GS1-EPC-Format: how identifiers are spelt in an answer."""

    NO_PREFERENCE = "No_Preference"
    DIGITAL_LINK = "Always_GS1_Digital_Link"
    URN = "Always_EPC_URN"
    NEVER = "Never_Translates"


DISCOVERED: Final[Mapping[str, str]] = {
    "GS1-EPC-Format": EpcFormat.NO_PREFERENCE,
    "GS1-CBV-XML-Format": CbvFormat.NO_PREFERENCE,
    "GS1-Capture-Error-Behaviour": "all",
}
"""What OPTIONS tells besides: the formats of who asks for none; both behaviours are there."""


@dataclass(frozen=True, slots=True)
class Form:
    """How events shall be answered: media type, spelling of identifiers and, in XML, of words."""

    media: str
    epc: EpcFormat
    cbv: CbvFormat

    @property
    def is_xml(self) -> bool:
        return self.media in XML_TYPES

    def headers(self) -> dict[str, str]:
        """The headers that tell it."""
        told = {"GS1-EPC-Format": str(self.epc)}
        return told | ({"GS1-CBV-XML-Format": str(self.cbv)} if self.is_xml else {})


def version_headers(capture_events: int, capture_bytes: int) -> dict[str, str]:
    """The headers of every answer. The two limits are of one capture."""
    made = {
        "GS1-EPCIS-Capture-Limit": str(capture_events),
        "GS1-EPCIS-Capture-File-Size-Limit": str(capture_bytes),
        "GS1-Vendor-Version": VERSION,
    }
    for name in _NAMES:
        made |= {f"{name}-{end}": VERSION for end in ("Version", "Min", "Max")}
    return made


def check_versions(headers: Mapping[str, str]) -> None:
    """Raise NotAcceptableException when no version in the asked range is the one spoken here.

    A version, or a bound, of fewer parts stands for all it begins: 2 and 2.0 for 2.0.0.
    """
    for name in _NAMES:
        exact = _asked(headers, f"{name}-Version")
        if exact is not None and _OWN[: len(exact)] != exact:
            raise _refused(name, exact)
        least = _asked(headers, f"{name}-Min")
        if least is not None and least > _OWN[: len(least)]:
            raise _refused(name, least)
        most = _asked(headers, f"{name}-Max")
        if most is not None and most < _OWN[: len(most)]:
            raise _refused(name, most)


def _asked(headers: Mapping[str, str], name: str) -> tuple[int, ...] | None:
    text = headers.get(name)
    if text is None:
        return None
    if not _VERSION.fullmatch(text.strip()):
        raise NotAcceptableException(f"{name} is a version such as {VERSION}, not {text[:40]!r}")
    return tuple(map(int, text.strip().split(".")))


def _refused(name: str, asked: tuple[int, ...]) -> NotAcceptableException:
    wanted = ".".join(map(str, asked))
    return NotAcceptableException(f"{name} {VERSION} is spoken here, not {wanted}")


def form_of(request: web.BaseRequest) -> Form:
    """The form to answer events in. Raises NotAcceptableException, InvalidValue."""
    return Form(
        media_of(request, (*OFFERED, *XML_TYPES)),
        _choice(request.headers, "GS1-EPC-Format", EpcFormat),
        _choice(request.headers, "GS1-CBV-XML-Format", CbvFormat),
    )


def media_of(request: web.BaseRequest, offered: Sequence[str] = OFFERED) -> str:
    """The media type to answer in. Raises NotAcceptableException: none of ours is taken."""
    header = ",".join(request.headers.getall("Accept", []))
    if not header.strip():
        return JSON_LD
    best, chosen = 0.0, None
    for part in header.split(",")[:64]:
        kind, *rest = (piece.strip() for piece in part.split(";"))
        quality = _quality(rest)
        offer = _offer(kind.lower(), offered)
        if offer is not None and quality > best:
            best, chosen = quality, offer
    if chosen is None:
        raise NotAcceptableException(f"answers are {' or '.join(offered)}; name one in Accept")
    return chosen


def _offer(kind: str, offered: Sequence[str]) -> str | None:
    if kind in offered:
        return kind
    if not kind.endswith("/*"):
        return None
    head = "" if kind == "*/*" else kind[:-1]
    return next((one for one in offered if one.startswith(head)), None)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def _choice(headers: Mapping[str, str], name: str, choices: type[Choice]) -> Choice:
    """A header that is one of a few words; the first of them where it is not sent."""
    known = list(choices)
    text = headers.get(name, known[0])
    if text not in known:
        raise InvalidValue(f"{name} is one of {', '.join(known)}, not {text[:40]!r}")
    return choices(text)
