"""The examination: which checks there are, in order."""

from __future__ import annotations

import asyncio

from protocol.values.hs_site import Site
from resolver.doctor.delegation import check_delegation, check_roots, own_sites
from resolver.doctor.faces import check_faces
from resolver.doctor.findings import Report
from resolver.doctor.folder import check_folder
from resolver.doctor.others import check_below, check_following
from resolver.doctor.patient import Patient, open_client
from resolver.doctor.web import check_open, check_ready, check_site_record
from resolver.doctor.zones import check_dns


async def examine(patient: Patient, prefix: bytes, *, total_s: float = 60.0) -> Report:
    """Look at everything. prefix: of the node; empty: a recursive one, or unknown."""
    report = Report()
    try:
        async with asyncio.timeout(total_s):
            check_folder(report, patient)
            check_following(report, patient)
            await _from_outside(report, patient, prefix)
    except TimeoutError:
        report.fault("time", f"the examination took more than {total_s:g} s", "see what is slow")
    return report


async def _from_outside(report: Report, patient: Patient, prefix: bytes) -> None:
    await check_dns(report, patient)
    if not patient.url:
        report.skipped("reachable", "the node has no HTTP face, or none is known")
        return
    guard, client = open_client(patient.url, patient.parent)
    site: Site | None = await check_site_record(report, patient, guard)
    if site is None:
        return
    sites = await own_sites(patient, prefix, site)
    await check_ready(report, patient, guard)
    for each in sites:
        await check_faces(report, client, each)
    await check_open(report, patient, guard, prefix)
    await check_roots(report, patient)
    await check_below(report, patient, client)
    if prefix:
        await check_delegation(report, patient, prefix, sites)
