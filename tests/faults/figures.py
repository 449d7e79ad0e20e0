"""What a campaign found out: printed, and appended to the file that BIAOSHI_FIGURES names."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path


def count(variable: str, default: int) -> int:
    """How often: a release check sets the variable."""
    return int(os.environ.get(variable, str(default)))


def report(name: str, **figures: object) -> None:
    """One line a campaign."""
    told = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in figures.items())
    print(f"\n{name}: {told}")
    path = os.environ.get("BIAOSHI_FIGURES")
    if not path:
        return
    file = Path(path)
    known = json.loads(file.read_text()) if file.exists() else {}
    known[name] = {**figures, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
