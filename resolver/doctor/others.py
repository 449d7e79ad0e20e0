"""What a node has to do with others: its primary where it is a mirror, the nodes below it."""

from __future__ import annotations

import asyncio

from protocol.errors import BiaoshiError
from protocol.name import prefix_record
from registry.prefixes import DELEGATED, Prefixes
from registry.records import read_record
from registry.store.lmdb_store import LmdbStore
from resolver.client import Client
from resolver.doctor.findings import Report
from resolver.doctor.patient import Patient
from resolver.peers import SITE_TYPES, ServiceSite, sites_in
from resolver.trust.following import read_status

_MOST = 20
"""Nodes below this one that are asked."""
_MENDS = {
    "waiting": "mend the way to the primary (`mirror.of`, its certificate, its administrator)",
    "diverged": "compare it with another mirror and the witnesses; it stops for good until then",
}


def check_following(report: Report, patient: Patient) -> None:
    """How far a mirror is, by what it said last."""
    folder, settings = patient.folder, patient.settings
    if folder is None or settings is None or settings.node.role != "mirror":
        return
    status = read_status(folder)
    state, behind = status.get("state", "not begun"), status.get("behind", 0)
    if state != "following":
        text = f"the mirror is {state}: {status.get('why', 'it has said nothing yet')}"
        report.fault("mirror", text, _MENDS.get(str(state), "see the node's log"))
    elif behind:
        text = f"the mirror is {behind} changes behind {settings.mirror.of}"
        report.warn("mirror", text, "look again in a minute; if it grows, see its log and disk")
    else:
        report.ok("mirror", f"the mirror follows {settings.mirror.of}, nothing is missing")


async def check_below(report: Report, patient: Patient, client: Client) -> None:
    """Whether the nodes that prefixes were given to answer where they are published."""
    if patient.folder is None:
        return
    given = await asyncio.to_thread(_given, patient)
    asked = (_check_one(report, client, prefix, sites) for prefix, sites in given[:_MOST])
    await asyncio.gather(*asked)
    if len(given) > _MOST:
        report.skipped("below", f"{len(given) - _MOST} more prefixes were given away")


def _given(patient: Patient) -> list[tuple[str, tuple[ServiceSite, ...]]]:
    assert patient.folder is not None  # noqa: S101 - the caller looked
    store = LmdbStore.open(patient.folder / "store", readonly=True)
    try:
        found = []
        for row in Prefixes(store).rows():
            if row.state == DELEGATED:
                record = read_record(store, prefix_record(row.prefix))
                values = record.values if record is not None else ()
                found.append((row.prefix.decode("utf-8", "replace"), sites_in(values, SITE_TYPES)))
        return found
    finally:
        store.close()


async def _check_one(
    report: Report, client: Client, prefix: str, sites: tuple[ServiceSite, ...]
) -> None:
    mend = f"ask the operator of {prefix}; the node tells its new address at its next start"
    if not sites:
        report.warn("below", f"lame: {prefix} was given away, and its record names no site", mend)
        return
    failures = []
    for site in sites:
        try:
            await client.site_info(site.peer(prefix.encode()))
        except BiaoshiError as error:
            failures.append(str(error))
        else:
            report.ok("below", f"{prefix} is answered by the node it was given to")
            return
    report.warn("below", f"lame: no site of {prefix} answers: {failures[0]}", mend)
