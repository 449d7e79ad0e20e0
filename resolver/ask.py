"""One question from a command line: to one server, or from a root on down.

What `biaoshi resolve` does before anything is shown. Errors come as errors, findings as Finding.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from protocol.chain import Roots as TrustRoots
from protocol.doirp.header import REQUEST_FLAGS, STALE_EXPIRATION_S, Flag, OpCode
from protocol.doirp.referral import decode_referral
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.errors import (
    OutboundRefused,
    ParseError,
    ResponseCode,
    SettingsError,
    SignatureInvalid,
    UpstreamError,
)
from protocol.keys import PublicKey, decode_public_key, encode_public_key
from protocol.name import whole_name
from protocol.record import HandleValue, decode_values, select
from protocol.values.hs_site import Transport
from resolver.cache import Cache
from resolver.client import Ask, Client, Meter, said_text
from resolver.config import CacheSettings, OutboundSettings
from resolver.config_file import load_settings
from resolver.fetch import Fetcher
from resolver.guard import Guard, parse_url
from resolver.keyfiles import read_public_keys
from resolver.lookup import Query
from resolver.peers import DERIVED_TYPES, SITE_TYPES, Peer, plain_peer, sites_in
from resolver.recursion import TRUST_FILE, Recursion, Rules
from resolver.replies import Reply
from resolver.roots import RootBook, known_root, parse_sources, site_of_file, split_host_port
from resolver.steps import Limits, Step, text
from resolver.verify import Need, Verification, Verifier

HTTP_PORT = 8000
_REFERRALS = (ResponseCode.SERVICE_REFERRAL, ResponseCode.PREFIX_REFERRAL)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. name: as carried over DO-IRP. verify: demand a chain to a root key."""

    name: bytes
    types: tuple[bytes, ...] = ()
    indexes: tuple[int, ...] = ()
    verify: bool = False
    aliases: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of it. server: who answered; empty for a walk. notes: one line each, for people."""

    code: ResponseCode
    values: tuple[HandleValue, ...]
    took_ms: float
    server: str = ""
    transport: str = ""
    flags: str = ""
    message: str = ""
    verification: str = ""
    steps: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


# One server


async def ask_server(
    wanted: Wanted,
    server: str,
    transports: Sequence[Transport],
    root_keys: Sequence[PublicKey],
    *,
    total_s: float = 10.0,
) -> Finding:
    """Ask one server, recursion wanted. server: HOST:PORT, [V6]:PORT or a URL.

    transports: those to use; empty: UDP, then TCP; for a URL its own. With wanted.verify the
    whole record is asked for, and the certificates above it from the same server; without
    root_keys the chain may end at any key that vouches for itself, and a note says so.
    Raises UpstreamError, SignatureInvalid, SettingsError.
    """
    meter = Meter()
    verification = Verification("")
    try:
        async with asyncio.timeout(total_s):
            guard, peer = await _server(server, transports)
            client = Client(guard)
            began = time.monotonic()
            try:
                reply = await _ask(client, peer, wanted, meter)
            except UpstreamError as error:
                raise UpstreamError(f"no answer: {error}; does a node run at {server}?") from None
            took_ms = (time.monotonic() - began) * 1000
            values = _values(reply)
            if wanted.verify and reply.code == ResponseCode.SUCCESS:
                verification = await _verify(client, peer, wanted, values, root_keys, meter)
                values = select(values, wanted.indexes, wanted.types)
    except TimeoutError:
        raise UpstreamError(f"{server} did not answer within {total_s:g} s") from None
    code = reply.code
    if code == ResponseCode.SUCCESS and not values:
        code = ResponseCode.VALUES_NOT_FOUND
    return Finding(
        code,
        values,
        took_ms,
        str(reply.endpoint),
        reply.endpoint.transport.name,
        _flags(reply),
        "" if code in (ResponseCode.SUCCESS, *_REFERRALS) else said_text(reply),
        verification.text if wanted.verify else "",
        tuple(step.as_dict() for step in _steps(meter)),
        (*_referral_notes(reply), *_age_notes(reply), *_root_notes(verification, root_keys)),
    )


async def _server(server: str, transports: Sequence[Transport]) -> tuple[Guard, Peer]:
    if "://" in server:
        try:
            url = parse_url(server)
        except OutboundRefused as error:
            raise SettingsError(f"--server: {error}") from None
        host, port = url.host, url.port
        used: Sequence[Transport] = (Transport.HTTPS if url.scheme == "https" else Transport.HTTP,)
        if transports and Transport.HTTP not in transports:
            raise SettingsError(f"{server} is reached by HTTP alone; name HOST:PORT for UDP or TCP")
    else:
        used = transports or (Transport.UDP, Transport.TCP)
        default = HTTP_PORT if Transport.HTTP in used else 2641
        host, port = split_host_port(server, default)
    # Whoever types an address means it: its port and its class are allowed.
    guard = Guard(OutboundSettings(allow_ports=(port,)))
    try:
        await guard.trust_host(host, port)
        addresses = await guard.addresses(host, port, "irp-tcp")
    except OutboundRefused as error:
        raise SettingsError(f"--server {server}: {error}") from None
    return guard, plain_peer(addresses, port, used, host)


async def _ask(client: Client, peer: Peer, wanted: Wanted, meter: Meter) -> Reply:
    indexes, types = wanted.indexes, wanted.types
    if wanted.verify:
        indexes, types = (), ()
    body = encode_resolution_request(ResolutionRequest(wanted.name, indexes, types))
    ask = Ask(OpCode.RESOLUTION, body, wanted.name, REQUEST_FLAGS.value)
    return await client.send(peer, ask, meter=meter)


def _values(reply: Reply) -> tuple[HandleValue, ...]:
    if reply.code != ResponseCode.SUCCESS:
        return ()
    try:
        return decode_values(reply.body)
    except ParseError as error:
        raise UpstreamError(f"{reply.endpoint} sent broken values: {error}") from None


async def _verify(
    client: Client,
    peer: Peer,
    wanted: Wanted,
    values: Sequence[HandleValue],
    root_keys: Sequence[PublicKey],
    meter: Meter,
) -> Verification:
    async def fetch(name: bytes) -> Sequence[HandleValue]:
        return _values(await _ask(client, peer, Wanted(name), meter))

    roots = TrustRoots.of(root_keys, subjects=None) if root_keys else TrustRoots.unknown()
    verifier = Verifier(wall=time.time)
    return await verifier.verify(whole_name(wanted.name), values, Need.REQUIRED, roots, fetch)


def _steps(meter: Meter) -> list[Step]:
    return [
        Step(
            "server",
            text(tried.asked),
            tried.outcome,
            tried.took_ms,
            str(tried.endpoint),
            tried.endpoint.transport.name.lower(),
            signature=tried.signature,
        )
        for tried in meter.tried
    ]


def _flags(reply: Reply) -> str:
    flags = Flag(reply.message.header.flags & sum(Flag))
    return " ".join(flag.name or "" for flag in Flag if flag in flags)


def _referral_notes(reply: Reply) -> tuple[str, ...]:
    if reply.code not in _REFERRALS:
        return ()
    try:
        referral = decode_referral(reply.body)
        sites = sites_in(referral.values or (), SITE_TYPES | DERIVED_TYPES)
        where = [str(site.peer(b"")) for site in sites]
    except ParseError as error:
        raise UpstreamError(f"{reply.endpoint} sent a broken referral: {error}") from None
    if referral.handle:
        where.append(text(referral.handle))
    return (f"referred to {', '.join(where) or 'nowhere'}",)


def _root_notes(verification: Verification, root_keys: Sequence[PublicKey]) -> tuple[str, ...]:
    """What `verified` is worth while nobody has said which root to trust."""
    if not verification.root or root_keys:
        return ()
    told = f"the root's key is not pinned: {verification.root} is the root that this server shows"
    return (f"{told}; to trust no other, add --root-key FILE",)


def _age_notes(reply: Reply) -> tuple[str, ...]:
    """What the mark of a stale answer says (docs/adr/0031)."""
    header = reply.message.header
    left_s = header.expiration - time.time()
    if reply.authoritative or not 0 < left_s <= STALE_EXPIRATION_S:
        return ()
    return ("stale: its TTL is past and its owner does not answer the server",)


# From a root on down


async def walk(
    wanted: Wanted, root: str, root_keys: Sequence[PublicKey], *, limits: Limits | None = None
) -> Finding:
    """Resolve from a root. root: a node's folder, a siteinfo.json or a URL ([PREFIX=]URL).

    Raises SettingsError. What was not found is a Finding; see its code and message.
    """
    guard = Guard(OutboundSettings())
    client = Client(guard)
    book = open_book(root, guard, client, root_keys)
    verifier = Verifier(wall=time.time)
    fetcher = Fetcher(
        client,
        book,
        Cache(CacheSettings(), now=time.monotonic, wall=time.time),
        verifier,
        need=Rules(Need.REQUIRED if wanted.verify else Need.WHEN_SIGNED).need,
    )
    recursion = Recursion(fetcher, book, limits=limits)
    began = time.monotonic()
    try:
        query = Query(wanted.name, wanted.indexes, wanted.types)
        answer = await recursion.resolve(query, follow_aliases=wanted.aliases)
    finally:
        await recursion.close()
    return Finding(
        answer.code,
        decode_values(answer.values) if answer.code == ResponseCode.SUCCESS else (),
        (time.monotonic() - began) * 1000,
        message=answer.message,
        verification=answer.verification,
        steps=answer.steps,
        notes=book.notes(),
    )


def open_book(root: str, guard: Guard, client: Client, root_keys: Sequence[PublicKey]) -> RootBook:
    """The roots that `--root` names. Raises SettingsError."""
    place = FilePath(root)
    pinned = [encode_public_key(key) for key in root_keys]
    sources, file, site = [], None, None
    if "://" in root:
        sources = list(parse_sources(root))
    elif place.is_dir():
        configured = load_settings(place).recursion
        sources = [each for address in configured.roots for each in parse_sources(address)]
        pinned += [
            encode_public_key(key)
            for name in configured.root_keys
            for key in read_public_keys(place / name)
        ]
        file = place / TRUST_FILE
        site = None if sources else place / "siteinfo.json"
    else:
        site = place
    book = RootBook(
        sources,
        guard=guard,
        client=client,
        pinned=pinned,
        file=file,
        save=False,
        now=time.monotonic,
        wall=time.time,
    )
    if site is not None:
        known = known_root([site_of_file(site)])
        guard.trust_class_of(known.addresses)
        book.add(known)
    return book


async def root_keys_of(root: str) -> tuple[PublicKey, ...]:
    """The keys of the roots that `--root` names, to verify what another server answers."""
    guard = Guard(OutboundSettings())
    book = open_book(root, guard, Client(guard), ())
    try:
        await book.for_zone(b"")
        keys = book.all_keys()
    finally:
        await book.close()
    if not keys:
        raise SignatureInvalid(f"{root} gives no root key")
    return tuple(map(decode_public_key, sorted(keys)))
