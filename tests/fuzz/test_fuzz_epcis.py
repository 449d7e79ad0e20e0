"""A short run of the fuzzer of events; the long one is tests/fuzz/fuzz_epcis.py by hand."""

from __future__ import annotations

import runpy
from pathlib import Path

FUZZER = runpy.run_path(str(Path(__file__).with_name("fuzz_epcis.py")))


def test_mutated_documents_queries_and_mappings_are_read_or_refused() -> None:
    """Some thousand mutated inputs give a value or a plain error, and some of each."""
    assert 0 < FUZZER["fuzz"](3_000, seed=7) < 3_000
