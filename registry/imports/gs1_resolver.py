"""Entries of the GS1 Resolver Community Edition (its data entry format, version 3 and 2).

    [{"anchor": "/01/09521234543213", "itemDescription": "Pump", "defaultLinktype": "gs1:pip",
      "qualifiers": [{"10": "LOT7"}, {"21": "{serialnumber}"}],
      "links": [{"linktype": "gs1:pip", "href": "https://example.org/p?s={serialnumber}",
                 "title": "Page", "type": "text/html", "hreflang": ["en"], "context": ["SE"]}]}]

Entries of one identifier become one record: 0.LINK values behind a DESC. A qualifier in braces
stands for any value; its links go to the record above it and count only where a request carries
that qualifier. An item's line is the number of its first entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import orjson

from protocol.errors import BiaoshiError, ParseError
from protocol.record import HandleValue
from protocol.record_links import LINK, parse_link_value
from protocol.schemes.gs1_link import DigitalLink, encode_value, parse_uri
from registry.imports import Item, Options

MAX_FILE_BYTES: Final = 1 << 30
_HIDDEN: Final = 0b1100
_PUBLIC: Final = 0b1110
_ANY: Final = frozenset(("und", "xx", ""))
"""What the Community Edition writes for no language and no context."""
_TEMPLATE = re.compile(r"\{([A-Za-z0-9_-]+)\}")
_HOST: Final = "https://id.gs1.org"
_ENTRY: Final = frozenset(("anchor", "itemDescription", "defaultLinktype", "qualifiers", "links"))


@dataclass(slots=True)
class _Record:
    """The entries of one identifier."""

    number: int
    link: DigitalLink
    description: str = ""
    links: list[tuple[dict[str, Any], int]] = field(default_factory=list)


def read(stream: BinaryIO, options: Options) -> Iterator[Item]:
    """The records of a file, and its entries that cannot be used."""
    data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        yield Item(1, b"", None, f"the file is above {MAX_FILE_BYTES} octets; split it")
        return
    try:
        entries = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        yield Item(1, b"", None, f"the file is no JSON: {error}")
        return
    records: dict[str, _Record] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries], 1):
        name = b""
        try:
            entry = _version_3(entry)
            name = str(entry.get("anchor", "")).encode("utf-8", "replace")
            _add(records, number, entry)
        except BiaoshiError as error:
            yield Item(number, name, None, str(error))
    for record in records.values():
        name = record.link.identity.encode()
        yield Item(record.number, name, options.registration(name, _values(record)))


def _add(records: dict[str, _Record], number: int, entry: Mapping[str, Any]) -> None:
    """Put an entry's links where they belong. Raises ParseError, and then leaves all as it was."""
    unknown = sorted(entry.keys() - _ENTRY)
    if unknown:
        raise ParseError(f"an entry has no member {', '.join(unknown)[:80]!r}")
    anchor, description = _text(entry, "anchor"), entry.get("itemDescription") or ""
    fixed, free = _qualifiers(entry.get("qualifiers") or [])
    link = parse_uri(f"{_HOST}{_path(anchor)}{fixed}", lenient=True)
    default = entry.get("defaultLinktype")
    made = []
    for at, one in enumerate(entry.get("links") or []):
        shaped, permissions = _link(one, f"links[{at}]", free, default)
        if free and description:
            shaped["itemDescription"] = description
        parse_link_value(json.dumps(shaped).encode())
        made.append((shaped, permissions))
    record = records.setdefault(link.path, _Record(number, link))
    if not free:
        record.description = record.description or str(description)
    record.links += made


def _path(anchor: str) -> str:
    """The path of an anchor, which may be a whole URI."""
    path = anchor.split("://", 1)[-1]
    return "/" + path.partition("/")[2] if path != anchor else anchor


def _qualifiers(value: Any) -> tuple[str, dict[str, str]]:
    """The path of those with a value, and the places of those with any, by AI."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ParseError('"qualifiers" is a list of objects such as {"10": "LOT7"}')
    fixed, free = "", {}
    for one in value:
        for ai, text in one.items():
            place = _TEMPLATE.fullmatch(str(text))
            if place is None:
                fixed += f"/{ai}/{encode_value(str(text))}"
            else:
                free[place[1]] = ai
    return fixed, free


def _link(
    value: Any, where: str, free: Mapping[str, str], default: Any
) -> tuple[dict[str, Any], int]:
    """A 0.LINK object of a link, and the permissions of its value."""
    if not isinstance(value, dict):
        raise ParseError(f"{where} is no object")
    kind = _text(value, "linktype", where)
    shaped: dict[str, Any] = {"relation": kind}
    shaped["href"] = _TEMPLATE.sub(
        lambda place: _place(place[1], free, where), _text(value, "href", where)
    )
    for name in ("title", "type"):
        if value.get(name):
            shaped[name] = value[name]
    for name in ("hreflang", "context"):
        some = value.get(name) or []
        some = [some] if isinstance(some, str) else some
        if kept := [text for text in some if text not in _ANY]:
            shaped[name] = kept
    if value.get("fwqs") is False:
        shaped["fwqs"] = False
    if free:
        shaped["qualifiers"] = sorted(free.values())
    if kind == default:
        shaped["default"] = True
    if value.get("public") is False:
        shaped["public"] = False
        return shaped, _HIDDEN
    return shaped, _PUBLIC


def _place(name: str, free: Mapping[str, str], where: str) -> str:
    ai = free.get(name)
    if ai is None:
        raise ParseError(
            f"{where}.href: {{{name}}} stands for no qualifier of the entry; write it as one, or "
            "its AI's digits"
        )
    return f"{{{ai}}}"


def _text(value: Mapping[str, Any], name: str, where: str = "the entry") -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise ParseError(f"{where} has no text under {name}")
    return found


def _values(record: _Record) -> tuple[HandleValue, ...]:
    values = []
    if record.description:
        values.append(HandleValue(1, b"DESC", record.description.encode("utf-8", "replace")))
    for at, (shaped, permissions) in enumerate(record.links):
        data = json.dumps(shaped, ensure_ascii=False).encode("utf-8", "replace")
        # Indexes from 1,000 on stay clear of administrators, keys and signatures.
        values.append(HandleValue(1000 + at, LINK, data, permissions=permissions))
    return tuple(values)


def _version_3(entry: Any) -> Mapping[str, Any]:
    """An entry of version 2 as one of version 3."""
    if not isinstance(entry, dict):
        raise ParseError("an entry is an object with anchor, itemDescription and links")
    if "identificationKeyType" not in entry:
        return entry
    path = str(entry.get("qualifierPath") or "/").strip("/")
    pairs = path.split("/") if path else []
    if len(pairs) % 2:
        raise ParseError(f"qualifierPath {path[:80]!r} is no row of AIs and values")
    responses = entry.get("responses") or []
    if not all(isinstance(one, dict) for one in responses):
        raise ParseError("responses is no list of objects")
    kinds = [one.get("linkType") for one in responses if one.get("defaultLinkType")]
    anchor = f"/{entry['identificationKeyType']}/{entry.get('identificationKey')}"
    return {
        "anchor": anchor,
        "itemDescription": entry.get("itemDescription"),
        "defaultLinktype": kinds[0] if kinds else None,
        "qualifiers": [dict([pair]) for pair in zip(pairs[::2], pairs[1::2], strict=True)],
        "links": [_response(one) for one in responses if one.get("active") is not False],
    }


def _response(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "linktype": one.get("linkType"),
        "href": one.get("targetUrl"),
        "title": one.get("linkTitle"),
        "type": one.get("mimeType"),
        "hreflang": one.get("language") or one.get("ianaLanguage"),
        "context": one.get("context"),
        "fwqs": one.get("fwqs"),
        "public": one.get("public"),
    }
