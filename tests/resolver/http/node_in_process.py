"""A node in this process: real store, writer, access and lookup, its HTTP face on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from base64 import b64encode
from dataclasses import dataclass, replace

import aiohttp
import pytest
from yarl import URL

from protocol.change import Change, Kind
from protocol.record import HandleValue, Reference
from registry.access import Access
from registry.generation import Generation
from registry.keys import load_keys
from registry.prefixes import Prefixes
from registry.store.lmdb_store import LmdbStore
from registry.writer import Writer
from resolver.board import Board
from resolver.config import FaceSettings, NodeSettings, Settings
from resolver.founding import found
from resolver.http import app as http_app
from resolver.lookup import Lookup
from resolver.metrics import Metrics
from resolver.node import Node, Siblings
from resolver.site import read_site_info
from resolver.sockets import Ports
from resolver.trust.signers import log_signer
from resolver.writer_link import access_settings

SECRET = "geheim: Schlüssel 泵".encode()
ADMIN = "301:0.NA/86.999"


class DirectWriter:
    """The writer of the same process, as a node's readers see theirs."""

    def __init__(self, store, settings, generation, keys):
        self.writer = Writer(
            store,
            access=Access(store, access_settings(settings)),
            generation=generation,
            log_signer=log_signer(settings, keys),
        )
        self.error = None
        self.batches = []

    async def submit(self, changes, *, atomic=False):
        if self.error is not None:
            raise self.error
        self.batches.append(len(changes))
        await asyncio.sleep(0)
        return self.writer.commit(changes, atomic=atomic)

    async def keep(self, notes):
        if self.error is not None:
            raise self.error
        await asyncio.sleep(0)
        return self.writer.keep(notes)

    async def close(self):
        pass


@dataclass
class Answered:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Served:
    """A running face and how to ask it."""

    node: Node
    face: http_app.HttpFace
    http: int
    https: int
    session: aiohttp.ClientSession

    async def ask(self, method, path, *, tls=False, user=None, body=None, headers=None, ssl=False):
        port, scheme = (self.https, "https") if tls else (self.http, "http")
        headers = dict(headers or {})
        if user is not None:
            name, secret = user
            raw = name.replace(":", "%3A").encode() + b":" + secret
            headers["Authorization"] = "Basic " + b64encode(raw).decode()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        url = URL(f"{scheme}://127.0.0.1:{port}{path}", encoded=True)
        async with self.session.request(
            method, url, data=body, headers=headers, ssl=ssl, allow_redirects=False
        ) as response:
            return Answered(response.status, response.headers, await response.read())

    async def as_admin(self, method, path, body=None, **more):
        return await self.ask(method, path, tls=True, user=(ADMIN, SECRET), body=body, **more)

    def register(self, handle, *values, overwrite=True):
        """Write a record as the operator does."""
        handle = handle.encode() if isinstance(handle, str) else handle
        change = Change(Kind.CREATE, handle, values=values, overwrite=overwrite)
        (outcome,) = self.node.writer.writer.commit([change])
        assert outcome.error is None, outcome
        return outcome

    def row(self, handle):
        return self.node.lookup.row(handle.encode())


def value(index, type_, data, **more):
    data = data.encode() if isinstance(data, str) else data
    return HandleValue(index, type_.encode(), data, **more)


def as_reference(text):
    return Reference.parse(text)


@pytest.fixture(scope="session")
def founded(tmp_path_factory):
    """The folder of a node that stands alone, home to 86.999."""
    settings = Settings(
        node=NodeSettings(role="enterprise", prefix="86.999", description="Test"),
        faces=FaceSettings(irp=2641, http=8000, https=8443, dns=None),
    )
    folder = tmp_path_factory.mktemp("node") / "node"
    return found(folder, settings, secret=SECRET)


@contextlib.asynccontextmanager
async def serving(founded, folder, **changed):
    """The face of a copy of the founded node. changed: sections of the settings."""
    import shutil

    shutil.copytree(founded.folder, folder)
    settings = replace(founded.settings, **changed)
    store = LmdbStore.open(folder / "store", readonly=False)
    generation = Generation(folder / "run" / "generation", writable=True)
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in listening]
    board = Board(1)
    board.started(1, 0, 1)
    board.ready = True
    access = Access(store, access_settings(settings))
    prefixes = Prefixes(store, generation)
    metrics = Metrics()
    node = Node(
        dir=folder,
        settings=settings,
        store=store,
        keys=load_keys(folder),
        site=read_site_info(folder),
        ports=Ports(None, *ports, None),
        writer=DirectWriter(store, settings, generation, load_keys(folder)),
        access=access,
        prefixes=prefixes,
        metrics=metrics,
        board=board,
        siblings=Siblings(folder / "run", 0),
    )
    node.lookup = Lookup(store, prefixes, access)
    face = await http_app.start(node, listening[:1], listening[1:])
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        cookie_jar=jar,
        auto_decompress=False,
        skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent"),
    ) as session:
        yield Served(node, face, *ports, session)
    await face.close(1.0)
    for one in listening:
        one.close()
    store.close()


@pytest.fixture
async def served(founded, tmp_path):
    async with serving(founded, tmp_path / "node") as running:
        yield running
