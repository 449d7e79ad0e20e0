"""A running node seen from its folder: its ports, its processes and the file of its store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.dataset import read_whole
from bench.peers import family
from resolver.running import running_state

_PORTS = {"irp-udp": "irp", "irp-tcp": "irp", "irp-tcp-once": "irp", "http": "http", "dns": "dns"}


class NotServed(ValueError):
    """No node runs there, or it has no such face."""


@dataclass(frozen=True, slots=True)
class Served:
    """host, port: of the face. pids: supervisor, readers and writer. store_bytes: read before."""

    host: str
    port: int
    pids: tuple[int, ...]
    store_bytes: int


def served(folder: Path, mode: str) -> Served:
    """The node of a folder, its store's file read so that it lies in the page cache.

    Raises NotServed.
    """
    state = running_state(folder)
    if state is None:
        raise NotServed(f"no node is ready in {folder}; start it with `biaoshi serve {folder}`")
    port = state.get(_PORTS[mode])
    if port is None:
        raise NotServed(f"the node in {folder} has no {_PORTS[mode]} face; give its settings one")
    octets = read_whole(folder / "store" / "data.mdb")
    return Served(str(state["hosts"][0]), int(port), family(int(state["pid"])), octets)
