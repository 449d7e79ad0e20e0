"""Redirects given lately: the same octets as the ordinary way, and never one registration old."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver.http.fastpath import read_caller
from tests.resolver.http.node_in_process import value
from tests.resolver.http.test_fastpath import DATE, exchange
from tests.resolver.links.shop import KEY, register

HOST = b"Host: id.example.org\r\n"


def request(path, headers=HOST):
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), headers)


async def ask(shop, *parts):
    return await exchange(shop, parts, fast=True)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (KEY, HOST),
        (f"{KEY}/22/V1/10/L7/21/S1", HOST),
        (f"{KEY}/21/S1?x=1&y=%20", HOST),
        (f"{KEY}?linkType=gs1:safetyInfo", HOST + b"Accept: application/pdf\r\n"),
        (f"{KEY}?linkType=gs1:instructions", HOST + b"Accept-Language: sv, en;q=0.5\r\n"),
        (f"/shop{KEY}/", HOST),
    ],
)
async def test_same_octets(shop, path, headers):
    """The second answer comes from memory and is the first but for its date."""
    first, fast = await ask(shop, request(path, headers))
    assert fast == 0
    second, fast = await ask(shop, request(path, headers))
    assert fast == 1
    assert DATE.sub(b"", first) == DATE.sub(b"", second)
    assert first.startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")
    slow, _ = await exchange(shop, (request(path, headers),), fast=False)
    assert DATE.sub(b"", slow) == DATE.sub(b"", second)


async def test_what_is_registered_counts_at_once(shop):
    """After any registration the answer is made anew."""
    await ask(shop, request(KEY))
    register(shop, KEY, value(1, "URL", "https://example.org/new"))
    answer, fast = await ask(shop, request(KEY))
    assert fast == 0
    assert b"Location: https://example.org/new\r\n" in answer
    register(shop, f"{KEY}/21/S1", value(1, "URL", "https://example.org/s1"))
    answer, _ = await ask(shop, request(f"{KEY}/21/S1"))
    assert b"Location: https://example.org/s1\r\n" in answer


async def test_callers_are_told_apart(shop):
    """Another language, another media type, another host: another answer."""
    path = f"{KEY}?linkType=gs1:instructions"
    for language in (b"sv", b"en", b"sv"):
        headers = HOST + b"Accept-Language: %b\r\n" % language
        answer, _ = await ask(shop, request(path, headers))
        assert b"Location: https://example.org/%b\r\n" % language in answer
    await ask(shop, request(KEY))
    answer, fast = await ask(shop, request(KEY, HOST + b"Accept: application/linkset+json\r\n"))
    assert (fast, answer[:15]) == (0, b"HTTP/1.1 200 OK")


async def test_what_is_not_kept(shop):
    """Choices by chance, tombstones, linksets, errors and HEAD are made each time."""
    loc = '<locations><location href="https://example.org/loc"/></locations>'
    register(shop, "/414/9521234543213", value(1, "10320/loc", loc))
    register(
        shop, "/01/09521234543206", value(1, "URL", "https://a.example/", ttl=2**31, ttl_type=1)
    )
    for path in (
        "/414/9521234543213",
        "/01/09521234543206",
        f"{KEY}/21/OLD",
        f"{KEY}?linkType=linkset",
        f"{KEY}?linkType=gs1:certificationInfo",
        "/01/09524000000002",
        "/01/1",
        f"{KEY}?noredirect",
    ):
        assert (await ask(shop, request(path)))[1] == 0, path
        assert (await ask(shop, request(path)))[1] == 0, path
    await ask(shop, request(KEY))
    head = request(KEY).replace(b"GET", b"HEAD")
    assert (await ask(shop, head))[1] == 0


names = st.sampled_from(["Host", "accept", "ACCEPT-LANGUAGE", "X-Request-ID"])
values = st.text("abc:;,=*/ ", max_size=8).map(str.strip)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values))
def test_callers_of_a_header_block(headers):
    """What chooses among links is read from the block as it was sent."""
    block = " HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    folded = {name.lower(): text.encode() for name, text in headers.items()}
    caller = read_caller((block + "\r\n").encode())
    assert caller.host == folded.get("host", b"")
    assert caller.accept == folded.get("accept", b"")
    assert caller.language == folded.get("accept-language", b"")


async def test_many_at_once(shop):
    """Requests side by side get the same answers as one after the other."""
    answers = await asyncio.gather(*(shop.ask("GET", f"{KEY}/21/{n % 3}") for n in range(30)))
    assert {answer.headers["Location"] for answer in answers} == {"https://example.org/p7"}
