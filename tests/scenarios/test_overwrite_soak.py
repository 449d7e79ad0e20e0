"""A short soak against real processes; the hour is tests.scenarios.overwrite_soak."""

from __future__ import annotations

import shutil

import pytest

from tests.scenarios.overwrite_soak import figures, soak

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)


def test_overwriting_uses_the_pages_again(tmp_path):
    """Beside killed exports and readers, and a client that takes no answer."""
    samples, answers = soak(tmp_path, seconds=6, rate=500, records=20_000, settle=1.5, every_s=2)
    found = figures(samples, answers)
    print(f"\n{found}")
    assert found["overwritten"] > 1000
    assert found["rest_mib_most"] < 1.4 * found["rest_mib_first"]
    assert found["wrong"] == 0 < found["answered"]
