"""The command line as a whole: the list, errors in one line, exit codes."""

from __future__ import annotations

import sys

import pytest
import typer

from protocol import errors
from resolver import cli
from resolver.cli import COMMANDS, build, main
from resolver.exits import Exit, exit_code
from tests.resolver.nodes import biaoshi


def _run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0, capsys.readouterr()


def test_every_command_is_listed_with_a_line(capsys):
    """--help names the commands and the exit codes."""
    code, said = _run(capsys, "--help")
    assert code == 0
    for name in COMMANDS:
        assert f"  {name} " in said.out
    assert "Exit codes" in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys, name):
    """Each has its own --help."""
    code, said = _run(capsys, name, "--help")
    assert code == 0
    assert f"biaoshi {name}" in said.out


def test_help_imports_no_command():
    """The list is quick because only the asked-for command is loaded."""
    done = biaoshi("--help")
    assert done.returncode == 0
    import subprocess

    program = (
        "import sys; from resolver.cli import build; build(None); "
        "print([m for m in sys.modules if m.startswith('resolver.commands.') or m == 'aiohttp'])"
    )
    listed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == "[]"


def test_an_unknown_command_is_a_usage_error(capsys):
    """Exit code 2."""
    code, said = _run(capsys, "frobnicate")
    assert code == Exit.USAGE
    assert "frobnicate" in said.err


def test_the_version_is_shown(capsys):
    """--version prints one line."""
    code, said = _run(capsys, "--version")
    assert code == 0
    assert said.out.startswith("biaoshi")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("x"), Exit.USAGE),
        (errors.BadIdentifier("a", "x"), Exit.USAGE),
        (errors.StoreError("x"), Exit.UNAVAILABLE),
        (errors.ServerBusy("x"), Exit.UNAVAILABLE),
        (errors.UpstreamError("x"), Exit.UNAVAILABLE),
        (errors.NotAuthorized("x"), Exit.DENIED),
        (errors.HandleNotFound("x"), Exit.REFUSED),
        (errors.HandleExists("x"), Exit.REFUSED),
    ],
)
def test_an_error_has_its_exit_code(error, code):
    """One table from error to exit code."""
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (errors.StoreError("the disk\nis full"), 3, "biaoshi: the disk is full\n"),
        (OSError(28, "No space left", "/disk/a"), 3, "biaoshi: /disk/a: No space left\n"),
        (ValueError("odd"), 70, "biaoshi: internal error: ValueError: odd; add --debug"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_plain_line(capsys, monkeypatch, raised, code, told):
    """No traceback unless it is asked for."""
    app = typer.Typer()

    @app.command()
    def fail():
        raise raised

    monkeypatch.setattr(cli, "build", lambda *_, **__: app)
    got, said = _run(capsys)
    assert got == code
    assert said.err.startswith(told)
    assert "Traceback" not in said.err
    assert said.err.count("\n") <= 1


def test_completion_knows_every_command(monkeypatch):
    """With the shell asking, all commands are loaded with their options."""
    names = [info.name for info in build(None, everything=True).registered_commands]
    assert {"init", "serve"} <= set(names)
