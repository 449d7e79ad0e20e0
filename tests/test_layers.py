"""The structure is a test too: imports point one way, bench → resolver → registry → protocol."""

from __future__ import annotations

import ast
import gc
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "protocol": set(),
    "registry": {"protocol"},
    "resolver": {"protocol", "registry"},
    "bench": {"protocol", "registry", "resolver"},
}
IMPURE = {"socket", "asyncio", "time", "random", "secrets", "logging", "os", "subprocess", "lmdb"}
MOST_LINES = 600


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.fixture(autouse=True)
def _no_collection():
    """What other tests left is collected before: CPython 3.11 counts its depth wrong otherwise."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import; write it in full"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_point_towards_protocol(package: str) -> None:
    """No package imports one that stands above it."""
    for file in sources(package):
        wrong = imported(file) & (set(MAY_IMPORT) - MAY_IMPORT[package] - {package})
        assert not wrong, f"{file} imports {wrong}; arrows point towards protocol"


def test_protocol_is_pure() -> None:
    """The protocol package opens no socket, reads no clock and draws no random number."""
    for file in sources("protocol"):
        wrong = imported(file) & IMPURE
        assert not wrong, f"{file} imports {wrong}; pass the world in"


def test_registry_opens_no_connection() -> None:
    """The registry imports neither a web server nor a client."""
    for file in sources("registry"):
        wrong = imported(file) & {"aiohttp", "socket", "dns"}
        assert not wrong, f"{file} imports {wrong}; the registry is handed a fetch instead"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_file_is_too_long(package: str) -> None:
    """One idea, one file: none is above 600 lines."""
    for file in sources(package):
        lines = len(file.read_text().splitlines())
        assert lines <= MOST_LINES, f"{file} has {lines} lines; split it by idea"
