"""The main job, end to end, as `make demo ARGS=--once` does it."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def demo(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.demo", "--once", "--folder", str(folder), *more]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(320)
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
        "traced back to the ore",
        "4 machines of 32",
        "/page/88.118.9/PRESS-005",
        "its whole life over three companies",
        "tampered with on disk: refused",
    ):
        assert words in done.stdout
    assert _running(tmp_path / "demo") == []


@pytest.mark.slow
def test_a_stopped_demo_takes_its_nodes_with_it(tmp_path: Path) -> None:
    """SIGTERM to the demo in the middle: no node goes on by itself."""
    command = [sys.executable, "-u", "-m", "bench.demo", "--folder", str(tmp_path / "demo")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "five nodes started" in line:
                break
        assert len(_running(tmp_path / "demo")) == 5
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert _running(tmp_path / "demo") == []


def _running(folder: Path) -> list[Path]:
    """The nodes whose lock is held."""
    found = []
    for path in folder.glob("*/run/serve.lock"):
        with path.open("rb+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                found.append(path)
    return found


def test_the_demo_removes_no_folder_of_others(tmp_path: Path) -> None:
    """A folder that no demo made is left alone, with a word why."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    done = demo(tmp_path / "mine")
    assert done.returncode == 1
    assert "was not made by the demo" in done.stdout
    assert (tmp_path / "mine" / "file").read_text() == "precious"
