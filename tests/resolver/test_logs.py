"""Logs: one JSON object a line, no secret, no flood."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog

from resolver import logs
from resolver.logs import QueryLog


@pytest.fixture
def lines(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    before = logging.getLogger().handlers[:]
    logging.getLogger().handlers.clear()
    logs.configure("info", "reader-0")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = before


def test_a_line_is_one_object(lines):
    """Event, level, process, time and the fields; octets as text, control characters escaped."""
    structlog.get_logger().info("lookup", handle=b"86.999/\n\xff", n=2**70, bad="\ud800")
    (line,) = lines()
    assert (line["event"], line["process"], line["level"]) == ("lookup", "reader-0", "info")
    assert line["handle"] == "86.999/\n\\xff"


@pytest.mark.parametrize("name", ["password", "admin_secret", "Authorization", "set_cookie"])
def test_a_field_named_like_a_secret_is_blanked(lines, name):
    """Whoever wrote it: the value is not in the line."""
    structlog.get_logger().info("login", **{name: "hunter2"})
    assert lines()[0][name] == "[withheld]"


def test_a_flood_is_cut_and_counted(lines):
    """Of a thousand equal events a bounded number is written."""
    for _ in range(1000):
        structlog.get_logger().info("malformed")
    assert len(lines()) <= 150


def test_a_long_field_is_cut(lines):
    """Nobody can fill the disk with one value."""
    structlog.get_logger().info("x", text="y" * 100_000)
    assert len(lines()[0]["text"]) < 3_000


def test_libraries_log_in_the_same_form(lines):
    """asyncio and aiohttp warnings are JSON lines too."""
    logging.getLogger("asyncio").warning("slow %s", "callback")
    (line,) = lines()
    assert (line["logger"], line["message"]) == ("asyncio", "slow callback")


def test_below_the_level_nothing_is_said(lines):
    """info does not show debug."""
    structlog.get_logger().debug("detail")
    assert lines() == []


@pytest.mark.parametrize(("every", "due"), [(0, 0), (1, 10), (5, 2), (100, 0)])
def test_one_of_so_many_lookups_is_due(every, due):
    """The sample is counted, not drawn: it costs one subtraction."""
    log = QueryLog(every)
    assert sum(log.due() for _ in range(10)) == due


@pytest.mark.parametrize("every", [1, 3, 10, 64])
def test_a_loop_over_many_logs_as_often(every: int) -> None:
    """Asked for many lookups at once, one of so many is due, as when asked one by one."""
    single, many = QueryLog(every), QueryLog(every)
    due = [number for number in range(900) if single.due()]
    found = []
    for start in range(0, 900, 3):
        at = many.within(3)
        if at >= 0:
            found.append(start + at)
    assert found == [number for number in due if every >= 3 or number % 3 == 0]
