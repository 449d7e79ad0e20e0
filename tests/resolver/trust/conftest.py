"""Nodes for the tests of trust."""

from __future__ import annotations

import pytest

from resolver.config import FaceSettings
from tests.resolver.nodes import Serving, biaoshi, make
from tests.resolver.trust.mirrored import ports


@pytest.fixture
def pair(tmp_path):
    """A primary on fixed ports and a mirror of it, and a list of what to stop."""
    http, https = ports(2)
    primary = make(tmp_path / "primary", faces=FaceSettings(irp=0, http=http, https=https))
    mirror = tmp_path / "mirror"
    key = primary / "keys" / "admin_300.pem"
    made = biaoshi(
        *("init", mirror, "--role", "mirror", "--prefix", "86.999", "--irp", 0, "--http", 0),
        *("--https", 0, "--of", f"https://127.0.0.1:{https}", "--auth", f"300:0.NA/86.999={key}"),
    )
    assert made.returncode == 0, made.stderr
    running = []

    def serve(folder):
        running.append(Serving(folder))
        assert running[-1].ready, running[-1].logged()
        return running[-1]

    yield primary, mirror, serve
    for one in running:
        one.end()
