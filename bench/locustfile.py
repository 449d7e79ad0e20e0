"""Locust users of a node: what partners, phones and enterprises do all day.

Run by `biaoshi bench locust` (or `locust -f bench/locustfile.py`). Locust's own cost per
request is above a lookup's, so it shows behaviour under load, not the limit: for that there is
`biaoshi bench saturate`.

Options come from the command line: --irp, --keys, --absent, --p99-ms, --error-share.
"""

from __future__ import annotations

import itertools
import json
import random
import socket
import struct
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from locust import FastHttpUser, User, constant_pacing, events, tag, task
from locust.env import Environment

from bench.names import Names
from protocol.doirp.envelope import ENVELOPE_SIZE
from protocol.wire import Writer

TIMEOUT_S = 5.0
REGISTER_ROWS = 100


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def options(parser: Any) -> None:
    """Options of these scenarios, beside Locust's own."""
    parser.add_argument("--irp", default="127.0.0.1:2641", help="HOST:PORT of the DO-IRP face")
    parser.add_argument("--dns", default="", help="HOST:PORT of the DNS face")
    parser.add_argument("--keys", default="", help="file of identifiers, one a line")
    parser.add_argument("--domains", default="", help="file of domain names for DNS")
    parser.add_argument("--absent", type=float, default=0.05, help="share of names not there")
    parser.add_argument("--authorization", default="", help="file with an Authorization header")
    parser.add_argument("--register-prefix", default="", help="prefix to register under")
    parser.add_argument("--p99-ms", type=float, default=0, help="fail above this p99 (0: never)")
    parser.add_argument("--error-share", type=float, default=0.01, help="fail above this share")


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Environment, **_: Any) -> None:
    """Exit 1 when a threshold was passed."""
    total, wanted = environment.stats.total, environment.parsed_options or Namespace()
    late = total.get_response_time_percentile(0.99) or 0
    if total.fail_ratio > getattr(wanted, "error_share", 1):
        print(f"failed: {total.fail_ratio:.2%} errors")
        environment.process_exit_code = 1
    elif getattr(wanted, "p99_ms", 0) and late > wanted.p99_ms:
        print(f"failed: p99 is {late:.0f} ms")
        environment.process_exit_code = 1


def names_of(user: User) -> Names:
    """The identifiers a user asks for."""
    wanted = user.environment.parsed_options or Namespace(keys="", absent=0)
    return Names.read(wanted.keys, wanted.absent)


def timed(user: User, kind: str, name: str, act: Callable[[], int]) -> None:
    """Run one exchange of a protocol that Locust does not know and report it."""
    start = time.perf_counter()
    size, error = 0, None
    try:
        size = act()
    except (OSError, ValueError) as problem:
        error = problem
    user.environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=(time.perf_counter() - start) * 1000,
        response_length=size,
        exception=error,
        context={},
    )


class HttpResolve(FastHttpUser):
    """Partners and phones: GET /api/handles/…, hot names, cold names and absent ones."""

    weight = 10
    connection_timeout = network_timeout = TIMEOUT_S

    def on_start(self) -> None:
        self.names = names_of(self)

    def ask(self, name: str, label: str) -> None:
        path = f"/api/handles/{quote(name)}"
        with self.client.get(path, name=label, catch_response=True) as reply:
            if reply.status_code in (200, 404):
                reply.success()

    @tag("resolve", "hot")
    @task(8)
    def hot(self) -> None:
        self.ask(self.names.hot(), "GET hot name")

    @tag("resolve", "cold")
    @task(2)
    def cold(self) -> None:
        self.ask(self.names.cold(), "GET cold name")


class IrpUser(User):
    """A Handle client. Each subclass has its way to carry the message."""

    abstract = True
    wait_time = constant_pacing(0)
    ids = itertools.count(random.randrange(1, 2**30))

    def on_start(self) -> None:
        self.names = names_of(self)
        host, _, port = (self.environment.parsed_options or Namespace(irp="")).irp.rpartition(":")
        self.peer = (host.strip("[]"), int(port))

    def request(self, name: str) -> tuple[int, bytes]:
        """A resolution request of all public values (RFC 3652 §3.2), and its id."""
        number = next(self.ids) & 0x7FFFFFFF
        body = Writer().octets(name.encode()).u4(0).u4(0).finish()
        expires = int(time.time()) + 43_200
        header = struct.pack(">IIIHBBII", 1, 0, 0x11000000, 0xFFFF, 0, 0, expires, len(body))
        message = header + body + bytes(4)
        envelope = struct.pack(">BBBBIIII", 2, 11, 2, 11, 0, number, 0, len(message))
        return number, envelope + message

    @staticmethod
    def judge(data: bytes, number: int) -> int:
        """The reply's length. Raises ValueError when it is another's or an error."""
        if len(data) < 28 or int.from_bytes(data[8:12], "big") != number:
            raise ValueError("an answer to another question")
        code = int.from_bytes(data[24:28], "big")
        if code not in (1, 100):
            raise ValueError(f"response code {code}")
        return len(data)


class IrpUdp(IrpUser):
    """DO-IRP over UDP, one socket a user."""

    weight = 5

    def on_start(self) -> None:
        super().on_start()
        family = socket.AF_INET6 if ":" in self.peer[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(self.peer)

    def exchange(self) -> int:
        number, message = self.request(self.names.hot())
        self.socket.send(message)
        return self.judge(self.socket.recv(2048), number)

    @tag("resolve")
    @task
    def resolve(self) -> None:
        timed(self, "IRP/UDP", "resolve", self.exchange)


class IrpTcp(IrpUser):
    """DO-IRP over TCP, one connection a request: what deployed Handle clients do."""

    weight = 2

    def exchange(self) -> int:
        number, message = self.request(self.names.hot())
        with socket.create_connection(self.peer, TIMEOUT_S) as connection:
            connection.sendall(message)
            data = b""
            while chunk := connection.recv(65_536):
                data += chunk
                if len(data) >= ENVELOPE_SIZE:
                    whole = ENVELOPE_SIZE + int.from_bytes(data[16:20], "big")
                    if len(data) >= whole:
                        break
        return self.judge(data, number)

    @tag("resolve")
    @task
    def resolve(self) -> None:
        timed(self, "IRP/TCP", "resolve", self.exchange)


class Register(FastHttpUser):
    """An enterprise's ERP: batches of new identifiers over HTTPS."""

    weight = 1
    insecure = True
    wait_time = constant_pacing(1)
    batches = itertools.count(int(time.time()))

    def on_start(self) -> None:
        wanted = self.environment.parsed_options or Namespace(authorization="", register_prefix="")
        self.prefix = wanted.register_prefix
        file = wanted.authorization
        self.authorization = Path(file).read_text().strip() if file else ""

    @tag("register")
    @task
    def batch(self) -> None:
        if not self.prefix:
            return
        batch = next(self.batches)
        rows = (
            {
                "handle": f"{self.prefix}/L{batch}-{random.getrandbits(32):08x}-{n}",
                "values": [{"index": 1, "type": "DESC", "data": f"item {n}"}],
            }
            for n in range(REGISTER_ROWS)
        )
        headers = {
            "Authorization": self.authorization,
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": f"locust-{batch}",
        }
        body = "".join(json.dumps(row) + "\n" for row in rows)
        with self.client.post(
            "/api/registrations", data=body, headers=headers, catch_response=True
        ) as reply:
            text = reply.text or ""
            if reply.status_code == 200 and text.count('"created"') == REGISTER_ROWS:
                reply.success()
            else:
                reply.failure(f"{reply.status_code}: {text[:120]}")
