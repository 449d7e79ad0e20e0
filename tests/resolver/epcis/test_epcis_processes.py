"""Events of real nodes: killed while they capture, mirrored, backed up, exported and verified."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import signal
import ssl
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import pytest

from registry.check import check_node
from registry.events.index import EventIndex
from registry.store import Table
from registry.store.lmdb_store import LmdbStore
from resolver.config import FaceSettings
from resolver.epcis.named import (
    NamedQuery,
    Subscription,
    all_queries,
    all_subscriptions,
    read_cursor,
)
from tests.resolver.epcis.asking import document, event
from tests.resolver.nodes import PATIENCE_S, Serving, biaoshi, make, until

SECRET = "word"
KILLS = int(os.environ.get("BIAOSHI_KILLS", "3"))
EVENTS = (Table.EVENTS, Table.TRACE, Table.CHANGES, Table.BODIES)


@pytest.fixture
def folder(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    made = biaoshi(
        *("init", tmp_path / "node", "--role", "enterprise", "--prefix", "86.999", "--irp", 0),
        *("--http", 0, "--https", 0, "--admin-secret", secret),
    )
    assert made.returncode == 0, made.stderr
    return tmp_path / "node"


def context():
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def headers():
    return {"Authorization": "Basic " + b64encode(b"301%3A0.NA/86.999:" + SECRET.encode()).decode()}


async def capture(session, port, *events):
    """Capture events and wait for the job; its shape."""
    base = f"https://127.0.0.1:{port}"
    async with session.post(
        f"{base}/epcis/capture", json=document(*events), headers=headers()
    ) as answer:
        assert answer.status == 202, await answer.text()
        location = answer.headers["Location"]
    while True:
        async with session.get(base + location, headers=headers()) as answer:
            job = await answer.json()
        if not job["running"]:
            return job
        await asyncio.sleep(0.005)


def session():
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context()))


def captured(folder):
    """The event ids that a stopped node holds; its tables add up."""
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        assert check_node(store) == []
        with store.snapshot() as state:
            return [row.event_id for _, row in EventIndex(state).since(0)]
    finally:
        store.close()


async def _capture_until_killed(node, first, delay_s):
    """Capture documents of three until the node is killed: promised and finished numbers."""
    promised, finished = [], []
    port = node.ready["https"]
    end = time.monotonic() + delay_s
    loop = asyncio.get_running_loop()
    kill = loop.call_later(delay_s, node.signal, signal.SIGKILL)
    base = f"https://127.0.0.1:{port}"
    number = first
    async with session() as client:
        while time.monotonic() < end + 5:
            try:
                body = document(*(event(number * 3 + at) for at in range(3)))
                async with client.post(
                    f"{base}/epcis/capture", json=body, headers=headers()
                ) as answer:
                    if answer.status != 202:
                        break
                    promised.append(number)
            except (aiohttp.ClientError, OSError):
                break
            number += 1
    kill.cancel()
    return promised, finished, number


def test_a_killed_node_loses_no_capture_it_promised(folder):
    """After each SIGKILL and start, every capture that was answered 202 comes to its end, whole."""
    chance = random.Random(7)
    promised, number = [], 0
    for _ in range(KILLS):
        node = Serving(folder)
        assert node.ready, node.logged()
        done, _, number = asyncio.run(_capture_until_killed(node, number, chance.uniform(0.3, 0.9)))
        node.end()
        promised += done
        number += 1
    assert promised
    node = Serving(folder)
    wanted = {event(n * 3 + at)["eventID"] for n in promised for at in range(3)}

    def all_there():
        store = LmdbStore.open(folder / "store", readonly=True)
        try:
            with store.snapshot() as state:
                found = {row.event_id for _, row in EventIndex(state).since(0)}
        finally:
            store.close()
        return found >= wanted

    until(all_there)
    node.stop()
    found = captured(folder)
    assert len(found) == len(set(found))
    groups = {int(name[-12:]) // 3 for name in found}
    assert len(found) == 3 * len(groups)


def tables(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            return {table: list(state.scan(table)) for table in EVENTS}
    finally:
        store.close()


async def _capture_once(port, *events):
    async with session() as client:
        return await capture(client, port, *events)


def test_a_backup_holds_events_and_a_restore_to_a_position_makes_them_again(folder, tmp_path):
    """Backup and restore give the same event tables; cut at a position, those up to there."""
    node = Serving(folder, readers=2)
    assert asyncio.run(_capture_once(node.ready["https"], event(1), event(2)))["success"]
    assert biaoshi("backup", folder, tmp_path / "full.tar").returncode == 0
    assert asyncio.run(_capture_once(node.ready["https"], event(3)))["success"]
    since = biaoshi("backup", folder, tmp_path / "more.tar", "--since", tmp_path / "full.tar")
    assert since.returncode == 0, since.stderr
    node.stop()
    assert biaoshi("check", folder).returncode == 0
    done = biaoshi(
        "restore", tmp_path / "full.tar", tmp_path / "again", "--then", tmp_path / "more.tar"
    )
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "again") == tables(folder)
    last = captured_sequences(folder)[-2]
    done = biaoshi("restore", tmp_path / "full.tar", tmp_path / "cut", "--at", last)
    assert done.returncode == 0, done.stderr
    assert captured(tmp_path / "cut") == captured(folder)[:-1]


def captured_sequences(folder):
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            return [sequence for sequence, _ in EventIndex(state).since(0)]
    finally:
        store.close()


def test_an_export_is_verified_offline(folder, tmp_path):
    """Exported events verify with the node's keys, and no longer once they are altered."""
    node = Serving(folder)
    assert asyncio.run(_capture_once(node.ready["https"], event(1), event(2)))["success"]
    node.stop()
    file = tmp_path / "events.jsonl"
    assert (
        biaoshi("export", folder, "--events", "--output", tmp_path / "none").stderr == "0 events\n"
    )
    done = biaoshi("export", folder, "--events", "--all", "--output", file)
    assert (done.returncode, done.stderr) == (0, "2 events\n")
    from registry.keys import load_keys

    keys = load_keys(folder)
    pem = tmp_path / "log.pem"
    import base64

    from protocol.keys import encode_spki

    spki = base64.b64encode(encode_spki(keys.log_public)).decode()
    pem.write_text(f"-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")
    done = biaoshi("verify", file, "--key", pem, "--log-key", pem)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("it captured this event with this signature") == 2
    assert done.stdout.count("signed by 302:0.NA/86.999 for 301:0.NA/86.999") == 2
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["event"]["bizStep"] = "receiving"
    altered = tmp_path / "altered.jsonl"
    altered.write_text("\n".join(map(json.dumps, lines)))
    for option in ("--key", "--log-key"):
        done = biaoshi("verify", altered, option, pem)
        assert (done.returncode, done.stdout.count("NOT VALID")) == (1, 1)


def test_a_mirror_holds_the_events(tmp_path):
    """A mirror has the tables of its primary, answers from them and takes none itself."""
    from tests.resolver.trust.mirrored import caught_up, mirror_of, ports, tree_of

    http, https = ports(2)
    primary = make(tmp_path / "primary", faces=FaceSettings(irp=0, http=http, https=https))
    mirror = mirror_of(primary, https, tmp_path / "mirror")
    capture_as_operator(primary, *(event(n) for n in range(50)), public=True)
    first = Serving(primary)
    copy = Serving(mirror)
    try:
        caught_up(mirror, tree_of(primary))
        capture_as_operator(primary, event(60), event(3, errorDeclaration=DECLARED), public=True)
        caught_up(mirror, tree_of(primary))
        of = [one.get("/epcis/events?perPage=100")[1]["epcisBody"] for one in (first, copy)]
        assert of[0] == of[1]
        assert len(of[0]["queryResults"]["resultsBody"]["eventList"]) == 52
    finally:
        first.end()
        copy.end()
    assert tables(mirror) == tables(primary)
    assert captured(mirror) == captured(primary)


class Target(ThreadingHTTPServer):
    """An address that keeps the last digits of the events that are posted to it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Taking)
        self.events = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"

    def next(self):
        return self.events.get(timeout=PATIENCE_S)


class Taking(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for one in body["epcisBody"]["queryResults"]["resultsBody"]["eventList"]:
            self.server.events.put(one["eventID"][-4:])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Quietly."""


@pytest.fixture
def target():
    made = Target()
    yield made
    made.shutdown()
    made.server_close()


def test_a_promoted_mirror_goes_on_delivering(tmp_path, target):
    """Queries, subscriptions and how far these came are on the mirror when it takes over."""
    from tests.resolver.trust.mirrored import caught_up, mirror_of, ports, tree_of

    http, https = ports(2)
    primary = make(tmp_path / "primary", faces=FaceSettings(irp=0, http=http, https=https))
    mirror = mirror_of(primary, https, tmp_path / "mirror")
    owner = "300:0.NA/86.999"
    query = NamedQuery("all", owner, 0, {})
    one = Subscription("x", "all", owner, 0, target.url, "", False, None, 0, 0)
    store = LmdbStore.open(primary / "store")
    store.apply([query.note().write(), one.note().write()])
    store.close()
    running = [first := Serving(primary), copy := Serving(mirror)]
    try:
        capture_as_operator(primary, event(1), event(2))
        assert [target.next(), target.next()] == ["0001", "0002"]
        caught_up(mirror, tree_of(primary))
        until(lambda: carried(mirror, one) == carried(primary, one) and carried(mirror, one)[2])
        first.stop()
        copy.stop()
        done = biaoshi("promote", mirror, "--keys", primary)
        assert done.returncode == 0, done.stderr
        assert "subscriptions that go on here: 1 and 1" in done.stdout
        settings = mirror / "biaoshi.toml"
        text = settings.read_text()
        start = text.index("[outbound]")
        allowed = text[start:].replace("allow = []", 'allow = ["127.0.0.0/8"]', 1)
        settings.write_text(text[:start] + allowed)
        running.append(Serving(mirror))
        capture_as_operator(mirror, event(3))
        assert target.next() == "0003"  # and none of the earlier ones again
    finally:
        for node in running:
            node.end()


def carried(folder, subscription):
    """The query, the subscription and its cursor as a node's store has them."""
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        with store.snapshot() as state:
            cursor = read_cursor(state, subscription).sequence
            return list(all_queries(state)), all_subscriptions(state), cursor
    finally:
        store.close()


DECLARED = {"declarationTime": "2026-04-01T00:00:00Z"}


def capture_as_operator(folder, *events, public=False):
    """Capture on the machine itself."""
    from registry.events.capture import make_change, node_event_signer, operator_of
    from registry.keys import load_keys
    from resolver.writer_link import open_writer

    label = {"class": "operation", "level": 1} if public else None
    signer = node_event_signer(load_keys(folder), b"86.999")
    issuer = operator_of(b"86.999")
    now_us = int(time.time() * 1_000_000)
    changes = [
        make_change(one, issuer=issuer, signer=signer, now_us=now_us, label=label) for one in events
    ]
    with open_writer(folder) as writer:
        outcomes = writer.submit(changes)
    assert all(one.error is None for one in outcomes), outcomes
