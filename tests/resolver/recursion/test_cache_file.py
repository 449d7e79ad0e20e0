"""The cache file: what it keeps over a restart, and what it does not take over."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import ResponseCode
from protocol.record import HandleValue, encode_values
from resolver.cache import Cache, State, within
from resolver.cache_file import CacheFile, Clocks, decode_entry, encode_entry, fingerprint
from resolver.config import CacheSettings, RecursionSettings

VALUES = encode_values([HandleValue(1, b"URL", b"https://example.org", 60)])


class Time:
    """Both clocks of one process."""

    def __init__(self, now=0.0, wall=1_800_000_000.0):
        self.now_s, self.wall_s = now, wall

    def pass_(self, seconds):
        self.now_s += seconds
        self.wall_s += seconds

    def clocks(self):
        return Clocks(self.now_s, self.wall_s)

    def cache(self, **settings):
        return Cache(CacheSettings(**settings), now=lambda: self.now_s, wall=lambda: self.wall_s)


def test_an_entry_survives_a_restart_with_its_age():
    """Times travel as seconds since 1970: what was left of the TTL is left in the next process."""
    before = Time(now=500.0)
    entry = before.cache().put(b"88.1/a", ResponseCode.SUCCESS, VALUES, proof="unsigned")
    row = encode_entry(entry, before.clocks())
    after = Time(now=7.0, wall=before.wall_s + 20)
    cache = after.cache()
    found = decode_entry(row, after.clocks())
    cache.restore(found)
    kept = cache.find(b"88.1/a")
    assert (kept.values, kept.proof, kept.zone) == (VALUES, "unsigned", b"88.1")
    assert cache.left_s(kept) == pytest.approx(40)
    after.pass_(41)
    assert cache.state(kept) is State.STALE


def test_rows_that_are_not_taken():
    """A wrong checksum, another shape, an entry from the future or a dead one is left out."""
    time = Time()
    cache = time.cache(stale_max_s=100)
    row = encode_entry(cache.put(b"88.1/a", ResponseCode.SUCCESS, VALUES), time.clocks())
    for at in range(len(row)):
        spoiled = row[:at] + bytes([row[at] ^ 1]) + row[at + 1 :]
        assert decode_entry(spoiled, time.clocks()) is None
    assert decode_entry(b"", time.clocks()) is None
    assert decode_entry(row, Clocks(0, time.wall_s - 60)) is None
    late = Time(wall=time.wall_s + 1000)
    fresh = late.cache(stale_max_s=100)
    fresh.restore(decode_entry(row, late.clocks()))
    assert len(fresh) == 0


def test_the_file(tmp_path):
    """Rows are there for the next process, unless settings that verification depends on changed."""
    time = Time()
    cache = time.cache()
    cache.changed = set()
    for number in range(20):
        cache.put(b"88.1/%d" % number, ResponseCode.SUCCESS, VALUES)
    cache.put(b"88.1/none", ResponseCode.HANDLE_NOT_FOUND)
    cache.put(b"88.1/" + b"x" * 1500, ResponseCode.SUCCESS, VALUES)
    cache.purge(b"88.1/3")
    rows = {
        key: None if cache.record(key) is None else encode_entry(cache.record(key), time.clocks())
        for key in cache.changed
    }
    file = CacheFile(tmp_path / "cache", 1 << 20, b"settings")
    assert file.write(rows)
    assert file.write({b"88.1/4": None})
    file.close()
    again = CacheFile(tmp_path / "cache", 1 << 20, b"settings")
    names = {entry.handle for entry in again.load(time.clocks())}
    assert len(names) == len(again) == 19
    assert b"88.1/3" not in names
    assert b"88.1/4" not in names
    again.close()
    other = CacheFile(tmp_path / "cache", 1 << 20, b"other settings")
    assert list(other.load(time.clocks())) == []
    other.close()


def test_the_file_is_bounded(tmp_path):
    """Full, it drops everything and begins anew with what is new."""
    file = CacheFile(tmp_path / "cache", 1 << 20, b"settings")
    row = bytes(200_000)
    answers = [file.write({b"88.1/%d" % number: row}) for number in range(120)]
    assert answers.count(False) >= 1
    assert 0 < len(file) < 90
    size = (tmp_path / "cache" / "data.mdb").stat().st_size
    assert size <= 16 << 20
    file.close()


def test_fingerprint():
    """It changes with the rules of verification and with the root keys, not with other settings."""
    plain = fingerprint(RecursionSettings(), [b"k1", b"k2"])
    assert plain == fingerprint(RecursionSettings(total_s=9.0), [b"k2", b"k1"])
    assert plain != fingerprint(RecursionSettings(verify="required"), [b"k1", b"k2"])
    assert plain != fingerprint(RecursionSettings(), [b"k1"])


def test_a_doubted_zone_is_stale_at_once_and_costs_no_walk():
    """Names that the zone's node holds are fetched anew; those below it and beside it are not."""
    time = Time()
    cache = time.cache()
    for name in (b"88.1/a", b"0.NA/88.1.7", b"88.1.7/b", b"88.11/c", b"0.NA/88.1"):
        cache.put(name, ResponseCode.SUCCESS, VALUES)
    time.pass_(1)
    cache.doubt_zone(b"88.1")
    fresh = [n for n in (b"88.1.7/b", b"88.11/c", b"0.NA/88.1") if cache.fresh(n)]
    assert len(fresh) == 3
    assert cache.fresh(b"88.1/a") is None
    assert cache.fresh(b"0.NA/88.1.7") is None
    assert cache.stale(b"88.1/a") is not None
    time.pass_(1)
    cache.put(b"88.1/a", ResponseCode.SUCCESS, VALUES)
    assert cache.fresh(b"88.1/a") is not None


async def test_a_purge_reaches_what_is_being_fetched():
    """A record that was asked for before the purge and arrives after it is given but not kept."""
    from resolver.lookup import Query
    from tests.resolver.recursion.test_recursion import NAME, TREE
    from tests.scenarios.script import Player
    from tests.scenarios.virtual import run

    async def main():
        player = Player()
        await player.play(TREE)
        recursion = player._recursion()
        try:
            for purge in (
                lambda: recursion.purge(NAME),
                lambda: recursion.purge_prefix(b"88.1"),
                lambda: recursion.doubt_zone(b"88.1"),
                recursion.purge_all,
            ):
                asked = asyncio.ensure_future(recursion.resolve(Query(NAME)))
                await asyncio.sleep(0.031)
                purge()
                assert (await asked).code == ResponseCode.SUCCESS
                assert recursion.cached(Query(NAME)) is None
                await recursion.resolve(Query(NAME))
                assert recursion.cached(Query(NAME)) is not None
                recursion.purge_all()
        finally:
            await recursion.close()

    await asyncio.to_thread(run, main())


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        (b"88.118/a", True),
        (b"88.118.8/a", True),
        (b"0.NA/88.118", True),
        (b"0.NA/88.118.8", True),
        (b"88.1180/a", False),
        (b"0.NA/88.1180", False),
        (b"88/a", False),
        (b"0.NA/88", False),
        (b"10/88.118", False),
    ],
)
def test_what_lies_under_a_prefix(key, inside):
    """Names of the prefix and of those derived from it, and the records of them."""
    assert within(key, b"88.118") is inside


def test_what_lies_under_a_prefix_of_arcs():
    """OIDs lie under their arcs, GS1 keys under their digits."""
    assert within(b"1.2.156.3001", b"1.2.156")
    assert not within(b"1.2.1560", b"1.2.156")
    assert within(b"HTTPS://id.gs1.org/01/09506000134352", b"GS1.9.5")
