"""The listening sockets of a node, made by the supervisor before it forks.

Each reader has a set of its own on the shared ports (SO_REUSEPORT), so the kernel spreads the
work; the supervisor keeps them all open, so that what arrives while a reader is replaced waits
and is not refused.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from protocol.errors import StoreError
from resolver.config import FaceSettings, Port

BACKLOG: Final = 4096
_UDP_BUFFER: Final = 4 * 1024 * 1024
_ATTEMPTS: Final = 50
"""How often a free port is sought that is free for UDP and TCP on every host."""


class PortUnavailable(StoreError):
    """A port is in use, not allowed, or an address is not this machine's."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports in use; None: no such face."""

    irp: int | None = None
    http: int | None = None
    https: int | None = None
    dns: int | None = None


@dataclass
class FaceSockets:
    """The sockets of one reader."""

    udp: list[socket.socket] = field(default_factory=list)
    tcp: list[socket.socket] = field(default_factory=list)
    http: list[socket.socket] = field(default_factory=list)
    https: list[socket.socket] = field(default_factory=list)
    dns_udp: list[socket.socket] = field(default_factory=list)
    dns_tcp: list[socket.socket] = field(default_factory=list)

    def __iter__(self) -> Iterator[socket.socket]:
        for group in (self.udp, self.tcp, self.http, self.https, self.dns_udp, self.dns_tcp):
            yield from group

    def close(self) -> None:
        """Close this process's copies; other processes' stay open."""
        for sock in self:
            sock.close()


_FACES: Final = (
    # setting, the lists its UDP and TCP sockets go to
    ("irp", ("udp", "tcp")),
    ("http", (None, "http")),
    ("https", (None, "https")),
    ("dns", ("dns_udp", "dns_tcp")),
)


def open_sockets(
    faces: FaceSettings, hosts: Sequence[str], readers: int
) -> tuple[Ports, list[FaceSockets]]:
    """Sockets for so many readers, and the ports in use. Raises PortUnavailable."""
    made = [FaceSockets() for _ in range(readers)]
    ports: dict[str, Port] = {}
    try:
        for name, lists in _FACES:
            wanted: Port = getattr(faces, name)
            ports[name] = None
            if wanted is not None:
                ports[name] = _open_face(name, wanted, hosts, lists, made)
    except BaseException:
        for sockets in made:
            sockets.close()
        raise
    return Ports(**ports), made


def _open_face(
    name: str,
    wanted: int,
    hosts: Sequence[str],
    lists: tuple[str | None, str],
    made: list[FaceSockets],
) -> int:
    """Open one face on one port for all hosts and readers; gives the port."""
    kinds = [
        (kind, target)
        for kind, target in zip((socket.SOCK_DGRAM, socket.SOCK_STREAM), lists, strict=True)
        if target is not None
    ]
    for attempt in range(_ATTEMPTS):
        opened: list[tuple[int, str, socket.socket]] = []
        port = wanted
        try:
            for kind, target in kinds:
                for host in hosts:
                    for reader in range(len(made)):
                        sock = _bound(name, host, port, kind, first=reader == 0)
                        port = sock.getsockname()[1]
                        opened.append((reader, target, sock))
        except PortUnavailable as error:
            for _, _, sock in opened:
                sock.close()
            # A port that the kernel chose for the first socket may be taken for the others.
            if wanted == 0 and port != 0 and attempt < _ATTEMPTS - 1:
                continue
            raise error from None
        for reader, target, sock in opened:
            getattr(made[reader], target).append(sock)
        return port
    raise AssertionError  # the last attempt returned or raised


def _bound(
    name: str, host: str, port: int, kind: socket.SocketKind, *, first: bool
) -> socket.socket:
    """One socket, listening.

    The first on a port is bound alone, so that a port that another program holds, or another
    node of ours, is noticed; then it opens the port to the other sockets of this node.
    """
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER)
        if not first:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        if first:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PortUnavailable(_explained(name, host, port, kind, error)) from None
    return sock


def _explained(name: str, host: str, port: int, kind: socket.SocketKind, error: OSError) -> str:
    where = f"{host} port {port} ({'UDP' if kind == socket.SOCK_DGRAM else 'TCP'})"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where} is in use by another program; stop it, or set another port: "
            f"faces.{name} in biaoshi.toml"
        )
    if error.errno == errno.EACCES:
        return f"{where} needs more rights; set faces.{name} in biaoshi.toml to 1024 or above"
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return f"{host} is no address of this machine; mend node.hosts in biaoshi.toml"
    return f"{where} cannot be opened: {error.strerror}; mend faces.{name} in biaoshi.toml"
