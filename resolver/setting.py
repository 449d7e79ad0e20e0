"""What settings are made of: fields with their explanation and bounds.

The tree itself is resolver.config; what it says and how it is read, resolver.config_file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar, cast

T = TypeVar("T")

Pairs = tuple[tuple[str, str], ...]
"""A table of the settings file: text by name, in the order written."""


def setting(
    default: T,
    help: str,  # noqa: A002 - the word that fits
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
) -> T:
    """A field of the tree: its default, its explanation and its bounds (both ends allowed)."""
    metadata = {"help": help, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=metadata)


def section(kind: Callable[[], T]) -> T:
    """A part of the tree; left out of the file it has its defaults."""
    made: Any = field(default_factory=kind)
    return cast("T", made)
