"""Power lost at any instant, also while a store is made: it opens at the last acknowledged state.

BIAOSHI_POWER_IMAGES: how many images of the disk; a release check sets 10000.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from protocol.errors import BiaoshiError
from registry.check import check_node
from registry.fence import Known, compare_known
from registry.store import Table
from registry.store.lmdb_store import LmdbStore
from registry.store.row import decode_row
from tests.faults import shim
from tests.faults.figures import count, report
from tests.faults.power_child import MAP, SIGNER, expected
from tests.faults.power_loss import WAYS, crash_points, read_events

IMAGES = count("BIAOSHI_POWER_IMAGES", 300)
BATCHES = 40
WORKERS = 2
STATES = [expected(number) for number in range(BATCHES + 1)]


@pytest.fixture
def place():
    """A folder in memory where there is one: images are many and small."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


def recorded(place, mode):
    """What a writer did to its files, and the folder it did it in."""
    root, log = place / mode, place / f"{mode}.log"
    root.mkdir()
    command = [sys.executable, "-m", "tests.faults.power_child", str(root), mode, str(BATCHES)]
    env = shim.environment(root, log=log)
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return read_events(log), str(root)


def complaint(folder, acknowledged):
    """Why an image of the disk is not what was acknowledged; None when it is."""
    path = folder / "store"
    if not path.exists():
        return "the store is gone" if acknowledged >= 0 else None
    try:
        store = LmdbStore.open(path, map_bytes=MAP, reserve_bytes=0)
    except BiaoshiError as error:
        return f"unopenable: {error}"
    try:
        with store.snapshot() as state:
            rows = [decode_row(raw) for _, raw in state.scan(Table.RECORDS)]
        held = {row.name: row.values()[0].data for row in rows}
        may_be = STATES[max(0, acknowledged) : max(0, acknowledged) + 2]
        if held not in may_be:
            return f"lost: not the state after commit {acknowledged} or the one after it"
        findings = check_node(store, signer=SIGNER, most=3)
        if findings:
            return f"does not add up: {findings[0]}"
        why = compare_known(store, Known(folder).read(), SIGNER)
    except BiaoshiError as error:
        return f"unreadable: {error}"
    finally:
        store.close()
    return f"fenced: {why}" if why else None


class Counts:
    """Shared by the workers: images looked at, complaints, the first complaint's text."""

    def __init__(self):
        self.memory = SharedMemory(create=True, size=4096)
        self.numbers = self.memory.buf[:80].cast("q")

    def close(self):
        self.numbers.release()
        self.memory.close()
        self.memory.unlink()

    def say(self, text):
        data = text.encode()[:1000].ljust(1000, b"\0")
        self.memory.buf[100:1100] = data

    @property
    def said(self):
        return bytes(self.memory.buf[100:1100]).rstrip(b"\0").decode("utf-8", "replace")


def look(events, root, images, worker, counts, place):
    """One worker's share of the images. numbers[2 + worker]: the next image it has not seen."""
    wanted = iter(range(counts.numbers[2 + worker], images, WORKERS))
    image = next(wanted, None)
    for point, disk in crash_points(events, root):
        while image is not None and image * (len(events) + 1) // images == point:
            counts.numbers[2 + worker] = image + WORKERS
            folder = place / f"image-{worker}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            disk.image(folder, image % len(WAYS), random.Random(image))
            why = complaint(folder, disk.acknowledged)
            counts.numbers[4 + worker] += 1
            if why is not None:
                counts.numbers[6 + worker] += 1
                counts.say(f"image {image} ({WAYS[image % len(WAYS)]}, event {point}): {why}")
            image = next(wanted, None)


def campaign(place, mode, images):
    """(images, complaints, one of them). A worker that dies of an image complained about it."""
    events, root = recorded(place, mode)
    counts = Counts()
    try:
        for worker in range(WORKERS):
            counts.numbers[2 + worker] = worker
        running = {}
        todo = list(range(WORKERS))
        while todo or running:
            for worker in todo:
                child = os.fork()
                if child == 0:
                    faulthandler.disable()
                    with contextlib.suppress(BaseException):
                        look(events, root, images, worker, counts, place)
                        os._exit(0)
                    os._exit(1)
                running[child] = worker
            child, status = os.wait()
            worker = running.pop(child)
            todo = [] if status == 0 else [worker]
            if status:
                counts.numbers[4 + worker] += 1
                counts.numbers[6 + worker] += 1
                counts.say(f"the reading process ended with status {status}")
        seen, wrong = sum(counts.numbers[4:6]), sum(counts.numbers[6:8])
        assert seen == images
        return seen, wrong, counts.said
    finally:
        counts.close()


@pytest.mark.timeout(3600)
def test_power_loss_loses_nothing_acknowledged(place):
    """Whatever unsynced writes were dropped, reordered or torn: each image opens and is whole."""
    started = time.monotonic()
    seen, wrong, said = campaign(place, "good", IMAGES)
    assert wrong == 0, f"{wrong} of {seen} images: {said}"
    seconds = round(time.monotonic() - started, 1)
    report("power loss", images=seen, lost=0, unopenable=0, seconds=seconds)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["unsynced", "early"])
def test_the_controls_fail(place, mode):
    """A store that does not sync, and one that acknowledges before it commits, are found out."""
    images = max(100, IMAGES // 10)
    seen, wrong, said = campaign(place, mode, images)
    assert wrong > 0, f"the {mode} control passed all of {seen} images"
    report(
        f"power loss, control {mode}",
        images=seen,
        found_wrong=wrong,
        example=said.replace(f"{place}/", ""),
    )
