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
    from ..launch.running import Running

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
    from ..launch.foreground import run_in_foreground

    def ended(completed: Completed[None]) -> None:
        _show(completed, container, command)
        if json is not None:
            report(completed, json)

    return run_in_foreground(lambda: _start(container, command, tty), ended)


def _start(container: Container, command: list[str], tty: bool) -> Running[None]:
    from ..launch.command import Command
    from ..launch.start import CallOptions, start
    from ..launch.stdio import PIPE, Stdio

    def streams() -> Stdio:
        if not tty:
            return Stdio(None, None, None)
        from ..launch.terminal import TerminalStdio

        return TerminalStdio(None, None, None if os.isatty(2) else 2)

    def pipes() -> Stdio:
        return Stdio(None, PIPE, PIPE)

    # For one command a helper is not worth its start; a caller that is killed leaves the removal
    # of its cgroups to a helper.
    method = "fork" if container.limits is None else "forkserver"
    running: Running[None] = start(
        container,
        None,
        CallOptions(start_method=method),
        pipes if container.limits is not None and container.limits.output is not None else streams,
        command=Command.of(command, container.env),
    )
    return running


def _show(completed: Completed[None], container: Container, command: list[str]) -> None:
    """What was kept because it was counted; and which limit has ended it."""
    for fd, output in ((1, completed.stdout), (2, completed.stderr)):
        left = memoryview(output or b"")
        while left:
            left = left[os.write(fd, left) :]
    if completed.verdict.value in _LIMITS:
        import shlex

        from ..launch.verdict import words_of

        words = words_of(
            shlex.join(command),
            completed.verdict,
            completed.status,
            completed.usage,
            container.limits,
        )
        print(f"pycontainer run: {words}", file=sys.stderr, flush=True)


_LIMITS = ("wall_time", "cpu_time", "memory", "output", "seccomp")


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
