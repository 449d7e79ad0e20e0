"""One primary and two mirrors on one machine: who confirms, who is promoted, who follows whom."""

from __future__ import annotations

import json
import signal

import pytest

from protocol.change import Change, Kind
from protocol.errors import ReadOnly
from protocol.record import HandleValue
from registry.prefix_record import MIRROR_SITES
from resolver.config import FaceSettings
from resolver.trust.following import read_status
from resolver.writer_link import open_writer
from tests.resolver.nodes import biaoshi, make, serving, until
from tests.resolver.trust.mirrored import caught_up, mirror_of, ports, tables, tree_of


def change(folder, old, new):
    settings = folder / "biaoshi.toml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))


def register(folder, name):
    with open_writer(folder) as writer:
        value = HandleValue(1, b"URL", b"http://example.org/")
        (outcome,) = writer.submit([Change(Kind.CREATE, b"86.999/" + name, (value,))])
        return outcome


@pytest.fixture
def three(tmp_path):
    """(primary, [mirror, mirror], serve); a registration waits for a mirror."""
    http, https = ports(2)
    primary = make(tmp_path / "primary", faces=FaceSettings(irp=0, http=http, https=https))
    change(primary, 'durable = "primary"', 'durable = "mirror"')
    mirrors = [mirror_of(primary, https, tmp_path / name) for name in ("one", "two")]
    with serving() as serve:
        yield primary, mirrors, serve


def lose(node):
    """The machine is gone."""
    node.signal(signal.SIGKILL)
    node.wait()


def point_at(mirror, node):
    """Let a stopped mirror follow another node."""
    text = (mirror / "biaoshi.toml").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("of = ")]
    change(mirror, line, f'of = "https://127.0.0.1:{node.ready["https"]}"')


def confirmed(folder, name):
    outcome = register(folder, name)
    return (outcome.status, outcome.error) == ("created", None)


@pytest.mark.timeout(300)
def test_the_furthest_is_promoted_and_the_other_follows_it(three):
    """Both are published and either confirms; the one that confirmed is promoted and loses nothing."""
    primary, (one, two), serve = three
    first, a, b = serve(primary), serve(one), serve(two)

    def published():
        _, values = first.ask(b"0.NA/86.999")
        return sum(value.index in MIRROR_SITES for value in values)

    until(lambda: published() == 2)
    assert len(json.loads((primary / "mirrors.json").read_text())) == 2
    assert confirmed(primary, b"both")
    for mirror in (one, two):
        caught_up(mirror, tree_of(primary))
    # It is quiet then: neither mirror is taken for the other, so that the record is not made anew.
    about = first.ask(b"0.NA/86.999")[1]
    for number in range(5):
        assert confirmed(primary, b"more%d" % number)
        for mirror in (one, two):
            caught_up(mirror, tree_of(primary))
    assert first.ask(b"0.NA/86.999")[1] == about
    a.stop()
    assert confirmed(primary, b"with one")
    lose(first)
    b.stop()
    assert tree_of(two) > tree_of(one)
    done = biaoshi("promote", two, "--keys", primary)
    assert (done.returncode, "epoch 1" in done.stdout) == (0, True), done.stderr
    new = serve(two)
    assert new.ask(b"86.999/with one")[0] == 1
    point_at(one, new)
    a = serve(one)
    caught_up(one, tree_of(two))
    assert a.ask(b"86.999/with one")[0] == 1
    assert register(two, b"after").error is None
    caught_up(one, tree_of(two))
    assert a.ask(b"86.999/after")[0] == 1
    assert a.get("/health/ready")[0] == 200
    with pytest.raises(ReadOnly, match="mirror"):
        register(one, b"x")
    until(lambda: sum(v.index in MIRROR_SITES for v in new.ask(b"0.NA/86.999")[1]) >= 1)
    caught_up(one, tree_of(two))
    new.stop()
    a.stop()
    assert tables(one) == tables(two)
    # And once more: the mirror of the promoted one is promoted itself.
    done = biaoshi("promote", one, "--keys", two)
    assert (done.returncode, "epoch 2" in done.stdout) == (0, True), done.stderr


@pytest.mark.timeout(300)
def test_one_that_was_behind_is_promoted(three):
    """The other, which holds more, does not throw it away: it stops, says why, and serves on."""
    primary, (one, two), serve = three
    first, a, b = serve(primary), serve(one), serve(two)
    until(lambda: confirmed(primary, b"both") or register(primary, b"both").status == "unchanged")
    for mirror in (one, two):
        caught_up(mirror, tree_of(primary))
    a.stop()
    assert confirmed(primary, b"two alone has it")
    lose(first)
    b.stop()
    assert biaoshi("promote", one, "--keys", primary).returncode == 0
    new = serve(one)
    point_at(two, new)
    b = serve(two)
    status = until(lambda: (s := read_status(two)).get("state") == "diverged" and s)
    assert "promoted (epoch 1) without changes that this mirror holds" in status["why"]
    assert b.ask(b"86.999/two alone has it")[0] == 1
    assert new.ask(b"86.999/two alone has it")[0] == 100
    assert b.get("/health/ready")[0] == 503


@pytest.mark.timeout(300)
def test_a_promotion_without_the_keys_is_told_from_a_stranger(three):
    """A promoted node with keys of its own does not know the mirror's: it waits and says why."""
    primary, (one, two), serve = three
    first, a, b = serve(primary), serve(one), serve(two)
    for mirror in (one, two):
        caught_up(mirror, tree_of(primary))
    lose(first)
    a.stop()
    b.stop()
    assert biaoshi("promote", one).returncode == 0
    point_at(two, serve(one))
    b = serve(two)
    until(lambda: "did not accept 300:0.NA/86.999" in read_status(two).get("why", ""))
    assert read_status(two)["state"] == "waiting"
    assert b.get("/health/ready")[0] == 503
    assert b.ask(b"0.NA/86.999")[0] == 1
