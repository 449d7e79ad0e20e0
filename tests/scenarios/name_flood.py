"""A flood of names that do not exist against a real recursive node (threats N7, O1).

    python -m tests.scenarios.name_flood --seconds 300 --rate 2000

Three processes: a root that owns the names, a recursive node, and the C load generator, twice: hot
names at a steady rate all the while, random names of the same prefix as fast as `--rate` says (0:
as fast as answers come). Shown: p99 of the hot names before and under the flood, how many were
answered, and how long the health page took at most. Exit code 1 when a gate does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import generator
from bench.generator import Load
from protocol.change import Change, Kind
from protocol.record import HandleValue
from resolver.config import (
    FaceSettings,
    NodeSettings,
    OutboundSettings,
    RecursionSettings,
    Settings,
)
from resolver.founding import found
from resolver.writer_link import open_writer
from tests.resolver.nodes import Serving, make, until

HOT = 50
NOTHING_US = 1_000.0
"""A p99 below this is a shared machine's noise."""


@dataclass(frozen=True)
class Flood:
    """What was measured. hot, flood: figures of the generator. health_s: the slowest answer."""

    before: dict
    hot: dict
    flood: dict
    health_s: float
    shed_count: int

    @property
    def times(self) -> float:
        return self.hot["latency_us"]["p99"] / max(NOTHING_US, self.before["latency_us"]["p99"])

    def lines(self):
        before, hot, flood = self.before, self.hot, self.flood
        yield f"p99 before      {before['latency_us']['p99'] / 1000:8.2f} ms"
        yield f"p99 under it    {hot['latency_us']['p99'] / 1000:8.2f} ms ({self.times:.2f} times)"
        yield f"hot answered    {hot['answered']} of {hot['sent']}"
        yield f"flood           {flood['sent']} asked, {flood['answered']} answered, {self.shed_count} shed"
        yield f"health, slowest {self.health_s * 1000:8.1f} ms"


class Asking(threading.Thread):
    """One load in the background."""

    def __init__(self, load):
        super().__init__()
        self.load, self.figures = load, {}

    def run(self):
        self.figures = generator.run(self.load).figures


def flooded(folder: Path, *, seconds: float, rate: float, hot_rate: float = 200) -> Flood:
    """Run it in a folder."""
    with tree(folder) as node:
        return _measured(folder, node, seconds, rate, hot_rate)


@contextmanager
def tree(folder: Path) -> Iterator[Serving]:
    """A recursive node over a root that has a few names."""
    running = []
    try:
        root = Serving(make(folder / "root", "88", role="top"))
        running.append(root)
        with open_writer(root.folder) as writer:
            values = (HandleValue(1, b"URL", b"https://example.org/"),)
            writer.submit([Change(Kind.CREATE, b"88/hot-%d" % n, values) for n in range(HOT)])
        node = Serving(_recursive(folder / "recursive", root))
        running.append(node)
        yield node
    finally:
        for each in running:
            each.end()


def _recursive(folder, root):
    settings = Settings(
        node=NodeSettings(role="recursive"),
        faces=FaceSettings(irp=0, http=0, https=0),
        recursion=RecursionSettings(enabled=True, roots=(root.url,)),
        outbound=OutboundSettings(allow=("127.0.0.0/8", "::1/128")),
    )
    found(folder, settings)
    return folder


def _measured(folder, node, seconds, rate, hot_rate):
    hot, cold = folder / "hot", folder / "cold"
    hot.write_text("".join(f"88/hot-{n}\n" for n in range(HOT)))
    cold.write_text("".join(f"88/random-{n}\n" for n in range(int(max(rate, 5000) * seconds) + 1)))
    for n in range(HOT):
        until(lambda n=n: node.ask(b"88/hot-%d" % n)[0] == 1)
    port = node.ready["irp"]
    generator.prove("127.0.0.1", port, hot)
    steady = Load("irp-udp", "127.0.0.1", port, hot, rate=hot_rate, seconds=seconds, warmup_s=0.2)
    before = generator.run(steady).figures
    asking = Asking(steady)
    flood = Asking(
        Load("irp-udp", "127.0.0.1", port, cold, rate=rate, seconds=seconds, expected="absent",
             open=1024, warmup_s=0, seed=2)
    )  # fmt: skip
    flood.start()
    asking.start()
    slowest = 0.0
    while asking.is_alive():
        began = time.monotonic()
        with urllib.request.urlopen(f"{node.url}/health/ready", timeout=10) as reply:
            assert reply.status == 200
        slowest = max(slowest, time.monotonic() - began)
        asking.join(0.1)
    flood.join()
    return Flood(before, asking.figures, flood.figures, slowest, shed(node))


def shed(node):
    """How many questions the node refused because it had too many."""
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if 'event="shed"' in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flood = flooded(Path(folder), seconds=arguments.seconds, rate=arguments.rate)
    print("\n".join(flood.lines()))
    return int(flood.times > 2 or flood.hot["answered"] < 0.999 * flood.hot["sent"])


if __name__ == "__main__":
    sys.exit(main())
