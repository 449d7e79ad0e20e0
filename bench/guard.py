"""`python -m bench.guard`: instructions a lookup takes on the hot paths, against the last commit.

Instructions are counted by callgrind, not timed, so a busy machine changes nothing: the same code
gives the same figure within a few in a thousand. Each path runs N and then 3 N questions, and the
difference counts, so that what is done once is left out. The kept figures lie in
bench/results/guard.json and are compared as the last commit has them; `--keep` writes new ones.

It needs valgrind with its headers and a C compiler (`apt-get install valgrind gcc libc6-dev`).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.table import Table as Grid

from bench import results
from bench.dataset import Shape, oid_writes
from bench.generator import FLAGS, NoCompiler, NoGenerator
from bench.hotpath import make_folder, make_node, questions
from bench.peers.naptr import below_zone
from bench.screen import console
from bench.writes import ADMIN, new_handle, new_values
from protocol.change import Change, Kind
from protocol.handle_json import format_values
from protocol.name import prefix_record
from protocol.record import HandleValue, Record, Reference
from protocol.values.hs_admin import ALL_PERMISSIONS, Admin, encode_admin
from registry.batch_signing import BatchSigner
from registry.ready import Drafter
from registry.rules import WriterSettings
from registry.signing import LOG_KEY_INDEX, RecordSigner
from registry.store.lmdb_store import LmdbStore
from registry.store.row import rows
from registry.writer import Writer
from resolver.dns.face import DnsFace
from resolver.doirp.exchange import Exchange, Peer, Transport
from resolver.doirp.handler import Handler
from resolver.http.fastpath import Tally, fast_answers
from resolver.node import Node

KEPT = results.FOLDER / "guard.json"
MARKS = Path(__file__).parent / "native" / "marks" / "marks.c"
RECORDS = 10_000
FIRST, REST = 500, 1_000
BATCH = 100
TOLERANCE = 0.02
"""Above this share more instructions than the last commit, the guard fails."""
_NOW = 1_790_000_000
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
_PREFIX = Shape(0).prefix.encode()
_MAP_BYTES = 1 << 30
"""Of the store while it is counted: valgrind maps no terabyte."""

Path_ = tuple[Callable[[Any], object], Sequence[Any], int]
"""A step, what it is done on, and how many lookups each of these is."""


# --- in the process that is counted


def paths(folder: Path) -> dict[str, Path_]:
    """The hot paths by name, on requests of records that are there."""
    node = make_node(folder, _MAP_BYTES)
    handler = Handler(node)
    asked = questions(folder / "keys.txt")
    gets = [
        b"GET /api/handles/%b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n" % _name(d) for d in asked
    ]
    peer = Peer("192.0.2.1", 4000, Transport.UDP)

    def general(data: bytes) -> object:
        taken = handler.take(data, peer)
        return handler.now(taken) if isinstance(taken, Exchange) else taken

    face = DnsFace(node)
    dns, get_naptr = face.plain.answer, face.names.get
    return {
        "DO-IRP, plain way": (handler.plain.answer, asked, 1),
        "DO-IRP, general way": (general, asked, 1),
        "HTTP, fast path": (fast_answers(node, Tally()), gets, 1),
        "DNS, plain way": (lambda data: dns(data, get_naptr, False), domains(node, len(asked)), 1),
        "registration": (registrar(folder, "written"), registrations(), BATCH),
        "registration, row to ready": (readied, lines(), BATCH),
        "registration, ready at the writer": (
            registrar(folder, "written-ready"),
            [readied(batch) for batch in lines()],
            BATCH,
        ),
    }


def _name(request: bytes) -> bytes:
    return request[48:-12]


def domains(node: Node, count: int) -> list[bytes]:
    """NAPTR questions with EDNS for OID records drawn evenly."""
    draw, made = random.Random(1), []
    for number in range(count):
        name = f"{below_zone(draw.randrange(RECORDS))}.{node.settings.dns.ors_zone}"
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        head = (number & 0xFFFF).to_bytes(2, "big") + bytes.fromhex("00000001000000000001")
        made.append(head + labels + bytes.fromhex("0000230001000029 04d0000000000000"))
    return made


def registrar(folder: Path, name: str) -> Callable[[list[Change]], object]:
    """The writer over a copy of the store, home to the same prefix, with one administrator."""
    copy = folder / name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "store", copy)
    store = LmdbStore.open(copy, reserve_bytes=0, map_bytes=_MAP_BYTES)
    admin = HandleValue(100, b"HS_ADMIN", encode_admin(Admin(ALL_PERMISSIONS, *_reference())))
    store.apply(rows(Record(ADMIN.handle, (admin,)), 1, _NOW))
    writer = Writer(store, now=lambda: _NOW, random=bytes)

    def commit(changes: list[Change]) -> object:
        outcomes = writer.commit(changes)
        if any(outcome.status != "created" for outcome in outcomes):
            raise RuntimeError(f"a registration was refused: {outcomes[0]}")
        return outcomes

    return commit


def _reference() -> tuple[bytes, int]:
    return ADMIN.handle, ADMIN.index


def registrations() -> list[list[Change]]:
    """Batches of new records; each batch counts as BATCH registrations."""
    draw = random.Random(1)
    return [
        [
            Change(Kind.CREATE, new_handle(RECORDS, draw), new_values(number), actor=ADMIN)
            for number in range(BATCH)
        ]
        for _ in range((FIRST + REST) // BATCH)
    ]


def lines() -> list[list[bytes]]:
    """The same as rows of JSON."""
    return [
        [
            b'{"handle":"%b","values":%b}' % (change.handle, format_values(change.values))
            for change in batch
        ]
        for batch in registrations()
    ]


def readied(batch: list[bytes]) -> list[Change]:
    """Rows as a reader hands them to the writer: read, signed, ready."""
    record = prefix_record(_PREFIX)
    signer = RecordSigner(Reference(record, LOG_KEY_INDEX), _KEY, (Reference(record, 402),))
    together = BatchSigner(signer, 64)
    drafter = Drafter(lambda _: together, WriterSettings(), _NOW)
    drafts = [drafter.read(line, 1) for line in batch]
    plain = [draft for draft in drafts if draft is not None]
    if len(plain) < len(batch):
        raise RuntimeError("a row of the sample does not go the plain way")
    return [
        Change(Kind.CREATE, draft.handle.encode(), actor=ADMIN, ready=ready)
        for draft, ready in zip(plain, drafter.finish(plain), strict=True)
    ]


def count_here(folder: Path, marks: Path) -> None:
    """Run every path between marks; valgrind writes the counts."""
    library = ctypes.CDLL(str(marks))
    for name, (step, items, each) in paths(folder).items():
        first, rest = FIRST // each, REST // each
        if step(items[0]) is None:
            raise RuntimeError(f"{name}: a question of the sample is not answered this way")
        for label, part in (("first", items[1:first]), ("rest", items[first : first + rest])):
            library.begin()
            for item in part:
                step(item)
            library.end(f"{name}|{label}|{len(part) * each}".encode())


# --- in the process that asks


def prepare(folder: Path) -> None:
    """The store of products and of OIDs; made once."""
    make_folder(folder, RECORDS)
    made = folder / "store" / "oids"
    if not made.exists():
        store = LmdbStore.open(folder / "store", reserve_bytes=0)
        store.apply(list(oid_writes(Shape(0, oids=RECORDS))))
        store.close()
        made.touch()


def build_marks(folder: Path) -> Path:
    """The marks as a shared library. Raises NoCompiler or NoGenerator."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompiler("no C compiler: apt-get install gcc libc6-dev")
    made = folder / "marks.so"
    command = [compiler, *FLAGS, "-shared", "-fPIC", "-o", str(made), str(MARKS)]
    if subprocess.run(command, check=False).returncode:
        raise NoGenerator("the marks do not compile: apt-get install valgrind")
    return made


def count(folder: Path) -> dict[str, float]:
    """Instructions a lookup, by path, from a run of this module under callgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise NoGenerator("valgrind is not installed: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as place:
        marks = build_marks(Path(place))
        command = [valgrind, "--tool=callgrind", "--instr-atstart=no", "-q"]
        command += [f"--callgrind-out-file={place}/out", sys.executable, "-m", "bench.guard"]
        command += ["--count-in", str(folder), "--marks", str(marks)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        return read_counts(sorted(Path(place).glob("out.*")))


def read_counts(files: Sequence[Path]) -> dict[str, float]:
    """Instructions of one lookup by path: what the second part took, over its lookups."""
    found: dict[str, float] = {}
    for file in files:
        text = file.read_text()
        mark = re.search(r"^desc: Trigger: Client Request: (.+)\|rest\|(\d+)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if mark and total:
            found[mark[1]] = int(total[1]) / int(mark[2])
    return found


def kept_at_last_commit() -> dict[str, Any]:
    """The figures as the last commit has them; empty when it has none."""
    place = KEPT.relative_to(KEPT.parents[2])
    command = ["git", "-C", str(KEPT.parents[2]), "show", f"HEAD:{place}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def compared(now: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """By path: the share by which it became dearer (above 0) or cheaper."""
    return {name: now[name] / before[name] - 1 for name in now if before.get(name)}


def show(now: dict[str, float], before: dict[str, float]) -> None:
    """The table."""
    grid = Grid(title="instructions a lookup", title_justify="left")
    for column in ("path", "now", "last commit", "change"):
        grid.add_column(column, justify="left" if column == "path" else "right")
    change = compared(now, before)
    for name, figure in now.items():
        old = f"{before[name]:,.0f}" if name in before else "-"
        share = f"{change[name]:+.1%}" if name in change else ""
        grid.add_row(name, f"{figure:,.0f}", old, share)
    console.print(grid)


def main(
    keep: Annotated[
        bool, typer.Option("--keep", help="keep these figures, to be committed")
    ] = False,
    tolerance: Annotated[float, typer.Option(help="share of more that fails")] = TOLERANCE,
    folder: Annotated[Path | None, typer.Option(help="where the store is kept")] = None,
    count_in: Annotated[Path | None, typer.Option(hidden=True)] = None,
    marks: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Count the instructions of the hot paths and compare them with the last commit's.

    Example: python -m bench.guard
    """
    if count_in is not None and marks is not None:
        count_here(count_in, marks)
        return
    place = folder or Path(tempfile.gettempdir()) / f"biaoshi-guard-{os.getuid()}"
    place.mkdir(parents=True, exist_ok=True)
    prepare(place)
    now = count(place)
    last = kept_at_last_commit()
    python = platform.python_version()
    same = last.get("python") == python and last.get("machine") == platform.machine()
    before = last.get("instructions", {}) if same else {}
    if last and not same:
        console.print(f"kept figures are of Python {last.get('python')}: not compared")
    show(now, before)
    if keep:
        KEPT.parent.mkdir(exist_ok=True)
        kept = {"python": python, "machine": platform.machine(), "instructions": now}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        console.print(f"kept in {KEPT}", soft_wrap=True)
    dearer = {name: share for name, share in compared(now, before).items() if share > tolerance}
    for name, share in dearer.items():
        console.print(f"{name} takes {share:.1%} more instructions than at the last commit")
    raise typer.Exit(1 if dearer and not keep else 0)


if __name__ == "__main__":
    typer.run(main)
