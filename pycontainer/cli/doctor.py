"""``pycontainer doctor``: what of containers works on this machine, and what blocks the rest."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .option import Option
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..host.diagnose import Finding, Report

__all__ = ["DOCTOR", "run"]

DOCTOR: tuple[Option, ...] = (Option("Output", "--json", "", "Print the findings as JSON."),)

HELP = """\
Say what containers can do on this machine, what blocks the rest, and the command that changes it.

It looks at the kernel and its settings, and calls a function in a container. It changes nothing."""
EPILOG = """\
The exit status is 0 when containers work, with or without limits; 1 when they do not; 125 when the
command line is wrong."""

_BLOCKED = 1


def run(arguments: list[str]) -> int:
    """Run a command line without its ``doctor``; return the exit status.

    Raises:
        MisuseError: it is wrong.
    """
    given, rest = read(
        "pycontainer doctor",
        DOCTOR,
        arguments,
        help=HELP,
        epilog=EPILOG,
        usage="[OPTIONS]",
        interspersed=True,
    )
    if rest:
        raise MisuseError(f"doctor takes no {rest[0]!r}: it examines this machine as this user")
    report = _examine()
    if given:
        _print_json(report)
    elif not (sys.stdout.isatty() and _print_in_colour(report)):
        print(report)
    return 0 if report.ok else _BLOCKED


def _examine() -> Report:
    from ..host.diagnose import Report, diagnose

    report = diagnose()
    if not report.ok:
        return report
    # Nothing is known to stand in the way: does it work?
    return Report((*report.findings, _try_a_call()))


def _try_a_call() -> Finding:
    import time

    from ..calls import call_with_container
    from ..errors import ContainerError
    from ..host.diagnose import Finding

    subject = "a call in a container"
    try:
        call_with_container([], os.getpid, timeout=30.0)  # the helper's start is in it
        started = time.perf_counter()
        call_with_container([], os.getpid, timeout=30.0)
        taken = time.perf_counter() - started
    except (ContainerError, OSError) as error:
        return Finding(subject, "blocked", str(error), tuple(getattr(error, "__notes__", ())))
    return Finding(subject, "works", f"took {taken * 1000:.1f} ms")


def _print_json(report: Report) -> None:
    import json

    findings = [
        {
            "subject": finding.subject,
            "status": finding.status,
            "detail": finding.detail,
            "fixes": list(finding.fixes),
        }
        for finding in report.findings
    ]
    print(json.dumps({"ok": report.ok, "findings": findings}, indent=2))


_STYLES = {
    "works": ("green", "✔"),
    "limited": ("yellow", "!"),
    "blocked": ("bold red", "✘"),
    "unknown": ("cyan", "?"),
}
"""Status → rich's style, and a mark for those who see no colours."""


def _print_in_colour(report: Report) -> bool:
    """Print it for a terminal.  False where rich is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        return False
    console = Console()
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(max_width=30)
    table.add_column(overflow="fold")
    for finding in report.findings:
        style, mark = _STYLES[finding.status]
        words = Text(finding.detail)
        for fix in finding.fixes:
            words.append("\nfix: ", style="bold").append(fix)
        table.add_row(Text(mark, style), Text(finding.subject, style), words)
    console.print(table)
    last = str(report).rpartition("\n")[2]
    console.print(Text(last, "bold green" if report.ok else "bold red"))
    return True
