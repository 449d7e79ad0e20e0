"""/metrics: the sum over a node's processes, and the CPU and memory of each (Prometheus text)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from resolver.board import Board
from resolver.metrics import SECONDS, Spec, layout

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class _Exposition(Collector):
    def __init__(self, board: Board, facts: dict[str, str], records: int | None) -> None:
        self._board = board
        self._facts = facts
        self._records = records

    def collect(self) -> Iterable[Metric]:
        banks = self._board.banks()
        for _, spec, at in layout():
            yield _family(spec, at, banks)
        yield from _processes(self._board)
        yield from self._node()

    def _node(self) -> Iterator[Metric]:
        yield _one("biaoshi_ready", "Every face answered and the writer lives.", self._board.ready)
        info = GaugeMetricFamily("biaoshi_info", "What this node is.", labels=list(self._facts))
        info.add_metric(list(self._facts.values()), 1)
        yield info
        restarts = CounterMetricFamily(
            "biaoshi_restarts", "Processes that died and were started again.", labels=["process"]
        )
        for name, count in self._board.restarts.items():
            restarts.add_metric([name], count)
        yield restarts
        yield CounterMetricFamily("biaoshi_reloads", "Reloads.", value=self._board.reloads)
        if self._records is not None:
            yield _one("biaoshi_records", "Records in the store.", self._records)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _family(spec: Spec, at: int, banks: list[memoryview]) -> Metric:
    name = f"biaoshi_{spec.name}"
    labels = list(spec.labels)
    if spec.kind == "histogram":
        return _histogram(spec, at, banks)
    family: CounterMetricFamily | GaugeMetricFamily
    if spec.kind == "counter":
        family = CounterMetricFamily(name.removesuffix("_total"), spec.help, labels=labels)
    else:
        family = GaugeMetricFamily(name, spec.help, labels=labels)
    for number, key in enumerate(spec.keys):
        family.add_metric(list(key), sum(bank[at + number] for bank in banks))
    return family


def _histogram(spec: Spec, at: int, banks: list[memoryview]) -> Metric:
    family = HistogramMetricFamily(f"biaoshi_{spec.name}", spec.help, labels=list(spec.labels))
    for number, key in enumerate(spec.keys):
        start = at + number * spec.width
        counts = [sum(bank[start + n] for bank in banks) for n in range(spec.width)]
        running, buckets = 0, []
        for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=False):
            running += count
            buckets.append((bound, float(running)))
        family.add_metric(list(key), buckets, sum_value=counts[-1] / 1e6)
    return family


def _processes(board: Board) -> Iterator[Metric]:
    label = ["process"]
    cpu = CounterMetricFamily("biaoshi_process_cpu_seconds", "CPU time.", labels=label)
    memory = GaugeMetricFamily(
        "biaoshi_process_resident_memory_bytes", "Resident memory.", labels=label
    )
    faults = CounterMetricFamily(
        "biaoshi_process_major_faults", "Page faults that read the disk.", labels=label
    )
    files = GaugeMetricFamily("biaoshi_process_open_fds", "Open files.", labels=label)
    for name, pid in board.pids().items():
        stat = process_stat(pid)
        if stat is None:
            continue
        cpu.add_metric([name], stat[0])
        memory.add_metric([name], stat[1])
        faults.add_metric([name], stat[2])
        files.add_metric([name], stat[3])
    return iter((cpu, memory, faults, files))


def process_stat(pid: int) -> tuple[float, int, int, int] | None:
    """CPU seconds, resident octets, major faults and open files of a process; None: gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a file of the kernel
            fields = file.read().rpartition(b")")[2].split()
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only counted
    except OSError:
        return None
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return cpu, int(fields[21]) * _PAGE, int(fields[9]), files


def exposition(board: Board, facts: dict[str, str], records: int | None = None) -> bytes:
    """The text of /metrics. facts: labels of biaoshi_info (version, role, prefix)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposition(board, facts, records))
    return generate_latest(registry)
