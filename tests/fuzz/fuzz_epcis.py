"""Any document, query or mapping is read or refused with a plain error; what is read has a hash.

Run it: python tests/fuzz/fuzz_epcis.py --executions 100000 --seed 1
Each execution gives one mutated input to one decoder. A failure prints the decoder and the input.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # as a script, only its own folder is on the path
    sys.path.insert(0, str(ROOT))

from protocol.epcis.document import Document, open_document, parse_document  # noqa: E402
from protocol.epcis.event import mentions, time_us  # noqa: E402
from protocol.epcis.eventhash import event_hash  # noqa: E402
from protocol.epcis.identity import canonical_id, level_of, parents_of  # noqa: E402
from protocol.epcis.jcs import canonical, loads  # noqa: E402
from protocol.epcis.mapping import Line, Mapper, parse_mapping  # noqa: E402
from protocol.epcis.moment import hash_time  # noqa: E402
from protocol.epcis.query import parse_query  # noqa: E402
from protocol.epcis.schema import check_document, check_rules  # noqa: E402
from protocol.errors import BiaoshiError, InvalidValue, ParseError  # noqa: E402

LIMIT_S = 0.5
"""Processor time of one input of some kilobytes at one decoder."""


def _used(document: Document) -> bool:
    """Everything that is done with events of strangers."""
    valid = not check_document(document.value)
    for event in document.events:
        if not isinstance(event, dict):
            continue
        for version in ("2.0", "2.1"):
            found = event_hash(event, document.context, version)
            if found != event_hash(dict(reversed(event.items())), document.context, version):
                raise AssertionError("the order of members changes the hash")
        mentions(event)
        check_rules(event, document.context, now_us=0)
        parse_query({"EXISTS_ex:a": [""], "MATCH_anyEPC": ["urn:x:1"]}).matches(event)
        if valid:
            time_us(event)
    return valid


def _json(data: bytes) -> object:
    value = loads(data)
    try:
        octets = canonical(value)
    except InvalidValue:
        return value
    if canonical(loads(octets)) != octets:
        raise AssertionError("canonical JSON is no fixed point")
    return _used(open_document(value))


def _text(data: bytes) -> object:
    text = data.decode("utf-8", "replace")[:4096]
    once = canonical_id(text)
    if canonical_id(once) != once:
        raise AssertionError("a canonical id has another canonical id")
    return once, level_of(text), parents_of(text), hash_time(text)


def _query(data: bytes) -> object:
    params = parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True)
    query = parse_query(params)
    return query.matches(EVENT), query.matches({})


def _mapping(data: bytes) -> object:
    try:
        tables = tomllib.loads(data.decode("utf-8", "replace"))
    except (tomllib.TOMLDecodeError, RecursionError):
        raise ParseError("no TOML") from None
    mapper = Mapper(parse_mapping(tables), None, lambda _name: "0" * 64)
    return list(mapper.events([Line(2, ROW), Line(3, {})]))


EVENT = {
    "@context": {"ex": "https://ns.example/"},
    "type": "ObjectEvent",
    "eventTime": "2026-03-01T10:00:00.0005+08:00",
    "eventTimeZoneOffset": "+08:00",
    "epcList": ["urn:epc:id:sgtin:4012345.011122.25", "https://x/01/9521234543213/21/a%2F"],
    "action": "ADD",
    "bizStep": "shipping",
    "readPoint": {"id": "urn:epc:id:sgln:4012345.00005.0", "ex:p": 1.5},
    "quantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.011122.L", "quantity": 1e3}],
    "sensorElementList": [
        {
            "sensorMetadata": {"time": "2026-03-01T10:00:00Z"},
            "sensorReport": [{"type": "Mass", "value": 0.10, "uom": "KGM"}],
        }
    ],
    "ilmd": {"ex:t": {"ex:u": [1, "0012", None, True]}},
    "ex:a": "x",
}
DOCUMENT = {
    "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-03-01T10:00:00Z",
    "epcisBody": {"eventList": [EVENT]},
}
ROW = {"when": "2026-03-01T08:00:00Z", "a": "1,2", "n": "3"}
XML = b"""<EPCISDocument xmlns:ex="https://ns.example/"><EPCISBody><EventList><ObjectEvent>
<eventTime>2026-03-01T10:00:00Z</eventTime><baseExtension><eventID>urn:x:1</eventID></baseExtension>
<epcList><epc>urn:x:1</epc></epcList><action>ADD</action><readPoint><id>urn:x:r</id></readPoint>
<extension><ilmd><ex:a b="c">1<ex:d>2</ex:d></ex:a></ilmd><extension><sensorElementList>
<sensorElement><sensorReport type="gs1:Mass" value="1.50"/></sensorElement></sensorElementList>
</extension></extension></ObjectEvent></EventList></EPCISBody></EPCISDocument>"""
MAPPING = b"""[words.w]
"1" = "a"
[[event]]
type = "ObjectEvent"
group = "{a}"
eventTime = "{when}"
epcList = ["https://x/{a|split|pad:2}"]
quantityList = [{ epcClass = "urn:x:{n}", quantity = "{n}" }]
[[event.documents]]
uri = "https://d/{n|default:1}"
file = "{n}"
"""
TARGETS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "json": (_json, [json.dumps(one).encode() for one in (DOCUMENT, EVENT, [1.5, 2**53])]),
    "xml": (lambda data: _used(parse_document(data)), [XML]),
    "text": (_text, [one.encode() for one in (*EVENT["epcList"], EVENT["eventTime"])]),
    "query": (
        _query,
        [
            b"MATCH_epc=urn:epc:idpat:sgtin:4012345.*.*|urn:x:1&GE_value_KGM=0.1&EQ_INNER_ILMD_ex:u=12"
        ],
    ),
    "mapping": (_mapping, [MAPPING]),
}
"""Everything that reads texts of strangers, and where mutation begins."""


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: octets, or pieces moved, doubled and taken out."""
    octets = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(octets) + 1)
        piece = octets[chance.randrange(len(octets) + 1) :][: chance.randint(1, 60)]
        match chance.randrange(5):
            case 0 if at < len(octets):
                octets[at] ^= 1 << chance.randrange(8)
            case 1:
                del octets[at : at + chance.randint(1, 30)]
            case 2:
                octets[at:at] = piece
            case 3:
                octets[at:at] = piece * chance.randint(2, 50)
            case _:
                octets[at : at + len(piece)] = piece
    return bytes(octets)


def fuzz(executions: int, seed: int = 0) -> int:
    """How many inputs were read without a refusal. Raises AssertionError at the first failure."""
    chance = random.Random(seed)
    accepted = 0
    for _ in range(executions):
        name = chance.choice(list(TARGETS))
        decode, seeds = TARGETS[name]
        data = mutate(chance.choice(seeds), chance)
        began = time.process_time()
        try:
            decode(data)
        except BiaoshiError:
            pass
        except Exception:
            raise AssertionError(f"{name} {data!r}\n{traceback.format_exc()}") from None
        else:
            accepted += 1
        took = time.process_time() - began
        if took > LIMIT_S:
            raise AssertionError(f"{name} took {took:.2f} s for {data!r:.500}")
    return accepted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    accepted = fuzz(given.executions, given.seed)
    print(f"{given.executions} inputs, {accepted} read, the others refused")


if __name__ == "__main__":
    main()
