"""A short flood of absent names against real processes; the long one is tests.scenarios.name_flood."""

from __future__ import annotations

import shutil

import pytest

from tests.scenarios.name_flood import flooded

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)


def test_what_is_at_hand_is_answered_under_a_flood(tmp_path):
    """Hot names are all but all answered, health answers, and the flood is refused cheaply."""
    flood = flooded(tmp_path, seconds=3, rate=2000)
    print("\n" + "\n".join(flood.lines()))
    assert flood.hot["answered"] >= 0.99 * flood.hot["sent"] > 0
    assert flood.hot["wrong"] == flood.hot["failed"] == 0
    assert flood.shed_count > 0
    assert flood.health_s < 5
