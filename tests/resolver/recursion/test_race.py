"""resolver.race: attempts side by side, by a clock of its own."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import RecursionTooDeep, SignatureInvalid, UpstreamError
from resolver.race import Attempt, race
from tests.scenarios.virtual import run


def attempt(after_s, takes_s, result, log):
    async def work():
        now = asyncio.get_running_loop().time
        log.append(("start", result, now()))
        try:
            await asyncio.sleep(takes_s)
        except asyncio.CancelledError:
            log.append(("stopped", result, now()))
            raise
        if isinstance(result, Exception):
            raise result
        return result

    return Attempt(after_s, work)


def test_the_first_success_counts_and_the_rest_is_stopped():
    """The second starts after its delay; the slower one is cancelled."""
    log = []
    result = run(race([attempt(0, 9, "slow", log), attempt(1, 1, "quick", log)]))
    assert result == "quick"
    assert log == [("start", "slow", 0), ("start", "quick", 1), ("stopped", "slow", 2)]


def test_a_failure_starts_the_next_at_once():
    """Nobody waits for a delay when nothing is running."""
    log = []
    error = UpstreamError("refused")
    result = run(race([attempt(0, 0.1, error, log), attempt(5, 0.1, "b", log)]))
    assert result == "b"
    assert log[1] == ("start", "b", 0.1)


def test_a_quick_one_keeps_the_others_from_starting():
    """A second attempt is not made when the first answers in time."""
    log = []
    assert run(race([attempt(0, 0.2, "a", log), attempt(0.25, 0, "b", log)])) == "a"
    assert log == [("start", "a", 0)]


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([UpstreamError("a"), UpstreamError("b")], UpstreamError),
        ([UpstreamError("a"), SignatureInvalid("b")], SignatureInvalid),
        ([SignatureInvalid("a"), RecursionTooDeep("b")], RecursionTooDeep),
    ],
)
def test_the_most_telling_failure_is_told(errors, told):
    """A limit comes before a lie, a lie before silence; several silences are told together."""
    with pytest.raises(told) as caught:
        run(race([attempt(0, 0, error, []) for error in errors]))
    if told is UpstreamError:
        assert str(caught.value) == "a; b"


def test_other_errors_are_not_hidden():
    """A fault of our own is no failed attempt."""
    with pytest.raises(ZeroDivisionError):
        run(race([attempt(0, 0, ZeroDivisionError(), []), attempt(1, 0, "b", [])]))


def test_no_attempts_is_an_error():
    """Nothing to ask is an upstream error too."""
    with pytest.raises(UpstreamError, match="no address"):
        run(race([]))
