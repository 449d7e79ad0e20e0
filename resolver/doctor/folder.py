"""The folder of the node: settings, keys, store format, room, and what listens to the world."""

from __future__ import annotations

import shutil
from ipaddress import ip_address
from pathlib import Path

from protocol.errors import BiaoshiError
from registry.keys import load_keys
from registry.store.lmdb_store import LmdbStore
from resolver.config import Settings
from resolver.doctor.findings import Report
from resolver.doctor.patient import Patient

_PORTS = ("irp", "http", "https", "dns")


def check_folder(report: Report, patient: Patient) -> None:
    """Everything that needs no network. patient: one with a folder."""
    folder, settings = patient.folder, patient.settings
    if folder is None or settings is None:
        return
    report.ok("settings", f"{folder}/biaoshi.toml is understood")
    _check_keys(report, folder)
    _check_store(report, folder, settings)
    _check_running(report, patient, settings)
    _check_world(report, settings)


def _check_keys(report: Report, folder: Path) -> None:
    try:
        load_keys(folder)
    except BiaoshiError as error:
        report.fault("keys", str(error), "put the key files back from a backup, mode 0600")
    else:
        report.ok("keys", "the key files are whole and private")


def _check_store(report: Report, folder: Path, settings: Settings) -> None:
    try:
        store = LmdbStore.open(
            folder / "store", readonly=True, map_bytes=settings.store.map_size_gib << 30
        )
    except BiaoshiError as error:
        report.fault("store", str(error), "run `biaoshi check`, or restore a backup")
        return
    try:
        usage = store.usage()
    finally:
        store.close()
    report.ok("store", "the store has this version's format and opens")
    disk = shutil.disk_usage(folder)
    for name, share in (
        ("the store's map", usage["used_bytes"] / usage["map_bytes"]),
        ("the disk", (disk.total - disk.free) / max(disk.total, 1)),
    ):
        if share * 100 >= settings.store.warn_full_percent:
            mend = "make room, or raise `store.map_size_gib` where it is the map"
            report.warn("room", f"{name} is {share:.0%} full", mend)


def _check_running(report: Report, patient: Patient, settings: Settings) -> None:
    state = patient.state
    if state is None:
        mend = f"start it: biaoshi serve {patient.folder}"
        report.fault("running", "no process serves this folder", mend)
        return
    report.ok("running", f"process {state['pid']}, {state['readers']} readers")
    for name in _PORTS:
        wanted, used = getattr(settings.faces, name), state.get(name)
        if wanted and wanted != used:
            text = f"the settings say {name} port {wanted}, in use is {used}"
            report.warn("running", text, "restart the node")


def _check_world(report: Report, settings: Settings) -> None:
    """Listening to everybody is right for a public node, and often not meant."""
    for host in settings.node.hosts:
        if ip_address(host).is_unspecified and settings.faces.http and not settings.node.announce:
            report.warn(
                "open",
                f"plain HTTP listens on all addresses ({host})",
                "if only proxies should reach it, name one address in `node.hosts`",
            )
    if settings.admin.public_listing:
        mend = "unless it is meant, set `admin.public_listing = false`"
        report.warn("open", "anybody may list all identifiers", mend)
    if settings.recursion.enabled and settings.recursion.verify == "off":
        mend = "set `recursion.verify` to when-signed"
        report.warn("verify", "records of other nodes are passed on unverified", mend)
