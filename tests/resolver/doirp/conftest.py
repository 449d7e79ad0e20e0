"""Fixtures of the DO-IRP face's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.resolver.doirp.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A node of one reader."""
    made = World(tmp_path / "node")
    yield made
    made.close()
