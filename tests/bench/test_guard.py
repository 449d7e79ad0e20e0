from __future__ import annotations

import pytest

from bench.guard import compared, read_counts

DUMP = """\
# callgrind format
version: 1
desc: Trigger: Client Request: {mark}

events: Ir
summary: {total}
"""


def test_counts_are_of_the_second_part_of_each_path(tmp_path):
    """What is done once falls into the first part and is left out."""
    for number, (mark, total) in enumerate(
        [("HTTP|first|500", 99), ("HTTP|rest|1000", 32_000_000), ("DNS|rest|10", 235)]
    ):
        (tmp_path / f"out.{number}").write_text(DUMP.format(mark=mark, total=total))
    (tmp_path / "out.9").write_text("# callgrind format\ndesc: Trigger: Program termination\n")
    assert read_counts(sorted(tmp_path.iterdir())) == {"HTTP": 32_000, "DNS": 23.5}


def test_a_path_without_a_kept_figure_is_not_compared():
    """Only paths that the last commit had are compared, by the share that they changed."""
    change = compared({"a": 110.0, "b": 90.0, "new": 5.0}, {"a": 100.0, "b": 100.0, "gone": 1.0})
    assert change == pytest.approx({"a": 0.1, "b": -0.1})
