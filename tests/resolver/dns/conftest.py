"""Fixtures of the DNS face's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.resolver.dns.dns_world import DnsWorld, Running


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """An unsigned node that answers."""
    made = Running(DnsWorld(tmp_path / "node"))
    yield made
    made.close()


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Running]:
    """A node that answers from signed zones."""
    made = Running(DnsWorld(tmp_path / "node", signed=True))
    yield made
    made.close()
