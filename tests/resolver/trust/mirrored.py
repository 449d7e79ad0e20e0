"""A primary, its mirror, and what is looked at in both."""

from __future__ import annotations

import socket

from protocol.change import Change, Kind
from protocol.record import HandleValue
from protocol.values.hs_site import decode_site
from registry.check import check_node
from registry.prefix_record import MIRROR_SITES
from registry.store import Table
from registry.store.lmdb_store import LmdbStore
from registry.tree import root_at, tree_size
from resolver.trust.following import read_status
from resolver.writer_link import open_writer
from tests.resolver.nodes import biaoshi, until

RECORDS = (
    Table.RECORDS,
    Table.JSON,
    Table.NAPTR,
    Table.PREFIXES,
    Table.CHANGES,
    Table.BODIES,
    Table.EVENTS,
    Table.TRACE,
    Table.SECONDARY,
)


def ports(count):
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in socks]
    for one in socks:
        one.close()
    return found


def mirror_of(primary, https, folder, prefix="86.999"):
    """A founded mirror of a primary that answers at that port."""
    key = primary / "keys" / "admin_300.pem"
    made = biaoshi(
        *("init", folder, "--role", "mirror", "--prefix", prefix, "--irp", 0, "--http", 0),
        *("--https", 0, "--of", f"https://127.0.0.1:{https}", "--auth", f"300:0.NA/{prefix}={key}"),
    )
    assert made.returncode == 0, made.stderr
    return folder


def register(folder, *names, data=b"http://example.org/"):
    with open_writer(folder) as writer:
        changes = [
            Change(Kind.CREATE, b"86.999/" + name, (HandleValue(1, b"URL", data),), overwrite=True)
            for name in names
        ]
        outcomes = writer.submit(changes)
        assert all(outcome.error is None for outcome in outcomes), outcomes
        return outcomes


def tables(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        assert check_node(store) == []
        with store.snapshot() as state:
            size = tree_size(state)
            return size, root_at(state, size), {t: list(state.scan(t)) for t in RECORDS}
    finally:
        store.close()


def announced(primary, mirror, record=b"0.NA/86.999"):
    """Wait until the prefix record of a running primary names its running mirror.

    That is the last change that the primary makes of itself because of the mirror.
    """

    def look():
        _, values = primary.ask(record)
        sites = [decode_site(one.data) for one in values if one.index in MIRROR_SITES]
        faces = [face for site in sites for face in site.servers[0].interfaces]
        return mirror.ready["irp"] in {face.port for face in faces}

    until(look)


def caught_up(mirror, size):
    def look():
        status = read_status(mirror)
        return status.get("state") == "following" and status.get("size", 0) >= size

    try:
        until(look)
    except AssertionError:
        raise AssertionError(f"{read_status(mirror)}, wanted {size}") from None


def tree_of(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            return tree_size(state)
    finally:
        store.close()
