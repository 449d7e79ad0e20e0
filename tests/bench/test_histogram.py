from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import Histogram

SHARES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)


def of(values: list[int]) -> Histogram:
    """Every value in a bucket of its own."""
    return Histogram(tuple((value, values.count(value)) for value in sorted(set(values))))


def oracle(values: list[int], share: float) -> int:
    """The percentile by its definition, from the sorted list."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_sorted_list(values):
    """A percentile is the value at its rank among all values."""
    histogram = of(values)
    assert [histogram.percentile(s) for s in SHARES] == [oracle(values, s) for s in SHARES]


@given(
    st.lists(st.integers(0, 10**6), max_size=50),
    st.lists(st.integers(0, 10**6), max_size=50),
)
def test_merging_is_counting_together(one, other):
    """Two merged histograms are the histogram of both lists."""
    assert Histogram.merged((of(one), of(other))) == of(one + other)


def test_nothing_counted_gives_zeros():
    """An empty histogram has no percentile above 0 and a text without rows."""
    empty = Histogram()
    assert empty.summary_us() == {"p50": 0, "p90": 0, "p99": 0, "p999": 0, "max": 0}
    assert "Total count    =            0]" in empty.hdr_text()


def test_the_text_is_laid_out_as_hdrhistogram_writes_it():
    """Value in microseconds, share, running count and 1/(1-share); then the three notes."""
    histogram = of([1000] * 9 + [5000])
    assert histogram.hdr_text() == (
        "       Value     Percentile TotalCount 1/(1-Percentile)\n"
        "\n"
        "       1.000 0.000000000000          9           1.00\n"
        "       1.000 0.100000000000          9           1.11\n"
        "       1.000 0.200000000000          9           1.25\n"
        "       1.000 0.300000000000          9           1.43\n"
        "       1.000 0.400000000000          9           1.67\n"
        "       1.000 0.500000000000          9           2.00\n"
        "       1.000 0.550000000000          9           2.22\n"
        "       1.000 0.600000000000          9           2.50\n"
        "       1.000 0.650000000000          9           2.86\n"
        "       1.000 0.700000000000          9           3.33\n"
        "       1.000 0.750000000000          9           4.00\n"
        "       1.000 0.775000000000          9           4.44\n"
        "       1.000 0.800000000000          9           5.00\n"
        "       1.000 0.825000000000          9           5.71\n"
        "       1.000 0.850000000000          9           6.67\n"
        "       1.000 0.875000000000          9           8.00\n"
        "       1.000 0.887500000000          9           8.89\n"
        "       5.000 1.000000000000         10\n"
        "#[Mean    =        1.400, StdDeviation   =        1.200]\n"
        "#[Max     =        5.000, Total count    =           10]\n"
        "#[Buckets =            4, SubBuckets     =         1024]\n"
    )
