"""A short run of the decoder fuzzer; the long one is tests/fuzz/fuzz_wire.py by hand."""

from __future__ import annotations

import runpy
from pathlib import Path

FUZZER = runpy.run_path(str(Path(__file__).with_name("fuzz_wire.py")))


def test_mutated_vectors_decode_or_are_refused() -> None:
    """Twenty thousand mutated inputs give a value or ParseError, and some of each."""
    assert 0 < FUZZER["fuzz"](20_000, seed=7) < 20_000


def test_the_fuzzer_repeats_itself() -> None:
    """The same seed gives the same run."""
    assert FUZZER["fuzz"](500, seed=3) == FUZZER["fuzz"](500, seed=3)
