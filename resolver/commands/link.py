"""`biaoshi link`: GS1 Digital Links and element strings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from protocol.errors import BadIdentifier
from protocol.schemes.gs1_elements import parse_bracketed
from protocol.schemes.gs1_link import DigitalLink, from_elements, parse_uri
from resolver.jsonl import INVALID, OK, UNUSABLE, answer_lines, format_object

app = typer.Typer(name="link", help="Read and write GS1 Digital Links.", no_args_is_help=True)


def read_link(text: str, *, lenient: bool = False) -> DigitalLink:
    """A Digital Link of a URI or of a bracketed element string. Raises BadIdentifier."""
    if text.startswith("("):
        return from_elements(parse_bracketed(text))
    return parse_uri(text, lenient=lenient)


def answer(text: str, *, lenient: bool) -> dict[str, Any]:
    """The JSON object for one text."""
    try:
        link = read_link(text, lenient=lenient)
    except BadIdentifier as error:
        return {
            "input": text,
            "valid": False,
            "element_string": None,
            "canonical": None,
            "error": error.reason,
            "message": str(error),
        }
    return {
        "input": text,
        "valid": True,
        "element_string": link.element_string,
        "canonical": link.canonical,
        "error": None,
        "other_parameters": list(link.parameters),
    }


@app.command("parse")
def parse(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT…", show_default=False)] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    jsonl: Annotated[
        bool, typer.Option(help='Read {"input": …} lines from standard input.')
    ] = False,
    lenient: Annotated[
        bool,
        typer.Option(help="As a resolver may: trailing slash, word forms of AIs, short GTINs."),
    ] = False,
) -> None:
    """Check a Digital Link URI or a bracketed element string and give both of its forms.

    Exit code 0 when every text is valid, 1 when one is not, 2 when the input cannot be used.
    """
    if jsonl == bool(texts):
        typer.echo("give texts, or --jsonl and lines on standard input, and not both", err=True)
        raise typer.Exit(UNUSABLE)
    if jsonl:
        raise typer.Exit(answer_lines(lambda line: answer(line["input"], lenient=lenient)))
    code = OK
    for text in texts or ():
        found = answer(text, lenient=lenient)
        if not found["valid"]:
            code = INVALID
        if as_json:
            typer.echo(format_object(found), nl=False)
            continue
        typer.echo(f"{text if text.isprintable() else repr(text)}")
        if found["valid"]:
            typer.echo(f"  element string  {found['element_string']}")
            typer.echo(f"  canonical       {found['canonical']}")
        else:
            typer.echo(f"  invalid         {found['error']}: {found['message']}")
    raise typer.Exit(code)
