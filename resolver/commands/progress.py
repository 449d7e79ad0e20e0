"""How far long work has come: a bar on the standard error output, where that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown(what: str, size: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """Gives what is told of more rows, and of how much of `size` is read by now, if known."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    share = "" if size is None else "{task.percentage:>3.0f} %  "
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        TextColumn(share + "{task.fields[rows]} rows"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    done = 0
    with bar:
        task = bar.add_task("", total=size, rows=0)

        def tell(rows: int, read: int | None) -> None:
            nonlocal done
            done += rows
            bar.update(task, completed=read, rows=done)

        yield tell
