"""A short overload of real processes; the long one is tests.scenarios.overload."""

from __future__ import annotations

import shutil

import pytest

from tests.scenarios.overload import overloaded

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)


def test_three_times_the_peak(tmp_path):
    """Work goes on, health, metrics and the administrator are answered, and it recovers."""
    found = overloaded(tmp_path, seconds=3, peak_s=2)
    print("\n" + "\n".join(found.lines()))
    assert found.goodput > 0
    assert set(found.slowest_s) == {"health", "metrics", "admin"}
