"""A recursive node under three times what it can carry (threats O1).

    python -m tests.scenarios.overload --seconds 300

First its peak: names that another node must be asked for, as fast as answers come. Then three
times as many a second, for as long as is said; meanwhile health, metrics and the administrator's
socket are asked. Then how long a new name waits for its answer. Each name is new, so that no cache
helps. Exit code 1 when a gate does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench import generator
from bench.generator import Load
from resolver.commands.cache import ask_all
from tests.resolver.nodes import Serving
from tests.scenarios.name_flood import Asking, shed, tree

TIMES = 3
GOODPUT = 0.8
RECOVERY_S = 5.0
_PEAK_OPEN = 16
_MOST_NAMES = 2_000_000
_ABSENT = 100


@dataclass
class Overload:
    """What was measured. peak, goodput: right answers a second. slowest_s: by who was asked."""

    peak: float
    goodput: float = 0.0
    offered: float = 0.0
    recovery_s: float = 0.0
    shed: int = 0
    slowest_s: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.goodput / self.peak

    def holds(self) -> bool:
        return self.share >= GOODPUT and self.recovery_s <= RECOVERY_S

    def lines(self):
        yield f"peak            {self.peak:8.0f} a second"
        yield f"offered         {self.offered:8.0f} a second ({self.offered / self.peak:.1f} times)"
        yield f"goodput         {self.goodput:8.0f} a second ({self.share:.0%} of the peak)"
        yield f"refused         {self.shed:8d} as busy"
        yield f"recovery        {self.recovery_s:8.2f} s"
        for who, slowest_s in self.slowest_s.items():
            yield f"{who}, slowest {slowest_s * 1000:8.1f} ms"


def overloaded(folder: Path, *, seconds: float, peak_s: float = 5.0) -> Overload:
    """Run it in a folder."""
    with tree(folder) as node:
        names = folder / "names"
        numbers = count()
        _write(names, numbers, 200_000)
        port = node.ready["irp"]
        generator.prove("127.0.0.1", port, names)
        closed = Load("irp-udp", "127.0.0.1", port, names, seconds=peak_s, expected="absent",
                      open=_PEAK_OPEN)  # fmt: skip
        found = Overload(generator.run(closed).figures["answered"] / peak_s)
        rate = TIMES * found.peak
        _write(names, numbers, min(_MOST_NAMES, int(rate * seconds * 4)))
        load = Asking(Load("irp-udp", "127.0.0.1", port, names, rate=rate, seconds=seconds,
                           expected="absent", open=1024, warmup_s=0, seed=2))  # fmt: skip
        load.start()
        while load.is_alive():
            _ask_beside(node, found.slowest_s)
            load.join(0.2)
        found.recovery_s = _recovery_s(node, numbers)
        found.offered = load.figures["sent"] / seconds
        found.goodput = load.figures["answered"] / seconds
        found.shed = shed(node)
        return found


def _write(file, numbers, how_many):
    file.write_text("".join(f"88/new-{next(numbers)}\n" for _ in range(how_many)))


def _ask_beside(node: Serving, slowest_s: dict[str, float]) -> None:
    """Health, metrics and the administrator's socket; what does not answer raises."""
    for who, ask in (
        ("health", lambda: _got(f"{node.url}/health/ready")),
        ("metrics", lambda: _got(f"{node.url}/metrics")),
        ("admin", lambda: ask_all(node.folder, {"do": "show"})),
    ):
        began = time.monotonic()
        ask()
        slowest_s[who] = max(slowest_s.get(who, 0.0), time.monotonic() - began)


def _got(url):
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert reply.status == 200


def _recovery_s(node, numbers) -> float:
    """Until three new names in a row have their answer."""
    began, well = time.monotonic(), 0
    while well < 3:
        well = well + 1 if node.ask(b"88/new-%d" % next(numbers))[0] == _ABSENT else 0
        assert time.monotonic() - began < 60, "it does not recover"
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--peak-seconds", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = overloaded(Path(folder), seconds=arguments.seconds, peak_s=arguments.peak_seconds)
    print("\n".join(found.lines()))
    return int(not found.holds())


if __name__ == "__main__":
    sys.exit(main())
