"""resolver.recursion: queries, and the answers that faces give."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import ResponseCode, SettingsError
from protocol.record import HandleValue, decode_values
from resolver.config import RecursionSettings, Settings
from resolver.lookup import Answer, Query
from resolver.recursion import Rules, open_recursion, rules_of
from resolver.verify import Need
from tests.scenarios.script import Player
from tests.scenarios.virtual import run

NAME = b"88.1/pump"
TREE = """
site   R   root 88
site   E   serves 88.1
record 88.1/pump   URL    https://example.org/pump   ttl 60
record 88.1/pump   EMAIL  a@example.org   ttl 60
"""


def play(work, script=TREE):
    """Run a coroutine function on the tree."""

    async def main():
        player = Player()
        await player.play(script)
        try:
            return await work(player._recursion(), player.world)
        finally:
            await player.recursion.close()

    return run(main())


def types_of(answer):
    return [value.type for value in decode_values(answer.values)]


def test_answers_at_hand_never_wait():
    """Before the first fetch there is none; after it the same values come from the cache."""

    async def work(recursion, world):
        assert recursion.cached(Query(NAME)) is None
        fetched = await recursion.resolve(Query(NAME))
        at_hand = recursion.cached(Query(NAME))
        assert at_hand.values == fetched.values
        assert (fetched.source, at_hand.source) == ("referral", "cache")
        assert not at_hand.authoritative
        assert types_of(recursion.cached(Query(NAME, types=(b"EMAIL",)))) == [b"EMAIL"]
        assert types_of(recursion.cached(Query(NAME, indexes=(1,)))) == [b"URL"]
        none = recursion.cached(Query(NAME, types=(b"X",)))
        assert none.code == ResponseCode.VALUES_NOT_FOUND

    play(work)


def test_the_answer_repeats_the_name_as_asked():
    """Prefixes compare without case; the answer says what was asked."""

    async def work(recursion, world):
        world.sites["E"].records[b"88.AB/X"] = [HandleValue(1, b"URL", b"u")]
        world.sites["E"].zone = b"88"
        await recursion.resolve(Query(NAME))
        assert recursion.cached(Query(NAME)).handle == NAME

    play(work)


def test_a_primary_is_asked_past_the_cache():
    """AT questions are answered by the site itself, every time."""

    async def work(recursion, world):
        await recursion.resolve(Query(NAME))
        world.messages = 0
        query = Query(NAME, authoritative=True)
        assert recursion.cached(query) is None
        answer = await recursion.resolve(query)
        assert answer.code == ResponseCode.SUCCESS
        assert world.messages == 1
        missing = await recursion.resolve(Query(b"88.1/none", authoritative=True))
        assert missing.code == ResponseCode.HANDLE_NOT_FOUND

    play(work)


def test_private_questions_are_referred_and_never_cached():
    """Where a site wants to know who asks, the asker is sent there: nobody else's proof is lent."""

    async def work(recursion, world):
        site = world.sites["E"]
        site.moods = {"wants-identity"}
        answer = await recursion.resolve(Query(NAME, public_only=False))
        assert answer.code == ResponseCode.SERVICE_REFERRAL
        assert types_of_sites(answer) == [b"HS_SITE"]
        assert recursion.cached(Query(NAME)) is None
        site.moods = set()
        answer = await recursion.resolve(Query(NAME, public_only=False, types=(b"URL",)))
        assert types_of(answer) == [b"URL"]
        assert recursion.cached(Query(NAME)) is None
        answer = await recursion.resolve(Query(NAME, public_only=False, types=(b"X",)))
        assert answer.code == ResponseCode.VALUES_NOT_FOUND

    def types_of_sites(answer: Answer):
        return [value.type for value in decode_values(answer.values)]

    play(work)


def test_private_values_that_a_site_sends_are_not_kept():
    """A site that gives away too much is not helped in it."""

    async def work(recursion, world):
        site = world.sites["E"]
        secret = HandleValue(9, b"PRICE", b"12", permissions=12)
        site.records[b"88.1/PUMP"].append(secret)
        site.moods = {"shows-private"}
        answer = await recursion.resolve(Query(NAME))
        assert types_of(answer) == [b"URL", b"EMAIL"]

    play(work)


def test_too_many_servers_passed():
    """Ten hops are the end (code 6), and nobody is asked."""

    async def work(recursion, world):
        answer = await recursion.resolve(Query(NAME, hops=10))
        assert answer.code == ResponseCode.RECURSION_COUNT_TOO_HIGH
        assert world.messages == 0

    play(work)


def test_names_without_a_root():
    """A name that no configured root leads to is not ours: code 301, with the next step."""

    async def work(recursion, world):
        answer = await recursion.resolve(Query(b"10.1000/1"))
        assert answer.code == ResponseCode.SERVER_NOT_RESPONSIBLE
        assert "recursion.roots" in answer.message

    play(work)


def test_steps_tell_the_way():
    """Each hop names node, address, transport, question, outcome, time and signature."""

    async def work(recursion, world):
        answer = await recursion.resolve(Query(NAME))
        hops = [step for step in answer.steps if "address" in step]
        assert [hop["asked"] for hop in hops] == ["0.NA/88.1", "88.1/pump"]
        assert hops[0]["node"] == "88"
        assert hops[1]["signature"] == "signed"
        assert hops[1]["transport"] == "udp"
        assert hops[1]["ms"] == 20.0

    play(work)


def test_purging():
    """A purged name is fetched anew; a purged prefix with everything under it."""

    async def work(recursion, world):
        await recursion.resolve(Query(NAME))
        assert recursion.purge(NAME)
        assert recursion.cached(Query(NAME)) is None
        await recursion.resolve(Query(NAME))
        assert recursion.purge_prefix(b"88.1") == 2

    play(work)


def test_hostile_values_are_one_site_less():
    """A success whose values cannot be read counts as no answer."""

    async def work(recursion, world):
        world.sites["E"].moods = {"broken-values"}
        answer = await recursion.resolve(Query(NAME))
        assert answer.code == ResponseCode.ERROR
        assert "broken" in answer.message

    play(work)


def test_a_cancelled_asker_leaves_the_fetch_running():
    """Another asker still gets the answer, with no further message."""

    async def work(recursion, world):
        first = asyncio.ensure_future(recursion.resolve(Query(NAME)))
        await asyncio.sleep(0.005)
        second = asyncio.ensure_future(recursion.resolve(Query(NAME)))
        await asyncio.sleep(0.005)
        first.cancel()
        assert (await second).code == ResponseCode.SUCCESS
        assert world.messages == 2

    play(work)


def test_rules_by_prefix():
    """The longest prefix that holds a name decides how much verification it needs."""
    rules = Rules(Need.OFF, ((b"88", Need.WHEN_SIGNED), (b"88.1", Need.REQUIRED)))
    assert rules.need(b"10") == Need.OFF
    assert rules.need(b"88.2") == Need.WHEN_SIGNED
    assert rules.need(b"88.1.7") == Need.REQUIRED
    assert rules.need(b"88.11") == Need.WHEN_SIGNED


async def test_a_node_opens_its_recursion_by_its_settings(tmp_path):
    """Defaults are enough; a missing key file is named."""
    recursion = open_recursion(Settings(), tmp_path)
    assert (await recursion.resolve(Query(NAME))).code == ResponseCode.SERVER_NOT_RESPONSIBLE
    await recursion.close()
    from dataclasses import replace

    settings = Settings()
    wrong = replace(settings, recursion=replace(settings.recursion, root_keys=("no.pem",)))
    with pytest.raises(SettingsError, match=r"no\.pem"):
        open_recursion(wrong, tmp_path)


def test_what_the_cache_did_is_counted():
    """A miss, hits, a joined fetch and what was sent show in the metrics."""

    async def work(recursion, world):
        await asyncio.gather(*(recursion.resolve(Query(NAME)) for _ in range(3)))
        for _ in range(2):
            recursion.cached(Query(NAME))
        counted = recursion._metrics
        assert counted.cache["hit"].value == 2
        assert counted.cache["miss"].value == 3
        fetched = recursion.fetcher._metrics
        assert fetched.cache["coalesced"].value == 2

    play(work)


def test_a_question_cut_short_by_another_ones_limits_goes_on_by_itself():
    """One asker spends its messages on a long way; the one who waits for the same name does not."""
    from resolver.steps import Limits, Path, Question

    async def work(recursion, world):
        loop = asyncio.get_running_loop()
        poor = Question(NAME, Limits(messages=1), loop.time() + 5)
        rich = Question(NAME, Limits(), loop.time() + 5)
        fetch = recursion.fetcher.fetch
        results = await asyncio.gather(
            fetch(NAME, poor, Path()), fetch(NAME, rich, Path()), return_exceptions=True
        )
        assert results[0].code == ResponseCode.RECURSION_COUNT_TOO_HIGH
        assert results[1].entry.code == ResponseCode.SUCCESS

    play(work)


def test_the_end_of_another_question_fails_nobody_else():
    """Who joined a fetch late has time of its own: the fetch is begun once more for it."""

    async def work(recursion, world):
        site = world.sites["E"]
        await recursion.resolve(Query(b"88.1/none"))  # the delegation is known
        site.slow_s = 60
        first = asyncio.ensure_future(recursion.resolve(Query(NAME)))
        await asyncio.sleep(4)
        second = asyncio.ensure_future(recursion.resolve(Query(NAME)))
        await asyncio.sleep(0.95)
        site.slow_s = 0
        assert (await first).code == ResponseCode.ERROR
        assert (await second).code == ResponseCode.SUCCESS

    play(work)


def test_verification_by_prefix():
    """The longest prefix of `verify_prefixes` decides, `verify` for all others."""
    configured = RecursionSettings(verify_prefixes=(("88.ab", "required"), ("88", "off")))
    need = rules_of(configured).need
    assert need(b"88.AB.1") == Need.REQUIRED
    assert need(b"88.ABC") == Need.OFF
    assert need(b"10.1000") == Need.WHEN_SIGNED
