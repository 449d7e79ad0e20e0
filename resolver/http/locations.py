"""Where a browser is sent: a record's own locations and those of its prefix's namespaces.

10320/loc comes before URL. The locations of the handles that HS_NAMESPACE names as `locs` are
added, unless `no_nslocs` stands in the record's own (Handle manual 12; do-irp 12.4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final
from xml.sax.saxutils import quoteattr

from protocol.errors import ParseError, ResponseCode
from protocol.name import described_prefix, prefix_of, prefix_record, whole_name
from protocol.record import HandleValue, decode_values
from protocol.values.loc import DEFAULT_ORDER, Caller, Location, Locations, choose, decode_loc
from resolver.lookup import Answer, Lookup, Query
from resolver.namespaces import NAMESPACE_TYPE, NO_CHAIN, Chain, namespace_in

LOC: Final = b"10320/LOC"
URL: Final = b"URL"

Ask = Callable[[Query], Awaitable[Answer]]


async def chain_for(lookup: Lookup, ask: Ask, answer: Answer) -> Chain:
    """The namespaces of an answered name's prefix; another node's are asked for."""
    name = whole_name(answer.handle)
    if described_prefix(name) is not None or b"/" not in name:
        return NO_CHAIN
    prefix = prefix_of(name)
    if prefix in lookup.prefixes.homed():
        return lookup.namespaces.of(prefix)
    if lookup.recursion is None or answer.code != ResponseCode.SUCCESS:
        return NO_CHAIN
    record = await ask(Query(prefix_record(prefix), types=(NAMESPACE_TYPE,), do_not_refer=True))
    if record.code != ResponseCode.SUCCESS:
        return NO_CHAIN
    namespace = namespace_in(decode_values(record.values))
    return NO_CHAIN if namespace is None else Chain((namespace,))


async def shared_locations(ask: Ask, chain: Chain) -> Locations:
    """The locations that every name of a prefix has. What cannot be had is left out."""
    found: list[Location] = []
    order: tuple[str, ...] = DEFAULT_ORDER
    for handle in chain.locs:
        answer = await ask(Query(handle.encode(), types=(LOC,), do_not_refer=True))
        if answer.code != ResponseCode.SUCCESS:
            continue
        for one in _own(decode_values(answer.values)):
            found += one[1].locations
            order = one[1].chooseby if order == DEFAULT_ORDER else order
    return Locations(tuple(found), order)


def target(
    name: str, values: Sequence[HandleValue], shared: Locations, caller: Caller
) -> tuple[str, HandleValue | None]:
    """The address for this caller and the value it counts as; "" and None without one.

    A record that has neither a location nor a URL leads nowhere, whatever its namespace says.
    """
    own = _own(values)
    for value, locations in own:
        chosen = choose(_filled(name, _joined(locations, shared)), caller)
        if chosen is not None:
            return chosen.href, value
    urls = [value for value in values if value.type.upper() == URL]
    if shared.locations and (urls or own):
        legacy = [Location((("href", _text(value)),)) for value in urls]
        both = Locations((*legacy, *shared.locations), shared.chooseby)
        chosen = choose(_filled(name, both), caller)
        if chosen is not None:
            return chosen.href, urls[0] if urls else own[0][0]
    return (_text(urls[0]), urls[0]) if urls else ("", None)


def shown(name: str, values: Sequence[HandleValue], shared: Locations) -> bytes:
    """`action=showurls`: each URL as a location, those of 10320/loc values and the shared ones."""
    lines = []
    own = [locations for _, locations in _own(values)]
    weight = "0.0" if own else "1.0"  # locations come before URLs
    for value in values:
        if value.type.upper() == URL:
            href = quoteattr(_xml_text(_text(value)))
            lines.append(f'<location mode="legacy" weight="{weight}" href={href}/>')
    for locations in own:
        lines += map(_line, _filled(name, locations).locations)
    if not own or any(locations.namespace_locs for locations in own):
        lines += map(_line, _filled(name, shared).locations)
    return "<locations>\n{}\n</locations>\n".format("\n".join(lines)).encode()


def _own(values: Sequence[HandleValue]) -> list[tuple[HandleValue, Locations]]:
    """The 10320/loc values that can be read; the page shows the others."""
    found = []
    for value in values:
        if value.type.upper() == LOC:
            try:
                found.append((value, decode_loc(value.data)))
            except ParseError:
                continue
    return found


def _joined(own: Locations, shared: Locations) -> Locations:
    """Own and shared locations; the own order of choice, where one is written, counts."""
    if not own.namespace_locs or not shared.locations:
        return own
    order = own.chooseby if own.chooseby != DEFAULT_ORDER else shared.chooseby
    return replace(own, locations=(*own.locations, *shared.locations), chooseby=order)


def _filled(name: str, locations: Locations) -> Locations:
    return replace(locations, locations=tuple(one.of_name(name) for one in locations.locations))


def _text(value: HandleValue) -> str:
    return value.data.decode("utf-8", "replace")


def _line(location: Location) -> str:
    return "<location {}/>".format(
        " ".join(f"{name}={quoteattr(_xml_text(text))}" for name, text in location.attributes)
    )


def _xml_text(text: str) -> str:
    """Without characters that XML 1.0 cannot hold."""
    return "".join(char for char in text if char >= " " or char in "\t\r\n")
