"""resolver.health: round-trip times and pauses."""

from __future__ import annotations

from protocol.values.hs_site import Transport
from resolver.health import HealthBook
from resolver.peers import Endpoint, plain_peer

A = Endpoint(Transport.UDP, "192.0.2.1", 2641)
B = Endpoint(Transport.UDP, "192.0.2.2", 2641)


def test_the_quicker_comes_first():
    """Times are smoothed; one outlier does not turn the order."""
    book = HealthBook(now=lambda: 0.0)
    for _ in range(20):
        book.answered(A, 0.010)
        book.answered(B, 0.020)
    book.answered(A, 0.050)
    assert sorted([B, A], key=book.rank) == [A, B]


def test_unknown_ones_get_their_turn():
    """An endpoint never asked is taken to be quicker than a slow one."""
    book = HealthBook(now=lambda: 0.0)
    book.answered(A, 0.2)
    assert sorted([A, B], key=book.rank) == [B, A]


def test_three_failures_make_a_pause_that_doubles_and_ends():
    """One failure makes it the second choice; three leave it alone, 1 s, 2 s … up to 30 s."""
    clock = [0.0]
    book = HealthBook(now=lambda: clock[0])
    book.failed(A)
    assert sorted([A, B], key=book.rank) == [B, A]
    assert not book.resting(A)
    book.failed(A)
    book.failed(A)
    pauses = []
    for _ in range(7):
        start = clock[0]
        while book.resting(A):
            clock[0] += 0.5
        pauses.append(clock[0] - start)
        book.failed(A)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    book.answered(A, 0.01)
    assert not book.resting(A)
    assert not book.failing(A)


def test_a_failure_is_forgotten_after_a_while():
    """After five minutes it may be the first choice again."""
    clock = [0.0]
    book = HealthBook(now=lambda: clock[0])
    book.failed(A)
    clock[0] = 300.0
    assert not book.failing(A)


def test_a_peer_is_as_good_as_its_best_endpoint():
    """A peer rests only when all of its endpoints do."""
    book = HealthBook(now=lambda: 0.0)
    peer = plain_peer(["192.0.2.1", "192.0.2.2"], 2641, (Transport.UDP,))
    for _ in range(3):
        book.failed(A)
    assert not book.all_resting(peer.endpoints)
    assert book.rank_peer(peer)[0] is False


def test_the_book_is_bounded():
    """Ten thousand addresses out of hostile referrals do not stay."""
    book = HealthBook(now=lambda: 0.0)
    for n in range(10_000):
        book.failed(Endpoint(Transport.UDP, f"192.0.{n // 250}.{n % 250}", 2641))
    assert len(book._book) <= 4096
