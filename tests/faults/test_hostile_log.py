"""A log source that lies: cut, altered, repeated or invented tiles and bodies are never taken.

BIAOSHI_HOSTILE_TILES: how many; a release check sets 10000.
"""

from __future__ import annotations

import random

import pytest

from protocol.change import pack
from protocol.errors import BiaoshiError
from registry.follow import append
from registry.replay import Logged, Replay, read_checkpoint
from registry.store import Table
from registry.store.lmdb_store import LmdbStore, create
from resolver.trust.source import split_entries, unpack_rows
from tests.faults.figures import count, report
from tests.resolver.trust.cheat import KEY, CheatingLog

TILES = count("BIAOSHI_HOSTILE_TILES", 400)
PUBLIC = KEY.public_key().public_bytes_raw()


def altered(data, chance):
    """One lie: a bit, a cut, a repetition, an exchange, noise, or a length that is none."""
    made = bytearray(data)
    at = chance.randrange(len(made))
    way = chance.randrange(7)
    if way == 0:
        made[at] ^= 1 << chance.randrange(8)
    elif way == 1:
        del made[at:]
    elif way == 2:
        del made[: chance.randrange(1, len(made))]
    elif way == 3:
        made[at:at] = made[at : at + chance.randrange(1, 400)]
    elif way == 4:
        made[at : at + 2] = b"\xff\xff"
    elif way == 5:
        made[at:at] = chance.randbytes(chance.randrange(1, 64))
    else:
        made = bytearray(chance.randbytes(chance.randrange(1, 400)))
    return bytes(made)


def rows_of(store):
    with store.snapshot() as state:
        return [list(state.scan(table)) for table in (Table.CHANGES, Table.BODIES, Table.RECORDS)]


@pytest.mark.timeout(1800)
def test_a_mirror_takes_the_true_log_alone(tmp_path):
    """Whatever comes instead of the bodies: an error of ours, and nothing of it was written."""
    log = CheatingLog(60)
    raw = log.checkpoint()
    said = read_checkpoint(raw, PUBLIC)
    data = b"".join(pack([row.sequence, row.leaf, row.body]) for row in log.entries)
    create(tmp_path / "true", map_bytes=1 << 28)
    true = LmdbStore.open(tmp_path / "true", map_bytes=1 << 28)
    assert append(true, unpack_rows(data), raw, said) == (60, False)
    chance = random.Random(9)
    refused = stores = 0
    store = None
    for _ in range(TILES):
        lie = altered(data, chance)
        if store is None:
            stores += 1
            create(tmp_path / f"store{stores}", map_bytes=1 << 28)
            store = LmdbStore.open(tmp_path / f"store{stores}", map_bytes=1 << 28)
        try:
            append(store, unpack_rows(lie), raw, said)
        except BiaoshiError:
            refused += 1
            with store.snapshot() as state:
                assert state.count(Table.CHANGES) == state.count(Table.RECORDS) == 0
        else:  # the lie came after the end of what was asked for: nothing of it is there
            assert rows_of(store) == rows_of(true)
            store.close()
            store = None
    report("hostile bodies to a mirror", tried=refused, taken=0)


@pytest.mark.timeout(1800)
def test_an_auditor_takes_the_true_leaves_alone():
    """Whatever comes instead of an entry bundle: an error of ours, or a root that is not signed."""
    log = CheatingLog(60)
    root = log.roots()[-1]
    data = b"".join(len(row.leaf).to_bytes(2, "big") + row.leaf for row in log.entries)
    chance = random.Random(10)
    refused = 0
    for _ in range(TILES):
        lie = altered(data, chance)
        if lie == data:
            continue
        replay = Replay()
        try:
            leaves = split_entries(lie)
            replay.take_all(Logged(at, leaf, None) for at, leaf in enumerate(leaves, 1))
        except BiaoshiError:
            refused += 1
            continue
        assert (replay.size, replay.frontier.root()) != (60, root)
        refused += 1
    report("hostile tiles to an auditor", tried=refused, taken=0)
