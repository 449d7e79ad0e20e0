"""The main job, end to end, as `make demo ARGS=--once` does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def demo(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.demo", "--once", "--folder", str(folder), *more]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.slow
def test_the_demo_enrols_registers_resolves_verifies_and_refuses(tmp_path: Path) -> None:
    """Five processes, both enterprises over three faces, one tampered record refused, exit 0."""
    done = demo(tmp_path / "demo", "--corpus-limit", "300")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "88.118.8 enrolled with 88.118",
        "over UDP",
        "over TCP",
        "over HTTP",
        "verified to the root",
        "tampered with on disk: refused",
    ):
        assert words in done.stdout
    assert not list((tmp_path / "demo").glob("*/run/*.pid"))


def test_the_demo_removes_no_folder_of_others(tmp_path: Path) -> None:
    """A folder that no demo made is left alone, with a word why."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    done = demo(tmp_path / "mine")
    assert done.returncode == 1
    assert "was not made by the demo" in done.stdout
    assert (tmp_path / "mine" / "file").read_text() == "precious"
