"""The tables of docs/operate.md that are made from the code: settings and metrics.

`python -m tests.docs.tables` writes them anew; test_docs says when that is needed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from resolver.config import Settings
from resolver.config_file import format_settings
from resolver.metrics import SPECS
from tests.docs.console import ROOT

PAGE = ROOT / "docs" / "operate.md"


def toml(value: Any) -> str:
    """A value as the settings file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def settings_table() -> Iterator[str]:
    """A heading a section, a row a setting."""
    tree = Settings()
    written = tomllib.loads(format_settings(tree))
    for part in fields(tree):
        section = getattr(tree, part.name)
        yield from ("", f"### `[{part.name}]`", "", " ".join(str(type(section).__doc__).split()))
        yield from ("", "| setting | default | |", "| --- | --- | --- |")
        for item in fields(section):
            rules = item.metadata
            bounds = f" {rules['least']} to {rules['most']}." if rules["most"] is not None else ""
            default = toml(written[part.name][item.name])
            yield f"| `{item.name}` | `{default}` | {rules['help']}{bounds} |"
    yield ""


def metrics_table() -> Iterator[str]:
    """A row a metric."""
    yield from ("", "| metric | labels | |", "| --- | --- | --- |")
    for spec in SPECS.values():
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        yield f"| `biaoshi_{spec.name}` | {labels} | {spec.help} |"
    yield ""


TABLES = {"settings": settings_table, "metrics": metrics_table}


def with_tables(page: str) -> str:
    """A page with its tables as the code makes them."""
    for name, made in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        body = "\n".join(made()) + "\n"
        page = re.sub(
            pattern, lambda found, body=body: found[1] + body + found[2], page, flags=re.DOTALL
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
