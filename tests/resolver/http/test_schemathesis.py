"""Schemathesis finds nothing: what a node describes is what it does, with and without credentials.

A short run with fixed numbers; docs/servers/http.md has the command of a long one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resolver.config import FaceSettings, NodeSettings, Settings
from resolver.founding import found
from tests.resolver.nodes import Serving

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
LONG_S = 300
WIDE = "^/epcis/[a-zA-Z]+/{value}/events$"
"""Eight resources with the seventy parameters of /epcis/events, each of which is tried there."""

pytestmark = pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed")


@pytest.fixture
def node(tmp_path):
    settings = Settings(
        node=NodeSettings(role="enterprise", prefix="86.999"),
        faces=FaceSettings(irp=0, http=0, https=0),
    )
    found(tmp_path / "node", settings, secret=b"open sesame")
    serving = Serving(tmp_path / "node")
    yield serving
    serving.end()


def run(folder, url, *more):
    """One run, to its end: nothing found, and the node fails at nothing."""
    done = subprocess.run(
        [
            str(SCHEMATHESIS),
            *("run", url, "--no-color", "--seed", "7", "--generation-deterministic"),
            *("--warnings", "off", "--no-shrink"),
            *more,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]


def quiet(node):
    """Whether no request ran into a fault."""
    return "request_failed" not in node.events()


FEW = ("--max-examples", "4", "--exclude-path-regex", WIDE)


def test_without_credentials(node, tmp_path):
    """What anybody may ask is answered as it is described."""
    run(tmp_path, f"{node.url}/openapi.json", "--phases", "examples,fuzzing", *FEW)
    assert quiet(node)


def test_with_credentials(node, tmp_path):
    """An administrator too is answered as it is described, over TLS."""
    url = f"https://127.0.0.1:{node.ready['https']}/openapi.json"
    proof = ("--auth", "301%3A0.NA/86.999:open sesame", "--tls-verify", "false")
    run(tmp_path, url, "--phases", "examples,fuzzing", *proof, *FEW)
    assert quiet(node)
