"""Any bytes decode to a value or raise ParseError; nothing else, whole or one octet at a time.

Run it: python tests/fuzz/fuzz_wire.py --executions 100000 --seed 1
The gate of threats N4: python tests/fuzz/fuzz_wire.py --each 100000000
Each execution gives one mutated input to one decoder, which has 10 ms of processor time for it. A
failure prints the decoder and the input.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # as a script, only its own folder is on the path
    sys.path.insert(0, str(ROOT))

from protocol.doirp import (  # noqa: E402
    administration,
    authentication,
    bodies,
    envelope,
    header,
    message,
    referral,
    replication,
    resolution,
    session,
    stream,
    tunnel,
    udp,
)
from protocol.errors import ParseError, ServerBusy  # noqa: E402
from protocol.record import decode_value, decode_values  # noqa: E402
from protocol.values import VALUE_TYPES  # noqa: E402
from protocol.values.global_values import decode_global_values  # noqa: E402
from protocol.vectorform import FORMS  # noqa: E402
from protocol.xmltree import parse_xml  # noqa: E402
from resolver.dns.message import parse_query  # noqa: E402

VECTORS = ROOT / "tests" / "vectors" / "do-irp"
INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    492,
    1_048_576,
    1_048_577,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)


def _stream(data: bytes) -> object:
    """Whole and one octet at a time give the same messages, or both refuse."""
    return _taken(stream.MessageStream(), [data]), _same_by_octets(data)


def _same_by_octets(data: bytes) -> None:
    whole = _outcome([data])
    single = _outcome([data[at : at + 1] for at in range(len(data))])
    if whole != single:
        raise AssertionError(f"whole {whole!r:.200}, by octets {single!r:.200}")


def _outcome(chunks: list[bytes]) -> object:
    try:
        return _taken(stream.MessageStream(), chunks)
    except ParseError as error:
        return str(error)


def _taken(messages: stream.MessageStream, chunks: list[bytes]) -> list[object]:
    found: list[object] = []
    for chunk in chunks:
        messages.feed(chunk)
        while (item := messages.next()) is not stream.NEED_DATA:
            found.append(item)
    return found


def _packets(data: bytes) -> object:
    """Datagrams cut out of the bytes, in both orders."""
    reassembler = udp.Reassembler(max_pending=4, max_pending_per_peer=2, max_octets=4096)
    cut = [data[at : at + 512] for at in range(0, len(data), 512)]
    found = []
    for now, packet in enumerate(cut + cut[::-1]):
        try:
            found.append(reassembler.add("peer", packet, float(now)))
        except (ParseError, ServerBusy):
            continue
    return found


def _round_trip(data: bytes) -> object:
    """What decodes as a message encodes to bytes that decode to the same.

    But for its length: old peers leave that of an empty credential out, we never do.
    """
    first = message.decode_message(data)
    second = message.decode_message(message.encode_message(first))
    if replace(second, envelope=replace(second.envelope, length=first.envelope.length)) != first:
        raise AssertionError(f"{first!r:.200} became {second!r:.200}")
    return bodies.decode_body(first)


DECODERS: dict[str, Callable[[bytes], object]] = {
    "value": decode_value,
    "values": decode_values,
    "global_values": decode_global_values,
    "envelope": envelope.decode_envelope,
    "header": header.decode_header,
    "message": _round_trip,
    "stream": _stream,
    "udp": _packets,
    "tunnel": tunnel.messages,
    "xml": parse_xml,
    "name": administration.decode_name,
    "values_request": administration.decode_values_request,
    "indexes_request": administration.decode_indexes_request,
    "created": administration.decode_created,
    "names_reply": administration.decode_names_reply,
    "challenge": lambda data: authentication.decode_challenge(data, (2, 11)),
    "challenge_old": lambda data: authentication.decode_challenge(data, (2, 0)),
    "challenge_response": authentication.decode_challenge_response,
    "verify_request": authentication.decode_verify_request,
    "verify_reply": authentication.decode_verify_reply,
    "referral": referral.decode_referral,
    "error": referral.decode_error,
    "retrieve": lambda data: replication.decode_retrieve(data, (2, 11)),
    "retrieve_old": lambda data: replication.decode_retrieve(data, (2, 8)),
    "dump_request": replication.decode_dump_request,
    "next_transaction": replication.decode_next_transaction,
    "retrieve_reply": replication.decode_retrieve_reply,
    "resolution_request": resolution.decode_resolution_request,
    "resolution_reply": resolution.decode_resolution_reply,
    "session_setup": session.decode_session_setup,
    "session_setup_reply": session.decode_session_setup_reply,
    "server_key": lambda data: session.split_server_key(data, (2, 11)),
    "key_exchange": session.decode_key_exchange,
    "dns_query": parse_query,
    **{f"data {name.decode()}": row.decode for name, row in VALUE_TYPES.items()},
    **{f"form {kind}": form.decode for kind, form in FORMS.items()},
}
"""Everything that reads bytes of strangers, by name."""
OWN_FILES = frozenset({"form private_key"})
"""Read from their owner's disk alone, so that time is not bounded: OpenSSL checks the primes."""


def seeds() -> list[bytes]:
    """Bytes of the vectors, and the bodies and values inside them."""
    found = {b"", bytes(64), b"\xff" * 64}
    for path in sorted(VECTORS.glob("*.json")):
        for row in json.loads(path.read_bytes()):
            data = bytes.fromhex(row["hex"])[:8192]
            found.add(data)
            found.add(data[envelope.ENVELOPE_SIZE :])
            found.add(data[envelope.ENVELOPE_SIZE + header.HEADER_SIZE :])
            if "data_hex" in row["decoded"]:
                found.add(bytes.fromhex(row["decoded"]["data_hex"]))
    return sorted(found)


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One to four small changes."""
    octets = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(octets) + 1)
        match chance.randrange(7):
            case 0 if at < len(octets):
                octets[at] ^= 1 << chance.randrange(8)
            case 1:
                del octets[at:]
            case 2:
                del octets[at : at + chance.randint(1, 8)]
            case 3:
                octets[at:at] = chance.randbytes(chance.randint(1, 16))
            case 4:
                octets[at : at + 4] = chance.choice(INTERESTING).to_bytes(4)
            case 5:
                octets[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                octets[at : at + 4] = chance.randrange(64).to_bytes(4)
    return bytes(octets)


LIMIT_S = 0.01
"""Processor time of one input at one decoder (threats N4)."""
_TRIES = 5


@dataclass(frozen=True)
class Run:
    """How many inputs were accepted, and the longest that a decoder took for one."""

    accepted: int
    slowest_s: float
    slowest: str


def fuzz(executions: int, seed: int, names: Sequence[str] = ()) -> Run:
    """Run that many executions over some decoders, or all. Raises on the first fault."""
    chance = random.Random(seed)
    corpus = seeds()
    chosen = sorted(names or DECODERS)
    accepted, slowest_s, slowest = 0, 0.0, ""
    for _ in range(executions):
        name = chance.choice(chosen)
        data = mutate(chance.choice(corpus), chance.choice(corpus), chance)
        began = time.thread_time()
        accepted += _decoded(name, data)
        took_s = time.thread_time() - began
        if took_s > LIMIT_S:  # once more: it may have been the collector of garbage
            took_s = min(_timed(name, data) for _ in range(_TRIES))
        if took_s > slowest_s:
            slowest_s, slowest = took_s, name
        if took_s > LIMIT_S and name not in OWN_FILES:
            raise AssertionError(f"{name} takes {took_s * 1000:.1f} ms for {data.hex()}")
    return Run(accepted, slowest_s, slowest)


def _decoded(name: str, data: bytes) -> bool:
    """Whether a decoder takes an input."""
    try:
        DECODERS[name](data)
    except ParseError:
        return False
    except Exception as fault:
        raise AssertionError(f"{name} on {data.hex()} raised {fault!r}") from fault
    return True


def _timed(name: str, data: bytes) -> float:
    began = time.thread_time()
    _decoded(name, data)
    return time.thread_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=0, help="so many for each decoder instead")
    parser.add_argument("--decoder", choices=sorted(DECODERS), action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chosen = arguments.decoder or sorted(DECODERS)
    parts = [(arguments.executions, chosen)]
    if arguments.each:
        parts = [(arguments.each, [name]) for name in chosen]
    for executions, names in parts:
        try:
            run = fuzz(executions, arguments.seed, names)
        except AssertionError:
            traceback.print_exc()
            return 1
        which = names[0] if len(names) == 1 else f"{len(names)} decoders"
        print(
            f"{which}: {executions} executions, {run.accepted} inputs accepted, no fault; "
            f"slowest {run.slowest_s * 1000:.2f} ms ({run.slowest})",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
