"""What the benchmarks make of the generator's figures: knees, ratios, medians, the report."""

from __future__ import annotations

from itertools import count

import pytest
import typer

from bench import compare, generator, growth, locust_command, overhead, report, results, saturate
from bench import figures as goals
from bench.dataset import Shape, is_withheld, names_of, value_set, write_keys
from bench.generator import Load, Measured
from bench.histogram import Histogram
from bench.names import Names
from bench.saturate import Bounds


def figures(rate=0.0, *, p99=1000.0, sent=1000, answered=1000, wrong=0, **more):
    latency = {"p50": 100.0, "p90": 500.0, "p99": p99, "p999": p99, "max": p99}
    server = {"cpu_us_per_answer": 8.0, "major_faults": 0, "rss_kib": 1024, "minor_faults": 0}
    return {
        "mode": "irp-udp",
        "rate_asked": rate,
        "sent": sent,
        "answered": answered,
        "wrong": wrong,
        "lost": sent - answered,
        "failed": 0,
        "per_second": answered,
        "behind_max_us": 3.0,
        "latency_us": latency,
        "server": server,
    } | more


@pytest.fixture
def load(tmp_path):
    return Load("irp-udp", "127.0.0.1", 1, tmp_path / "keys", seconds=1)


def test_a_sweep_ends_at_the_knee(load, monkeypatch):
    """The rate doubles until it is too much; then the gap is halved until it is small."""

    def run(asked):
        late = 1e6 if asked.rate > 23_000 else 100.0
        return Measured(figures(asked.rate, p99=late, sent=asked.rate, answered=asked.rate), None)

    monkeypatch.setattr(generator, "run", run)
    runs = [r.figures for r in saturate.sweep(load, Bounds(10), 2000, 1e6)]
    assert [r["rate_asked"] for r in runs[:5]] == [2000, 4000, 8000, 16000, 32000]
    best = saturate.knee(runs)
    assert 20_000 < best["rate_asked"] <= 23_000
    assert next(r for r in runs if r["rate_asked"] == 32_000)["missed"] == "p99 1000.0 ms"


def test_a_stumble_is_forgiven_once(load, monkeypatch):
    """A run that missed is repeated; only a second miss counts."""
    late = count()
    monkeypatch.setattr(
        generator,
        "run",
        lambda asked: Measured(figures(asked.rate, p99=1e6 if next(late) == 0 else 10.0), None),
    )
    assert (
        saturate.attempt(Load(**_fields(load) | {"rate": 1000}), Bounds(10)).figures["missed"]
        is None
    )


def _fields(load):
    return {name: getattr(load, name) for name in Load.__dataclass_fields__}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"wrong": 2}, "2 wrong answers"),
        ({"answered": 900}, "100 of 1000 lost"),
        ({"sent": 500, "answered": 500}, "not all could be sent in time"),
        ({"p99": 50_000.0}, "p99 50.0 ms"),
        ({}, None),
    ],
)
def test_why_a_run_did_not_keep_up(load, changed, why):
    """Wrong answers, lost ones, unsent ones and late ones each have their word."""
    asked = Load(**_fields(load) | {"rate": 1000})
    assert saturate.misses(figures(1000, **changed), asked, Bounds(10)) == why


def test_ratios_are_of_the_same_round():
    """A machine that slows both alike for a round leaves the ratio of that round as it is."""
    taken = [
        {"name": name, "face": "http", "server": {"cpu_us_per_answer": us * slow}}
        for slow in (1, 3, 2)
        for name, us in (("Biaoshi", 8.0), ("nginx constant", 5.0))
    ]
    ours, theirs = compare.summary(taken)
    assert ours == {"mode": "http", "server": "Biaoshi", "us": 16.0}
    assert theirs["us"] == 10.0
    assert theirs["ours_to_theirs"] == pytest.approx([1.6, 1.6, 1.6])


def test_flat_is_the_largest_store_against_the_smallest():
    """Only names that are there, drawn evenly, are compared."""
    row = {"mode": "http", "names": "present", "zipf": 0}
    rows = [
        row | {"store": "10 short", "cpu_us": 10.0},
        row | {"store": "1,000 short", "cpu_us": 12.0},
        row | {"store": "1,000 short", "cpu_us": 99.0, "names": "absent"},
    ]
    assert growth.flatness(rows, ["10 short", "1,000 short"]) == {"http": pytest.approx(1.2)}


def test_the_names_of_a_store_are_of_three_kinds(tmp_path):
    """Present names have public values, withheld ones none, absent ones no record."""
    shape = Shape(200)
    keys = write_keys(tmp_path / "keys", shape)
    present, withheld = (
        [int(name[-10:]) for name in names_of(keys, kind).read_text().split()]
        for kind in ("present", "withheld")
    )
    assert len(present) == 196
    assert len(withheld) == 4
    assert all(any(v.public for v in value_set(shape, n)) for n in present)
    assert not any(v.public for n in withheld for v in value_set(shape, n))
    assert all(map(is_withheld, withheld))
    assert all(n.endswith("-none") for n in names_of(keys, "absent").read_text().split())


def test_hot_names_come_first(tmp_path):
    """The first name of a file is asked for most, and absent ones in their share."""
    file = tmp_path / "keys"
    file.write_text("".join(f"p/{n}\n" for n in range(1000)))
    names = Names.read(str(file), 0.2)
    drawn = [names.hot() for _ in range(4000)]
    assert 0.1 < sum(name.endswith("-absent") for name in drawn) / 4000 < 0.3
    assert drawn.count("p/0") > drawn.count("p/9") > drawn.count("p/900")


def test_the_user_classes_follow_the_options():
    """Without --scenario those run whose options are given; a named one needs its options."""
    assert locust_command.chosen([], "", "") == ["HttpResolve", "IrpUdp", "IrpTcp"]
    assert locust_command.chosen([], "127.0.0.1:53", "x")[3:] == ["DnsUdp", "Register"]
    with pytest.raises(typer.BadParameter, match="'Ftp' is none of HttpResolve"):
        locust_command.chosen(["Ftp"], "", "")
    with pytest.raises(typer.BadParameter, match="--register-prefix"):
        locust_command.chosen(["Register"], "", "")


SPEED = {"p50_ms": 10.0, "p95_ms": 27.0, "events_a_trace": 17.0}
RUNS = {
    "trace": {
        "growth": [{"events": 10_000, "back": SPEED, "forward": SPEED}],
        "companies": {"events": 1_000, "back": SPEED, "forward": SPEED},
        "capture": {"events_s": 2_400.0},
    },
    "compare": {
        "summary": [
            {"mode": "http", "server": "Biaoshi", "us": 8.0},
            {"mode": "http", "server": "<nginx>", "us": 5.0, "ours_to_theirs": [1.5, 1.6, 1.7]},
        ]
    },
    "saturate": {"mode": "irp-udp", "runs": [figures(1000.0), figures(2000.0)]},
    "growth": {
        "summary": [
            {"store": f"{n} short", "mode": "http", "names": "present", "zipf": 0, "cpu_us": 9.0}
            for n in ("10,000", "1,000,000")
        ]
        + [
            {
                "store": "10,000 of 5 values",
                "mode": "http",
                "names": "present",
                "zipf": 0,
                "cpu_us": 9.5,
            }
        ]
    },
    "writes": {
        "bodies": [{"form": "JSON", "us": 10.0, "octets": 900}],
        "http": [{"records": 10_000, "batch": 1000, "per_second": 9000.0}],
    },
    "overhead": [{"face": "UDP", "lookup_us": 8.0, "counted_share": 0.01, "logged_share": 0.03}],
}


def test_the_report_shows_every_kind_of_run(tmp_path, monkeypatch):
    """A section a kind, with its plot, its command and its machine; names are escaped."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert "No runs are kept yet" in report.page()
    for name, kept in RUNS.items():
        results.save(name, kept)
    (tmp_path / "guard.json").write_text("{}")  # of another form, no run
    page = report.page()
    for title, name, _ in report.SECTIONS:
        assert f"<h2>{title}</h2>" in page
        assert f"python -m bench.{name}" in page
    assert page.count("<svg") == 6
    assert "&lt;nginx&gt;" in page
    assert "<nginx>" not in page
    assert len(results.load()) == len(RUNS)
    assert results.load("saturate")[0]["figures"]["mode"] == "irp-udp"


def test_shares_are_of_the_whole_lookup():
    """Counting is set against what a lookup costs over the network."""
    (row,) = overhead.rows({"UDP": {"counted": 0.1, "logged": 0.4}}, {"UDP": 8.0})
    assert (row["counted_share"], row["logged_share"]) == (0.0125, 0.05)


def test_percentile_files_are_named_by_rate(tmp_path, load):
    """One HdrHistogram file a run."""
    runs = [Measured(figures(rate), Histogram(((1000, 5),))) for rate in (0, 2000)]
    saturate.keep_percentiles(tmp_path, runs)
    assert {f.name for f in tmp_path.iterdir()} == {"irp-udp-closed.hgrm", "irp-udp-2000.hgrm"}


def compared(mode, server, us, ratios=None):
    row = {"mode": mode, "server": server, "us": us}
    return row | ({"ours_to_theirs": ratios} if ratios else {})


def test_goals_are_judged_by_the_median_of_the_rounds(tmp_path):
    """Ratios are set against their bound, either way round; what was not measured is said."""
    rows = [
        compared("http", "nginx constant", 5.0, [1.4, 1.61, 1.9]),
        compared("irp-udp", "Handle.Net", 23.0, [0.25, 1 / 3, 0.5]),
        compared("irp-tcp", "Biaoshi", 14.0),
    ]
    written = [{"face": "https", "names": "serial", "per_second": 12_000.0}]
    judged = [goal.judged(rows, written)[1:] for goal in goals.GOALS]
    assert judged == [
        ("1.61× (1.40–1.90)", "missed"),
        ("not measured", "–"),
        ("3.00× (2.00–4.00)", "met"),
        ("not measured", "–"),
        ("14.0 µs", "met"),
        ("not measured", "–"),
        ("https 12,000/s", "met"),
        ("not measured", "–"),
    ]


def test_the_table_replaces_what_stands_between_the_marks(tmp_path):
    """The rest of the page stays; a page without marks is refused."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{goals.BEGIN}\nold\n{goals.END}\nafter\n")
    goals.put_into(page, "new")
    assert page.read_text() == f"before\n{goals.BEGIN}\nnew\n{goals.END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(RuntimeError, match="lacks the marks"):
        goals.put_into(page, "new")
