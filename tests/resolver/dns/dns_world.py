"""A node of one reader with a DNS face over real sockets, and the records that the tests ask for."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query

from protocol.record import HandleValue, Record
from registry.prefixes import DELEGATED, HOMED, PrefixRow
from resolver import serve_dns
from resolver.config import DnsSettings, Settings
from resolver.dns.face import DnsFace
from resolver.dns.keys import first_ring, make_key, save_ring
from tests.resolver.doirp.world import NOW, World

ZONE = "ors.example"
ONS = "ons.example"
OWNER = f"ors-dummy.7.999.2.{ZONE}"
GTIN = "09506000134352"
GTIN_OWNER = f"0.5.3.4.3.1.0.0.0.6.0.5.9.gtin.gs1.id.{ONS}"


def value(index: int, type_: bytes, data: bytes, **more: Any) -> HandleValue:
    return HandleValue(index, type_, data, timestamp=NOW, **more)


RECORDS = (
    Record(b"2.999.7", (value(1, b"URL", b"https://example.org/7"), value(2, b"DESC", b"plate"))),
    Record(b"2.999.7.8.9", (value(1, b"0.RINF", b"https://example.org/r.xml", ttl=60),)),
    Record(
        b"2.999.20",
        (value(1, b"NAPTR", b'10 20 "u" "ORS+MINF" "!^.*$!https://example.org/m!" .'),),
    ),
    Record(
        b"2.999.30",
        tuple(value(n, b"URL", b"https://example.org/%d/" % n + b"x" * 150) for n in range(1, 12)),
    ),
    Record(
        b"2.999.40",
        (value(1, b"URL", b"https://example.org/40", ttl=NOW + 500, ttl_type=1),),
    ),
    Record(b"2.999.50", (value(1, b"URL", b"https://example.org/50", permissions=0b1100),)),
    Record("/Example/测试".encode(), (value(1, b"URL", b"https://example.org/test"),)),
    Record(f"/01/{GTIN}".encode(), (value(1, b"URL", b"https://example.org/gtin"),)),
    Record(b"88.118.8/X", (value(1, b"URL", b"https://example.org/x"),)),
)


def settings(**more: Any) -> Settings:
    dns_settings = DnsSettings(ors_zone=ZONE, ons_zone=ONS, **more)
    base = Settings()
    return replace(base, dns=dns_settings, node=replace(base.node, hosts=("127.0.0.1", "::1")))


class DnsWorld(World):
    """Home to the OID 2.999 (2.999.5 given away) and to all GTINs; key made when signed."""

    def __init__(self, folder: Path, *, signed: bool = False, **more: Any) -> None:
        super().__init__(folder, settings(**more))
        for prefix, state in (
            (b"2.999", HOMED),
            (b"2.999.5", DELEGATED),
            (b"GS1", HOMED),
            (b"GS1.4.0.0", DELEGATED),
        ):
            self.store.apply([PrefixRow(prefix, state).write()])
        self.put(*RECORDS)
        if signed:
            (folder / "keys").mkdir()
            save_ring(folder, first_ring(make_key(folder, None), NOW))

    def face(self) -> DnsFace:
        return DnsFace(self.node)


class Running:
    """A DnsWorld that answers, its loop in a thread of its own. port: UDP and TCP, v4 and v6."""

    def __init__(self, world: DnsWorld) -> None:
        self.world = world
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self.sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self.run(self._start())

    def run(self, waiting: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(waiting, self.loop).result(20)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the loop's thread."""

        async def inside() -> Any:
            return function()

        return self.run(inside())

    def wait(self, seconds: float) -> None:
        """Let time pass, between two turns of the loop."""

        def pass_() -> None:
            self.world.time += seconds

        self.call(pass_)

    async def _start(self) -> Any:
        udp, tcp = [], []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for kind, group in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
                sock = socket.socket(family, kind)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setblocking(False)
                sock.bind((host, self.port))
                self.port = sock.getsockname()[1]
                if kind == socket.SOCK_STREAM:
                    sock.listen(64)
                group.append(sock)
        self.sockets = [*udp, *tcp]
        return await serve_dns.start(self.world.node, udp, tcp)

    def ask(self, message: dns.message.Message, host: str = "127.0.0.1", **more: Any) -> Any:
        return dns.query.udp(message, host, port=self.port, timeout=5, **more)

    def ask_tcp(self, message: dns.message.Message, host: str = "127.0.0.1") -> Any:
        return dns.query.tcp(message, host, port=self.port, timeout=5)

    def raw(self, data: bytes, wait_s: float = 5.0) -> bytes | None:
        """One datagram and its answer; None when none comes."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait_s)
            sock.connect(("127.0.0.1", self.port))
            sock.send(data)
            try:
                return sock.recv(65535)
            except TimeoutError:
                return None

    def close(self) -> None:
        self.run(self._server.close(1))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
        for sock in self.sockets:
            sock.close()
        self.world.close()


def query(name: str, type_: str = "NAPTR", *, do: bool = False, **more: Any) -> Any:
    """A question; do: with DNSSEC OK."""
    made = dns.message.make_query(name, type_, want_dnssec=do, **more)
    made.flags &= ~dns.flags.RD if not more.get("rd", True) else 0xFFFF
    return made


def texts(message: dns.message.Message, type_: str = "NAPTR") -> list[str]:
    """The records of one type in the answer section, as text."""
    import dns.rdatatype

    wanted = dns.rdatatype.from_text(type_)
    return [
        rdata.to_text() for rrset in message.answer if rrset.rdtype == wanted for rdata in rrset
    ]
