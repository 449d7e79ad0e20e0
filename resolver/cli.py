"""`biaoshi`: the command line.

Each command is a module of resolver.commands with a typer `app`, named in the table below; only
the one that is asked for is imported, so that --help is quick. Packages above the resolver add
theirs through the entry-point group `biaoshi.commands`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Annotated, Final

import typer

from protocol.errors import BiaoshiError
from resolver.exits import Exit, exit_code

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    # name: module with an `app`, one line for the list of commands
    "init": ("resolver.commands.init", "Make a node's folder: settings, keys, empty store."),
    "serve": ("resolver.commands.serve", "Run a node."),
    "prefix": ("resolver.commands.prefix", "Apply for a prefix, approve, list, show."),
    "register": ("resolver.commands.register", "Register identifiers from a file."),
    "import": ("resolver.commands.import_", "Take over records from Handle software."),
    "key": ("resolver.commands.key", "Make, show and convert keys."),
    "auth": ("resolver.commands.auth", "Try a login; say which step fails and why."),
    "resolve": ("resolver.commands.resolve", "Resolve an identifier, like dig."),
    "doctor": ("resolver.commands.doctor", "Test a node from outside in; what to mend."),
    "cache": ("resolver.commands.cache", "What a recursive node keeps: show, purge."),
    "id": ("resolver.commands.identifier", "Parse any spelling of an identifier."),
    "link": ("resolver.commands.link", "GS1 Digital Links: parse, make, compress, expand."),
    "qr": ("resolver.commands.qr", "QR codes of identifiers; label sheets."),
    "trace": ("resolver.commands.trace", "Where a thing came from, and where it went."),
    "epcis": ("resolver.commands.epcis", "EPCIS events: hash ids, validity."),
    "events": ("resolver.commands.events", "Make lifecycle events of a company's own files."),
    "dnssec": ("resolver.commands.dnssec", "Keys that sign the node's DNS zones; zone files."),
    "backup": ("resolver.commands.backup", "Write a node at one position into a file."),
    "restore": ("resolver.commands.restore", "Make a node's folder from backups."),
    "check": ("resolver.commands.check", "Make the tables again from the log, and compare."),
    "erase": ("resolver.commands.erase", "Take content out of the log; every proof stays."),
    "escrow": ("resolver.commands.escrow", "Deposit the log at the parent; fetch it again."),
    "migrate": ("resolver.commands.migrate", "Bring a store to this release's format."),
    "export": ("resolver.commands.export", "Write records as JSON lines with proofs."),
    "epoch": ("resolver.commands.epoch", "Begin a new epoch of the log, after a loss."),
    "witness": ("resolver.commands.witness", "Cosign a log's checkpoint after checking it."),
    "promote": ("resolver.commands.promote", "Make a mirror the primary."),
    "grant": ("resolver.commands.grant", "Who sees what is labelled for partners."),
    "audit-reads": ("resolver.commands.audit_reads", "Who read by a grant what is not public."),
    "audit": ("resolver.commands.audit", "Replay a node's log; name what does not add up."),
    "verify": ("resolver.commands.verify", "Check records, answers and receipts offline."),
    "sign": ("resolver.commands.sign", "Sign records with a key."),
    "wire": ("resolver.commands.wire", "The wire codec as a tool: decode, encode, check."),
}
GROUP: Final = "biaoshi.commands"
EPILOG: Final = (
    "Exit codes: 0 done; 1 something was refused, not found or not valid; 2 the command, a "
    "setting or a file cannot be used as it is; 3 a node, store or port is not available; "
    "4 the identity was not proved, or lacks the right."
)
_COMPLETION: Final = "_BIAOSHI_COMPLETE"


def _version(asked: bool) -> None:
    if not asked:
        return
    try:
        print(f"biaoshi {version('biaoshi')}")  # noqa: T201 - what was asked for
    except PackageNotFoundError:
        print("biaoshi, not installed as a package")  # noqa: T201
    raise typer.Exit


def _root(
    _version_asked: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show where an internal error happened.")
    ] = False,
) -> None:
    """Industrial identifier resolution: signed product records over Handle, HTTP and DNS."""


def build(wanted: str | None, *, everything: bool = False) -> typer.Typer:
    """The command line with one command loaded; with none, a line for each."""
    app = typer.Typer(
        name="biaoshi",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, (module, text) in COMMANDS.items():
        if importlib.util.find_spec(module) is None:
            continue
        if everything or name == wanted:
            _attach(app, name, importlib.import_module(module).app, text)
        elif wanted is None:
            app.command(name, help=text)(_nothing)
    for point in _points():
        if everything or point.name == wanted:
            target: typer.Typer = point.load()
            _attach(app, point.name, target, None)
        elif wanted is None:
            app.command(point.name, help=f"See `biaoshi {point.name} --help`.")(_nothing)
    return app


def _nothing() -> None:
    """Stands for a command in the list."""


def _attach(app: typer.Typer, name: str, command: typer.Typer, text: str | None) -> None:
    """Add a module's app: a group of commands, or the one command it has."""
    single = len(command.registered_commands) == 1 and not command.registered_groups
    if single and command.registered_callback is None:
        info = command.registered_commands[0]
        info.name = name
        app.registered_commands.append(info)
    else:
        app.add_typer(command, name=name, short_help=text)


def _points() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _known(name: str) -> bool:
    return name in COMMANDS or any(point.name == name for point in _points())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    completing = _COMPLETION in os.environ  # the shell's question, typer answers it
    wanted = next((word for word in given if not word.startswith("-")), None)
    if wanted is not None and not _known(wanted):
        wanted = None
    app = build(wanted, everything=completing)
    sys.exit(_guarded(lambda: app(given, prog_name="biaoshi"), debug="--debug" in given))


def _guarded(run: Callable[[], object], *, debug: bool) -> int:
    """Run to the exit code; an error is one plain line."""
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.OK if end.code is None else 1
    except BiaoshiError as error:
        _say(str(error), debug=debug)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except OSError as error:
        # A full or read-only disk, a folder of another user, a dead address: not our fault.
        names = " and ".join(str(name) for name in (error.filename, error.filename2) if name)
        _say(f"{names + ': ' if names else ''}{error.strerror or error}", debug=debug)
        return Exit.UNAVAILABLE
    except Exception as error:  # noqa: BLE001 - the last line of defence before the user
        _say(
            f"internal error: {type(error).__name__}: {error}; add --debug and report it",
            debug=debug,
        )
        return 70
    return Exit.OK


def _say(text: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"biaoshi: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
