from __future__ import annotations

import os
import shutil
from functools import partial
from itertools import count

import pytest

from bench.generator import Load, NoGenerator, run
from tests.bench import scripted

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)


@pytest.fixture
def load(tmp_path):
    """Makes a short run against a port."""
    keys = tmp_path / "keys"
    keys.write_text("20.500.1/a\n20.500.1/b c\n20.500.1/größe\n")
    domains = tmp_path / "domains"
    domains.write_text("a.example\nb.example\n")

    def make(mode, port, **more):
        file = domains if mode == "dns" else keys
        return Load(mode, "127.0.0.1", port, file, **{"seconds": 0.3, "warmup_s": 0.1} | more)

    return make


@pytest.mark.parametrize(
    ("mode", "answer"), [("irp-udp", scripted.irp_answer), ("dns", scripted.dns_answer)]
)
def test_datagrams_are_matched_to_their_requests(load, mode, answer):
    """Every request over UDP that is answered rightly is counted once, with a latency."""
    with scripted.udp(answer) as port:
        got = run(load(mode, port, open=4))
    assert got.figures["answered"] == got.latencies.total > 0
    assert got.figures["wrong"] == got.figures["lost"] == got.figures["stray"] == 0


@pytest.mark.parametrize(
    ("mode", "talk"),
    [
        ("irp-tcp", scripted.irp_talk),
        ("irp-tcp", partial(scripted.irp_talk, pieces=5)),
        ("irp-tcp-once", scripted.irp_talk),
        ("http", scripted.http_talk),
        ("http", partial(scripted.http_talk, pieces=7)),
    ],
)
def test_streams_are_read_to_the_end_of_each_reply(load, mode, talk):
    """Every request over TCP that is answered is counted once, in however many pieces it comes."""
    with scripted.tcp(talk) as port:
        got = run(load(mode, port, open=4))
    assert got.figures["answered"] == got.latencies.total > 0
    assert got.figures["wrong"] == got.figures["lost"] == got.figures["failed"] == 0


def test_an_answer_for_another_name_is_wrong(load):
    """A reply that repeats another name is no answer."""
    with scripted.udp(lambda data: scripted.irp_answer(data[:48] + b"X" + data[49:])) as port:
        got = run(load("irp-udp", port, open=1))
    assert got.figures["answered"] == 0
    assert got.figures["wrong"] > 0


def test_absent_names_are_right_where_they_are_expected(load):
    """Response code 100 is the right answer for names that are not there, and only for them."""
    with scripted.udp(partial(scripted.irp_answer, code=100)) as port:
        absent = run(load("irp-udp", port, open=1, expected="absent")).figures
        present = run(load("irp-udp", port, open=1)).figures
    assert absent["answered"] > 0 == absent["wrong"]
    assert present["wrong"] > 0 == present["answered"]


def test_lost_requests_are_counted_and_not_timed(load):
    """A request without an answer is lost; it never looks like a fast one."""
    numbers = count()
    answer = lambda data: scripted.irp_answer(data) if next(numbers) % 4 else None  # noqa: E731
    with scripted.udp(answer) as port:
        got = run(load("irp-udp", port, open=1024, rate=1000))
    assert got.figures["lost"] > 0
    assert got.figures["answered"] + got.figures["lost"] == got.figures["sent"]
    assert got.latencies.total == got.figures["answered"]


def test_a_stall_is_seen_by_every_request_that_was_due(load):
    """In the open loop a server that stands still for 0.3 s delays all that was due then."""
    with scripted.udp(scripted.irp_answer, stall_at=300, stall_s=0.3) as port:
        got = run(load("irp-udp", port, open=1, rate=1000, seconds=0.8))
    late = sum(n for top, n in got.latencies.buckets if top > 100_000_000)
    assert late >= 100  # a generator that waits for the answer would count one


def test_the_generator_says_what_is_wrong_with_its_call(load, tmp_path):
    """An empty file of names is an error with its reason."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(NoGenerator, match="no names in the file of keys"):
        run(Load("http", "127.0.0.1", 1, empty))


def test_processes_are_measured(load):
    """Memory and CPU of the named processes stand in the figures."""
    with scripted.udp(scripted.irp_answer) as port:
        got = run(load("irp-udp", port, pids=(os.getpid(),))).figures["server"]
    assert got["rss_kib"] > 1000
    assert got["cpu_s"] > 0
