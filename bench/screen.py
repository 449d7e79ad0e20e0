"""Where figures are shown: as wide as the terminal, or wide enough for the tables in a file."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDTH = 110

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
