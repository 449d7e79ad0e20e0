"""`biaoshi link`: GS1 Digital Links, element strings and compressed links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from protocol.errors import BadIdentifier
from protocol.schemes import epc
from protocol.schemes.gs1 import parse_link
from protocol.schemes.gs1_compress import compress, expand
from protocol.schemes.gs1_elements import parse_bracketed
from protocol.schemes.gs1_link import CANONICAL, DigitalLink, from_elements, parse_uri, read_uri
from resolver.jsonl import INVALID, OK, UNUSABLE, answer_lines, format_object

app = typer.Typer(name="link", help="Read and write GS1 Digital Links.", no_args_is_help=True)

Facts = dict[str, Any]

Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT…", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Jsonl = Annotated[
    bool, typer.Option("--jsonl", help='Read {"input": …} lines from standard input.')
]
Lenient = Annotated[
    bool, typer.Option(help="As a resolver may: trailing slash, word forms of AIs, short GTINs.")
]
Base = Annotated[str | None, typer.Option(help="What stands before the key, https://… or http://…")]


def read_link(text: str, *, lenient: bool = False) -> DigitalLink:
    """A Digital Link of a URI, an EPC URN or a bracketed element string. Raises BadIdentifier."""
    if text.startswith("("):
        return from_elements(parse_bracketed(text))
    if text[:8].lower() == "urn:epc:":
        return _read_urn(text)
    return parse_uri(text, lenient=lenient)


def _read_urn(text: str) -> DigitalLink:
    found = epc.parse(text)
    uri = found.extra.get("digital_link")
    if uri is None:
        raise BadIdentifier("no-link", f"{found.normalized} has no Digital Link")
    return parse_uri(uri)


def _read_any(text: str) -> DigitalLink:
    """A Digital Link of a GTIN, an element string, a URI or an EPC URN. Raises BadIdentifier."""
    if text.startswith("("):
        return from_elements(parse_bracketed(text))
    if text[:8].lower() == "urn:epc:":
        return _read_urn(text)
    return parse_link(text)


def _both_forms(link: DigitalLink) -> Facts:
    return {
        "element_string": link.element_string,
        "canonical": link.canonical,
        "error": None,
        "other_parameters": list(link.parameters),
    }


def _answer(text: str, work: Callable[[str], Facts], names: tuple[str, ...]) -> Facts:
    """The JSON object for one text; names: what is null where it is invalid."""
    try:
        return {"input": text, "valid": True, **work(text)}
    except BadIdentifier as error:
        nothing = dict.fromkeys(names)
        return {
            "input": text,
            "valid": False,
            **nothing,
            "error": error.reason,
            "message": str(error),
        }


def _print(found: Facts) -> None:
    text = found["input"]
    typer.echo(text if text.isprintable() else repr(text))
    for name, value in found.items():
        if name not in ("input", "valid") and value:
            shown = " ".join(value) if isinstance(value, list) else value
            typer.echo(f"  {name.replace('_', ' '):<16} {shown}")


def _run(
    texts: list[str] | None,
    work: Callable[[str], Facts],
    names: tuple[str, ...],
    *,
    as_json: bool,
    jsonl: bool,
) -> None:
    """Answer each text or each line; leaves with the exit code."""
    if jsonl == bool(texts):
        typer.echo("give texts, or --jsonl and lines on standard input, and not both", err=True)
        raise typer.Exit(UNUSABLE)
    if jsonl:
        raise typer.Exit(answer_lines(lambda line: _answer(line["input"], work, names)))
    code = OK
    for text in texts or ():
        found = _answer(text, work, names)
        if not found["valid"]:
            code = INVALID
        if as_json:
            typer.echo(format_object(found), nl=False)
        else:
            _print(found)
    raise typer.Exit(code)


def _help(*examples: str) -> str:
    """What stands below the options of a command's help."""
    shown = "".join(f"\n  {example}" for example in examples)
    codes = "Exit codes: 0 every text is valid; 1 one is not; 2 the input cannot be used."
    return f"\b\nExamples:{shown}\n\b\n{codes}"


def _base(base: str | None) -> str | None:
    if base is None:
        return None
    try:
        read_uri(base)
    except BadIdentifier as error:
        raise typer.BadParameter(f"{error}; begin with https:// and a host") from None
    if "?" in base or "#" in base:
        raise typer.BadParameter(f"{base!r} has a query or a fragment; end it before")
    return base


@app.command(
    "parse",
    epilog=_help(
        'biaoshi link parse "https://id.gs1.org/01/09506000134352/21/7"',
        'biaoshi link parse "(01)09506000134352(21)7" --json',
    ),
)
def parse(
    texts: Texts = None,
    *,
    as_json: AsJson = False,
    jsonl: Jsonl = False,
    lenient: Lenient = False,
) -> None:
    """Check a Digital Link URI, an element string or an EPC URN and give both of its forms."""

    def work(text: str) -> Facts:
        return _both_forms(read_link(text, lenient=lenient))

    _run(texts, work, ("element_string", "canonical"), as_json=as_json, jsonl=jsonl)


@app.command(
    "make",
    epilog=_help(
        "biaoshi link make 09506000134352",
        'biaoshi link make "(01)09506000134352(10)B7" --base https://id.example.org',
    ),
)
def make(
    texts: Texts = None,
    *,
    base: Base = None,
    as_json: AsJson = False,
    jsonl: Jsonl = False,
) -> None:
    """Make a Digital Link URI of a GTIN, an element string, an EPC URN or another URI."""
    before = _base(base) or CANONICAL

    def work(text: str) -> Facts:
        return {"uri": _read_any(text).uri(before, parameters=True), "error": None}

    _run(texts, work, ("uri",), as_json=as_json, jsonl=jsonl)


@app.command(
    "compress",
    epilog=_help(
        'biaoshi link compress "https://id.gs1.org/01/09506000134352/21/7"',
        'biaoshi link compress "(01)09506000134352(21)7" --base https://id.example.org',
        'biaoshi link compress "(01)09506000134352(21)7" --partial',
    ),
)
def compress_(
    texts: Texts = None,
    *,
    base: Base = None,
    sequences: Annotated[
        bool, typer.Option(help="Use the predefined groups of AIs, which is shorter.")
    ] = True,
    partial: Annotated[bool, typer.Option(help="Leave the key in clear.")] = False,
    as_json: AsJson = False,
    jsonl: Jsonl = False,
) -> None:
    """Compress a Digital Link URI, an element string, a GTIN or an EPC URN.

    A URI keeps what stands before its key unless --base is given.
    """
    before = _base(base)

    def work(text: str) -> Facts:
        short = compress(_read_any(text), before, sequences=sequences, partly=partial)
        return {"compressed": short, "error": None}

    _run(texts, work, ("compressed",), as_json=as_json, jsonl=jsonl)


@app.command(
    "expand",
    epilog=_help(
        "biaoshi link expand https://id.gs1.org/DBFKk4XBoALg",
        "biaoshi link expand --jsonl < links.jsonl",
    ),
)
def expand_(
    texts: Texts = None,
    *,
    lenient: Lenient = False,
    as_json: AsJson = False,
    jsonl: Jsonl = False,
) -> None:
    """Expand a compressed Digital Link URI; its key may stand in clear.

    `uri` keeps its host and foreign parameters, `canonical` does not.
    """

    def work(text: str) -> Facts:
        link = expand(text, lenient=lenient)
        return {"uri": link.uri(link.base, parameters=True), **_both_forms(link)}

    _run(texts, work, ("uri", "element_string", "canonical"), as_json=as_json, jsonl=jsonl)
