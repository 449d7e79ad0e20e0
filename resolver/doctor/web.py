"""The HTTP face: readiness, the clock, and what is open that should not be."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from protocol.errors import ParseError, UpstreamError
from protocol.values.hs_site import Site
from resolver.addresses import AddressClass, classify, parse_address
from resolver.doctor.findings import Report
from resolver.doctor.patient import Patient
from resolver.guard import Guard
from resolver.roots import read_site
from resolver.transport_http import tls_context

_MOST = 1 << 20
_CLOCK_WARN_S = 5.0
_CLOCK_FAULT_S = 300.0


@dataclass(frozen=True, slots=True)
class Got:
    """An HTTP answer."""

    status: int
    body: Any
    date: str


async def get(guard: Guard, url: str) -> Got:
    """GET, JSON where it is some. Raises UpstreamError."""
    try:
        async with (
            guard.http_session() as session,
            session.get(url, allow_redirects=False, ssl=tls_context()) as response,
        ):
            data = await response.content.read(_MOST)
            date = response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UpstreamError(f"{url} cannot be read: {str(error) or 'time-out'}") from None
    try:
        return Got(response.status, json.loads(data), date)
    except ValueError:
        return Got(response.status, None, date)


async def check_site_record(report: Report, patient: Patient, guard: Guard) -> Site | None:
    """What the node says of itself; None where it says nothing."""
    try:
        site = await read_site(guard, patient.url)
    except (UpstreamError, ParseError) as error:
        mend = "start it with `biaoshi serve`, or mend the address, the firewall or the proxy"
        report.fault("reachable", str(error), mend)
        return None
    report.ok("reachable", f"{patient.url} gives its site record, serial {site.serial}")
    return site


async def check_ready(report: Report, patient: Patient, guard: Guard) -> None:
    """/health/ready, and the clock by the Date of that answer."""
    try:
        answer = await get(guard, f"{patient.url}/health/ready")
    except UpstreamError as error:
        report.fault("ready", str(error), "see the node's log")
        return
    _check_clock(report, answer.date)
    checks = answer.body.get("checks") if isinstance(answer.body, dict) else None
    if not isinstance(checks, dict):
        report.skipped("ready", f"/health/ready answers {answer.status}: another software?")
        return
    missing = [name for name, well in checks.items() if not well]
    if answer.status == 200 and not missing:
        report.ok("ready", "every check of /health/ready holds")
        return
    for name in missing:
        report.fault(
            "ready", f"/health/ready: {name} does not hold", _READY.get(name, "see the log")
        )


_READY = {
    "writer": "the writer process is away: see the node's log, then restart the node",
    "store": "the store does not read: run `biaoshi check`",
    "homed": "the parent has not given the prefix: `biaoshi prefix request --wait`",
    "faces": "a face did not answer at start: see the node's log",
    "serving": "the node is stopping",
    "following": "the mirror does not follow its primary: `biaoshi doctor` of its folder says why",
    "writes": "the node was put back to an older state: `biaoshi epoch confirm`, or a newer backup",
    "store_writes": "a write or sync of the disk failed: mend the disk, then restart the node",
}


def _check_clock(report: Report, date: str) -> None:
    try:
        off_s = parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        report.skipped("clock", "the HTTP answer bears no date")
        return
    told = (
        f"the node's clock is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this one"
    )
    if abs(off_s) <= _CLOCK_WARN_S:
        report.ok("clock", "the node's clock and this one agree")
    elif abs(off_s) <= _CLOCK_FAULT_S:
        report.warn("clock", told, "run a time service (NTP) on both machines")
    else:
        report.fault(
            "clock", told, "run a time service (NTP); messages and signatures expire by it"
        )


async def check_open(report: Report, patient: Patient, guard: Guard, prefix: bytes) -> None:
    """What anybody gets who shows no identity."""
    if prefix:
        listed = f"{patient.url}/api/handles?prefix={quote(prefix.decode())}&pageSize=1"
        await _must_be_closed(report, guard, listed, "admin.public_listing", "all identifiers")
    host = guard_host(patient.url)
    if host is not None and classify(parse_address(host)) == AddressClass.PUBLIC:
        url = f"{patient.url}/metrics"
        await _must_be_closed(report, guard, url, "http.metrics_networks", "/metrics")


def guard_host(url: str) -> str | None:
    """The numeric address in a URL; None for a name."""
    host = url.split("://", 1)[1].rsplit(":", 1)[0].strip("[]/")
    try:
        return str(parse_address(host))
    except (ParseError, UpstreamError, ValueError):
        return None


async def _must_be_closed(report: Report, guard: Guard, url: str, setting: str, what: str) -> None:
    try:
        answer = await get(guard, url)
    except UpstreamError as error:
        report.skipped("open", str(error))
        return
    if answer.status == 200:
        report.warn("open", f"anybody may read {what}", f"unless it is meant, mend `{setting}`")
    else:
        report.ok("open", f"{what} want an identity or are not for here ({answer.status})")
