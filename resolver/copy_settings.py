"""Settings of the copies of a node: mirrors of its log and deposits with its parent."""

from __future__ import annotations

from dataclasses import dataclass

from resolver.setting import setting


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """Copies of a node: whom a mirror follows, and which copies a primary has."""

    of: str = setting(
        "", "A mirror: address of the primary's HTTPS face, such as https://id.example.org:8443."
    )
    auth: str = setting(
        "",
        "A mirror: an administrator of the primary that may read the log's content, as "
        "INDEX:HANDLE=FILE (FILE: a private key or a secret).",
    )
    certificate: str = setting(
        "", "A mirror: the primary's tls/cert.pem, where it is self-made and not on loopback."
    )
    every_s: float = setting(
        0.5,
        "A mirror asks for new changes so often, in seconds, where the primary does not let it "
        "wait for them.",
        least=0.05,
        most=3600,
    )
    name: str = setting("", "A mirror: its name at the primary. Empty: of machine and folder.")
    durable: str = setting(
        "primary",
        "A primary: when a registration is acknowledged: once it lies durably here (primary), or "
        "also at a mirror (mirror), so that losing this machine for good loses nothing.",
        choices=("primary", "mirror"),
    )
    durable_s: float = setting(
        5.0,
        "With durable = mirror: seconds to wait for one; then the answer says that the change is "
        "written here and confirmed by none.",
        least=0.1,
        most=600,
    )
    copies: tuple[str, ...] = setting(
        (),
        "A primary: HTTP addresses of its mirrors. One that was promoted while this node was "
        "away is asked before writes are taken.",
    )


@dataclass(frozen=True, slots=True)
class EscrowSettings:
    """Deposits of children: their logs, kept here for the case that they lose everything."""

    accept: bool = setting(True, "A parent: take deposits of the prefixes delegated here.")
    child_mib: int = setting(
        1024, "A parent: the room that each child has, in MiB.", least=0, most=1 << 30
    )
