"""A short run of the decoder fuzzer; the long one is tests/fuzz/fuzz_wire.py by hand."""

from __future__ import annotations

import runpy
from pathlib import Path

FUZZER = runpy.run_path(str(Path(__file__).with_name("fuzz_wire.py")))


def test_mutated_vectors_decode_or_are_refused() -> None:
    """Twenty thousand mutated inputs give a value or ParseError, each within 10 ms."""
    run = FUZZER["fuzz"](20_000, seed=7)
    assert 0 < run.accepted < 20_000
    assert run.slowest_s <= FUZZER["LIMIT_S"]
    print(f"N4: slowest of 20,000 inputs {run.slowest_s * 1000:.2f} ms ({run.slowest}), gate 10 ms")


def test_the_fuzzer_repeats_itself() -> None:
    """The same seed gives the same run."""
    assert FUZZER["fuzz"](500, seed=3).accepted == FUZZER["fuzz"](500, seed=3).accepted
