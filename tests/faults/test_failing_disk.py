"""Writes and syncs that fail, whole or in part: nothing acknowledged is lost, and the node says so.

BIAOSHI_DISK_FAULTS: how many; a release check sets 1000.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request

import pytest

from protocol.change import Change, Kind
from protocol.errors import ReadOnly, StoreError
from protocol.record import HandleValue
from registry.check import check_node
from registry.store.lmdb_store import LmdbStore
from resolver.writer_link import open_writer
from tests.faults import shim
from tests.faults.figures import count, report
from tests.resolver.nodes import ENVIRONMENT, Serving, make

FAULTS = count("BIAOSHI_DISK_FAULTS", 40)


@pytest.mark.timeout(3600)
def test_a_store_whose_disk_fails(tmp_path):
    """After EIO, ENOSPC, a short write or a failed sync: read-only, reads right, nothing lost."""
    control = tmp_path / "control"
    shim.Control(control)
    command = [sys.executable, "-m", "tests.faults.io_child", tmp_path, control, FAULTS, 3]
    env = shim.environment(tmp_path, control=control)
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["failures"] == FAULTS
    report("failing and short writes, failing syncs", **figures, lost=0)


def test_faults_from_another_tool(tmp_path):
    """The same with faults that libfiu injects into the process's system calls."""
    if shutil.which("fiu-run") is None:
        pytest.skip("fiu-run is not installed (package fiu-utils)")
    points = ("posix/io/sync/fdatasync", "posix/io/rw/pwrite", "posix/io/rw/writev")
    failed = 0
    for point in points:
        folder = tmp_path / point.replace("/", "-")
        folder.mkdir()
        command = ["fiu-run", "-x", sys.executable, "-m", "tests.faults.fiu_child", folder, point]
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, env=ENVIRONMENT, check=False
        )
        assert done.returncode == 0, (point, done.stderr)
        failed += int(done.stdout)
    assert failed > 0
    report("faults by libfiu", failures=failed, lost=0)


def register(folder, name):
    with open_writer(folder) as writer:
        value = HandleValue(1, b"URL", b"http://example.org/")
        return writer.submit([Change(Kind.CREATE, b"86.999/" + name, (value,))])


@pytest.mark.parametrize("mode", [shim.SYNC_EIO, shim.WRITE_EIO])
def test_a_node_whose_disk_fails(tmp_path, mode):
    """The request fails, the node turns read-only and says so, reads go on; a restart mends it."""
    folder = make(tmp_path / "node")
    control = shim.Control(tmp_path / "control")
    env = {**ENVIRONMENT, **shim.environment(folder, control=control.path)}
    node = Serving(folder, env=env)
    try:
        assert register(folder, b"before")[0].error is None
        assert node.get("/health/ready")[0] == 200
        control.fail(mode)
        with pytest.raises(StoreError):
            register(folder, b"failed")
        assert control.hits == 1
        with pytest.raises(ReadOnly, match="restart"):
            register(folder, b"later")
        status, said = node.get("/health/ready")
        assert (status, said["checks"]["store_writes"], said["reads"]) == (503, False, True)
        assert "store_read_only" in node.events()
        assert node.ask(b"86.999/before")[0] == 1
        assert node.ask(b"86.999/failed")[0] == 100
        with urllib.request.urlopen(f"{node.url}/metrics", timeout=10) as reply:
            assert b"biaoshi_store_read_only 1.0" in reply.read()
    finally:
        node.end()
    node = Serving(folder)
    try:
        assert register(folder, b"later")[0].error is None
        assert node.get("/health/ready")[0] == 200
    finally:
        node.end()
    store = LmdbStore.open(folder / "store", readonly=True)
    assert check_node(store) == []
    store.close()
