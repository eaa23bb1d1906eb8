"""``pycontainer run``: start it, pass signals on, end as it has ended."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .declaring import Declaration
from .options import ELSEWHERE, RUN
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..declare.container import Container
    from ..launch.results import Completed

__all__ = ["report", "run"]

HELP = """\
Run COMMAND in a container of its own, with the caller's stdin, stdout and stderr.

Nothing of the host is in it but what is named: `--host-system` shows the host's programs."""
EPILOG = """\
The exit status is the command's; 128+n when signal n ended it; 125 when pycontainer failed, 126
when the command cannot be run, 127 when it is not there."""


def run(arguments: list[str]) -> int:
    """Run a command line without its ``run``; return the exit status.

    Raises:
        MisuseError, ValueError: it is wrong.
        ContainerError: the container could not be started.
    """
    given, command = read(
        "pycontainer run", RUN, arguments, help=HELP, epilog=EPILOG, elsewhere=ELSEWHERE
    )
    declaration = Declaration()
    for name, values in given:
        declaration.add(name, values)
    tty = declaration.tty
    if tty is None:
        tty = os.isatty(0) and os.isatty(1) and not declaration.reads_output()
    if tty and not declaration.has_variable("TERM") and "TERM" in os.environ:
        declaration.setenv("TERM", os.environ["TERM"])
    container = declaration.container()
    if tty and container.limits is not None and container.limits.output is not None:
        raise MisuseError("--output-limit counts what goes into pipes: not with --tty")
    if declaration.dry_run:
        from ..plan.compile import explain

        sys.stdout.write(explain(container))
        return 0
    if not command:
        raise MisuseError("there is no command to run")
    return _run(container, command, tty, declaration.json)


def _run(container: Container, command: list[str], tty: bool, json: str | None) -> int:
    from ..launch.command import Command
    from ..launch.foreground import run_in_foreground, start_program

    program = Command.of(command, container.env)

    def ended(completed: Completed[None]) -> None:
        if completed.status.signal is not None:  # as every limit does
            import shlex

            from ..launch.verdict import limit_words

            words = limit_words(completed, shlex.join(command), container.limits)
            if words:
                print(f"pycontainer run: {words}", file=sys.stderr, flush=True)
        if json is not None:
            report(completed, json)

    return run_in_foreground(lambda: start_program(container, program, tty), ended)


def report(completed: Completed[None], where: str) -> None:
    """How it ended, as one line of JSON: to stdout (""), a file, or a descriptor by its number.

    Raises:
        MisuseError: it cannot be written there.
    """
    import json

    usage, status = completed.usage, completed.status
    line = json.dumps(
        {
            "args": completed.args,
            "status": {
                "exit_code": status.exit_code,
                "signal": status.signal,
                "signal_name": status.signal_name,
            },
            "returncode": completed.returncode,
            "verdict": completed.verdict.value,
            "usage": {
                name: getattr(usage, name)
                for name in ("user_time", "system_time", "wall_time", "max_rss")
            },
            "enforced": dict(completed.enforced),
        }
    )
    if where == "":
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        return
    try:
        with open(int(where) if where.isdigit() else where, "w", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise MisuseError(f"--json-file {where}: {error.strerror}") from None
