"""Patient: the node that is examined, by its folder or by the address of its HTTP face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.errors import SettingsError
from resolver.client import Client
from resolver.config import OutboundSettings, Settings
from resolver.config_file import load_settings
from resolver.guard import Guard, parse_url
from resolver.running import running_state

EVERYWHERE = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom to examine.

    url: of its HTTP face, where one is known. folder, settings, state: where it is a folder on
    this machine; state is the ready line of the running node. parent, root: addresses given on
    the command line, or from the settings. root_keys: files.
    """

    name: str
    url: str = ""
    folder: Path | None = None
    settings: Settings | None = None
    state: dict[str, Any] | None = None
    parent: str = ""
    root: str = ""
    root_keys: tuple[Path, ...] = ()


def patient_of(
    text: str, *, parent: str = "", root: str = "", root_keys: tuple[Path, ...] = ()
) -> Patient:
    """The node that the command line names. Raises SettingsError."""
    if "://" in text:
        if not text.startswith(("http://", "https://")):
            raise SettingsError(f"{text} is no HTTP address; write https://HOST:PORT, or a folder")
        return Patient(text, text.rstrip("/"), parent=parent, root=root, root_keys=root_keys)
    folder = Path(text)
    settings = load_settings(folder)
    state = running_state(folder)
    keys = list(root_keys) + [folder / name for name in settings.recursion.root_keys]
    roots = settings.recursion.roots
    return Patient(
        text,
        _own_url(settings, state),
        folder,
        settings,
        state,
        parent or settings.node.parent,
        root or (roots[0] if roots else ""),
        tuple(keys),
    )


def _own_url(settings: Settings, state: dict[str, Any] | None) -> str:
    """Where a node in a folder answers HTTP, as others see it; empty when it does not."""
    ports = state or {}
    for scheme in ("http", "https"):
        port = ports.get(scheme) or getattr(settings.faces, scheme)
        if port:
            hosts = settings.node.announce or settings.node.hosts
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(hosts[0], hosts[0])
            return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return ""


def open_client(*addresses: str) -> tuple[Guard, Client]:
    """A way out without the rules of a node: whoever examines one names every address."""
    ports = tuple({parse_url(address).port for address in addresses if address})
    guard = Guard(OutboundSettings(allow=EVERYWHERE, allow_ports=ports))
    return guard, Client(guard, udp_waits_s=(0.5, 1.0))
