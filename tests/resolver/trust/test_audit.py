"""An operator who rewrites, drops or reorders is caught by whoever kept an earlier checkpoint."""

from __future__ import annotations

import pytest

from protocol.errors import SignatureInvalid
from registry.replay import Logged
from resolver.trust.auditing import audit_log
from tests.resolver.trust.cheat import SIGNER, CheatingLog, logged

SIZE = 40


def rewrite(log):
    log.entries[16] = logged(17, b"http://elsewhere.example/")


def reorder(log):
    first, second = log.entries[16], log.entries[17]
    log.entries[16:18] = [
        logged(17, b"http://example.org/18"),
        logged(18, b"http://example.org/17"),
    ]
    assert log.entries[16:18] != [first, second]


def swap_as_they_are(log):
    log.entries[16:18] = log.entries[17], log.entries[16]


def drop(log):
    del log.entries[16]


def drop_and_renumber(log):
    log.entries[16:] = [logged(n, b"http://example.org/%d" % (n + 1)) for n in range(17, SIZE)]


def drop_the_end(log):
    del log.entries[-3:]


def backdate(log):
    log.entries[16] = logged(17, b"http://example.org/17", time_s=1_600_000_000)


@pytest.mark.parametrize("bodies", [True, False])
@pytest.mark.parametrize(
    "cheat",
    [rewrite, reorder, swap_as_they_are, drop, drop_and_renumber, drop_the_end, backdate],
)
def test_a_kept_checkpoint_catches_it(tmp_path, cheat, bodies):
    """Whatever was altered before the kept checkpoint is found, content readable or not."""
    log = CheatingLog(SIZE, bodies=bodies)
    keep = tmp_path / "kept"
    first = audit_log(log, None, keep)
    assert (first.size, first.earlier, first.pinned) == (SIZE, None, False)
    log.entries += [logged(n, b"http://example.org/%d" % n) for n in range(SIZE + 1, SIZE + 5)]
    second = audit_log(log, None, keep)
    assert (second.size, second.earlier, second.pinned) == (SIZE + 4, SIZE, True)
    cheat(log)
    log.entries += [logged(n, b"later") for n in range(len(log.entries) + 1, SIZE + 9)]
    with pytest.raises(SignatureInvalid):
        audit_log(log, None, keep)


def test_the_same_without_a_kept_checkpoint(tmp_path):
    """A consistent rewriting is not seen by who kept nothing: that is what keeping is for."""
    log = CheatingLog(SIZE)
    rewrite(log)
    assert audit_log(log, None, None).size == SIZE


def test_the_first_fault_is_named():
    """The finding names the change that does not add up."""
    log = CheatingLog(SIZE)
    log.entries[16] = Logged(17, log.entries[16].leaf, log.entries[17].body)
    with pytest.raises(SignatureInvalid, match="change 17: its leaf does not commit"):
        audit_log(log, None, None)
    log = CheatingLog(SIZE)
    log.entries[16] = Logged(17, b"rubbish", None)
    with pytest.raises(SignatureInvalid, match="change 17"):
        audit_log(log, None, None)


def test_a_checkpoint_must_be_that_of_the_log():
    """A signed root that the leaves do not have, or a size that is not there, is found."""
    log = CheatingLog(SIZE)
    log.claims = SIGNER.checkpoint(SIZE, b"\0" * 32, 0)
    with pytest.raises(SignatureInvalid, match="altered"):
        audit_log(log, None, None)
    log.claims = SIGNER.checkpoint(SIZE + 1, b"\0" * 32, 0)
    with pytest.raises(SignatureInvalid, match="ends at"):
        audit_log(log, None, None)


def test_another_key_is_refused(tmp_path):
    """The log key that was kept must go on signing."""
    log, keep = CheatingLog(3), tmp_path / "kept"
    audit_log(log, None, keep)
    with pytest.raises(SignatureInvalid, match="key"):
        audit_log(log, b"k" * 32, keep)
    with pytest.raises(SignatureInvalid):
        audit_log(log, b"k" * 32, None)


def test_erased_bodies_are_counted_and_prove_on():
    """Erasing content changes no hash."""
    log = CheatingLog(SIZE)
    log.entries[4] = Logged(5, log.entries[4].leaf, None)
    told = audit_log(log, None, None)
    assert (told.bodies, told.without) == (SIZE - 1, 1)
