"""Locust users of a node: what partners, phones and enterprises do all day.

Run by `biaoshi bench locust` (or `locust -f bench/locustfile.py`). Locust's own cost per
request is above a lookup's, so it shows behaviour under load, not the limit: for that there is
`biaoshi bench saturate`.

A user class each: HttpResolve, IrpUdp, IrpTcp, DnsUdp, Trace, Register, and MixedDay, which does all of
it in the shares of a second-level node's day. Options: --irp, --dns, --keys, --domains, --traced, --absent,
--auth, --register-prefix, --batch, --p99-ms, --error-share.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from locust import FastHttpUser, User, constant_pacing, events, tag, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import WorkerRunner

from bench.askers import TIMEOUT_S, DnsAsker, IrpAsker, address_of
from bench.names import Names
from protocol.errors import BiaoshiError
from resolver.registering.auth import Credentials
from resolver.registering.connection import Connection

_RUN = f"{time.time_ns():x}"
_batches = itertools.count(random.randrange(2**40))


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def options(parser: Any) -> None:
    """Options of these scenarios, beside Locust's own."""
    parser.add_argument("--irp", default="127.0.0.1:2641", help="HOST:PORT of the DO-IRP face")
    parser.add_argument("--dns", default="", help="HOST:PORT of the DNS face")
    parser.add_argument("--keys", default="", help="file of identifiers, one a line")
    parser.add_argument("--domains", default="", help="file of domain names for DNS")
    parser.add_argument("--traced", default="", help="file of identifiers that have events")
    parser.add_argument("--absent", type=float, default=0.05, help="share of names not there")
    parser.add_argument("--auth", default="", help="who registers: INDEX:HANDLE=KEY-OR-SECRET-FILE")
    parser.add_argument("--register-prefix", default="", help="prefix to register under")
    parser.add_argument("--batch", type=int, default=100, help="registrations in a request")
    parser.add_argument("--p99-ms", type=float, default=0, help="fail above this p99 (0: never)")
    parser.add_argument("--error-share", type=float, default=0.01, help="fail above this share")


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Environment, **_: Any) -> None:
    """Exit 1 when a threshold was passed; in the process that knows all figures."""
    if isinstance(environment.runner, WorkerRunner):
        return
    total, wanted = environment.stats.total, environment.parsed_options or Namespace()
    late = total.get_response_time_percentile(0.99) or 0
    if not total.num_requests:
        print("failed: nothing was asked")
        environment.process_exit_code = 1
    elif total.fail_ratio > getattr(wanted, "error_share", 1):
        print(f"failed: {total.fail_ratio:.2%} errors")
        environment.process_exit_code = 1
    elif getattr(wanted, "p99_ms", 0) and late > wanted.p99_ms:
        print(f"failed: p99 is {late:.0f} ms")
        environment.process_exit_code = 1


def wanted_of(user: User) -> Namespace:
    """The options of the run."""
    return user.environment.parsed_options or Namespace()


def timed(user: User, kind: str, name: str, act: Callable[[], int]) -> None:
    """Run one exchange of a protocol that Locust does not know and report it."""
    start = time.perf_counter()
    size, error = 0, None
    try:
        size = act()
    except (OSError, ValueError, BiaoshiError) as problem:
        error = problem
    user.environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=(time.perf_counter() - start) * 1000,
        response_length=size,
        exception=error,
        context={},
    )


class Asking(User):
    """Who asks by name."""

    abstract = True

    def on_start(self) -> None:
        wanted = wanted_of(self)
        self.names = Names.read(wanted.keys, wanted.absent)
        self.irp = IrpAsker(address_of(wanted.irp))

    def on_stop(self) -> None:
        self.irp.close()


class Browsing(FastHttpUser):
    """Who asks over HTTP."""

    abstract = True
    connection_timeout = network_timeout = TIMEOUT_S

    def on_start(self) -> None:
        wanted = wanted_of(self)
        self.names = Names.read(wanted.keys, wanted.absent)

    def ask(self, name: str, label: str) -> None:
        path = f"/api/handles/{quote(name)}"
        with self.client.get(path, name=label, catch_response=True) as reply:
            if reply.status_code in (200, 404):
                reply.success()


class HttpResolve(Browsing):
    """Partners and phones: GET /api/handles/…, hot names, cold names and absent ones."""

    weight = 10

    @tag("resolve", "hot")
    @task(8)
    def hot(self) -> None:
        self.ask(self.names.hot(), "GET hot name")

    @tag("resolve", "cold")
    @task(2)
    def cold(self) -> None:
        self.ask(self.names.cold(), "GET cold name")


class IrpUdp(Asking):
    """Handle clients over UDP, a socket a user."""

    weight = 5

    def on_start(self) -> None:
        super().on_start()
        # As a client does that was told to: over TCP once, which shows that it is no forged source.
        timed(self, "IRP/TCP", "to be known", lambda: self.irp.tcp(self.names.hot()))

    @tag("resolve", "hot")
    @task(8)
    def hot(self) -> None:
        timed(self, "IRP/UDP", "hot name", lambda: self.irp.udp(self.names.hot()))

    @tag("resolve", "cold")
    @task(2)
    def cold(self) -> None:
        timed(self, "IRP/UDP", "cold name", lambda: self.irp.udp(self.names.cold()))


class IrpTcp(Asking):
    """Handle clients over TCP, one connection a request: what deployed ones do."""

    weight = 2

    @tag("resolve")
    @task
    def resolve(self) -> None:
        timed(self, "IRP/TCP", "hot name", lambda: self.irp.tcp(self.names.hot()))


class DnsUdp(User):
    """Resolvers that ask for NAPTR records of OIDs and GTINs."""

    weight = 5

    def on_start(self) -> None:
        wanted = wanted_of(self)
        if not wanted.dns:
            raise StopUser
        self.names = Names.read(wanted.domains, 0)
        self.dns = DnsAsker(address_of(wanted.dns))

    @tag("resolve", "dns")
    @task
    def resolve(self) -> None:
        timed(self, "DNS/UDP", "NAPTR", lambda: self.dns.naptr(self.names.hot()))


class Registering(User):
    """Who registers in batches, over HTTPS, proved by a key or a secret."""

    abstract = True

    def begin(self) -> None:
        wanted = wanted_of(self)
        self.prefix, self.size = wanted.register_prefix, wanted.batch
        self.connection: Connection | None = None
        if self.prefix and wanted.auth:
            host = str(self.host or "")
            self.connection = Connection(host, Credentials.parse(wanted.auth), insecure=True)

    def register(self) -> None:
        """One batch of new identifiers. Each has the same Idempotency-Key when sent again."""
        if self.connection is not None:
            timed(self, "POST", f"register {self.size}", self._batch)

    def _batch(self) -> int:
        batch = f"{_RUN}-{next(_batches):x}"
        body = "".join(
            json.dumps(
                {
                    "handle": f"{self.prefix}/L{batch}-{number}",
                    "values": [{"index": 1, "type": "DESC", "data": f"item {number}"}],
                }
            )
            + "\n"
            for number in range(self.size)
        )
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"locust-{batch}"}
        if self.connection is None:
            return 0
        path = "/api/registrations"
        answer = self.connection.request("POST", path, body.encode(), headers)
        if answer.status == 401:  # the session ended
            self.connection.renew()
            answer = self.connection.request("POST", path, body.encode(), headers)
        if answer.status != 200 or answer.body.count(b'"created"') != self.size:
            raise ValueError(f"{answer.status}: {answer.body[:120]!r}")
        return len(answer.body)


class Trace(FastHttpUser):
    """Inspectors and recalls: where a product came from, GET /api/trace/…"""

    weight = 1
    connection_timeout = network_timeout = TIMEOUT_S

    def on_start(self) -> None:
        self.names = Names.read(wanted_of(self).traced, 0)

    @tag("trace")
    @task
    def trace(self) -> None:
        name = quote(self.names.hot(), safe="")
        self.client.get(f"/api/trace/{name}", name="GET trace")


class Register(Registering):
    """An enterprise's ERP: a batch of new identifiers every second."""

    weight = 1
    wait_time = constant_pacing(1)

    def on_start(self) -> None:
        self.begin()
        if self.connection is None:
            raise StopUser

    @tag("register")
    @task
    def batch(self) -> None:
        self.register()


class MixedDay(Browsing, Registering):
    """A second-level node's day: mostly look-ups by HTTP and Handle clients, some registering.

    Of a thousand things: 700 GETs (most of hot names), 200 by UDP, 60 by TCP, 35 by DNS where
    there is a DNS face, 5 batches of registrations where --auth and --register-prefix say how.
    """

    weight = 1
    wait_time = constant_pacing(0.05)

    def on_start(self) -> None:
        super().on_start()
        self.begin()
        wanted = wanted_of(self)
        self.irp = IrpAsker(address_of(wanted.irp))
        self.dns = DnsAsker(address_of(wanted.dns)) if wanted.dns else None
        self.domains = Names.read(wanted.domains, 0) if wanted.dns else self.names

    @tag("resolve", "hot")
    @task(560)
    def hot(self) -> None:
        self.ask(self.names.hot(), "GET hot name")

    @tag("resolve", "cold")
    @task(140)
    def cold(self) -> None:
        self.ask(self.names.cold(), "GET cold name")

    @tag("resolve")
    @task(200)
    def udp(self) -> None:
        timed(self, "IRP/UDP", "hot name", lambda: self.irp.udp(self.names.hot()))

    @tag("resolve")
    @task(60)
    def tcp(self) -> None:
        timed(self, "IRP/TCP", "hot name", lambda: self.irp.tcp(self.names.hot()))

    @tag("resolve", "dns")
    @task(35)
    def naptr(self) -> None:
        dns = self.dns
        if dns is not None:
            timed(self, "DNS/UDP", "NAPTR", lambda: dns.naptr(self.domains.hot()))

    @tag("register")
    @task(5)
    def batch(self) -> None:
        self.register()
