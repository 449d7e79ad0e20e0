"""How another node is asked as oneself: a session that is over there is opened once more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from resolver.trace.reach import Failed, Place, Reach

THERE = Place("88.1", "https://192.0.2.1:8443", b"key")


class Asked(Reach):
    """Sessions are numbered; the other node takes those in `alive`."""

    def __init__(self, alive):
        super().__init__(SimpleNamespace(now=lambda: 0.0))
        self.alive, self.opened, self.sent = alive, 0, []

    async def _prove(self, place):
        if place not in self._sessions:
            self.opened += 1
            self._sessions[place] = (1.0, f"Handle sessionId={self.opened}")
        return self._sessions[place][1]

    async def _request(self, place, method, path, data, headers):
        proof = headers.get("Authorization")
        self.sent.append(proof)
        ok = proof is None or proof in self.alive
        return (200, b"{}", "") if ok else (401, b"", "")


def test_a_session_that_is_over_is_opened_once_more():
    """And not a third time: what is refused then is a question without an answer."""
    reach = Asked({"Handle sessionId=2"})
    assert asyncio.run(reach.get(THERE, "/x", identified=True)) == b"{}"
    assert reach.sent == ["Handle sessionId=1", "Handle sessionId=2"]
    assert asyncio.run(reach.get(THERE, "/y", identified=True)) == b"{}"
    assert reach.opened == 2
    none = Asked(set())
    with pytest.raises(Failed) as failed:
        asyncio.run(none.get(THERE, "/x", identified=True))
    assert (failed.value.reason, len(none.sent)) == ("not_found", 2)


@pytest.mark.parametrize(
    ("place", "identified"),
    [
        (THERE, False),
        (Place("a", "http://192.0.2.1", b"key"), True),
        (Place("a", "https://a"), True),
    ],
)
def test_an_identity_is_shown_over_tls_to_a_known_key_alone(place, identified):
    """For anybody, without TLS or without a site key, one asks as anybody."""
    reach = Asked(set())
    assert asyncio.run(reach.get(place, "/x", identified=identified)) == b"{}"
    assert reach.sent == [None]
