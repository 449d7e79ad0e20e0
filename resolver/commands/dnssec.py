"""biaoshi dnssec: the keys that sign the node's DNS zones, their roll-over, DS records, zone files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocol.errors import InvalidValue, SettingsError
from resolver.exits import Exit

if TYPE_CHECKING:
    from protocol.record import HandleValue
    from registry.prefixes import PrefixRow
    from resolver.dns.keys import Entry, KeyRing
    from resolver.dns.zones import Apex, Zone

app = typer.Typer(
    help="DNSSEC keys of the node's zones.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="""\b
One ECDSA P-256 key signs everything in all zones of the node. A running node takes up what
changed within some seconds. Nothing is signed before `biaoshi dnssec keys --make`.""",
)

NodeOption = Annotated[Path, typer.Option("--node", metavar="DIR", help="The node's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


class Step(StrEnum):
    """The steps of a roll-over."""

    NEXT = "next"
    SWITCH = "switch"
    FINISH = "finish"


@app.command(
    epilog="""\b
Examples:
  biaoshi dnssec keys --make --node ./steel
  biaoshi dnssec keys --node ./steel
\b
Exit codes: 0 done; 1 there are no keys; 2 the folder or a file cannot be used."""
)
def keys(
    node: NodeOption = Path(),
    make: Annotated[bool, typer.Option("--make", help="Make the first key if none is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the keys; with --make, begin to sign."""
    from resolver.dns.keys import first_ring, load_ring, make_key, save_ring

    _apexes(node)
    ring = load_ring(node)
    if ring is None and make:
        ring = first_ring(make_key(node, None), int(time.time()))
        save_ring(node, ring)
    if ring is None:
        print("biaoshi: there are no keys; add --make to begin to sign", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)
    for entry in ring.entries:
        if as_json:
            print(json.dumps(_shown(entry)))
        else:
            since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(entry.since))
            print(f"{entry.key.tag:>5}  {entry.state:<6}  since {since}  ECDSAP256SHA256")


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "tag": entry.key.tag,
        "state": entry.state,
        "since": entry.since,
        "algorithm": 13,
        "flags": 257,
    }


@app.command(
    epilog="""\b
Examples:
  biaoshi dnssec roll next --node ./steel
  biaoshi dnssec roll switch --node ./steel
  biaoshi dnssec roll finish --node ./steel
\b
next publishes a new key; then give its DS record (`biaoshi dnssec ds`) to the parent zone's
operator, or let the parent read the CDS record. switch, once the parent has it: the new key
signs. finish, once old signatures are out of all caches: the old key goes, its file too. Each
step refuses to come too early; --force takes the risk that resolvers refuse the zone.
\b
Exit codes: 0 done; 1 too early, or not the next step; 2 the folder or a file cannot be used."""
)
def roll(
    step: Annotated[Step, typer.Argument(help="The step to take.")],
    node: NodeOption = Path(),
    force: Annotated[bool, typer.Option("--force", help="Do not wait for caches.")] = False,
) -> None:
    """Exchange the key, in three steps."""
    from resolver.dns.keys import (
        NEXT,
        OLD,
        key_path,
        load_ring,
        make_key,
        save_ring,
        switched,
        with_next,
        without_old,
    )

    longest_ttl = _longest_ttl(node)
    ring = load_ring(node)
    if ring is None:
        raise InvalidValue(
            "there is no key to exchange; make one with `biaoshi dnssec keys --make`"
        )
    now = int(time.time())
    if step is Step.NEXT:
        _require(ring, NEXT, absent="switch to it with `biaoshi dnssec roll switch`")
        _require(ring, OLD, absent="remove it with `biaoshi dnssec roll finish`")
        key = make_key(node, ring)
        save_ring(node, with_next(ring, key, now))
        print(f"Key {key.tag} is published. Give its DS to the parent: biaoshi dnssec ds")
    elif step is Step.SWITCH:
        entry = _require(ring, NEXT, present="publish one with `biaoshi dnssec roll next`")
        _wait(entry, longest_ttl, now, force, "resolvers may not know it yet")
        save_ring(node, switched(ring, now))
        print(f"Key {entry.key.tag} signs now; key {ring.active.key.tag} is kept for caches.")
    else:
        entry = _require(ring, OLD, present="a roll-over begins with `biaoshi dnssec roll next`")
        _wait(entry, longest_ttl, now, force, "its signatures may be in caches still")
        save_ring(node, without_old(ring))
        key_path(node, entry.key.tag).unlink()
        print(f"Key {entry.key.tag} is removed. The roll-over is done.")


def _require(ring: KeyRing, state: str, *, present: str = "", absent: str = "") -> Entry:
    """The key in a state, or that there is none; otherwise InvalidValue with the next step."""
    entry = ring.of(state)
    if present and entry is None:
        raise InvalidValue(f"there is no {state} key; {present}")
    if absent and entry is not None:
        raise InvalidValue(f"key {entry.key.tag} is {state}; {absent}")
    return entry or ring.active


def _wait(entry: Entry, seconds: int, now: int, force: bool, why: str) -> None:
    left = entry.since + seconds - now
    if left > 0 and not force:
        raise InvalidValue(
            f"key {entry.key.tag} is {entry.state} for {now - entry.since} s, {why}: "
            f"wait {left} s more, or add --force"
        )


def _longest_ttl(node: Path) -> int:
    """Seconds until whatever this node answered is out of all caches."""
    from protocol.naptr_records import MAX_TTL_S
    from resolver.config_file import load_settings

    dns = load_settings(node).dns
    return max(dns.ttl, dns.negative_ttl, MAX_TTL_S) + 60


@app.command(
    epilog="""\b
Examples:
  biaoshi dnssec ds --node ./steel
  biaoshi dnssec ds --node ./steel --keys
\b
Exit codes: 0 printed; 1 there are no keys; 2 the folder or a file cannot be used."""
)
def ds(
    node: NodeOption = Path(),
    show_keys: Annotated[
        bool, typer.Option("--keys", help="DNSKEY records, as trust anchors are written.")
    ] = False,
) -> None:
    """Print the DS records that the parent zones need, one a zone."""
    from base64 import b64encode

    from protocol.naptr_records import format_domain
    from resolver.dns.keys import load_ring
    from resolver.dns.signing import ALGORITHM, SHA256_DIGEST, ds_rdata

    apexes = _apexes(node)
    ring = load_ring(node)
    if ring is None:
        print("biaoshi: there are no keys; see `biaoshi dnssec keys --make`", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)
    key = ring.wanted.key
    for apex in apexes:
        name = format_domain(apex.name)
        if show_keys:
            print(
                f"{name} {apex.ttl} IN DNSKEY 257 3 {ALGORITHM} {b64encode(key.rdata[4:]).decode()}"
            )
        else:
            digest = ds_rdata(apex.name, key)[4:].hex().upper()
            print(f"{name} {apex.ttl} IN DS {key.tag} {ALGORITHM} {SHA256_DIGEST} {digest}")


@app.command(
    epilog="""\b
Examples:
  biaoshi dnssec delegate 2.999.5 --ns "ns.5.999.2.oid-res.org 192.0.2.7" --node ./top
  biaoshi dnssec delegate 2.999.5 --ns ns1.example.org --ds "4711 13 2 9AB0…" --node ./top
  biaoshi dnssec delegate 2.999.5 --remove --node ./top
\b
For a prefix that was approved (`biaoshi prefix approve`). The child names it in `dns.branches`
and prints its DS record with `biaoshi dnssec ds`. Given again, everything is replaced. A name
server that lies in the child's own zone needs its addresses behind the name.
\b
Exit codes: 0 done; 1 refused; 2 the prefix is not delegated, or a record cannot be read."""
)
def delegate(
    prefix: Annotated[str, typer.Argument(metavar="P", help="The prefix, such as 2.999.5.")],
    node: NodeOption = Path(),
    ns: Annotated[
        list[str] | None, typer.Option(metavar="'NAME [ADDRESS …]'", help="A name server; repeat.")
    ] = None,
    ds: Annotated[
        list[str] | None, typer.Option(metavar="'TAG ALG TYPE DIGEST'", help="A DS record; repeat.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Lead nowhere any more.")] = False,
) -> None:
    """Publish in this node's zone the name servers of a prefix that it gave away."""
    from resolver.dns.cuts import ATTRIBUTE, parse_ds, parse_server

    servers, digests = ns or [], ds or []
    if bool(servers) == remove:
        raise InvalidValue("give --ns for each name server, or --remove")
    for server in servers:
        parse_server(server)
    for digest in digests:
        parse_ds(digest)
    record, _, values = _delegated(node, prefix)
    _write_delegation(node, record, values, {ATTRIBUTE: {"ns": servers, "ds": digests}})
    print(f"{prefix}: {f'{len(servers)} name servers' if servers else 'no name servers'}.")


@app.command(
    epilog="""\b
Examples:
  biaoshi dnssec follow 2.999.5 --node ./top
  biaoshi dnssec follow 2.999.5 --node ./top --dry-run
\b
Asks the name servers of the delegation for the child's CDS and CDNSKEY records (RFC 7344), believes
them by the DS records published now, and publishes what they name. Run it from a timer, so that a
child's `biaoshi dnssec roll` needs no word to this operator. The first DS record is given by hand.
\b
Exit codes: 0 published, or nothing to change; 1 not proved, or not to be done; 2 the folder cannot
be used; 3 no name server answers."""
)
def follow(
    prefix: Annotated[str, typer.Argument(metavar="P", help="The prefix, such as 2.999.5.")],
    node: NodeOption = Path(),
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Ask these instead of the delegation's own; repeat."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the name servers.")] = 53,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
) -> None:
    """Publish the DS records that a child zone asks for."""
    from protocol.errors import SignatureInvalid, UpstreamError
    from resolver.config_file import load_settings
    from resolver.dns.child import ask, wanted
    from resolver.dns.cuts import ATTRIBUTE, format_ds
    from resolver.dns.face import branch_zone

    record, row, values = _delegated(node, prefix)
    zone = branch_zone(prefix, load_settings(node).dns).text
    held = dict(row.attributes.get(ATTRIBUTE) or {})
    addresses = server or [word for text in held.get("ns", ()) for word in text.split()[1:]]
    if not addresses:
        raise InvalidValue(
            f"the delegation of {prefix} names no address; say which server to ask with --server"
        )
    said, silent = [], list[str]()
    for address in addresses:
        try:
            said.append(ask(zone, address, port))
        except UpstreamError as error:
            silent.append(str(error))
    for line in silent:
        print(f"biaoshi: {line}", file=sys.stderr)
    if not said:
        raise UpstreamError(f"no name server of {zone} answers")
    before = [format_ds(text) for text in held.get("ds", ())]
    try:
        asked = wanted(zone, before, said, time.time())
        if asked.signed_at < int(held.get("cds", 0)):
            raise SignatureInvalid(
                f"what {zone} asks for was signed before what it asked for last: it is an old answer"
            )
    except (SignatureInvalid, InvalidValue) as error:
        print(f"biaoshi: nothing changed: {error}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED) from None
    if set(asked.ds) == set(before):
        print(f"{prefix}: nothing to change.")
        return
    for text in asked.ds:
        print(f"{zone.rstrip('.')}. IN DS {text}")
    if not dry_run:
        said_now = held | {"ds": list(asked.ds), "cds": asked.signed_at}
        _write_delegation(node, record, values, {ATTRIBUTE: said_now})


def _delegated(node: Path, prefix: str) -> tuple[bytes, PrefixRow, tuple[HandleValue, ...]]:
    """A delegated prefix: its record's name, its row, the record's values. Raises InvalidValue."""
    from protocol.name import prefix_record
    from registry.prefixes import DELEGATED, Prefixes
    from registry.records import read_record
    from registry.store.lmdb_store import LmdbStore

    record = prefix_record(prefix.encode())
    store = LmdbStore.open(node / "store", readonly=True)
    try:
        row, held = Prefixes(store).get(prefix.encode()), read_record(store, record)
    finally:
        store.close()
    if row is None or row.state != DELEGATED or held is None:
        raise InvalidValue(f"{prefix} is not delegated here; see `biaoshi prefix approve`")
    return record, row, held.values


def _write_delegation(
    node: Path, record: bytes, values: tuple[HandleValue, ...], said: dict[str, Any]
) -> None:
    from protocol.change import Change, Kind
    from resolver.writer_link import open_writer

    with open_writer(node.resolve()) as writer:
        (outcome,) = writer.submit([Change(Kind.DELEGATE, record, values, attributes=said)])
    if outcome.status == "refused":
        print(f"biaoshi: {outcome.error}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)


@app.command(
    epilog="""\b
Examples:
  biaoshi dnssec export oid-res.org --node ./steel > zone
  biaoshi dnssec export oid-res.org --node ./steel --signed > zone.signed
\b
A signed export has a chain of NSEC records, which lists every name: it is for servers of other
makes and for checks (ldns-verify-zone), while the node itself proves absence name by name.
\b
Exit codes: 0 written; 1 no such zone, or no keys; 2 the folder or a file cannot be used."""
)
def export(
    zone: Annotated[str, typer.Argument(help="The zone's name, as in the settings.")],
    node: NodeOption = Path(),
    signed: Annotated[bool, typer.Option("--signed", help="With signatures and NSEC.")] = False,
) -> None:
    """Write a zone as a zone file."""
    from registry.store.lmdb_store import LmdbStore
    from resolver.dns.keys import load_ring

    ring = load_ring(node)
    if signed and ring is None:
        raise InvalidValue("there are no keys to sign with; see `biaoshi dnssec keys --make`")
    store = LmdbStore.open(node / "store", readonly=True)
    try:
        for line in _zone_lines(node, store, zone, ring if signed else None):
            print(line)
    finally:
        store.close()


def _zone_lines(node: Path, store: Any, zone: str, ring: KeyRing | None) -> Iterator[str]:
    from registry.log import SEQUENCE_KEY, last_sequence
    from registry.prefixes import Prefixes
    from registry.store import Table
    from resolver.config_file import load_settings
    from resolver.dns.export import signed_lines, zone_lines
    from resolver.dns.face import key_records, make_zones
    from resolver.dns.zones import Names

    settings = load_settings(node)
    zones = make_zones(settings, Names(store, Prefixes(store), time.time))
    found = _named(zones, zone)
    found.serial = last_sequence(store.get(Table.META, SEQUENCE_KEY))
    if ring is None:
        return zone_lines(found)
    found.keys = key_records(ring, found.apex)
    return signed_lines(found, ring, int(time.time()), settings.dns.signature_days * 86_400)


def _named(zones: list[Zone], name: str) -> Zone:
    from protocol.naptr_records import format_domain

    for zone in zones:
        if format_domain(zone.name) == name.rstrip(".").lower() + ".":
            return zone
    names = ", ".join(format_domain(zone.name) for zone in zones)
    raise InvalidValue(f"there is no zone {name!r} at this node; there are {names or 'none'}")


def _apexes(node: Path) -> list[Apex]:
    """The node's zones. Raises SettingsError where there are none."""
    from resolver.config_file import load_settings
    from resolver.dns.face import make_apex, zone_names

    settings = load_settings(node)
    apexes = [make_apex(named.text, named.what, settings) for named in zone_names(settings.dns)]
    if not apexes:
        raise SettingsError(f"{node} has no DNS zone; set dns.ors_zone in biaoshi.toml")
    return apexes
