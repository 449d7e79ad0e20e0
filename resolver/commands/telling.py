"""What a command did, for people or, with --json, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def tell(shape: Mapping[str, Any], *lines: str, as_json: bool) -> None:
    """Print a result: one JSON object, or the same in words."""
    print(json.dumps(shape) if as_json else "\n".join(lines))
