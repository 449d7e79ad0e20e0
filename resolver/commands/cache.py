"""biaoshi cache: what a recursive node keeps of other nodes' answers, and forgetting it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.errors import BiaoshiError, ServerBusy, SettingsError
from protocol.identifier import parse
from resolver.cache_file import FOLDER
from resolver.cache_keeper import VERB
from resolver.config_file import load_settings
from resolver.local import LocalClient
from resolver.node import socket_name
from resolver.running import is_served, running_state

app = typer.Typer(
    help="What a recursive node keeps of other nodes' answers: show, purge.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="""\b
Each reader process of a node has a cache of its own; these commands speak to all of them.""",
)

NodeOption = Annotated[Path, typer.Option("--node", metavar="DIR", help="The node's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a reader.")]


@app.command(
    epilog="""\b
Examples:
  biaoshi cache purge 88.118.8/JXDY2106023 --node ./recursive
  biaoshi cache purge --prefix 88.118.8 --node ./recursive
  biaoshi cache purge --all --node ./recursive
\b
What is being fetched at this moment is not kept either. Exit codes: 0 every reader did so;
2 the command or the folder cannot be used; 3 a reader does not answer: run it again."""
)
def purge(
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One identifier, in any spelling.")
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="P", help="A prefix: its record, its names, what is derived from it."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Forget a name, a prefix or everything, in every reader and in the file."""
    if [identifier is not None, prefix is not None, everything].count(True) != 1:
        raise SettingsError("give one of ID, --prefix P and --all")
    body: dict[str, Any] = {"do": "purge"}
    if identifier is not None:
        body["name"] = parse(identifier).handle
    if prefix is not None:
        body["prefix"] = prefix.encode()
    _settings_of(node)
    if not is_served(node):
        _purge_file(node)
        return
    answers = ask_all(node, body)
    for answer in answers:
        if as_json:
            print(json.dumps(answer))
        else:
            print(f"reader {answer['reader']}: {answer['purged']} names forgotten")


def _purge_file(node: Path) -> None:
    """A stopped node has only the file; it is taken away as a whole, whatever was asked for."""
    for file in sorted((node / FOLDER).glob("*.mdb")):
        file.unlink()
    print("the node is not running: its cache file is emptied", file=sys.stderr)


@app.command(
    epilog="""\b
Examples:
  biaoshi cache show --node ./recursive
  biaoshi cache show 88.118.8/JXDY2106023 --node ./recursive
\b
Exit codes: 0 shown; 2 the folder cannot be used; 3 the node, or a reader, does not answer."""
)
def show(
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Also how this one is kept.")
    ] = None,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """How much each reader keeps, and how it keeps one identifier."""
    _settings_of(node)
    body: dict[str, Any] = {"do": "show"}
    if identifier is not None:
        body["name"] = parse(identifier).handle
    for answer in ask_all(node, body):
        print(json.dumps(answer) if as_json else _line(answer, asked=identifier is not None))


def _line(answer: Mapping[str, Any], *, asked: bool) -> str:
    line = f"reader {answer['reader']}: {answer['entries']} names, {answer['octets']} octets"
    if answer["file"] is not None:
        line += f", {answer['file']} in the file"
    if "state" in answer:
        line += f"; {answer['code']}, {answer['state']}, {answer['age_s']} s old"
        line += f", {answer['left_s']} s left; {answer['proof'] or 'not verified'}"
    elif asked:
        line += "; it is not kept"
    return line


def _settings_of(node: Path) -> None:
    if not load_settings(node).recursion.enabled:
        raise SettingsError(
            f"{node} does not resolve for others, so it has no cache; `recursion.enabled` turns it on"
        )


def ask_all(node: Path, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every reader's answer. Raises ServerBusy when one gives none."""
    state = running_state(node)
    if state is None:
        raise ServerBusy(f"the node of {node} is not running; start it with `biaoshi serve {node}`")
    return asyncio.run(_ask_readers(node, int(state["readers"]), body))


async def _ask_readers(node: Path, readers: int, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    clients = [LocalClient(node / "run" / socket_name(number)) for number in range(readers)]
    try:
        results = await asyncio.gather(
            *(client.ask(VERB, body) for client in clients), return_exceptions=True
        )
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    answers = []
    for number, result in enumerate(results):
        if isinstance(result, BiaoshiError):
            raise ServerBusy(f"reader {number} did not do so: {result}; run the command again")
        if isinstance(result, BaseException):
            raise result
        answers.append(dict(result))
    return answers
