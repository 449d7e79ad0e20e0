"""`python -m bench.hotpath`: what one lookup costs on one core, and where it goes.

The stages of the plain way are timed one by one on the octets of real requests and rows, in µs of
this process's CPU; then whole answers without sockets; then the faces over loopback, with the C
generator as client, counting this process only. The store's file is read before, so that page
faults, which are printed, do not stand in for lookups. Single runs on a shared machine: compare
lines of one run, not runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid
from xxhash import xxh3_64_intdigest

from bench import generator
from bench.dataset import Shape, fill, read_whole, write_keys
from protocol.doirp.header import OpCode
from protocol.doirp.message import encode_message, request
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.errors import StoreError
from protocol.values.hs_site import Site
from registry.access import Access, AccessSettings
from registry.generation import Generation
from registry.keys import create_keys, load_keys
from registry.prefixes import HOMED, Prefixes, PrefixRow
from registry.store import Table
from registry.store.lmdb_store import FORMAT, MAP_BYTES, LmdbStore, create
from registry.store.row import checked, json_values, public_body
from resolver import serve_doirp
from resolver.board import Board
from resolver.config import Settings
from resolver.doirp import fast
from resolver.doirp.exchange import Exchange, Peer, Transport
from resolver.doirp.handler import Handler
from resolver.http import app as http_app
from resolver.lookup import Lookup
from resolver.metrics import Metrics
from resolver.node import Node, Siblings
from resolver.sockets import Ports
from resolver.writer_link import WriterLink

PREFIX = "88.100.1"
_SAMPLE = 20_000
"""Requests, drawn evenly: more than any cache of the processor holds rows of."""
_PEER = Peer("192.0.2.1", 4000, Transport.UDP)
FACES = (
    ("UDP", "irp-udp"),
    ("TCP, one connection a request", "irp-tcp-once"),
    ("TCP, kept connections", "irp-tcp"),
    ("HTTP GET, kept connections", "http"),
)

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. us: CPU a lookup. rate: answers a second where a client asked."""

    group: str
    name: str
    us: float
    minflt: int
    majflt: int
    rate: float = 0.0


def make_folder(folder: Path, records: int) -> Path:
    """A node's folder with that many product records; made once, then used again."""
    made = folder / "format"
    if not made.exists() or made.read_text() != str(FORMAT):
        shutil.rmtree(folder / "store", ignore_errors=True)
        shape = Shape(records, prefix=PREFIX)
        (folder / "run").mkdir(parents=True, exist_ok=True)
        if not (folder / "keys").exists():
            create_keys(folder, ["127.0.0.1"], datetime.now(UTC))
        create(folder / "store")
        store = LmdbStore.open(folder / "store", reserve_bytes=0)
        fill(store, shape)
        store.apply([PrefixRow(PREFIX.encode(), HOMED).write()])
        store.close()
        write_keys(folder / "keys.txt", shape)
        made.write_text(str(FORMAT))  # a store of another format is made anew
    return folder


def make_node(folder: Path, map_bytes: int = MAP_BYTES) -> Node:
    """The node of one reader over that folder, without the processes around it."""
    read_whole(folder / "store" / "data.mdb")
    store = LmdbStore.open(folder / "store", readonly=True, map_bytes=map_bytes)
    prefixes = Prefixes(store, Generation(folder / "run" / "generation"))
    access = Access(store, AccessSettings())
    settings = Settings()
    node = Node(
        dir=folder,
        settings=replace(settings, node=replace(settings.node, prefix=PREFIX)),
        store=store,
        keys=load_keys(folder),
        site=Site(),
        ports=Ports(),
        writer=WriterLink(folder / "run"),
        access=access,
        prefixes=prefixes,
        metrics=Metrics(),
        board=Board(1),
        siblings=Siblings(folder / "run", 0),
    )
    node.lookup = Lookup(store, prefixes, access)
    return node


def questions(keys: Path) -> list[bytes]:
    """Resolution requests as deployed clients write them, for records drawn evenly."""
    names = keys.read_bytes().split()
    draw = random.Random(1)
    return [
        encode_message(
            request(
                OpCode.RESOLUTION,
                encode_resolution_request(ResolutionRequest(draw.choice(names))),
                request_id=number + 1,
                expiration=int(time.time()) + 43_200,
                site_version=(2, 11),
            )
        )
        for number in range(_SAMPLE)
    ]


def timed(
    group: str, name: str, step: Callable[[Any], object], items: Sequence[Any], seconds: float
) -> Line:
    """The cost of a step, less that of the loop around it: the least of what fits in `seconds`."""
    least, empty = _round(step, items), _round(_nothing, items)
    before = resource.getrusage(resource.RUSAGE_SELF)
    until = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < until or rounds == 0:
        rounds += 1
        least = min(least, _round(step, items))
        empty = min(empty, _round(_nothing, items))
    after = resource.getrusage(resource.RUSAGE_SELF)
    cost = max(0.0, least - empty) / len(items) * 1e6
    return Line(
        group, name, cost, after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt
    )


def _round(step: Callable[[Any], object], items: Sequence[Any]) -> float:
    started = time.process_time()
    for item in items:
        step(item)
    return time.process_time() - started


def _nothing(_: object) -> None:
    """The loop alone."""


def stages(node: Node, asked: list[bytes], seconds: float) -> list[Line]:
    """The steps of the plain way apart (resolver.doirp.fast), each on what the one before gives."""
    heads = {asked[0][:8]: b""}
    codes = {asked[0][20:32]: b""}
    homed = node.prefixes.homed()
    get = node.lookup.get

    def decode(data: bytes) -> object:
        sequence, length, hops, body, name = fast.NUMBERS.unpack_from(data, 12)
        return (
            heads[data[:8]],
            codes[data[20:32]],
            sequence or length != len(data) - 20 or name > 500 or hops > 10,
            data[48 + name :] != bytes(12) or body != name + 12,
        )

    def fold(data: bytes) -> object:
        prefix, slash, _ = data[48:-12].upper().partition(b"/")
        return prefix in homed and slash

    def check(raw: bytes) -> object:
        sum_, _, size = fast.ROW.unpack_from(raw)
        return xxh3_64_intdigest(raw[8:]) != sum_, size

    def splice(pair: tuple[bytes, bytes]) -> object:
        data, raw = pair
        body = public_body(raw)
        packed = fast.REST.pack(0, len(body), b"c" * 12, b"t" * 8, len(body))
        return b"".join((b"h" * 8, data[8:12], packed, data[44:-12], body, bytes(4)))

    names = [data[48:-12].upper() for data in asked]
    raws = [raw for raw in map(get, names) if raw is not None]
    steps: list[tuple[str, Callable[[Any], object], Sequence[Any]]] = [
        ("decode: envelope, header, body", decode, asked),
        ("fold the name, prefix at home?", fold, asked),
        ("LMDB: begin, get, abort", get, names),
        ("check the row's checksum", check, raws),
        ("splice the reply", splice, list(zip(asked, raws, strict=True))),
        ("(request digest, where asked for)", lambda data: sha256(data[20:-4]).digest(), asked),
    ]
    return [timed("stage", name, step, items, seconds) for name, step, items in steps]


def whole_answers(node: Node, asked: list[bytes], seconds: float) -> list[Line]:
    """Requests to replies in memory, by each way."""
    handler = Handler(node)
    ready = node.store.getter(Table.JSON)
    names = [data[48:-12].upper() for data in asked]

    def general(data: bytes) -> object:
        taken = handler.take(data, _PEER)
        return handler.now(taken) if isinstance(taken, Exchange) else taken

    def stored_json(name: bytes) -> object:
        raw = ready(name)
        return json_values(checked(raw)) if raw is not None else None

    if not all(map(handler.plain.answer, asked)):
        raise RuntimeError("a question of the sample is not answered the plain way")
    return [
        timed("answer", "plain way (UDP and TCP)", handler.plain.answer, asked, seconds),
        timed("answer", "general way", general, asked, seconds),
        timed("answer", "stored JSON of a record", stored_json, names, seconds),
    ]


async def over_sockets(node: Node, keys: Path, seconds: float) -> list[Line]:
    """The faces over loopback; the generator's CPU is not counted."""
    address = ("127.0.0.1", 0)
    udp, tcp, http = (
        socket.socket(type=kind)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)
    )
    for sock in (udp, tcp, http):
        sock.bind(address)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    irp_face = await serve_doirp.start(node, [udp], [tcp])
    irp_face.handler.proven.add("127.0.0.1")  # as after a first exchange over TCP
    http_face = await http_app.start(node, [http], [])
    lines = []
    try:
        for name, mode in FACES:
            port = {"irp-udp": udp, "http": http}.get(mode, tcp).getsockname()[1]
            load = generator.Load(
                mode, "127.0.0.1", port, keys, seconds=seconds, pids=(os.getpid(),)
            )
            before = resource.getrusage(resource.RUSAGE_SELF)
            figures = (await asyncio.to_thread(generator.run, load)).figures
            after = resource.getrusage(resource.RUSAGE_SELF)
            lines.append(
                Line(
                    "face",
                    name,
                    figures["server"]["cpu_us_per_answer"],
                    after.ru_minflt - before.ru_minflt,
                    after.ru_majflt - before.ru_majflt,
                    figures["answered"] / seconds,
                )
            )
    finally:
        await irp_face.close(1.0)
        await http_face.close(1.0)
        for sock in (udp, tcp, http):
            sock.close()
    return lines


def show(lines: list[Line], records: int) -> None:
    """The figures as a table."""
    grid = Grid(title=f"One lookup among {records:,} records, µs of CPU")
    for column in ("", "", "µs", "minflt", "majflt", "answers/s"):
        grid.add_column(column, justify="left" if not column else "right")
    for line in lines:
        rate = f"{line.rate:,.0f}" if line.rate else ""
        grid.add_row(
            line.group, line.name, f"{line.us:.2f}", str(line.minflt), str(line.majflt), rate
        )
    console.print(grid)


def main(
    records: Annotated[int, typer.Option(help="Records in the store.")] = 100_000,
    seconds: Annotated[float, typer.Option(help="Time for each figure.")] = 1.0,
    folder: Annotated[Path | None, typer.Option(help="Where the store is kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    sockets: Annotated[bool, typer.Option(help="Measure the faces over loopback too.")] = True,
) -> None:
    """Print what one lookup costs and where it goes.

    Example: python -m bench.hotpath --records 100000 --seconds 2
    """
    place = folder or Path(tempfile.gettempdir()) / f"biaoshi-hotpath-{os.getuid()}-{records}"
    try:
        node = make_node(make_folder(place, records))
    except StoreError as error:
        if folder is not None:
            raise  # not ours to remove
        # Made by another version of the program, in a place of our own.
        console.print(f"the store is made anew: {error}")
        shutil.rmtree(place)
        node = make_node(make_folder(place, records))
    asked = questions(place / "keys.txt")
    lines = stages(node, asked, seconds) + whole_answers(node, asked, seconds)
    if sockets:
        with suppress(generator.NoGenerator):
            generator.build()
            lines += asyncio.run(over_sockets(node, place / "keys.txt", seconds))
    node.store.close()
    if as_json:
        fields = [
            {name: getattr(line, name) for name in Line.__dataclass_fields__} for line in lines
        ]
        typer.echo(json.dumps({"records": records, "lines": fields}))
        return
    show(lines, records)


if __name__ == "__main__":
    typer.run(main)
