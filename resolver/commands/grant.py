"""biaoshi grant: who besides the administrators sees what is labelled level 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.errors import SettingsError

app = typer.Typer(no_args_is_help=True)

_FOLDER = typer.Argument(metavar="DIR", help="The node's folder.")
_PREFIX = typer.Option(metavar="P", help="The prefix; default: the node's own.")
_EPILOG = """\b
Examples:
  biaoshi grant add ./steel 300:0.NA/88.200 --class production --until 2027-01-01T00:00:00+08:00
  biaoshi grant add ./steel 200:88.200/auditors --identifier 88.118.8/coil-7 --type BOM
  biaoshi grant add ./steel 300:0.NA/88.300 --under /01/09521234543213/21/ --step shipping
  biaoshi grant list ./steel
  biaoshi grant remove ./steel 1001
\b
A grantee is an identity, INDEX:HANDLE, or a list of identities (HS_VLIST), at this node or another.
Level 3 is never granted. Each grant is a change of the log; each read by it is logged too.
\b
Exit codes: 0 done; 1 refused; 2 an option or a setting cannot be used; 3 the store is not
available."""


@app.command("add", epilog=_EPILOG)
def add(
    folder: Annotated[Path, _FOLDER],
    to: Annotated[str, typer.Argument(metavar="WHO", help="INDEX:HANDLE of who is granted.")],
    prefix: Annotated[str, _PREFIX] = "",
    identifier: Annotated[
        str, typer.Option(metavar="ID", help="Only this record, and events about it.")
    ] = "",
    under: Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin so.")] = "",
    class_: Annotated[
        str, typer.Option("--class", metavar="CLASS", help="Only labels of this class.")
    ] = "",
    type_: Annotated[
        str,
        typer.Option(
            "--type", metavar="TYPE", help="Only values of this type; of events, this field."
        ),
    ] = "",
    event: Annotated[
        str, typer.Option(metavar="TYPE", help="Only events of this type, such as ObjectEvent.")
    ] = "",
    step: Annotated[
        str, typer.Option(metavar="STEP", help="Only events of this bizStep, such as shipping.")
    ] = "",
    purpose: Annotated[
        str, typer.Option(metavar="TEXT", help="What for; labels with a purpose ask for the same.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="When it ends, with its zone.")] = "",
) -> None:
    """Give a grant."""
    from registry.grants import make_grant
    from resolver.granting import giving

    said: dict[str, Any] = {
        "to": to,
        "identifier": identifier,
        "under": under,
        "class": class_,
        "type": type_,
        "event": event,
        "step": step,
        "purpose": purpose,
        "until": until,
    }
    grant = make_grant({name: text for name, text in said.items() if text})
    home, record = _record(folder, prefix)
    change, number = giving(home, record, grant, None)
    print(f"grant {number}, change {_submit(folder, change)}")


@app.command("list", epilog=_EPILOG)
def list_(
    folder: Annotated[Path, _FOLDER],
    prefix: Annotated[str, _PREFIX] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one grant a line.")] = False,
) -> None:
    """List the grants of a prefix."""
    from resolver.granting import given

    for one in given(_record(folder, prefix)[1]):
        shape = one.shape()
        if as_json:
            print(json.dumps(shape, ensure_ascii=False))
            continue
        rest = ", ".join(f"{n} {t}" for n, t in shape.items() if n not in {"number", "to"})
        print(f"{shape['number']}  {shape['to']}  {rest or 'everything of level 2'}")


@app.command("remove", epilog=_EPILOG)
def remove(
    folder: Annotated[Path, _FOLDER],
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER", help="As `list` shows it.")],
    prefix: Annotated[str, _PREFIX] = "",
) -> None:
    """Take grants back."""
    from resolver.granting import taking_back

    home, record = _record(folder, prefix)
    print(f"change {_submit(folder, taking_back(home, record, numbers, None))}")


def _record(folder: Path, prefix: str) -> tuple[bytes, Any]:
    """The folded prefix and the record of its grants. Raises SettingsError or StoreError."""
    from protocol.name import fold
    from registry.grants import grants_record
    from registry.records import read_record
    from resolver.config_file import load_settings
    from resolver.trust.source import FolderSource

    node = folder.resolve()
    home = fold((prefix or load_settings(node).node.prefix).encode())
    if not home:
        raise SettingsError("this node has no prefix of its own; give --prefix")
    source = FolderSource(node)
    try:
        return home, read_record(source.store, grants_record(home))
    finally:
        source.close()


def _submit(folder: Path, change: Any) -> int | None:
    from resolver.exits import Exit
    from resolver.writer_link import open_writer

    with open_writer(folder.resolve()) as writer:
        (outcome,) = writer.submit([change])
    if outcome.error is not None:
        typer.echo(f"refused: {outcome.error}", err=True)
        raise typer.Exit(Exit.REFUSED)
    return outcome.sequence
