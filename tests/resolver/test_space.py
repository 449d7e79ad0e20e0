"""A store that fills up is said before it is full."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from registry.store.lmdb_store import LmdbStore, create
from resolver.metrics import Metrics
from resolver.space import SpaceWatch


@pytest.fixture
def store(tmp_path):
    create(tmp_path / "store", map_bytes=1 << 26)
    opened = LmdbStore.open(tmp_path / "store", readonly=False, map_bytes=1 << 26)
    yield opened
    opened.close()


def test_what_is_used_is_counted(store):
    """The gauges hold the octets in use and free."""
    metrics = Metrics()
    SpaceWatch(store, metrics, warn_percent=100).look()
    assert 0 < metrics.store_octets.value < 1 << 26
    assert metrics.disk_free_octets.value > 0


def test_above_the_share_there_is_a_warning(store):
    """Each look from the set share on warns, naming what fills."""
    with capture_logs() as quiet:
        SpaceWatch(store, Metrics(), warn_percent=100).look()
    with capture_logs() as loud:
        SpaceWatch(store, Metrics(), warn_percent=0).look()
    assert not quiet
    assert {line["what"] for line in loud if line["event"] == "store_filling"} == {"map", "disk"}
