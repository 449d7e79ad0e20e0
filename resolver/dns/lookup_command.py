"""What `biaoshi resolve --dns` asks and prints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import typer

from protocol.schemes.base import Identifier
from resolver.ddds import SYSTEM, Resolved, Wish, resolve

FOUND, NOT_FOUND = 0, 1


def wish_of(
    server: str | None, zone: str | None, services: Sequence[str] | None, *, climb: bool
) -> Wish:
    """The wish that the options say. zone: instead of both public roots."""
    wish = Wish(server or SYSTEM, tuple(services or ()), climb=climb)
    if zone is None:
        return wish
    return Wish(wish.server, wish.services, ors_root=zone, ons_root=zone, climb=climb)


def show_services(identifier: Identifier, wish: Wish, *, steps: bool, as_json: bool) -> int:
    """Ask and print; gives the exit code. Raises as resolver.ddds.resolve."""
    found = asyncio.run(resolve(identifier, wish))
    if as_json:
        typer.echo(json.dumps(_shape(identifier, found, steps=steps), ensure_ascii=False))
    else:
        _print(identifier, found, steps=steps)
    return FOUND if found.records else NOT_FOUND


def _shape(identifier: Identifier, found: Resolved, *, steps: bool) -> dict[str, object]:
    shape: dict[str, object] = {
        "input": identifier.normalized,
        "name": found.answered or None,
        "authentic": found.authentic,
        "records": [dict(record.as_dict()) for record in found.records],
    }
    if steps:
        shape["steps"] = [dict(step) for step in found.steps]
    return shape


def _print(identifier: Identifier, found: Resolved, *, steps: bool) -> None:
    typer.echo(f";; {identifier.normalized}")
    for record in found.records:
        typer.echo(
            f"{record.order:>5} {record.preference:>5}  {record.service:<12} {record.ttl_s:>6}  "
            f"{record.uri}"
        )
    if found.records:
        kind = "validated by the server asked" if found.authentic else "not validated"
        typer.echo(f";; {len(found.records)} services at {found.answered}, {kind}")
    else:
        typer.echo(";; no services in DNS")
    if steps:
        for step in found.steps:
            took = f" ({step['ms']} ms)" if "ms" in step else ""
            typer.echo(f";; {step['asked']}: {step['outcome']}{took}")
