"""Nodes for the tests of trust."""

from __future__ import annotations

import pytest

from resolver.config import FaceSettings
from tests.resolver.nodes import make, serving
from tests.resolver.trust.mirrored import mirror_of, ports


@pytest.fixture
def pair(tmp_path):
    """A primary on fixed ports, a mirror of it, and what starts them."""
    http, https = ports(2)
    primary = make(tmp_path / "primary", faces=FaceSettings(irp=0, http=http, https=https))
    mirror = mirror_of(primary, https, tmp_path / "mirror")
    with serving() as serve:
        yield primary, mirror, serve
