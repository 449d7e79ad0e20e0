"""A page of the documents as a script: its console blocks, run in order in an empty folder.

In a fenced block a line `$ COMMAND` is run, `> …` lines continue it, and what follows is what it
must print. A page may prepare itself in a comment, `<!-- first:` to `-->`, with the same lines.

- A command must end with 0, unless the next one is `$ echo $?`.
- `…` in an expected line stands for anything, a line of `…` alone for any lines.
- Times, rates, fingerprints and the like are compared as if they were equal (VOLATILE).
- The usual ports are free ones of this run: 2641, 8000, 8443 and the numbers next to them.
- `biaoshi serve DIR &` runs until the end of the page; commands of NOT_RUN are only looked at.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("biaoshi", "cat", "curl", "echo", "head", "ls", "printf", "python", "sed", "tail", "wc")
NOT_RUN = ("biaoshi demo", "biaoshi bench")
"""They have tests of their own, and take longer than a page may."""
PORT = re.compile(r"(?<![\d.-])(?:26[4-9]\d|80[0-9]\d|84[4-9]\d)(?!\d)")
USUAL_PORTS = {"--irp": "2641", "--http": "8000", "--https": "8443"}
VOLATILE = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\d+\.\d+ ms", "N ms"),
        (r'"ms": [\d.]+', '"ms": N'),
        (r'"(pid|readers|seconds|per_second|expires)": ?[\d.]+', r'"\1": N'),
        (r"in \d+\.\d+ s \(\d+/s\)", "in N s"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"(SHA256|sha256):[\w+/]{16,}", "SHA256:X"),
        (r"process \d+", "process N"),
        (r"\d+(\.\d+)? s (old|left)", r"N s \2"),
        (r"\d+ octets", "N octets"),
        (r"until \d{4}-\d\d-\d\d", "until DATE"),
        (r"[0-9a-f]{64}", "HEX"),
        (r"ey[\w-]+\.[\w-]+\.[\w-]+", "JWS"),
        (r"\s+", " "),
    )
)


@dataclass
class Command:
    """One command of a page. line: where it stands. expected: what it must print."""

    line: int
    text: str
    expected: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        return self.text.split(maxsplit=1)[0]

    @property
    def runs(self) -> bool:
        return self.word in RUN and not self.text.startswith(NOT_RUN)


def commands(text: str) -> list[Command]:
    """The commands of a page, those of its `<!-- first:` comments too."""
    found: list[Command] = []
    inside, more = False, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("```", "<!-- first:")) or line == "-->":
            inside, more = not inside, False
        elif inside and line.startswith("$ "):
            found.append(Command(number, line[2:]))
            more = True
        elif inside and more and (line == ">" or line.startswith("> ")):
            found[-1].text += "\n" + line[2:]
        elif inside and more:
            found[-1].expected.append(line)
        if line.startswith("```"):
            more = False
    return found


class Page:
    """A running page: its folder, its ports and the nodes it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, str] = {}
        self.nodes: list[subprocess.Popen[str]] = []
        self.code = 0
        self.bin = folder / ".bin"
        self.bin.mkdir()
        self._make("biaoshi", f'exec "{sys.executable}" -m resolver.cli "$@"')
        self._make("python", f'exec "{sys.executable}" "$@"')

    def _make(self, name: str, line: str) -> None:
        script = self.bin / name
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)

    def run(self, command: Command) -> list[str]:
        """Run one command and give the lines it printed, with the page's own ports in them."""
        text = self._with_ports(self._completed(command.text))
        if text.rstrip().endswith("&"):
            return self._named(self._serve(text.rstrip()[:-1]))
        shell = f"(exit {self.code})\n{text}\n"
        done = subprocess.run(
            ["sh", "-c", shell],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.code = done.returncode
        return self._named(done.stdout)

    def _completed(self, text: str) -> str:
        """The usual ports, where a command relies on them, so that they can be replaced."""
        words = shlex.split(text, comments=False) if "\n" not in text else []
        if words[:2] == ["biaoshi", "init"]:
            return text + "".join(
                f" {option} {port}" for option, port in USUAL_PORTS.items() if option not in words
            )
        if words[:2] == ["biaoshi", "resolve"] and not {"--server", "--root"} & {*words}:
            return text + " --server 127.0.0.1:2641"
        return text

    def _with_ports(self, text: str) -> str:
        return PORT.sub(lambda found: self._port(found[0]), text)

    def _port(self, shown: str) -> str:
        if shown not in self.ports:
            self.ports[shown] = _free_port({*self.ports.values()})
        return self.ports[shown]

    def _named(self, printed: str) -> list[str]:
        for shown, used in self.ports.items():
            printed = re.sub(rf"(?<!\d){used}(?!\d)", shown, printed)
        return printed.replace(str(self.folder), "…").splitlines()

    def _environment(self) -> dict[str, str]:
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}

    def _serve(self, text: str) -> str:
        with (self.folder / ".serve.log").open("a") as log:
            node = subprocess.Popen(
                shlex.split(text),
                cwd=self.folder,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.nodes.append(node)
        assert node.stdout is not None
        line = node.stdout.readline()
        self.code = 0 if line else 1
        return line or (self.folder / ".serve.log").read_text()

    def close(self) -> None:
        """Stop every node of the page."""
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            try:
                node.wait(15)
            except subprocess.TimeoutExpired:
                node.kill()
            if node.stdout is not None:
                node.stdout.close()


def _free_port(taken: set[str]) -> str:
    """A port that is free for TCP and UDP on loopback."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        if str(port) not in taken:
            return str(port)


@contextmanager
def opened(folder: Path) -> Iterator[Page]:
    """A page in an empty folder; its nodes are stopped at the end."""
    page = Page(folder)
    try:
        yield page
    finally:
        page.close()


def plain(line: str) -> str:
    """A line with what differs from run to run made equal."""
    for pattern, text in VOLATILE:
        line = pattern.sub(text, line)
    return line.strip()


def agrees(expected: list[str], printed: list[str]) -> bool:
    """Whether what was printed is what the page shows."""
    wanted = [plain(line) for line in expected if line.strip()]
    had = [plain(line) for line in printed if line.strip()]
    return _lines_agree(wanted, had)


def _lines_agree(wanted: list[str], had: list[str]) -> bool:
    if not wanted:
        return not had
    if wanted[0] == "…":
        return any(_lines_agree(wanted[1:], had[at:]) for at in range(len(had) + 1))
    if not had:
        return False
    pattern = ".*".join(map(re.escape, wanted[0].split("…")))
    return bool(re.fullmatch(pattern, had[0])) and _lines_agree(wanted[1:], had[1:])


def first_difference(text: str, folder: Path) -> str | None:
    """Run a page; what is not as it says, or None when all of it is true."""
    script = [command for command in commands(text) if command.runs]
    with opened(folder) as page:
        for command, after in zip(script, [*script[1:], None], strict=True):
            printed = page.run(command)
            where = f"line {command.line}: $ {command.text}"
            told = after is not None and after.text.startswith("echo $?")
            if page.code and not told:
                return f"{where}\nended with {page.code} and printed\n" + "\n".join(printed)
            if command.expected and not agrees(command.expected, printed):
                return f"{where}\nprinted\n{json.dumps(printed, ensure_ascii=False, indent=1)}"
    return None
