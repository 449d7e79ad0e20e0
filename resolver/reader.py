"""A reader process: one Node and its faces on this process's sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from registry.access import Access
from registry.generation import Generation
from registry.keys import load_keys
from registry.prefixes import Prefixes
from registry.store.lmdb_store import LmdbStore
from resolver import serve_doirp
from resolver.cache_keeper import CacheKeeper
from resolver.child import Running
from resolver.homing import Homing
from resolver.http import app as http_face
from resolver.local import LocalServer, listen, run_folder
from resolver.logs import QueryLog
from resolver.lookup import Lookup
from resolver.metrics import Metrics
from resolver.node import Node, Siblings, socket_name
from resolver.reads_keeper import ReadsKeeper
from resolver.recursion import open_recursion
from resolver.site import read_site_info
from resolver.sockets import FaceSockets
from resolver.writer_link import WriterLink, access_settings

if TYPE_CHECKING:
    from resolver.app import App

log = structlog.get_logger()


def make_node(app: App, number: int, metrics: Metrics) -> Node:
    """The node as one reader sees it. Raises SettingsError or StoreError."""
    settings, folder = app.settings, app.folder
    run = run_folder(folder)
    map_bytes = settings.store.map_size_gib << 30
    store = LmdbStore.open(folder / "store", readonly=True, map_bytes=map_bytes)
    prefixes = Prefixes(store, Generation(run / "generation"))
    node = Node(
        dir=folder,
        settings=settings,
        store=store,
        keys=load_keys(folder),
        site=read_site_info(folder),
        ports=app.ports,
        writer=WriterLink(run, primary=settings.mirror.of or None),
        access=Access(store, access_settings(settings)),
        prefixes=prefixes,
        metrics=metrics,
        board=app.board,
        siblings=Siblings(run, number),
        number=number,
        readers=app.board.readers,
        query_log=QueryLog(settings.log.query_sample),
    )
    if settings.recursion.enabled:
        node.recursion = open_recursion(settings, folder, metrics=metrics)
    node.lookup = Lookup(store, prefixes, node.access, recursion=node.recursion)
    return node


class Reader:
    """The faces of one reader, and what it takes to stop them."""

    def __init__(self, node: Node, local: LocalServer, faces: Sequence[Running]) -> None:
        self._node = node
        self._local = local
        self._faces = faces

    async def close(self, grace_s: float) -> None:
        """Finish what is in flight on every face at once, then let go of the rest."""
        results = await asyncio.gather(
            *(face.close(grace_s) for face in self._faces), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                log.error("face_close_failed", why=repr(result))
        await self._local.close(grace_s)
        await self._node.close()
        await self._node.siblings.close()
        await self._node.writer.close()
        self._node.store.close()


async def start_reader(app: App, number: int, metrics: Metrics) -> Reader:
    """Make the node and start its faces; they answer once this returns."""
    node = make_node(app, number, metrics)
    faces = await _start_faces(node, app.sockets[number])
    if node.recursion is not None:
        keeper = CacheKeeper(node, node.recursion)
        await keeper.start()
        node.recursion.pressure.start()
        faces += [keeper, node.recursion.pressure]
    if node.settings.node.role == "mirror":
        node.lookup.reads.closed = True
    else:
        reads = ReadsKeeper(node)
        reads.start()
        faces.append(reads)
    if number == 0 and node.prefix and node.settings.node.role != "mirror":
        faces.append(Homing(node))
    path = run_folder(app.folder) / socket_name(number)
    local = LocalServer(listen(path), node.siblings.handlers)
    await local.start()
    return Reader(node, local, faces)


async def _start_faces(node: Node, sockets: FaceSockets) -> list[Any]:
    faces: list[Any] = []
    if sockets.udp or sockets.tcp:
        faces.append(await serve_doirp.start(node, sockets.udp, sockets.tcp))
    if sockets.http or sockets.https:
        faces.append(await http_face.start(node, sockets.http, sockets.https))
    if sockets.dns_udp or sockets.dns_tcp:
        from resolver import serve_dns  # resolver.app imported it, where the face is wanted

        faces.append(await serve_dns.start(node, sockets.dns_udp, sockets.dns_tcp))
    return faces
