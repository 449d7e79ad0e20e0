"""Resolution by scripts with a clock of their own; the language is that of script.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.script import Player
from tests.scenarios.virtual import run

SCRIPTS = sorted(Path(__file__).parent.glob("*.scenario"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scenario(script):
    """Every expectation of the script holds, by its own clock."""
    assert run(Player().play(script.read_text())) > 0
