"""What bench.events measures is what a node captures."""

from __future__ import annotations

from bench import events
from protocol.epcis.event import mentions


def test_the_measured_events_are_valid_and_name_five_items():
    """Each is taken without a refusal, is signed, and names five objects."""
    changes = events.taken(events.document(1, 3))
    assert len({change.handle for change in changes}) == 3
    assert all(len(mentions(events.event(number))) == 5 for number in range(3))


def test_every_step_is_measured(tmp_path, monkeypatch):
    """The steps and the whole of a short run have figures."""
    monkeypatch.setattr(events, "FOLDER", tmp_path / "run")
    assert all(row["us"] > 0 for row in events.stages(0.01))
    figures = events.local(20, 10)
    assert figures["events"] == 20
    assert figures["cpu_us"] > 0
