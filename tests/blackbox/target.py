"""The server under test: one that is named in BIAOSHI_UNDER_TEST, else a node of our own.

    BIAOSHI_UNDER_TEST=HOST:PORT[,http=PORT][,https=PORT][,prefix=86.999][,secret-file=FILE]
                       [,key=FILE][,kind=handle.net][,home=FOLDER]

prefix: homed there, its administrators 301 (HS_SECKEY, the secret in secret-file) and 300
(HS_PUBKEY, the private key in key: PEM or the Handle form). kind: whose differences are expected
(tests/blackbox/differences.py); `biaoshi` when it is left out. All is reached by sockets alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from protocol.keys import PrivateKey, decode_pem, decode_private_key
from protocol.keys.files import open_key_file
from protocol.record import Reference

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COMMAND = (sys.executable, "-m", "resolver.cli")
SECRET = b"geheim:Schluessel 7"
OURS, HANDLE_NET = "biaoshi", "handle.net"


@dataclass(frozen=True)
class Target:
    """Where the server is and how its administrators prove themselves."""

    host: str
    irp: int
    http: int | None
    https: int | None
    secret: bytes
    key: PrivateKey | None
    prefix: str = "86.999"
    kind: str = OURS
    key_file: Path | None = None
    folder: Path | None = None
    """Of a node of our own."""

    @property
    def record(self) -> bytes:
        """The prefix record's name."""
        return b"0.NA/" + self.prefix.encode()

    @property
    def by_secret(self) -> Reference:
        return Reference(self.record, 301)

    @property
    def by_key(self) -> Reference:
        return Reference(self.record, 300)

    def name(self, suffix: str) -> bytes:
        return f"{self.prefix}/{suffix}".encode()


def parse(text: str) -> Target:
    """The target that BIAOSHI_UNDER_TEST names."""
    address, *rest = text.split(",")
    host, _, port = address.rpartition(":")
    fields = dict(item.split("=", 1) for item in rest)
    unknown = set(fields) - {"http", "https", "prefix", "secret-file", "key", "kind"}
    assert not unknown, f"BIAOSHI_UNDER_TEST names {unknown}, which is not known"
    secret = fields.get("secret-file")
    key = fields.get("key")
    return Target(
        host.strip("[]"),
        int(port),
        int(fields["http"]) if "http" in fields else None,
        int(fields["https"]) if "https" in fields else None,
        Path(secret).read_bytes().removesuffix(b"\n") if secret else b"",
        read_key(Path(key)) if key else None,
        fields.get("prefix", "86.999"),
        fields.get("kind", OURS),
        Path(key) if key else None,
    )


def read_key(path: Path) -> PrivateKey:
    """A private key of either form."""
    data = path.read_bytes()
    return decode_pem(data) if b"PRIVATE KEY" in data else decode_private_key(open_key_file(data))


class OwnNode:
    """A node made as the acceptance makes it: `biaoshi init`, then `biaoshi serve`."""

    def __init__(self, folder: Path) -> None:
        secret = folder / "secret.txt"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        self.folder = folder / "node"
        made = subprocess.run(
            [
                *(*COMMAND, "init", str(self.folder), "--role", "enterprise"),
                *("--prefix", "86.999", "--irp", "0", "--http", "0", "--https", "0"),
                *("--admin-secret", str(secret)),
            ],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        self.log = (folder / "node.log").open("w")
        self.process = subprocess.Popen(
            [*COMMAND, "serve", str(self.folder), "--readers", "2"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )
        ready = json.loads(self.process.stdout.readline())
        key_file = self.folder / "keys" / "admin_300.bin"
        self.target = Target(
            "127.0.0.1",
            ready["irp"],
            ready["http"],
            ready["https"],
            SECRET,
            read_key(key_file),
            key_file=key_file,
            folder=self.folder,
        )

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.communicate()
        self.log.close()
