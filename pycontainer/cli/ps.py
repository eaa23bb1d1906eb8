"""``pycontainer ps``: every container on the host, whoever made it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .option import Option
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from rich.console import Console

    from ..inspection.listing import Survey

__all__ = ["PS", "run"]

PS = (
    Option("Options", "--all -a", "", "Also what is no container: services, sandboxes, visitors."),
    Option("Options", "--json", "", "One JSON object in place of the table."),
)

_HELP = """\
List the containers on this host, whoever made them: their first process, who made them, what is
theirs alone, and what they use.

A container is a group of processes with their own view of the files and at least one more
namespace of their own, or one that a known program made."""
_EPILOG = """\
Root sees all containers, an ordinary user of other users' as much as anybody may. MEMORY is that
of the whole container: cgroup, what the kernel charges to its cgroup; pss, the sum of its processes
with pages that are shared counted once; rss, where that may not be read, the sum with such pages
counted for each."""


def run(arguments: list[str]) -> int:
    """Run a command line without its ``ps``; return the exit status.

    Raises:
        MisuseError: it is wrong.
        OSError: /proc cannot be read.
    """
    given, rest = read(
        "pycontainer ps", PS, arguments, help=_HELP, epilog=_EPILOG, usage="[OPTIONS]"
    )
    if rest:
        raise MisuseError(f"it takes no {rest[0]!r}: for one container, pycontainer inspect PID")
    options = {name for name, _ in given}
    from ..inspection.listing import survey

    everything = "--all" in options
    found = survey(everything=everything)
    if "--json" in options:
        from .showing import write_json

        write_json(as_json(found))
        return 0
    from .showing import console, plain_table, write

    terminal = console()
    if terminal is None:
        rows = [_HEADINGS, *_rows(found)]
        write(plain_table(_columns(rows, everything), right=_RIGHT))
    else:
        _show(terminal, found, everything)
    for line in _notes(found, everything):
        print(line, file=sys.stderr)
    return 0


def as_json(found: Survey) -> dict[str, Any]:
    """What ``--json`` prints; docs/inspecting.md has the meaning of the keys."""
    from attrs import asdict

    return {
        "containers": [asdict(container) for container in found.containers],
        "unreadable": found.unreadable,
        "others": found.others,
    }


_HEADINGS = (
    "PID", "USER", "AGE", "MAKER", "KIND", "PROCS", "MEMORY", "NAMESPACES", "COMMAND"
)  # fmt: skip
_KIND = _HEADINGS.index("KIND")
_RIGHT = (0,)
_DEEPEST = 20
"""Containers that are further in are shown as far in as this."""


def _columns(rows: list[tuple[str, ...]], everything: bool) -> list[tuple[str, ...]]:
    if everything:
        return rows
    return [(*row[:_KIND], *row[_KIND + 1 :]) for row in rows]


def _rows(found: Survey) -> list[tuple[str, ...]]:
    from ..inspection.escape import printable
    from .showing import age_words, joined, size_words

    depths: dict[int, int] = {}
    rows: list[tuple[str, ...]] = []
    for each in found.containers:
        command = joined(each.command)
        if each.kind == "spare":
            command = "(waits for a call)"
        depth = depths[each.pid] = 0 if each.parent is None else depths.get(each.parent, 0) + 1
        cells = (
            str(each.pid),
            each.user,
            age_words(each.age),
            each.maker or "-",
            each.kind,
            str(each.processes),
            f"{size_words(each.memory)} {each.memory_source}",
            " ".join(each.namespaces) + ("" if each.complete else " …"),
            "  " * (min(depth, _DEEPEST) - 1) + "└ " * (depth > 0) + command,
        )
        rows.append(tuple(map(printable, cells)))
    return rows


_COLOURS = {
    "PID": "cyan",
    "USER": "green",
    "MAKER": "magenta",
    "MEMORY": "yellow",
    "NAMESPACES": "dim",
    "COMMAND": "bold",
}


def _show(terminal: Console, found: Survey, everything: bool) -> None:
    from rich.text import Text

    headings, *rows = _columns([_HEADINGS, *_rows(found)], everything)
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    # The command gets what is left of the line; where that is too little, lines are longer.
    left = terminal.width - sum(widths[:-1]) - 2 * len(widths[:-1])
    widths[-1] = max(20, min(widths[-1], left))
    for number, row in enumerate([headings, *rows]):
        line = Text()  # and no markup: a command line may look like some
        for column, (cell, width, heading) in enumerate(zip(row, widths, headings, strict=True)):
            text = Text(cell, style="bold underline" if number == 0 else _COLOURS.get(heading, ""))
            text.truncate(width, overflow="ellipsis")
            blanks = " " * (width - len(text))
            line.append_text(Text(blanks) + text if column in _RIGHT else text + Text(blanks))
            line.append("  ")
        line.rstrip()
        terminal.print(line, soft_wrap=True)


def _notes(found: Survey, everything: bool) -> list[str]:
    import os

    from .showing import count_words

    notes = []
    if found.unreadable:
        words = count_words(found.unreadable, "process", "processes")
        if os.geteuid():
            words += " of other users may not be looked at; root sees all"
        else:
            words += " may not be looked at, not by this root either"
        if not all(each.complete for each in found.containers):
            words += " (…: only a part is known)"
        notes.append(words)
    if found.others and not everything:
        words = count_words(found.others, "group", "groups")
        notes.append(f"{words} of processes with fewer namespaces of their own: --all")
    return notes
