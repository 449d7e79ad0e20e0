"""A Handle.Net distribution (HSJ=folder) as a client: its tools, and our driver compiled with it.

Its user.home is a folder of the test: every request goes to the server under test, wherever the
global root is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HSJ = os.environ.get("HSJ", "")
DRIVER = Path(__file__).parent / "java" / "Drive.java"
PATIENCE_S = 90


def require_hsj() -> None:
    """Skip with a plain message where there is no distribution."""
    if not HSJ:
        pytest.skip("HSJ names no Handle.Net distribution; set HSJ=folder to drive its tools")
    if not shutil.which("java") or not shutil.which("javac"):
        pytest.skip("java and javac are needed to drive the Handle.Net distribution in HSJ")
    assert (Path(HSJ) / "lib").is_dir(), f"HSJ={HSJ} holds no Handle.Net distribution (lib/)"


class JavaClient:
    """The distribution, pointed at one server."""

    def __init__(self, folder: Path, site: dict) -> None:
        self.folder = folder
        jars = sorted(map(str, Path(HSJ).glob("lib/**/*.jar")))
        self.path = ":".join([str(folder), *jars])
        self.home = folder / "home"
        handle = self.home / ".handle"
        handle.mkdir(parents=True)
        (handle / "resolver_site").write_text(json.dumps(site))
        (handle / "local_nas").write_text("*\n")
        (handle / "config.dct").write_text(
            '{ "auto_update_root_info" = "no" "tcp_timeout" = "8000" }'
        )

    def compile(self, source: Path) -> None:
        done = subprocess.run(
            ["javac", "-nowarn", "-cp", self.path, "-d", str(self.folder), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, main: str, *arguments, stdin: str = "") -> subprocess.CompletedProcess:
        """A class of the distribution, or ours."""
        return subprocess.run(
            [
                *("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", f"-Duser.home={self.home}"),
                *("-cp", self.path, main, *map(str, arguments)),
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            cwd=self.folder,
        )

    def tool(self, name: str, *arguments, stdin: str = "") -> subprocess.CompletedProcess:
        """One of bin/hdl-*."""
        environment = {**os.environ, "JAVA_TOOL_OPTIONS": f"-Duser.home={self.home}"}
        return subprocess.run(
            [str(Path(HSJ) / "bin" / name), *map(str, arguments)],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            cwd=self.folder,
        )
