"""A node of one reader for tests of the DO-IRP face: a real store, settable time, no processes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.change import Change
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import Flag, OpCode
from protocol.doirp.message import Message, decode_message, encode_message, request
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.doirp.udp import Reassembler
from protocol.keys import encode_public_key
from protocol.record import HandleValue, Record, Reference
from protocol.values.hs_admin import Admin, encode_admin
from protocol.values.hs_site import Interface, Server, Site, address_octets, encode_site
from protocol.values.hs_vlist import encode_vlist
from registry.access import Access, AccessSettings
from registry.keys import NodeKeys
from registry.prefixes import DELEGATED, HOMED, Prefixes, PrefixRow
from registry.store import Table, Write
from registry.store.lmdb_store import LmdbStore, create
from registry.store.row import rows
from registry.writer import Outcome, Writer
from resolver.board import Board
from resolver.config import Settings
from resolver.lookup import Lookup
from resolver.metrics import Metrics
from resolver.node import Node, Ports, Siblings

NOW = 1_790_000_000
PREFIX = b"88.118.8"
SECRET = b"correct horse battery staple"
SITE_KEY = generate_private_key(65537, 2048)
LOG_KEY = Ed25519PrivateKey.generate()
U4 = Struct(">I")


def site(port: int = 2641, serial: int = 3) -> Site:
    """A site of one server on 127.0.0.1."""
    interfaces = (Interface(3, 0, port), Interface(3, 1, port))
    return Site((Server(1, address_octets("127.0.0.1"), b"", interfaces),), serial=serial)


def admin(handle: bytes, index: int, mask: int = 0x0FFF) -> HandleValue:
    """An HS_ADMIN value."""
    return HandleValue(100, b"HS_ADMIN", encode_admin(Admin(mask, handle, index)), timestamp=NOW)


def product(name: bytes, *more: HandleValue) -> Record:
    """A product's record: URL, DESC, HS_ADMIN and whatever more."""
    return Record(
        name,
        (
            HandleValue(1, b"URL", b"https://example.org/" + name, timestamp=NOW),
            HandleValue(2, b"DESC", b"steel plate", timestamp=NOW),
            admin(b"0.NA/" + PREFIX, 200),
            *more,
        ),
    )


class World:
    """A node with the prefix 88.118.8 at home and 88.118.8.5 delegated."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder = folder
        (folder / "run").mkdir(parents=True)
        create(folder / "store", map_bytes=1 << 26)
        self.store = LmdbStore.open(folder / "store", map_bytes=1 << 26, reserve_bytes=0)
        self.time = float(NOW)
        self.settings = settings or Settings()
        self.prefixes = Prefixes(self.store)
        self.version = 0
        for prefix, state in ((PREFIX, HOMED), (PREFIX + b".5", DELEGATED)):
            self.store.apply([PrefixRow(prefix, state).write()])
        self.admin = Reference(b"0.NA/" + PREFIX, 300)
        self.submitted: list[Change] = []
        self.writer = Writer(
            self.store,
            now=lambda: self.time,
            access=Access(self.store, AccessSettings(server_admins=(self.admin,))),
        )
        self.node = self._node()

    def _node(self) -> Node:
        access = Access(self.store, AccessSettings(server_admins=(self.admin,)))
        node = Node(
            dir=self.folder,
            settings=replace(
                self.settings, node=replace(self.settings.node, prefix=PREFIX.decode())
            ),
            store=self.store,
            keys=NodeKeys(SITE_KEY, LOG_KEY),
            site=site(),
            ports=Ports(),
            writer=SimpleNamespace(submit=self.submit),
            access=access,
            prefixes=self.prefixes,
            metrics=Metrics(),
            board=Board(1),
            siblings=Siblings(self.folder / "run", 0),
            now=lambda: self.time,
        )
        node.board.ready = True
        node.lookup = Lookup(self.store, self.prefixes, access)
        return node

    def put_keys(self) -> None:
        """The node's own record with its administrators: 300 by public key, 301 by secret."""
        self.put_prefix_record(
            HandleValue(300, b"HS_PUBKEY", encode_public_key(SITE_KEY.public_key()), timestamp=NOW),
            HandleValue(301, b"HS_SECKEY", SECRET, permissions=0b1100, timestamp=NOW),
        )

    async def submit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        """What the writer process does with changes."""
        self.submitted += changes
        return self.writer.commit(changes, atomic=atomic)

    def put(self, *records: Record) -> None:
        """Store records past the writer."""
        writes: list[Write] = []
        for record in records:
            self.version += 1
            writes += rows(record, self.version, NOW)
        self.store.apply(writes)

    def put_prefix_record(self, *more: HandleValue) -> None:
        """The node's own record 0.NA/P."""
        name = b"0.NA/" + PREFIX
        self.put(
            Record(
                name,
                (
                    HandleValue(1, b"HS_SITE", encode_site(site()), timestamp=NOW),
                    admin(name, 200),
                    HandleValue(
                        200,
                        b"HS_VLIST",
                        encode_vlist((Reference(name, 300), Reference(name, 301))),
                        timestamp=NOW,
                    ),
                    *more,
                ),
            )
        )

    def raw(self, name: bytes) -> bytes | None:
        """The stored row of a name."""
        return self.store.get(Table.RECORDS, name.upper())

    def close(self) -> None:
        self.store.close()


def question(
    handle: bytes,
    *,
    request_id: int = 7,
    indexes: tuple[int, ...] = (),
    types: tuple[bytes, ...] = (),
    flags: int = Flag.REC | Flag.CA | Flag.PO,
    **more: Any,
) -> bytes:
    """A resolution request with its envelope."""
    body = encode_resolution_request(ResolutionRequest(handle, indexes, types))
    return encode_message(
        request(
            OpCode.RESOLUTION,
            body,
            request_id=request_id,
            expiration=NOW + 43_200,
            flags=int(flags),
            site_version=(2, 11),
            **more,
        )
    )


def code_of(reply: bytes) -> int:
    """The response code of a whole reply."""
    return int(U4.unpack_from(reply, 24)[0])


class UdpClient:
    """A client socket that joins the packets of a reply."""

    def __init__(self, address: tuple[Any, ...], family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.address = address
        self.packets: list[bytes] = []

    async def ask(self, message: bytes | list[bytes], timeout_s: float = 5.0) -> bytes:
        """Send a request (its datagrams); the whole reply with its envelope."""
        loop = asyncio.get_running_loop()
        for datagram in message if isinstance(message, list) else [message]:
            await loop.sock_sendto(self.socket, datagram, self.address)
        return await asyncio.wait_for(self.receive(), timeout_s)

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        parts = Reassembler()
        self.packets = []
        while True:
            packet = await loop.sock_recv(self.socket, 4096)
            self.packets.append(packet)
            whole = parts.add("server", packet, 0.0)
            if whole is not None:
                return packet[:ENVELOPE_SIZE] + whole[1]

    def close(self) -> None:
        self.socket.close()


def read(reply: bytes) -> Message:
    """A whole reply, taken apart."""
    assert decode_envelope(reply)
    return decode_message(
        reply[:2] + bytes((reply[2] & 0x1F,)) + reply[3:12] + bytes(4) + reply[16:]
    )


def today() -> datetime:
    return datetime.fromtimestamp(NOW, UTC)
