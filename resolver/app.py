"""The composition root: `biaoshi serve` from the settings file to the exit code.

The keeper runs serve() and forks the supervisor, which opens no store and no connection of its own.
What a reader and the writer are made of is in resolver.reader and resolver.writer_process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from protocol.errors import SettingsError
from registry.keys import load_keys
from resolver import logs
from resolver.board import Board
from resolver.child import Channel, run_child
from resolver.config import ProcessSettings, Settings
from resolver.config_file import load_settings
from resolver.countries import check_table
from resolver.exits import Exit, exit_code
from resolver.keeper import Keeper
from resolver.local import run_folder
from resolver.probe import FaceSilent, probe
from resolver.running import STATE, running_lock
from resolver.sockets import FaceSockets, Ports, open_sockets
from resolver.supervisor import StartFailed, Stopped, Supervisor

log = structlog.get_logger()

_PRELOADED: Final = ("resolver.reader", "resolver.writer_process")
_FACE_OF_DNS: Final = "resolver.serve_dns"


@dataclass
class App:
    """What the supervisor knows and its children inherit."""

    folder: Path
    settings: Settings
    ports: Ports
    sockets: list[FaceSockets]
    board: Board
    keeper: int
    """The process that signals are sent to."""

    def run_child(self, slot: int, generation: int, channel: Channel) -> int:
        """Be a child: the writer in the last slot, else a reader. Runs after the fork."""
        settings = self.settings
        processes = settings.processes
        metrics = self.board.metrics(slot, generation)
        if slot == self.board.readers:
            from resolver.writer_process import start_writer

            logs.configure(settings.log.level, "writer")
            self._keep_sockets(None)
            return run_child(
                channel,
                lambda: start_writer(self.folder, settings, self.ports, metrics),
                grace_s=processes.drain_s,
                uvloop=False,
            )
        from resolver.reader import start_reader

        logs.configure(settings.log.level, f"reader-{slot}")
        self._keep_sockets(slot)
        return run_child(
            channel,
            lambda: start_reader(self, slot, metrics),
            grace_s=processes.drain_s,
            uvloop=processes.uvloop,
        )

    def _keep_sockets(self, slot: int | None) -> None:
        for number, sockets in enumerate(self.sockets):
            if number != slot:
                sockets.close()

    def close_sockets(self) -> None:
        """The supervisor's own copies: new connections are refused once the readers are done."""
        for sockets in self.sockets:
            sockets.close()

    def reread(self) -> ProcessSettings | None:
        """Settings and keys for a reload; wrong ones are said and the old ones stay in use."""
        try:
            settings = load_settings(self.folder)
            load_keys(self.folder)
            check_table(settings.http, self.folder)
        except SettingsError as error:
            log.error("reload_refused", why=str(error))  # noqa: TRY400 - no trace of a typing slip
            return None
        fixed = ("node.hosts", "faces", "processes.readers")
        for name in fixed:
            if _part(settings, name) != _part(self.settings, name):
                log.warning("needs_restart", setting=name)
        self.settings = settings
        logs.configure(settings.log.level, "supervisor")
        return settings.processes


def _part(settings: Settings, name: str) -> Any:
    found: Any = settings
    for word in name.split("."):
        found = getattr(found, word)
    return found


def serve(folder: Path, readers: int | None = None) -> int:
    """Run a node until it is told to stop; gives the exit code.

    readers: instead of the setting. Raises BiaoshiError when it cannot start.
    """
    settings = load_settings(folder)
    logs.configure(settings.log.level, "supervisor")
    load_keys(folder)  # wrong or open key files are said before anything is started
    check_table(settings.http, folder)
    for module in (*_PRELOADED, *(() if settings.faces.dns is None else (_FACE_OF_DNS,))):
        importlib.import_module(module)
    run = run_folder(folder)
    raise_open_files()
    with running_lock(run):
        count = readers or settings.processes.readers or len(os.sched_getaffinity(0))
        ports, sockets = open_sockets(settings.faces, settings.node.hosts, count)
        app = App(folder, settings, ports, sockets, Board(count), os.getpid())
        gc.freeze()
        gc.enable()  # the command turned it off for the importing
        keeper = Keeper(
            lambda first: _supervise(app, run, first=first),
            was_ready=lambda: app.board.ready,
            beats=lambda: app.board.beats,
            watchdog_s=settings.processes.supervisor_watchdog_s,
            on_stop=app.close_sockets,
        )
        try:
            return keeper.run()
        finally:
            with contextlib.suppress(FileNotFoundError):
                (run / STATE).unlink()


def raise_open_files() -> None:
    """Let this process and its children open as many files as the system permits them.

    The customary soft limit of 1,024 is far below limits.connections: a few hundred idle clients
    would keep all others out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems refuse an unlimited number
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _supervise(app: App, run: Path, *, first: bool) -> int:
    """The supervisor's life, in a process of its own. first: not one that follows a killed one."""
    app.board.abandoned()
    supervisor = Supervisor(
        app.board,
        app.settings.processes,
        app.run_child,
        reread=app.reread,
        on_stop=app.close_sockets,
    )

    def ready() -> None:
        app.board.ready = True
        line = json.dumps(ready_line(app))
        (run / STATE).write_text(line + "\n", encoding="utf-8")
        with contextlib.suppress(OSError):
            if first:
                print(line, flush=True)  # noqa: T201 - what the caller waits for
        log.info("ready", **asdict(app.ports))

    if first:
        try:
            supervisor.start()
            probe(app.ports, app.settings.node.hosts)
        except Stopped:
            return Exit.OK
        except StartFailed as error:
            print(f"biaoshi: {error}", file=sys.stderr)  # noqa: T201 - the one plain line
            return error.code
        except FaceSilent as error:
            supervisor.kill()
            print(f"biaoshi: {error}", file=sys.stderr)  # noqa: T201 - the same
            return exit_code(error)
    else:
        supervisor.resume()
    return supervisor.run(ready)


def ready_line(app: App) -> dict[str, Any]:
    """What `biaoshi serve` prints once every face answers."""
    return {
        "ready": True,
        **asdict(app.ports),
        "hosts": list(app.settings.node.hosts),
        "role": app.settings.node.role,
        "prefix": app.settings.node.prefix or None,
        "pid": app.keeper,
        "readers": app.board.readers,
    }
