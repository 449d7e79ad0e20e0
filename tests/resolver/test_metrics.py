"""Counters: closed label sets, sums over processes, what survives a process and what does not."""

from __future__ import annotations

import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from resolver.board import Board
from resolver.exposition import exposition
from resolver.metrics import SECONDS, Metrics


def _samples(board):
    text = exposition(board, {"version": "1", "role": "top"}, 7).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_label_outside_its_set_is_refused():
    """Nobody can make a series by a new value."""
    with pytest.raises(KeyError, match="closed set"):
        Metrics().requests["udp", "pump-7"]


def test_processes_count_apart_and_are_summed():
    """Each process has a bank; the exposition is their sum, dead processes included."""
    board = Board(2)
    for slot in range(2):
        metrics = board.metrics(slot, 0)
        metrics.requests["udp", "found"].inc(5)
        metrics.connections["tcp"].inc(2)
    board.ended(0, 0)
    found = _samples(board)
    assert found["biaoshi_requests_total", ("face", "udp"), ("outcome", "found")] == 10
    assert found["biaoshi_connections", ("face", "tcp")] == 2


def test_two_generations_of_a_reader_do_not_share_a_bank():
    """During a reload the old and the new process count side by side."""
    board = Board(1)
    board.metrics(0, 4).lookups["store"].inc(1)
    board.metrics(0, 5).lookups["store"].inc(2)
    assert _samples(board)["biaoshi_lookups_total", ("source", "store")] == 3


def test_times_fall_into_buckets_up_to_their_bound():
    """A bucket counts times at most its bound; the last one counts all."""
    board = Board(1)
    board.metrics(0, 0).request_time["http"].observe(SECONDS[2])
    board.metrics(0, 0).request_time["http"].observe(99.0)
    found = _samples(board)
    name, face = "biaoshi_request_seconds_bucket", ("face", "http")
    assert found[name, face, ("le", str(SECONDS[1]))] == 0
    assert found[name, face, ("le", str(SECONDS[2]))] == 1
    assert found[name, face, ("le", "+Inf")] == 2
    assert found["biaoshi_request_seconds_count", face] == 2


def test_each_process_shows_its_cpu_and_memory():
    """A living process is listed by name with what it uses."""
    board = Board(1)
    board.started(0, 0, os.getpid())
    found = _samples(board)
    assert found["biaoshi_process_resident_memory_bytes", ("process", "reader-0")] > 1_000_000
    assert found["biaoshi_process_cpu_seconds_total", ("process", "reader-0")] > 0


def test_there_are_fewer_series_than_the_gate():
    """Threats O11: at most 5,000 series, whatever happens."""
    assert len(_samples(Board(64))) < 1_000


def test_the_node_says_what_it_is():
    """Readiness, facts, restarts and records are there."""
    board = Board(1)
    board.restarted(writer=True)
    found = _samples(board)
    assert found["biaoshi_ready",] == 0
    assert found["biaoshi_info", ("role", "top"), ("version", "1")] == 1
    assert found["biaoshi_restarts_total", ("process", "writer")] == 1
    assert found["biaoshi_records",] == 7
