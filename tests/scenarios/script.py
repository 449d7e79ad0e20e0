"""The language of the scenarios: what sites do, what is asked when, what is to come of it.

    site R root
    site A serves 88.100 ttl 600
    record 88.100/pump-7 URL https://example.org/7 ttl 60
    at 0 ask 88.100/pump-7 expect URL https://example.org/7, messages 3
    site A silent
    at 61 ask 88.100/pump-7 expect stale, ttl 30

One statement a line; `#` begins a comment. Times are seconds from the start.
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass, field, replace

from protocol.doirp.referral import Referral
from protocol.errors import ResponseCode
from protocol.name import fold, prefix_record
from protocol.record import HandleValue, decode_values
from protocol.values.hs_site import encode_site
from resolver.cache import Cache
from resolver.client import Client
from resolver.config import CacheSettings, OutboundSettings
from resolver.fetch import Fetcher
from resolver.guard import Guard
from resolver.lookup import Answer, Query
from resolver.recursion import Recursion, Rules
from resolver.roots import RootBook, known_root
from resolver.steps import Limits
from resolver.verify import Need, Verifier
from tests.scenarios.world import FakeSite, World


@dataclass
class Player:
    """Plays one script."""

    limits: Limits = field(default_factory=Limits)
    need: Need = Need.WHEN_SIGNED
    cache: dict[str, int] = field(default_factory=dict)
    aliases: bool = False
    certify: bool = True
    recursion: Recursion | None = None
    world: World = None  # type: ignore[assignment]
    count: int = 0

    async def play(self, script: str) -> int:
        """Run every statement; the number of asks. An expectation that fails raises."""
        self.world = World(asyncio.get_running_loop().time)
        asks = 0
        for number, line in enumerate(script.splitlines(), start=1):
            words = shlex.split(line, comments=True)
            if not words:
                continue
            try:
                await getattr(self, f"do_{words[0]}")(words[1:], line)
            except AssertionError as error:
                raise AssertionError(f"line {number}: {line.strip()}\n{error}") from None
            asks += words[0] == "at"
        if self.recursion is not None:
            await self.recursion.close()
        return asks

    # Statements

    async def do_set(self, words: list[str], _: str) -> None:
        name, value = words
        if name == "verify":
            self.need = Need(value)
        elif name in ("aliases", "certify"):
            setattr(self, name, value == "on")
        elif name in ("depth", "fetches", "messages"):
            self.limits = replace(self.limits, **{name: int(value)})
        else:
            self.cache[name] = int(value)

    async def do_site(self, words: list[str], _: str) -> None:
        name, verb, *rest = words
        if verb in ("root", "serves"):
            self._new_site(name, verb, rest)
            return
        site = self.world.sites[name]
        if verb == "answers":
            site.moods.clear()
            site.slow_s = 0
        elif verb == "slow":
            site.slow_s = float(rest[0])
        elif verb == "drops":
            site.drops = int(rest[0])
        elif verb == "speaks":
            site.version = (int(rest[0].split(".")[0]), int(rest[0].split(".")[1]))
        elif verb == "knows":
            site.homed = {each.encode() for each in rest}
        elif verb == "ipv6-dead":
            site.dead_addresses = {each for each in site.addresses if ":" in each}
        elif verb == "serves-as":
            name_ = rest[0].encode()
            for holder in self.world.holders(name_):
                holder.records[fold(name_)] = site.site_values()
        elif verb == "new-key":
            site.key_name = rest[0]
        else:
            site.moods.add(verb)

    def _new_site(self, name: str, verb: str, rest: list[str]) -> None:
        self.count += 1
        root = verb == "root"
        options = rest if root else rest[1:]
        zone = b"" if root else rest[0].encode()
        if root and options and options[0] not in ("ttl", "dual"):
            zone, options = options[0].encode(), options[1:]
        addresses = [f"192.0.2.{self.count}"]
        if "dual" in options:
            addresses.append(f"2001:db8::{self.count}")
        ttl = int(options[options.index("ttl") + 1]) if "ttl" in options else 86_400
        site = FakeSite(name, zone, tuple(addresses), self.world.now, root=root, ttl=ttl)
        self.world.add(site)

    async def do_record(self, words: list[str], _: str) -> None:
        name, type_, data, *options = words
        ttl = int(options[options.index("ttl") + 1]) if "ttl" in options else 86_400
        key = name.encode()
        holders = self.world.holders(key)
        if "at" in options:
            holders = [self.world.sites[options[options.index("at") + 1]]]
        for site in holders:
            values = site.records.setdefault(fold(key), [])
            values.append(HandleValue(len(values) + 1, type_.encode(), data.encode(), ttl))

    async def do_remove(self, words: list[str], _: str) -> None:
        for site in self.world.holders(words[0].encode()):
            site.records.pop(fold(words[0].encode()), None)

    async def do_certify(self, words: list[str], _: str) -> None:
        for zone in words:
            self.world.certify(zone.encode())

    async def do_revoke(self, words: list[str], _: str) -> None:
        """The parent certifies another key for the zone."""
        self.world.certify(words[0].encode(), key="a new key")

    async def do_sign(self, words: list[str], _: str) -> None:
        expires = int(words[words.index("until") + 1]) if "until" in words else None
        signer = words[words.index("as") + 1].encode() if "as" in words else None
        self.world.sign(words[0].encode(), expires=expires, signer=signer)

    async def do_refer(self, words: list[str], _: str) -> None:
        """refer NAME from A to B [prefix] | refer NAME from A to-handle H"""
        name, _, source, how, target, *kind = words
        prefix = "prefix" in kind
        code = ResponseCode.PREFIX_REFERRAL if prefix else ResponseCode.SERVICE_REFERRAL
        if how == "to-handle":
            referral = Referral(target.encode(), None)
        else:
            type_ = b"HS_SITE.PREFIX" if prefix else b"HS_SITE"
            sites = [self.world.sites[each] for each in target.split("+")]
            referral = Referral(
                b"",
                tuple(
                    HandleValue(n, type_, encode_site(site.site(site.addresses[0])))
                    for n, site in enumerate(sites, start=1)
                ),
            )
        self.world.sites[source].referrals[fold(name.encode())] = (int(code), referral)

    async def do_forget(self, words: list[str], _: str) -> None:
        """forget the delegation of a prefix at the sites above it"""
        zone = words[0].encode()
        for site in self.world.above(zone):
            site.records.pop(prefix_record(zone), None)

    async def do_announce(self, words: list[str], _: str) -> None:
        """announce SITE: write its site record into its prefix record anew"""
        site = self.world.sites[words[0]]
        for above in self.world.above(site.zone):
            above.records.setdefault(prefix_record(site.zone), []).extend(site.site_values())

    async def do_purge(self, words: list[str], _: str) -> None:
        self._recursion().purge(words[0].encode())

    async def do_at(self, words: list[str], line: str) -> None:
        at = float(words[0])
        await asyncio.sleep(max(0.0, at - self.world.now()))
        times = int(words[2]) if words[1] == "ask-many" else 1
        name = words[3] if words[1] == "ask-many" else words[2]
        types = (words[words.index("type") + 1].encode(),) if "type" in words else ()
        await self._ask(name.encode(), types, times, line.split(" expect ", 1)[1])

    # Asking

    def _recursion(self) -> Recursion:
        if self.recursion is not None:
            return self.recursion
        world = self.world
        now, wall = world.now, world.wall
        client = Client(world, now=now, wall=wall)
        book = RootBook((), guard=Guard(OutboundSettings()), client=client, now=now, wall=wall)
        for site in world.sites.values():
            if site.root:
                book.add(known_root([site.site(site.addresses[0])], site.zone))
        cache = Cache(CacheSettings(**self.cache), now=now, wall=wall)
        fetcher = Fetcher(
            client,
            book,
            cache,
            Verifier(wall=wall),
            need=Rules(self.need).need,
            certify=self.certify,
        )
        self.recursion = Recursion(fetcher, book, limits=self.limits)
        return self.recursion

    async def _ask(self, name: bytes, types: tuple[bytes, ...], times: int, expected: str) -> None:
        recursion, world = self._recursion(), self.world
        world.messages, world.order = 0, []
        began = world.now()
        query = Query(name, types=types)

        async def one() -> Answer:
            at_hand = recursion.cached(query)
            if at_hand is not None:
                return at_hand
            return await recursion.resolve(query, follow_aliases=self.aliases)

        answers = await asyncio.gather(*(one() for _ in range(times)))
        took = world.now() - began
        for answer in answers:
            for clause in expected.split(","):
                self._check(clause.split("#")[0].strip(), answer, took)

    def _check(self, clause: str, answer: Answer, took: float) -> None:
        words = clause.split()
        seen = f"{answer.code.name} {answer.message!r}\n" + "\n".join(map(str, answer.steps))
        values = decode_values(answer.values)
        shown = ", ".join(f"{v.type!r} {v.data[:40]!r} ttl {v.ttl}" for v in values)
        said = f"{clause!r} was expected; took {took:.3f} s, messages {self.world.messages} to "
        said += f"{self.world.order}; {seen}\n{shown}\n{answer.verification}"
        match words:
            case ["not", "found"]:
                assert answer.code == ResponseCode.HANDLE_NOT_FOUND, said
            case ["no", "values"]:
                assert answer.code == ResponseCode.VALUES_NOT_FOUND, said
            case ["error", code]:
                assert answer.code.name == code, said
            case ["says", *text]:
                assert " ".join(text) in answer.message, said
            case ["stale"]:
                assert answer.stale, said
            case ["fresh"]:
                assert not answer.stale, said
                assert answer.code == ResponseCode.SUCCESS, said
            case ["cached"]:
                assert answer.source == "cache", said
                assert not answer.stale, said
            case ["ttl", ttl]:
                assert round(answer.ttl_s or 0) == int(ttl), f"{answer.ttl_s}; {said}"
            case ["messages", "<=", most]:
                assert self.world.messages <= int(most), said
            case ["messages", exactly]:
                assert self.world.messages == int(exactly), said
            case ["took", "<=", most]:
                assert took <= float(most) + 1e-6, said
            case ["took", ">=", least]:
                assert took >= float(least) - 1e-6, said
            case ["asked", *sites]:
                assert self.world.order == sites, said
            case ["verified"]:
                assert "digests hold" in answer.verification, said
            case ["unsigned"]:
                assert answer.verification == "unsigned", said
            case ["step", *text]:
                assert any(" ".join(text) in str(step) for step in answer.steps), said
            case [type_, data]:
                assert (type_.encode(), data.encode()) in [(v.type, v.data) for v in values], said
            case _:
                raise AssertionError(f"{clause!r} is no expectation of this language")
