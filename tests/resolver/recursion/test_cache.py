"""resolver.cache: TTLs, absences, failures, stale windows and purging, by a clock of its own."""

from __future__ import annotations

import pytest

from protocol.errors import ParseError, ResponseCode, UpstreamError
from protocol.record import HandleValue, decode_values, encode_values
from resolver.cache import Cache, State
from resolver.config import CacheSettings

OK = ResponseCode.SUCCESS
WALL = 1_800_000_000


class Clock:
    def __init__(self):
        self.at = 1000.0

    def now(self):
        return self.at

    def wall(self):
        return WALL + self.at - 1000.0


@pytest.fixture
def clock():
    return Clock()


def make(clock, **settings):
    return Cache(CacheSettings(**settings), now=clock.now, wall=clock.wall)


def record(*, ttl=60, ttl_type=0, permissions=14, extra=()):
    url = HandleValue(1, b"URL", b"https://example.org/7", ttl, ttl_type, permissions=permissions)
    return encode_values([url, *extra])


def test_an_entry_is_fresh_until_its_ttl(clock):
    """At TTL − 1 it is fresh, at TTL it is stale."""
    cache = make(clock)
    cache.put(b"88.1/a", OK, record(ttl=60))
    clock.at += 59
    assert cache.fresh(b"88.1/a").values == record(ttl=60)
    assert cache.left_s(cache.find(b"88.1/a")) == 1
    clock.at += 1
    assert cache.fresh(b"88.1/a") is None
    assert cache.state(cache.find(b"88.1/a")) is State.STALE


def test_the_first_stale_value_makes_the_entry_stale(clock):
    """The least TTL of all values counts."""
    cache = make(clock)
    cache.put(b"88.1/a", OK, record(ttl=600, extra=[HandleValue(2, b"X", b"", 5)]))
    clock.at += 5
    assert cache.fresh(b"88.1/a") is None


def test_ttls_are_capped(clock):
    """No entry lives longer than max_ttl_s, and that is never above two days."""
    cache = make(clock, max_ttl_s=10**9)
    cache.put(b"88.1/a", OK, record(ttl=2**32 - 1))
    assert cache.left_s(cache.find(b"88.1/a")) == 172_800


def test_an_absolute_ttl_ends_at_its_time(clock):
    """TTL type 1 holds until that second, at most the maximum; past, it is not kept."""
    cache = make(clock)
    cache.put(b"88.1/a", OK, record(ttl=WALL + 30, ttl_type=1))
    assert cache.left_s(cache.find(b"88.1/a")) == 30
    cache.put(b"88.1/b", OK, record(ttl=WALL - 1, ttl_type=1))
    assert cache.find(b"88.1/b") is None


def test_ttl_zero_is_not_kept(clock):
    """An answer with TTL 0 is given once and replaces what was kept."""
    cache = make(clock)
    cache.put(b"88.1/a", OK, record())
    assert cache.put(b"88.1/a", OK, record(ttl=0)).values == record(ttl=0)
    assert cache.find(b"88.1/a") is None


def test_names_compare_by_the_prefix_rule(clock):
    """The prefix is folded, the suffix is not, and names under 0. are folded whole."""
    cache = make(clock)
    cache.put(b"10.ab/x", OK, record())
    assert cache.fresh(b"10.AB/x")
    assert cache.fresh(b"10.AB/X") is None
    cache.put(b"0.na/10.ab", OK, record())
    assert cache.fresh(b"0.NA/10.AB")


def test_only_public_values_are_kept(clock):
    """A value without public read is dropped, whoever sent it."""
    cache = make(clock)
    private = HandleValue(2, b"PRICE", b"12", permissions=12)
    entry = cache.put(b"88.1/a", OK, record(extra=[private]))
    assert entry.values == record()


def test_selection_copies_the_asked_values(clock):
    """Indexes and types are OR-ed; nothing asked means everything, byte for byte."""
    cache = make(clock)
    extra = [HandleValue(2, b"EMAIL", b"a@example.org"), HandleValue(3, b"URL.x", b"u")]
    entry = cache.put(b"88.1/a", OK, record(extra=extra))
    assert entry.select() is entry.values
    assert [v.index for v in decode_values(entry.select([2], [b"url"]))] == [1, 2]
    assert [v.index for v in decode_values(entry.select([], [b"URL."]))] == [1, 3]
    assert decode_values(entry.select([9])) == ()


def test_absent_names_are_believed_for_a_while(clock):
    """Not-found is kept for negative_ttl_s and never given stale."""
    cache = make(clock, negative_ttl_s=30)
    cache.put(b"88.1/no", ResponseCode.HANDLE_NOT_FOUND)
    assert cache.fresh(b"88.1/no").code == ResponseCode.HANDLE_NOT_FOUND
    clock.at += 30
    assert cache.fresh(b"88.1/no") is None
    assert cache.stale(b"88.1/no") is None


def test_a_record_replaces_an_absence_and_back(clock):
    """One name is either there or not."""
    cache = make(clock)
    cache.put(b"88.1/a", ResponseCode.HANDLE_NOT_FOUND)
    cache.put(b"88.1/a", OK, record())
    assert cache.fresh(b"88.1/a").code == OK
    cache.put(b"88.1/a", ResponseCode.HANDLE_NOT_FOUND)
    assert cache.fresh(b"88.1/a").code == ResponseCode.HANDLE_NOT_FOUND
    assert len(cache) == 1


def test_random_names_push_out_no_record(clock):
    """Ten thousand absent names and failures leave every record in place."""
    cache = make(clock, max_entries=10, max_negative=100)
    for n in range(10):
        cache.put(b"88.1/%d" % n, OK, record())
    for n in range(10_000):
        cache.put(b"88.1/x%d" % n, ResponseCode.HANDLE_NOT_FOUND)
        cache.fail(b"88.1/y%d" % n, UpstreamError("silent"))
    assert all(cache.fresh(b"88.1/%d" % n) for n in range(10))
    assert len(cache) <= 110


def test_memory_is_bounded(clock):
    """max_bytes holds whatever the size of the records."""
    cache = make(clock, max_bytes=100_000)
    big = record(extra=[HandleValue(2, b"BLOB", bytes(5000))])
    for n in range(200):
        cache.put(b"88.1/%d" % n, OK, big)
    assert cache.weight <= 100_000
    assert len(cache) > 10


def test_stale_records_are_given_within_their_window(clock):
    """Up to stale_max_s after the TTL, and not a second longer."""
    cache = make(clock, stale_max_s=100)
    cache.put(b"88.1/a", OK, record(ttl=60))
    clock.at += 159
    entry = cache.stale(b"88.1/a")
    assert decode_values(entry.select(ttl_s=30))[0].ttl == 30
    clock.at += 1
    assert cache.stale(b"88.1/a") is None


def test_a_signed_record_keeps_its_bytes_when_stale(clock):
    """The signature covers the TTL, so it is not lowered."""
    cache = make(clock)
    signed = record(extra=[HandleValue(400, b"HS_SIGNATURE", b"a.b.c")])
    entry = cache.put(b"88.1/a", OK, signed)
    assert entry.select(ttl_s=30) == signed


def test_an_ended_signature_kills_the_entry(clock):
    """Once the signature's time is over the record is neither fresh nor stale."""
    cache = make(clock)
    cache.put(b"88.1/a", OK, record(ttl=600), valid_until=WALL + 50)
    clock.at += 50
    assert cache.fresh(b"88.1/a")
    clock.at += 1
    assert cache.fresh(b"88.1/a") is None
    assert cache.stale(b"88.1/a") is None


def test_failures_pause_longer_each_time(clock):
    """1 s, 2 s, 4 s … up to five minutes; a success forgets them."""
    cache = make(clock)
    pauses = []
    for _ in range(11):
        pauses.append(cache.fail(b"88.1/a", UpstreamError("silent")).pause_s)
        assert cache.failure(b"88.1/A".replace(b"A", b"a"))
        clock.at += pauses[-1]
        assert cache.failure(b"88.1/a") is None
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    cache.put(b"88.1/a", OK, record())
    assert cache.fail(b"88.1/a", UpstreamError("silent")).pause_s == 1


def test_purging(clock):
    """By name, or by prefix with everything under and derived from it, its own record too."""
    cache = make(clock)
    names = [b"88.1/a", b"88.1.2/b", b"0.NA/88.1", b"0.NA/88.1.2", b"88.12/c", b"88/d"]
    for name in names:
        cache.put(name, OK, record())
    cache.fail(b"88.1/z", UpstreamError("silent"))
    assert cache.purge(b"88/d")
    assert not cache.purge(b"88/d")
    assert cache.purge_prefix(b"88.1") == 5
    assert cache.failure(b"88.1/z") is None
    assert [name for name in names if cache.fresh(name)] == [b"88.12/c"]
    assert cache.purge_all() == 1


@pytest.mark.parametrize("broken", [b"", b"\0\0\0\1", record()[:-1], record() + b"\0"])
def test_broken_lists_are_not_kept(clock, broken):
    """Octets that are no value list raise the parse error and leave nothing behind."""
    cache = make(clock)
    with pytest.raises(ParseError):
        cache.put(b"88.1/a", OK, broken)
    assert len(cache) == 0
