"""Words and tables for what a command has found: plain, or with colours at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "age_words",
    "console",
    "count_words",
    "joined",
    "plain_table",
    "size_words",
    "write",
    "write_json",
]


def size_words(number: int) -> str:
    """Bytes as "512 B", "1.5 MiB", "20 GiB"."""
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "B" else f"{size:.0f} {unit}"


def age_words(seconds: float) -> str:
    """Seconds as "5s", "12m", "3h5m", "2d4h"."""
    number = int(seconds)
    if number < 60:
        return f"{number}s"
    minutes, hours, days = number // 60, number // 3600, number // 86400
    if hours < 1:
        return f"{minutes}m"
    if days < 1:
        return f"{hours}h{minutes % 60}m"
    return f"{days}d{hours % 24}h"


def count_words(number: int, one: str, many: str) -> str:
    """ "1 process", "3 processes"."""
    return f"{number} {one if number == 1 else many}"


def joined(command: Sequence[str]) -> str:
    """A command line as a shell takes it; it is to be escaped before it is shown."""
    import shlex

    from ..inspection.makers import HELPER

    if len(command) > 4 and command[-2] == "-c" and HELPER.decode() in command[-1]:
        return "(a Python function)"  # what the interpreter of pycontainer's helper was told
    if len(command) == 1 and command[0].startswith("["):  # a name, not a command line
        return command[0]
    return shlex.join(command)


def plain_table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns that stand below each other; the last is as long as it is.

    Arguments:
        rows: with the heading.
        right: numbers of columns whose words end below each other.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = frozenset(right)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def console() -> Console | None:
    """Where to show tables and colours; None where stdout is no terminal, or rich is not there."""
    _write_anything()
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        return None
    return Console(highlight=False, soft_wrap=False, emoji=False, markup=False)


def _write_anything() -> None:
    """What the encoding of stdout lacks is escaped too."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def write_json(value: Any) -> None:
    """On stdout, with keys in the order of the documentation and ASCII only."""
    import json

    # A program that reads it takes one value; whoever reads it themselves wants lines.
    write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def write(text: str) -> None:
    """On stdout; whoever reads it may have had enough, as head(1) has."""
    if sys.stdout is None:  # closed by whoever started this
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        pass
