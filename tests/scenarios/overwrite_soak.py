"""An hour of overwriting: what the file grows by besides its log (threats S7), and memory (O2).

    python -m tests.scenarios.overwrite_soak --seconds 3600 --rate 1000 --out docs/reliability.json

A real node. Records are overwritten at random with values of changing length, steadily; names are
asked for over UDP and HTTP all the while; each minute an export begins and is killed on its way,
so that it leaves its slot of a reader behind, a reader of the node is killed, and a client takes
the answer to a large question an octet at a time; then the asker asks once over TCP, as a client
does whose source over UDP is no longer proven after ten minutes. The log keeps every change by
design, so the growth is that of what is not the log: records, indexes, and pages that lie free. It
begins when every record was overwritten --settle times (pages of B-trees that were filled in order split
first). Exit code 1 when the file grew by more than 10 %, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb

from bench import generator
from bench.generator import Load
from protocol.change import Change, Kind
from protocol.record import HandleValue
from registry.store import Table
from registry.store.lmdb_store import MAP_BYTES
from resolver.writer_link import running_writer
from tests.resolver.nodes import COMMAND, ENVIRONMENT, Serving, children_of, make, until

PREFIX = "88.118.8"
LOG = (Table.CHANGES, Table.BODIES, Table.TILES, Table.CHECKPOINTS)
KEYS = "keys.txt"
BATCH = 100
MOST_GROWTH = 0.10
MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """One look at the file and the processes. Pages are of `page` octets."""

    at_s: float
    changes: int
    page: int
    file: int
    log: int
    tables: int
    rss_kib: dict[str, int]
    fds: dict[str, int]

    @property
    def rest(self) -> int:
        """Octets of the file that are not the log's: other tables, and what lies free."""
        return (self.file - self.log) * self.page

    def line(self) -> str:
        free = self.file - self.log - self.tables
        sizes = " ".join(f"{name} {size >> 10}" for name, size in self.rss_kib.items())
        return (
            f"{self.at_s:6.0f} s {self.changes:9d} changes  file {self.file * self.page / MIB:7.1f} "
            f"log {self.log * self.page / MIB:7.1f} rest {self.rest / MIB:6.1f} "
            f"free {free * self.page / MIB:5.1f} MiB  rss {sizes} MiB  fds {sum(self.fds.values())}"
        )


class Overwriting(threading.Thread):
    """Overwrites names at random until told to stop, at a rate, or a number of times."""

    def __init__(self, folder: Path, records: int, *, rate: float = 0, least: int = 0) -> None:
        """rate: changes a second; 0: as fast as it goes. least: changes after which it ends."""
        super().__init__(daemon=True)
        self.folder, self.records, self.rate, self.least = folder, records, rate, least
        self.acknowledged = 0
        self.stopping = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        draw = random.Random(7)
        began = time.monotonic()
        try:
            with running_writer(self.folder) as writer:
                while not self.stopping.is_set():
                    write(writer, draw.sample(range(self.records), BATCH), draw)
                    self.acknowledged += BATCH
                    if self.least and self.acknowledged >= self.least:
                        return
                    if self.rate:
                        due = began + self.acknowledged / self.rate
                        self.stopping.wait(due - time.monotonic())
        except BaseException as error:  # told by `end`
            self.failed = error

    def end(self) -> None:
        self.stopping.set()
        self.join()
        if self.failed is not None:
            raise self.failed


def write(writer, names, draw: random.Random) -> None:
    errors = [each.error for each in writer.submit([change(name, draw) for name in names])]
    assert not any(errors), errors


def change(name: int, draw: random.Random) -> Change:
    """One overwriting, of 20 to 420 octets."""
    data = b"https://example.org/" + b"x" * draw.randrange(400)
    value = HandleValue(1, b"URL", data)
    return Change(Kind.CREATE, b"%s/%d" % (PREFIX.encode(), name), (value,), overwrite=True)


def filled(folder: Path, records: int) -> None:
    draw = random.Random(1)
    with running_writer(folder) as writer:
        for start in range(0, records, BATCH):
            write(writer, range(start, start + BATCH), draw)


def sample(node: Serving, at_s: float) -> Sample:
    file = str(node.folder / "store")
    with closing(_opened(file)) as environment:
        tables = {table: environment.open_db(table.encode(), create=False) for table in Table}
        with environment.begin() as state:
            pages = {table: _pages(state.stat(db)) for table, db in tables.items()}
            changes = state.stat(tables[Table.CHANGES])["entries"]
            size = environment.info()["last_pgno"] + 1
            page = environment.stat()["psize"]
    log = sum(pages[table] for table in LOG)
    rss, fds = {}, {}
    for pid in [node.supervisor, *children_of(node.supervisor)]:
        about = Path("/proc") / str(pid)
        name = f"{'supervisor' if pid == node.supervisor else 'child'}-{pid}"
        rss[name] = int((about / "status").read_text().partition("RssAnon:")[2].split()[0])
        fds[name] = sum(1 for _ in (about / "fd").iterdir())
    return Sample(at_s, changes, page, size, log, sum(pages.values()) - log, rss, fds)


def _opened(file: str) -> lmdb.Environment:
    # A map as large as the node's: with a smaller one it cannot begin once the file has grown.
    return lmdb.open(file, readonly=True, map_size=MAP_BYTES, max_dbs=len(Table) + 5)


def _pages(stat) -> int:
    return stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]


class Slow:
    """A client that asks for much and takes an octet at a time."""

    def __init__(self, node: Serving) -> None:
        self._sock = socket.create_connection(("127.0.0.1", node.ready["http"]), 10)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self._sock.sendall(
            b"GET /api/handles?prefix=%b&pageSize=-1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            % PREFIX.encode()
        )

    def take(self) -> None:
        with suppress(OSError):
            self._sock.recv(1)

    def close(self) -> None:
        self._sock.close()


def disturb(node: Serving, readers: bool) -> None:
    """An export that is killed on its way; a reader of the node as well."""
    export = subprocess.Popen(
        [*COMMAND, "export", str(node.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    export.stdout.readline()
    export.send_signal(signal.SIGKILL)
    export.communicate()
    if readers:
        killed = children_of(node.supervisor)[-1]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in children_of(node.supervisor))


def asked(folder: Path, node: Serving, records: int, seconds: float) -> list[threading.Thread]:
    keys = folder / KEYS
    keys.write_text("".join(f"{PREFIX}/{n}\n" for n in range(records)))
    generator.prove("127.0.0.1", node.ready["irp"], keys)
    ports = {"irp-udp": node.ready["irp"], "http": node.ready["http"]}
    threads = []
    for mode, port in ports.items():
        thread = Asking(Load(mode, "127.0.0.1", port, keys, rate=200, seconds=seconds))
        thread.start()
        threads.append(thread)
    return threads


class Asking(threading.Thread):
    def __init__(self, load: Load) -> None:
        super().__init__(daemon=True)
        self.load, self.figures = load, {}

    def run(self) -> None:
        self.figures = generator.run(self.load).figures


def soak(folder: Path, *, seconds: float, rate: float, records: int, settle: float, every_s=60.0):
    """Run it; gives the samples and the figures of who asked."""
    node = Serving(make(folder / "node", PREFIX), readers=2)
    try:
        filled(node.folder, records)
        if settle:
            Overwriting(node.folder, records, least=int(settle * records)).run()
        writing = Overwriting(node.folder, records, rate=rate)
        writing.start()
        began, samples = time.monotonic(), [sample(node, 0)]
        print(samples[0].line(), flush=True)
        asking = asked(folder, node, records, seconds)
        slow = Slow(node)
        while writing.failed is None and (now := time.monotonic() - began) < seconds:
            time.sleep(max(0.0, min(every_s, seconds - now) - 1))
            slow.take()
            disturb(node, readers=len(samples) % 10 == 0)
            generator.prove("127.0.0.1", node.ready["irp"], folder / KEYS)
            samples.append(sample(node, time.monotonic() - began))
            print(samples[-1].line(), flush=True)
        writing.end()
        slow.close()
        for each in asking:
            each.join()
        return samples, [each.figures for each in asking]
    finally:
        node.end()


def slope(samples: list[Sample]) -> dict[str, float]:
    """MiB an hour by process that lived all the while, by least squares."""
    names = set(samples[0].rss_kib).intersection(*(set(each.rss_kib) for each in samples))
    later = samples[len(samples) // 4 :]
    hours = [each.at_s / 3600 for each in later]
    found = {}
    for name in sorted(names):
        sizes = [each.rss_kib[name] / 1024 for each in later]
        if len(later) > 2:
            found[name] = round(statistics.linear_regression(hours, sizes).slope, 2)
    return found


def figures(samples: list[Sample], answers: list[dict]) -> dict[str, object]:
    first, last = samples[0], samples[-1]
    return {
        "seconds": round(last.at_s),
        "overwritten": last.changes - first.changes,
        "rest_mib_first": round(first.rest / MIB, 1),
        "rest_mib_last": round(last.rest / MIB, 1),
        "rest_mib_most": round(max(each.rest for each in samples) / MIB, 1),
        "growth_percent": round(100 * (last.rest / first.rest - 1), 2),
        "log_octets_a_change": round(
            (last.log - first.log) * first.page / max(1, last.changes - first.changes)
        ),
        "asked": sum(each["sent"] for each in answers),
        "answered": sum(each["answered"] for each in answers),
        "wrong": sum(each["wrong"] for each in answers),
        "by_mode": [
            {name: each[name] for name in ("mode", "sent", "answered", "wrong", "failed", "lost")}
            for each in answers
        ],
        "memory_mib_an_hour": slope(samples),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=1000, help="changes a second")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--settle", type=float, default=4, help="overwritings of each record")
    parser.add_argument("--every", type=float, default=60, help="seconds from look to look")
    parser.add_argument("--out", type=Path, help="figures are added to this JSON file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, answers = soak(
            Path(folder),
            seconds=given.seconds,
            rate=given.rate,
            records=given.records,
            settle=given.settle,
            every_s=given.every,
        )
    found = figures(samples, answers)
    print(json.dumps(found, indent=1))
    if given.out is not None:
        known = json.loads(given.out.read_text()) if given.out.exists() else {}
        known["overwrite soak"] = found
        given.out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    return int(found["growth_percent"] > 100 * MOST_GROWTH or found["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
