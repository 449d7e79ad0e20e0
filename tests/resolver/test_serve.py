"""biaoshi serve with real processes: readiness, death, stop, reload, and what it refuses."""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import socket
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from protocol.change import Change, Kind
from protocol.errors import ResponseCode
from protocol.record import HandleValue
from registry.records import read_record
from registry.store.lmdb_store import LmdbStore
from resolver.config_file import format_settings, load_settings
from resolver.running import running_state
from resolver.site import read_site_info
from resolver.writer_link import open_writer
from tests.resolver.nodes import Serving, biaoshi, make, until

PUMP = b"86.999/pump-7"


@pytest.fixture
def serve():
    running = []

    def start(folder, readers=1):
        running.append(Serving(folder, readers))
        return running[-1]

    yield start
    for node in running:
        node.end()


def _register(folder, handle=PUMP, data=b"https://example.org/7"):
    with open_writer(folder) as writer:
        (outcome,) = writer.submit(
            [Change(Kind.CREATE, handle, (HandleValue(1, b"URL", data),), overwrite=True)]
        )
    assert outcome.error is None
    return outcome


def _change_settings(folder, **sections):
    settings = load_settings(folder)
    changed = {
        name: replace(getattr(settings, name), **fields) for name, fields in sections.items()
    }
    (folder / "biaoshi.toml").write_text(format_settings(replace(settings, **changed)))


def test_ready_means_that_every_face_answers(tmp_path, serve):
    """The one line on stdout names the ports, and all of them answer at once, on every host."""
    node = serve(make(tmp_path / "n", hosts=("127.0.0.1", "::1")), readers=2)
    assert node.ready["ready"] is True
    assert node.ready["dns"] is None
    assert node.ready["hosts"] == ["127.0.0.1", "::1"]
    assert (node.ready["role"], node.ready["prefix"]) == ("enterprise", "86.999")
    assert node.ready["pid"] == node.process.pid
    assert node.ask(b"0.NA/86.999")[0] == ResponseCode.SUCCESS
    assert node.ask(b"0.NA/86.999", tcp=True)[0] == ResponseCode.SUCCESS
    assert node.ask(b"86.999/none")[0] == ResponseCode.HANDLE_NOT_FOUND
    assert node.get("/health/live")[0] == 200
    assert node.get("/health/ready")[0] == 200
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for face in ("http", "https", "irp"):
            with socket.socket(family) as sock:
                sock.settimeout(5)
                sock.connect((host, node.ready[face]))
    assert running_state(tmp_path / "n") == node.ready
    assert node.pids()[0] == ["reader-0", "reader-1", "supervisor", "writer"]


def test_the_site_record_has_the_ports_in_use(tmp_path, serve):
    """Ports chosen at start stand in siteinfo.json and in 0.NA/P when the node is ready."""
    folder = make(tmp_path / "n")
    before = read_site_info(folder)
    node = serve(folder)
    after = read_site_info(folder)
    ports = {interface.port for interface in after.servers[0].interfaces}
    assert ports == {node.ready["irp"], node.ready["http"], node.ready["https"]}
    assert after.serial == before.serial + 1
    shown = node.get("/api/site")[1]["site"]
    assert shown["serialNumber"] == after.serial
    assert node.get("/api/handles/0.NA/86.999?type=HS_SITE")[1]["values"][0]["data"]["value"] == {
        name: value for name, value in shown.items() if name != "responseCode"
    }


def test_what_the_command_line_writes_is_answered_at_once(tmp_path, serve):
    """A change through the running node's writer is seen by its readers when it is acknowledged."""
    folder = make(tmp_path / "n")
    node = serve(folder, readers=2)
    for number in range(20):
        data = b"https://example.org/%d" % number
        _register(folder, data=data)
        assert node.ask(PUMP)[1][0].data == data


def test_answers_go_on_while_readers_are_killed(tmp_path, serve):
    """With readers shot one after the other, every question still gets its answer."""
    folder = make(tmp_path / "n")
    _register(folder)
    node = serve(folder, readers=2)
    _, children = node.pids()
    writer = until(lambda: _writer_of(node))
    for victim in [pid for pid in children if pid != writer]:
        os.kill(victim, signal.SIGKILL)
        for _ in range(10):
            assert node.ask(PUMP)[0] == ResponseCode.SUCCESS
            assert node.ask(PUMP, tcp=True)[0] == ResponseCode.SUCCESS
    until(lambda: len(node.pids()[0]) == 4)
    assert node.events().count("process_restarted") == 2


def _writer_of(node):
    """The writer's pid: the child that listens at writer.sock holds the store's lock."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        inode = int(fields[5].rpartition(":")[2])
        if inode == (node.folder / "store/writer.lock").stat().st_ino:
            return int(fields[4])
    return None


def test_a_killed_writer_is_replaced_and_nothing_acknowledged_is_lost(tmp_path, serve):
    """What was acknowledged before is there; what is sent afterwards is written."""
    folder = make(tmp_path / "n")
    node = serve(folder)
    for number in range(3):
        _register(folder, data=b"%d" % number)
        killed = _writer_of(node)
        os.kill(killed, signal.SIGKILL)
        assert node.ask(PUMP)[1][0].data == b"%d" % number
        until(lambda killed=killed: _writer_of(node) not in {None, killed})
        until(lambda: node.get("/health/ready")[0] == 200)
    assert node.stop() == 0


def test_a_stop_is_orderly(tmp_path, serve):
    """SIGTERM: exit code 0, no process, no socket and no state file left."""
    folder = make(tmp_path / "n")
    node = serve(folder, readers=2)
    _, children = node.pids()
    assert node.stop() == 0
    assert running_state(folder) is None
    assert not (folder / "run/serve.json").exists()
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(("127.0.0.1", node.ready["http"]))
    _register(folder)  # the store's lock is free again


def test_a_reload_takes_new_settings_and_refuses_nobody(tmp_path, serve):
    """SIGHUP replaces the processes one by one while questions are answered."""
    folder = make(tmp_path / "n")
    _register(folder)
    node = serve(folder, readers=2)
    _, before = node.pids()
    _change_settings(folder, log={"query_sample": 1})
    failures, stop = [], threading.Event()

    def questions():
        while not stop.is_set():
            try:
                with urllib.request.urlopen(f"{node.url}/api/handles/86.999/pump-7") as reply:
                    assert reply.status == 200
            except OSError as error:
                failures.append(error)

    asking = threading.Thread(target=questions)
    asking.start()
    node.signal(signal.SIGHUP)
    until(lambda: "reload_done" in node.events())
    stop.set()
    asking.join()
    assert not failures
    until(lambda: not set(before) & set(node.pids()[1]))
    node.ask(PUMP)
    until(lambda: "lookup" in node.events())
    assert node.stop() == 0


def test_a_reload_with_wrong_settings_changes_nothing(tmp_path, serve):
    """The mistake is in the log; the node goes on as it was."""
    folder = make(tmp_path / "n")
    node = serve(folder)
    _, before = node.pids()
    with (folder / "biaoshi.toml").open("a") as file:
        file.write("\n[node_]\n")
    node.signal(signal.SIGHUP)
    (line,) = until(lambda: [one for one in node.logged() if one["event"] == "reload_refused"])
    assert "there is no section 'node_'" in line["why"]
    assert node.pids()[1] == before
    assert node.get("/health/ready")[0] == 200


@pytest.mark.parametrize("face", ["irp", "http", "https"])
def test_a_port_in_use_is_named(tmp_path, face):
    """Exit code 3 and one line with the port and the setting."""
    folder = make(tmp_path / "n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _change_settings(folder, faces={face: port})
        done = biaoshi("serve", folder, "--readers", "1")
    assert done.returncode == 3
    assert f"port {port} (TCP) is in use" in done.stderr
    assert f"faces.{face}" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("name", ["keys/site_key.pem", "keys/log_key.pem"])
def test_a_key_that_others_can_read_is_refused(tmp_path, name):
    """Exit code 2; the message says which file and what to run."""
    folder = make(tmp_path / "n")
    (folder / name).chmod(0o640)
    done = biaoshi("serve", folder)
    assert done.returncode == 2
    assert f"chmod 600 {folder / name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_of_a_newer_format_is_refused(tmp_path):
    """Exit code 3; nothing is opened for writing, nothing answers."""
    folder = make(tmp_path / "n")
    with lmdb.open(str(folder / "store"), max_dbs=20) as env:
        meta = env.open_db(b"meta", create=False)
        with env.begin(meta, write=True) as txn:
            txn.put(b"format", b"99")
    done = biaoshi("serve", folder, "--readers", "1")
    assert done.returncode == 3
    assert "store has format 99" in done.stderr
    assert not done.stdout


def test_a_node_may_open_as_many_files_as_the_system_permits(tmp_path, serve):
    """The customary soft limit would let a few hundred idle clients keep all others out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        node = serve(make(tmp_path / "n"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for child in node.pids()[1]:
        limits = Path(f"/proc/{child}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3] == str(hard)


def test_a_folder_is_served_once(tmp_path, serve):
    """A second server of the same folder is told who has it."""
    folder = make(tmp_path / "n")
    node = serve(folder)
    done = biaoshi("serve", folder)
    assert done.returncode == 3
    assert f"served already by process {node.process.pid}" in done.stderr


def test_wrong_settings_stop_the_start(tmp_path):
    """Exit code 2 and the nearest known key."""
    folder = make(tmp_path / "n")
    with (folder / "biaoshi.toml").open("a") as file:
        file.write("\n[limit]\n")
    done = biaoshi("serve", folder)
    assert done.returncode == 2
    assert "nearest one is 'limits'" in done.stderr


def test_the_own_record_keeps_what_its_operator_added(tmp_path, serve):
    """A new port renews the site and the signature; other values stay and are signed too."""
    folder = make(tmp_path / "n")
    added = HandleValue(500, b"DESC", b"pumps since 1921")
    with open_writer(folder) as writer:
        writer.submit([Change(Kind.ADD, b"0.NA/86.999", (added,))])
    node = serve(folder)
    assert node.stop() == 0
    store = LmdbStore.open(folder / "store", readonly=True)
    held = {value.index: value for value in read_record(store, b"0.NA/86.999").values}
    store.close()
    assert held[500].data == added.data
    payload = held[410].data.split(b".")[1] + b"=="
    digests = json.loads(base64.urlsafe_b64decode(payload))["digests"]["digests"]
    assert 500 in [one["index"] for one in digests]
