"""`biaoshi id`: what an identifier is, or why it is none."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from protocol.errors import BadIdentifier
from protocol.identifier import SCHEMES, Identifier, parse
from protocol.naptr import ONS_ROOT, ORS_ROOT, domain_names
from resolver.jsonl import INVALID, OK, UNUSABLE, Unusable, answer_lines, format_object

app = typer.Typer()

_HIDDEN = frozenset(("labels",))


def facts(identifier: Identifier, ors_root: str, ons_root: str) -> dict[str, Any]:
    """What `--json` says of an identifier besides input and validity."""
    extra = {name: value for name, value in identifier.extra.items() if name not in _HIDDEN}
    return {
        "scheme": identifier.scheme,
        "normalized": identifier.normalized,
        "prefix": identifier.prefix,
        "suffix": identifier.suffix,
        "error": None,
        **extra,
        **domain_names(identifier, ors_root=ors_root, ons_root=ons_root),
    }


def answer(text: str, scheme: str | None, ors_root: str, ons_root: str) -> dict[str, Any]:
    """The JSON object for one text."""
    try:
        found = facts(parse(text, scheme), ors_root, ons_root)
    except BadIdentifier as error:
        return {
            "input": text,
            "valid": False,
            "scheme": scheme,
            "normalized": None,
            "prefix": None,
            "suffix": None,
            "error": error.reason,
            "message": str(error),
        }
    return {"input": text, "valid": True, **found}


def _printable(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{part} {code}" for part, code in value.items() if code is not None)
        if name not in ("input", "valid") and value is not None:
            rows.append((name, _printable(value)))
    return rows


def _print_table(found: dict[str, Any]) -> None:
    typer.echo(f"{_printable(found['input'])}  {'valid' if found['valid'] else 'invalid'}")
    for name, value in _rows(found):
        typer.echo(f"  {name:<13} {value}")


_EPILOG = """\b
Examples:
  biaoshi id 88.118.8/JXDY2106023
  biaoshi id 1.2.156.3088.7 "urn:epc:id:sgtin:0614141.112345.400" --json
  biaoshi id "(01)09506000134352(21)7" --scheme gs1
  biaoshi id --jsonl < identifiers.jsonl
\b
--jsonl answers each line that is not blank with one line:
  {"input":…, "valid":…, "scheme":…, "normalized":…, "prefix":…, "suffix":…, "error":…}
\b
Exit codes: 0 every text is valid; 1 one is not; 2 the input or an option cannot be used."""


@app.command("id", epilog=_EPILOG)
def identify(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT…", show_default=False)] = None,
    *,
    scheme: Annotated[
        str | None, typer.Option(help=f"Read as this scheme: {', '.join(SCHEMES)}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    jsonl: Annotated[
        bool, typer.Option(help='Read {"input": …, "scheme": …} lines from standard input.')
    ] = False,
    ors_root: Annotated[
        str, typer.Option(help="Domain below which OIDs are asked for.")
    ] = ORS_ROOT,
    ons_root: Annotated[
        str, typer.Option(help="Domain below which GTINs are asked for.")
    ] = ONS_ROOT,
) -> None:
    """Say what an identifier is: scheme, prefix, suffix and the one normalized form."""
    if jsonl == bool(texts) or (scheme is not None and scheme not in SCHEMES):
        typer.echo(
            f"no scheme {scheme!r}; there are {', '.join(SCHEMES)}"
            if scheme is not None and scheme not in SCHEMES
            else "give texts, or --jsonl and lines on standard input, and not both",
            err=True,
        )
        raise typer.Exit(UNUSABLE)
    if jsonl:
        raise typer.Exit(
            answer_lines(
                lambda line: answer(line["input"], _scheme_of(line, scheme), ors_root, ons_root)
            )
        )
    code = OK
    for text in texts or ():
        found = answer(text, scheme, ors_root, ons_root)
        if not found["valid"]:
            code = INVALID
        if as_json:
            typer.echo(format_object(found), nl=False)
        else:
            _print_table(found)
    raise typer.Exit(code)


def _scheme_of(line: dict[str, Any], default: str | None) -> str | None:
    scheme = line.get("scheme")
    if scheme is None:
        return default
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise Unusable(f"no scheme {scheme!r}; there are {', '.join(SCHEMES)}")
    return scheme
