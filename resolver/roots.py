"""The roots that iteration begins at, and the keys trusted there.

A root is named by the address of its HTTP face (`https://root.example.org:8443`) or of its DO-IRP
face (`irp://192.0.2.1:2641`; `hdl://…` for a root of the global Handle system, which answers for
all prefix records itself). `88=https://…` binds it to one prefix and those below. Its site record is
read from it; its key is one of the configured root keys or, where none is configured, the one it
showed first, kept in DIR/trust/roots.json. A root that later shows another key is not used, unless
the key known before handed over to it (protocol.handover).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp

from protocol.chain import Roots as TrustRoots
from protocol.errors import (
    BiaoshiError,
    ParseError,
    SettingsError,
    SignatureInvalid,
    UpstreamError,
)
from protocol.handover import MOST, successors
from protocol.keys import decode_public_key, encode_public_key
from protocol.keys.jwk import format_jwk, parse_jwk
from protocol.values.hs_site import Site, Transport
from protocol.values.site_json import site_from_json, site_to_json
from resolver.client import Client
from resolver.guard import Guard, parse_url
from resolver.locate import Root
from resolver.peers import address_of, group_sites, plain_peer
from resolver.transport_http import tls_context

DEFAULT_PORT = 2641
_MAX_SITE_BYTES = 1_048_576
_REFRESH_S = 20.0
"""A root's key may be replaced: its site record is read again, beside its use, as seldom as this."""
_AGAIN_S = 2.0
_RETRY_S = (1.0, 30.0)


@dataclass(frozen=True, slots=True)
class RootSource:
    """One configured root. address: http, https, irp or hdl URL. zone: its prefix, or empty."""

    address: str
    zone: bytes = b""

    @property
    def tree(self) -> bool:
        return not self.address.startswith("hdl:")


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """A root whose site record is at hand. keys: encoded public keys of its servers. handovers: by
    keys that they had before.
    """

    root: Root
    keys: frozenset[bytes]
    handovers: tuple[bytes, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where its servers are."""
        variants = [variant for site in self.root.sites for variant in site.variants]
        return tuple(address_of(server) for site in variants for server in site.servers)


SCHEME_ZONES: Mapping[str, tuple[str, ...]] = {
    "idis": ("86", "88"),
    "handle": ("",),
    "doi": ("10",),
    "oid": ("0", "1", "2"),
    "gs1": ("GS1",),
    "vaa": ("88",),
    "ma": ("MA",),
    "did": ("DID",),
    "urn": ("URN",),
    "ecode": ("ECODE",),
}
"""Where the names of a scheme begin, as prefixes: `oid=URL` binds a root to the OID tree.

OIDs and GS1 keys are delegated arc by arc and digit by digit, others as protocol.arcs says.
"""


def parse_sources(text: str) -> tuple[RootSource, ...]:
    """`[PREFIX|SCHEME=]URL`: one root, or one for each zone of a scheme. Raises SettingsError."""
    named = text.partition("=")[0].lower()
    zones = SCHEME_ZONES.get(named)
    if zones is None:
        return (parse_source(text),)
    bare = parse_source(text.partition("=")[2])
    return tuple(replace(bare, zone=zone.encode()) for zone in zones)


def parse_source(text: str) -> RootSource:
    """`[PREFIX=]URL`. Raises SettingsError."""
    zone, equals, address = text.partition("=")
    if not equals or "/" in zone:
        zone, address = "", text
    scheme = address.partition("://")[0]
    if scheme not in ("http", "https", "irp", "hdl") or "://" not in address:
        raise SettingsError(
            f"the root {text!r} is neither http(s)://HOST:PORT nor irp://HOST:PORT; "
            "a prefix may stand before it, as in 88=https://root.example.org"
        )
    return RootSource(address.rstrip("/"), zone.upper().encode())


def split_host_port(text: str, default: int = DEFAULT_PORT) -> tuple[str, int]:
    """`host:port`, `[v6]:port`, `host` or a bare IPv6 address. Raises SettingsError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not (port == "" or (port.isascii() and port.isdigit() and int(port) < 65536)):
        raise SettingsError(f"{text!r} is not HOST:PORT; write an IPv6 address as [::1]:2641")
    return host, int(port) if port else default


def site_of_json(value: Any) -> Site:
    """A site record out of siteinfo.json or GET /api/site. Raises ParseError."""
    if isinstance(value, Mapping) and isinstance(value.get("site"), Mapping):
        value = value["site"]
    return site_from_json(value, lambda jwk: encode_public_key(parse_jwk(jwk)))


def site_of_file(path: Path) -> Site:
    """The site record in a siteinfo.json. Raises SettingsError."""
    try:
        return site_of_json(json.loads(path.read_bytes()[:_MAX_SITE_BYTES]))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, ParseError) as error:
        raise SettingsError(f"{path} is no siteinfo.json: {error}") from None


def known_root(
    sites: Sequence[Site], zone: bytes = b"", *, tree: bool = True, handovers: Sequence[bytes] = ()
) -> KnownRoot:
    """A root from its site records. Raises ParseError when they name no server."""
    grouped = group_sites(sites)
    if not grouped:
        raise ParseError("the site record names no server")
    keys = frozenset(
        _normal(server.public_key) for site in sites for server in site.servers if server.public_key
    )
    return KnownRoot(Root(zone, grouped, tree), keys, tuple(handovers))


class RootBook:
    """The configured roots of one process."""

    def __init__(
        self,
        sources: Sequence[RootSource],
        *,
        guard: Guard,
        client: Client,
        pinned: Sequence[bytes] = (),
        file: Path | None = None,
        save: bool = True,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """pinned: encoded root keys. file: where first-seen keys are kept; None: nowhere. save:
        False only reads it.
        """
        self._sources = tuple(sources)
        self._guard = guard
        self._client = client
        self._pinned = frozenset(map(_normal, pinned))
        self._file = file
        self._saves = save
        self._now = now
        self._wall = wall
        self._known: dict[RootSource, KnownRoot] = {}
        self._read_at: dict[RootSource, float] = {}
        self._failed: dict[RootSource, tuple[float, float, BiaoshiError]] = {}
        self._reading: dict[RootSource, asyncio.Task[KnownRoot]] = {}
        self._trusted: set[RootSource] = set()
        self._load()

    def add(self, known: KnownRoot) -> None:
        """A root whose site record is at hand, such as a local siteinfo.json."""
        if self._pinned and not known.keys & self._pinned:
            raise SignatureInvalid("the root's site record has none of the given root keys")
        source = RootSource(f"local:{len(self._sources)}", known.root.zone)
        self._sources = (*self._sources, source)
        self._known[source] = known
        self._read_at[source] = float("inf")

    async def for_zone(self, zone: bytes) -> Root | None:
        """The root of the longest configured zone that holds this prefix; several make one.

        Raises UpstreamError, SignatureInvalid when none of them can be read.
        """
        sources = self._sources_for(zone)
        if not sources:
            return None
        found: list[KnownRoot] = []
        failures: list[BiaoshiError] = []
        for source in sources:
            try:
                found.append(await self._ready(source))
            except BiaoshiError as error:
                failures.append(error)
        if not found:
            raise failures[0]
        sites = tuple(site for known in found for site in known.root.sites)
        return replace(found[0].root, sites=sites)

    async def read_again(self, zone: bytes) -> bool:
        """Read the records of the roots for a zone anew; False when they were read just now.

        A root that cannot be read, or shows a key nobody handed over to, stays as it was known.
        """
        at_s = self._now() - _AGAIN_S
        old = [s for s in self._sources_for(zone) if self._read_at.get(s, 0.0) < at_s]
        for source in old:
            self._read_at[source] = self._now()
            with suppress(BiaoshiError):
                await asyncio.shield(self._start(source))
        return bool(old)

    def trust_for(self, zone: bytes) -> TrustRoots:
        """The keys at which chains for names under this prefix may end."""
        keys: frozenset[bytes] = frozenset()
        for source in self._sources_for(zone):
            known = self._known.get(source)
            if known is not None:
                keys |= known.keys & self._pinned if self._pinned else known.keys
        # The key decides: a root's own prefix may have any name.
        return TrustRoots(keys | (self._pinned if keys else frozenset()), subjects=None)

    def all_keys(self) -> frozenset[bytes]:
        """The encoded keys of every root that was read, and the pinned ones."""
        return self._pinned.union(*(known.keys for known in self._known.values()))

    def notes(self) -> tuple[str, ...]:
        """Where the trust in each root comes from, for people."""
        why = "given" if self._pinned else "as it showed itself" if self._file is None else "kept"
        return tuple(
            f"root {source.address} key {', '.join(sorted(map(fingerprint, known.keys)))} ({why})"
            for source, known in self._known.items()
        )

    def _sources_for(self, zone: bytes) -> tuple[RootSource, ...]:
        holding = [s for s in self._sources if _holds(s.zone, zone)]
        longest = max((len(source.zone) for source in holding), default=0)
        return tuple(source for source in holding if len(source.zone) == longest)

    async def _ready(self, source: RootSource) -> KnownRoot:
        known = self._known.get(source)
        if known is not None:
            await self._trust(source)
            if self._now() > self._read_at.get(source, 0.0) + _REFRESH_S:
                self._read_at[source] = self._now()
                self._start(source).add_done_callback(_seen)
            return known
        failed = self._failed.get(source)
        if failed is not None and self._now() < failed[0]:
            raise failed[2].with_traceback(None)
        return await asyncio.shield(self._start(source))

    async def _trust(self, source: RootSource) -> None:
        """Let connections into the address class of a configured root, whatever its record says."""
        if source in self._trusted or source.address.startswith("local:"):
            return
        self._trusted.add(source)
        host, port = _host_port(source.address)
        with suppress(UpstreamError):  # its name has no address now; what is public is open anyway
            await self._guard.trust_host(host, port)

    def _start(self, source: RootSource) -> asyncio.Task[KnownRoot]:
        task = self._reading.get(source)
        if task is None:
            task = asyncio.ensure_future(self._read(source))
            self._reading[source] = task
            task.add_done_callback(lambda _: self._reading.pop(source, None))
        return task

    async def _read(self, source: RootSource) -> KnownRoot:
        """Read a root's site record and check its key."""
        try:
            site, handovers = await self._site(source)
            known = known_root([site], source.zone, tree=source.tree, handovers=handovers)
            self._check(source, known)
        except ParseError as error:
            raise self._note(source, UpstreamError(f"root {source.address}: {error}")) from None
        except BiaoshiError as error:
            raise self._note(source, error) from None
        self._known[source] = known
        self._read_at[source] = self._now()
        self._failed.pop(source, None)
        self._save(source, site, known.handovers)
        return known

    def _note(self, source: RootSource, error: BiaoshiError) -> BiaoshiError:
        pause = min(self._failed.get(source, (0, _RETRY_S[0] / 2, error))[1] * 2, _RETRY_S[1])
        self._failed[source] = (self._now() + pause, pause, error)
        return error

    async def _site(self, source: RootSource) -> tuple[Site, tuple[bytes, ...]]:
        await self._trust(source)
        if source.address.startswith(("irp:", "hdl:")):
            host, port = _host_port(source.address)
            addresses = await self._guard.addresses(host, port, "irp-tcp")
            peer = plain_peer(addresses, port, (Transport.UDP, Transport.TCP))
            return await self._client.site_info(peer), ()
        shape = await read_site_shape(self._guard, source.address)
        return site_of_json(shape), handovers_of(shape)

    def _check(self, source: RootSource, known: KnownRoot) -> None:
        if self._pinned:
            if not self._follows(known, self._pinned):
                raise SignatureInvalid(
                    f"the root {source.address} shows a key that is none of `root_keys`"
                )
            self._pinned |= known.keys
            return
        before = self._known.get(source)
        if before is not None and not self._follows(known, before.keys):
            raise SignatureInvalid(
                f"the root {source.address} shows another key than before; if that is meant, "
                f"take its entry out of {self._file} or pin the new key with `root_keys`"
            )

    def _follows(self, known: KnownRoot, keys: frozenset[bytes]) -> bool:
        """Whether a root shows one of these keys, or one that they handed over to."""
        if known.keys & keys:
            return True
        after = successors(map(decode_public_key, keys), known.handovers, None, int(self._wall()))
        return bool(known.keys & after)

    # First-seen keys on disk

    def _load(self) -> None:
        for entry in _entries(self._file):
            source = RootSource(str(entry.get("address")), str(entry.get("zone", "")).encode())
            if source not in self._sources:
                continue
            try:
                site = site_of_json(entry.get("site"))
                texts = handovers_of(entry)
                known = known_root([site], source.zone, tree=source.tree, handovers=texts)
            except ParseError as error:
                raise SettingsError(f"{self._file} is damaged: {error}; delete it") from None
            if not self._pinned or self._follows(known, self._pinned):
                self._known[source] = known
                self._pinned |= known.keys if self._pinned else frozenset()

    def _save(self, source: RootSource, site: Site, handovers: Sequence[bytes]) -> None:
        if self._file is None or not self._saves:
            return
        entry = {
            "address": source.address,
            "zone": source.zone.decode(),
            "site": site_to_json(site, lambda key: format_jwk(decode_public_key(key))),
            "seen": int(self._wall()),
            "pinned": bool(self._pinned),
            "handovers": [text.decode() for text in handovers],
        }
        others = [
            other
            for other in _entries(self._file)
            if (other.get("address"), other.get("zone")) != (entry["address"], entry["zone"])
        ]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        aside.write_text(json.dumps({"roots": [*others, entry]}, indent=1) + "\n")
        aside.replace(self._file)

    async def close(self) -> None:
        """Stop reading."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_site(guard: Guard, address: str) -> Site:
    """The site record of a node by its HTTP face. Raises UpstreamError, ParseError."""
    return site_of_json(await read_site_shape(guard, address))


def handovers_of(shape: Any) -> tuple[bytes, ...]:
    """The handovers beside a site record."""
    texts = shape.get("handovers") if isinstance(shape, Mapping) else None
    if not isinstance(texts, list):
        return ()
    return tuple(text.encode() for text in texts[:MOST] if isinstance(text, str))


async def read_site_shape(guard: Guard, address: str) -> Any:
    """The JSON of a node's site record. Raises UpstreamError.

    The certificate of the connection is not what is trusted: the key in the record is, once
    compared with the root keys or with what was seen before.
    """
    url = parse_url(address)
    target = f"{url.origin}{url.path.rstrip('/')}/api/site"
    try:
        async with (
            guard.http_session() as session,
            session.get(target, allow_redirects=False, ssl=tls_context()) as response,
        ):
            if response.status != 200:
                raise UpstreamError(f"{target} answers {response.status}; is it a node?")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > _MAX_SITE_BYTES:
                    raise UpstreamError(f"{target} sends more than {_MAX_SITE_BYTES} octets")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UpstreamError(f"{target} cannot be read: {str(error) or 'time-out'}") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UpstreamError(f"{target} sends no JSON; is it a node?") from None


def _entries(file: Path | None) -> list[dict[str, Any]]:
    if file is None or not file.exists():
        return []
    try:
        roots = json.loads(file.read_text())["roots"]
        return [entry for entry in roots if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{file} is damaged: {error}; delete it to start anew") from None


def _host_port(address: str) -> tuple[str, int]:
    scheme, _, rest = address.partition("://")
    if scheme in ("irp", "hdl"):
        return split_host_port(rest)
    url = parse_url(address)
    return url.host, url.port


def fingerprint(key: bytes) -> str:
    """A short name of a key: the first octets of the SHA-256 of its encoded form."""
    return f"sha256:{sha256(_normal(key)).hexdigest()[:16]}"


def _normal(key: bytes) -> bytes:
    # RSA keys travel with and without four zero octets at the end.
    return encode_public_key(decode_public_key(key))


def _holds(zone: bytes, prefix: bytes) -> bool:
    return not zone or prefix == zone or prefix.startswith(zone + b".")


def _seen(task: asyncio.Task[KnownRoot]) -> None:
    if not task.cancelled():
        task.exception()  # noted in _read; the root known before stays in use
