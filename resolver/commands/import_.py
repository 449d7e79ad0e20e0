"""biaoshi import: from files of Handle software or of a GS1 resolver, or from a running primary."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.change import Change, Kind
from protocol.errors import BadIdentifier, NotAuthorized, SettingsError
from protocol.keys import encode_public_key
from protocol.name import PREFIX_RECORDS
from protocol.record import HandleValue, Reference
from registry.imports import Format, OnExists, detect
from resolver.exits import Exit
from resolver.migration.compare import Comparison
from resolver.migration.run import Migration, Progress

if TYPE_CHECKING:
    from registry.store.lmdb_store import LmdbStore
    from resolver.config import Settings
    from resolver.migration.resume import Kept

app = typer.Typer()

_KEY_PERMISSIONS = {"HS_SECKEY": 0b1100}
_SNIFF_BYTES = 65_536

_EPILOG = """\b
Examples:
  biaoshi import --from old.example.org:2641 --node ./steel --auth 300:0.NA/88.118.8=admpriv.bin
  biaoshi import --from old.example.org:2641 --node ./steel --auth 301:0.NA/88.118.8=secret.txt
      --server-key siteinfo.json --follow
  biaoshi import batch.txt --node ./steel
  biaoshi import admpub.bin --node ./steel --as 303:0.NA/88.118.8
  biaoshi import secret.txt --node ./steel --as 304:0.NA/88.118.8 --type HS_SECKEY
  biaoshi import --from gs1-resolver entries.json --node ./steel --on-exists replace
\b
With --from the old server goes on running: its records are dumped, what is done there meanwhile
follows from its transaction log, and both sides are compared at the end by counts and a digest.
Run it again at any time: it goes on from where it stood in that log.
\b
Exit codes: 0 all is here and equal; 1 something was refused, or the sides differ; 2 a file or an
option cannot be used; 3 the old server or the node is not available; 4 the identity was not
proved, or may not replicate."""


@app.command("import", epilog=_EPILOG)
def import_(
    node: Annotated[Path, typer.Option(metavar="DIR", help="The node's folder.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A Handle batch file, a key file (with --as), or what --from names.",
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="HOST:PORT|gs1-resolver",
            help="A running Handle.Net primary (TCP); or gs1-resolver: FILE holds entries of the "
            "GS1 Resolver Community Edition.",
        ),
    ] = "",
    auth: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="With --from: INDEX:HANDLE=FILE, FILE a private key or a secret; "
            "a replication administrator there.",
        ),
    ] = "",
    server_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --from: the old server's siteinfo.json or pubkey.bin."
        ),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(metavar="P", help="With --from: only this prefix; repeat for more."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --from: go on following until stopped (Ctrl-C).")
    ] = False,
    interval: Annotated[
        float, typer.Option(metavar="S", help="With --follow: seconds between two questions.")
    ] = 2.0,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="With --from: take the dump again, whatever an earlier run did."
        ),
    ] = False,
    allow_dsa: Annotated[
        bool,
        typer.Option(
            "--allow-dsa", help="With --from: a server whose key is DSA signs its stream."
        ),
    ] = False,
    as_: Annotated[
        str, typer.Option("--as", metavar="INDEX:HANDLE", help="Where the key of a key file goes.")
    ] = "",
    type_: Annotated[
        str, typer.Option("--type", help="With --as: HS_PUBKEY, or HS_SECKEY for a secret.")
    ] = "HS_PUBKEY",
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The passphrase of an encrypted key file.")
    ] = None,
    on_exists: Annotated[
        OnExists, typer.Option(help="Files: what to do with handles that are there already.")
    ] = OnExists.REFUSE,
    encoding: Annotated[str, typer.Option(help="Encoding of a batch file.")] = "utf-8",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Take over records from Handle software or the GS1 Resolver Community Edition."""
    folder = node.resolve()
    if source == Format.GS1_RESOLVER:
        if file is None:
            raise SettingsError("--from gs1-resolver needs a FILE with entries of that resolver")
        _register(folder, file, Format.GS1_RESOLVER, on_exists, encoding, as_json=as_json)
        return
    if bool(source) == (file is not None):
        raise SettingsError("name a FILE, or a running server with --from HOST:PORT; not both")
    if source:
        if not auth:
            raise SettingsError(
                "--from needs --auth INDEX:HANDLE=FILE, a replication administrator"
            )
        _migrate(
            folder,
            source,
            auth,
            server_key,
            prefix or [],
            passphrase_file,
            interval=interval if follow else None,
            fresh=fresh,
            allow_dsa=allow_dsa,
            as_json=as_json,
        )
        return
    assert file is not None  # noqa: S101 - checked above
    if as_:
        _import_key(folder, file, as_, type_, passphrase_file, as_json=as_json)
        return
    _import_batch(folder, file, on_exists, encoding, as_json=as_json)


# --- files


def _import_batch(
    folder: Path, file: Path, on_exists: OnExists, encoding: str, *, as_json: bool
) -> None:
    """A batch file is registered as it is: its administrators are in it."""
    try:
        with file.open("rb") as stream:
            start = stream.read(_SNIFF_BYTES)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    if _is_key(start):
        raise SettingsError(f"{file} is a key; say where it goes with --as INDEX:HANDLE")
    format_ = detect(file.name, start) if not start.strip() else Format.BATCH
    _register(folder, file, format_, on_exists, encoding, as_json=as_json)


def _register(
    folder: Path, file: Path, format_: Format, on_exists: OnExists, encoding: str, *, as_json: bool
) -> None:
    from resolver.commands.register import register

    register(
        file=str(file),
        node=str(folder),
        on_exists=on_exists,
        sign=None,
        format_=format_,
        encoding=encoding,
        admin=False,
        as_json=as_json,
    )


def _is_key(start: bytes) -> bool:
    return start[:3] == b"\0\0\0" or start.lstrip().startswith((b"-----BEGIN", b"{"))


def _import_key(
    folder: Path, file: Path, where: str, type_: str, passphrase_file: Path | None, *, as_json: bool
) -> None:
    """Put a key into a record: HS_PUBKEY from any form of key, HS_SECKEY from a secret."""
    from resolver.founding import read_secret
    from resolver.keyfiles import read_any_key
    from resolver.writer_link import open_writer

    reference = Reference.parse(where)
    if not reference.index or not reference.handle:
        raise BadIdentifier("no-index", f"--as {where!r} is written INDEX:HANDLE")
    wanted = type_.upper()
    if wanted == "HS_SECKEY":
        data = read_secret(file)
    elif wanted == "HS_PUBKEY":
        data = encode_public_key(read_any_key(file, passphrase_file).public)
    else:
        raise SettingsError(f"--type {type_!r} is no key; it is HS_PUBKEY or HS_SECKEY")
    value = HandleValue(
        reference.index, wanted.encode(), data, permissions=_KEY_PERMISSIONS.get(wanted, 0b1110)
    )
    change = Change(Kind.MERGE, reference.handle, (value,), overwrite=True)
    with open_writer(folder) as writer:
        (outcome,) = writer.submit([change])
    if outcome.status == "refused":
        raise NotAuthorized(f"{reference.text()} was not written: {outcome.error}")
    if as_json:
        print(json.dumps({"value": reference.text(), "status": outcome.status}))
        return
    print(f"{reference.text()} holds {wanted} now ({outcome.status}).")


# --- a running server


def _migrate(
    folder: Path,
    source: str,
    auth: str,
    server_key: Path | None,
    prefixes: list[str],
    passphrase_file: Path | None,
    *,
    interval: float | None,
    fresh: bool,
    allow_dsa: bool,
    as_json: bool,
) -> None:
    from registry.records import read_record
    from resolver.config_file import load_settings
    from resolver.keyfiles import read_passphrase, read_public_keys
    from resolver.migration.changes import Plan, moving
    from resolver.migration.primary import Primary
    from resolver.migration.resume import Kept
    from resolver.migration.run import compared
    from resolver.registering.auth import Credentials
    from resolver.roots import split_host_port
    from resolver.writer_link import open_writer

    settings = load_settings(folder)
    credentials = Credentials.parse(auth, read_passphrase(passphrase_file))
    key = read_public_keys(server_key)[0] if server_key is not None else None
    host, port = split_host_port(source)
    primary = Primary(host, port, credentials, key=key, allow_dsa=allow_dsa)
    if key is None:
        _say_key(source, primary)
    homed = [] if prefixes else primary.homed()
    plan = Plan(moving(homed, prefixes), settings.node.prefix.encode().upper())
    if not plan.prefixes:
        raise SettingsError(f"{source} is home to no prefix; name one with --prefix P")
    with _reading(folder, settings) as store:
        record = read_record(store, PREFIX_RECORDS + plan.own) if plan.own else None
    own_values = record.values if record is not None else ()
    kept = Kept.of(folder, source, primary.key, plan.prefixes)
    while True:
        with open_writer(folder) as writer:
            migration = Migration(primary, writer, own_values, plan, progress=_progress)
            _run(migration, kept, interval, fresh=fresh)
        with _reading(folder, settings) as store:
            result = compared(primary, store, plan)
        if result.same or not migration.resumed:
            break
        sys.stderr.write("the sides differ; taking the dump again …\n")
        fresh, interval = True, None
    _report(migration, result, as_json=as_json)
    if not result.same or migration.done.counts["refused"]:
        raise typer.Exit(Exit.REFUSED)


@contextmanager
def _reading(folder: Path, settings: Settings) -> Iterator[LmdbStore]:
    """The node's store for reading; never while this process holds it for writing."""
    from registry.store.lmdb_store import LmdbStore
    from resolver.writer_process import STORE

    store = LmdbStore.open(
        folder / STORE, readonly=True, map_bytes=settings.store.map_size_gib << 30
    )
    try:
        yield store
    finally:
        store.close()


def _run(migration: Migration, kept: Kept, interval: float | None, *, fresh: bool) -> None:
    """Dump, or go on where an earlier run stood, and follow.

    interval: seconds between two questions; None: until caught up. fresh: dump in any case.
    """
    migration.home()
    migration.begin(None if fresh else kept.load())
    try:
        while migration.catch_up() or interval is not None:
            kept.save(migration.settled)
            time.sleep(interval or 0)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped following; comparing both sides …\n")
    kept.save(migration.settled)


def _say_key(source: str, primary: object) -> None:
    from hashlib import sha256

    from protocol.keys import encode_spki

    digest = sha256(encode_spki(primary.key)).hexdigest()  # type: ignore[attr-defined]
    sys.stderr.write(
        f"the key of {source} is taken as shown: SHA-256 {digest}; give --server-key to pin it\n"
    )


def _progress(done: Progress) -> None:
    if sys.stderr.isatty():
        total = sum(done.counts.values())
        sys.stderr.write(f"\r{total} records, {done.transactions} transactions")
        sys.stderr.flush()


def _report(migration: Migration, result: Comparison, *, as_json: bool) -> None:
    done, plan = migration.done, migration.plan
    if as_json:
        shape = {
            "prefixes": sorted(each.decode() for each in plan.prefixes),
            "records": {name: count for name, count in sorted(done.counts.items()) if count},
            "skipped": done.skipped,
            "resumed": migration.resumed,
            "transactions": done.transactions,
            "moved_keys": [[index, new.text()] for index, new in plan.moved],
            "comparison": result.shape(),
        }
        print(json.dumps(shape))
        return
    for outcome in done.refused:
        sys.stderr.write(f"{outcome.handle.decode('utf-8', 'replace')}: {outcome.error}\n")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(done.counts.items()) if count)
    print(f"{counts or 'nothing to do'}; {done.skipped} left out, {done.transactions} transactions")
    for index, new in dict(plan.moved).items():
        print(f"the key {index} of the old server stands in for it here, as {new.text()}")
    print(f"there: {result.theirs} records, digest {result.their_digest}")
    print(f"here:  {result.ours} records, digest {result.our_digest}")
    if result.same:
        print("Both sides are the same.")
        return
    names = ", ".join(name.decode("utf-8", "replace") for name in result.differing)
    print(f"They differ, first in: {names}. Run the same again, or register what was refused.")
