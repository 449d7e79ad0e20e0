"""The lock files hold what pyproject.toml asks for: a clean clone installs from them alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _name(requirement: str) -> str:
    """The name of a requirement as lock files write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


RUNTIME = [
    *PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"]["fast"],
]


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-dev.lock", [*RUNTIME, *PROJECT["dependency-groups"]["dev"]]),
    ],
)
def test_every_requirement_is_locked(file, wanted):
    """A new dependency needs `make lock`."""
    lines = (ROOT / file).read_text().splitlines()
    locked = {line.split("==")[0].lower() for line in lines if re.match(r"[A-Za-z0-9]", line)}
    assert {_name(one) for one in wanted} - locked == set()
