"""Every command's --help: examples and exit codes."""

from __future__ import annotations

import pytest
import typer

from resolver.cli import COMMANDS, build

_ALL = typer.main.get_command(build(None, everything=True))


def _leaves(command, path=()):
    if isinstance(getattr(command, "commands", None), dict):
        for name, child in command.commands.items():
            if path or name in COMMANDS:
                yield from _leaves(child, (*path, name))
    else:
        yield pytest.param(path, command, id=" ".join(path))


@pytest.mark.parametrize(("path", "command"), list(_leaves(_ALL)))
def test_help_shows_examples_and_exit_codes(path, command):
    """Whoever reads the help of a command sees how it is called and what it ends with."""
    text = f"{command.help or ''}\n{command.epilog or ''}"
    assert f"  biaoshi {' '.join(path)}" in text, path
    assert "Exit code" in text, path
