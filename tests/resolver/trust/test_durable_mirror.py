"""A registration that waits for a mirror, and mirrors that clients find in the prefix record."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from protocol.change import Change, Kind
from protocol.record import HandleValue
from protocol.values.hs_site import decode_site
from registry.prefix_record import MIRROR_SITES
from resolver.config import FaceSettings
from resolver.trust.following import read_status
from resolver.writer_link import open_writer
from tests.resolver.nodes import biaoshi, make, serving, until
from tests.resolver.trust.mirrored import announced, caught_up, mirror_of, ports, tree_of


@pytest.fixture
def pair(pair):
    """A primary that waits for its mirror, half a second at most."""
    settings = pair[0] / "biaoshi.toml"
    text = settings.read_text()
    changed = text.replace('durable = "primary"', 'durable = "mirror"').replace(
        "durable_s = 5.0", "durable_s = 0.5"
    )
    assert changed != text
    settings.write_text(changed)
    return pair


def register(folder, name):
    with open_writer(folder) as writer:
        value = HandleValue(1, b"URL", b"http://example.org/")
        (outcome,) = writer.submit([Change(Kind.CREATE, b"86.999/" + name, (value,))])
        return outcome


def test_yes_waits_for_a_mirror(pair):
    """Without a mirror the answer says so in time; with one it is yes, and the mirror has it."""
    primary, mirror, serve = pair
    first = serve(primary)
    outcome = register(primary, b"alone")
    assert (outcome.status, outcome.reason) == ("unconfirmed", "NotMirrored")
    assert "no mirror confirmed it within 0.5 s" in outcome.error
    assert outcome.sequence == tree_of(primary)
    assert first.ask(b"86.999/alone")[0] == 1
    copy = serve(mirror)
    caught_up(mirror, tree_of(primary))
    until(lambda: register(primary, b"alone").status == "unchanged")
    outcome = register(primary, b"both")
    assert (outcome.status, outcome.error) == ("created", None)
    assert copy.ask(b"86.999/both")[0] == 1
    copy.stop()
    assert register(primary, b"alone-again").status == "unconfirmed"
    with urllib.request.urlopen(f"{first.url}/metrics", timeout=10) as reply:
        assert b"biaoshi_mirrored_changes" in reply.read()


def test_a_mirror_is_published_and_answers(pair):
    """The mirror's site stands in 0.NA/P as no primary one; a client that asks there is answered."""
    primary, mirror, serve = pair
    first = serve(primary)
    register(primary, b"pump")
    copy = serve(mirror)

    announced(first, copy)
    values = {one.index: one for one in first.ask(b"0.NA/86.999")[1]}
    (site,) = [decode_site(values[index].data) for index in MIRROR_SITES if index in values]
    assert not site.primary
    assert decode_site(values[1].data).primary
    caught_up(mirror, tree_of(primary))
    assert copy.ask(b"0.NA/86.999")[1] == first.ask(b"0.NA/86.999")[1]
    assert biaoshi("check", primary).returncode == 0


def test_clients_turn_to_the_mirror(tmp_path):
    """The parent publishes the mirror too: with the primary gone, a walk from the root goes on."""
    with serving() as serve:
        top = serve(make(tmp_path / "top", "88", role="top"))
        http, https = ports(2)
        faces = FaceSettings(irp=0, http=http, https=https)
        steel = make(tmp_path / "steel", "88.118", parent=top.url, role="second", faces=faces)
        first = serve(steel)
        for command in (("request", "--node", steel), ("approve", "88.118", "--node", top.folder)):
            done = biaoshi("prefix", *command)
            assert done.returncode == 0, done.stderr
        until(lambda: first.ask(b"88.118/x")[0] == 100)
        with open_writer(steel) as writer:
            value = HandleValue(1, b"URL", b"http://example.org/pump", ttl=1)
            (outcome,) = writer.submit([Change(Kind.CREATE, b"88.118/pump", (value,))])
            assert outcome.error is None
        mirror_of(steel, https, tmp_path / "copy", prefix="88.118")
        serve(tmp_path / "copy")
        until(lambda: any(one.index in MIRROR_SITES for one in top.ask(b"0.NA/88.118")[1]))
        caught_up(tmp_path / "copy", tree_of(steel))
        root = top.folder / "keys" / "root_pub.pem"
        walk = ("resolve", "88.118/pump", "--root", top.url, "--root-key", root, "--steps")
        done = biaoshi(*walk)
        assert (done.returncode, "http://example.org/pump" in done.stdout) == (0, True), done
        first.stop()
        done = biaoshi(*walk)
        assert (done.returncode, "http://example.org/pump" in done.stdout) == (0, True), done


def test_a_stranger_cannot_speak_for_a_mirror(pair):
    """What is said without an administrator's proof is refused."""
    primary, mirror, serve = pair
    first = serve(primary)
    body = b'{"mirror":"x","size":1,"root":"","sites":[]}'
    asked = urllib.request.Request(
        f"{first.url}/log/held", body, {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    assert refused.value.code in {401, 403}
    assert read_status(mirror) == {}
