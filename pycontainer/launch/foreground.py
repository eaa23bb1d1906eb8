"""A program in the foreground of a command line: it has our signals, and we end as it has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from .command import Command
    from .results import Completed
    from .running import Running
    from .stdio import Stdio

__all__ = ["leave", "run_in_foreground", "start_program", "status_of"]

FAILED, CANNOT_RUN, NOT_FOUND = 125, 126, 127  # as podman and the shells have them

_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)


def run_in_foreground(
    start: Callable[[], Running[Any]], ended: Callable[[Completed[Any]], object]
) -> int:
    """Start a program, pass signals on to it until it ends, and return our exit status.

    For a process that does nothing else: its signal handlers stay.  Where Ctrl-C has ended the
    program it ends this process too, as it does any program: a shell script that runs this one
    stops.

    Arguments:
        start: starts it.
        ended: called with how it ended, before this process does.

    Returns the program's exit status, or 128 and the number of the signal that ended it.
    """
    running: Running[Any] | None = None
    came: list[int] = []
    early: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        if running is not None:
            running.send_signal(number)
        elif early:  # it does not start, and somebody is impatient
            _die_of(number)
        else:
            early.append(number)

    # From before it runs: what it says first may be why a signal is sent to it.
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup(1)
            signal.signal(number, pass_on)
    running = start()
    for waiting in early:
        running.send_signal(waiting)
    completed = running.capture()
    for fd, output in ((1, completed.stdout), (2, completed.stderr)):
        left = memoryview(output or b"")  # it was kept because it was counted
        while left:
            left = left[os.write(fd, left) :]
    ended(completed)
    status = completed.status
    if status.signal is not None:
        if status.signal == signal.SIGINT and signal.SIGINT in came:
            _die_of(signal.SIGINT)
        return 128 + status.signal
    return status.exit_code or 0


def start_program(
    container: Any, command: Command, tty: bool, *, plan: Plan | None = None
) -> Running[Any]:
    """Start a program with our own streams, or at a terminal of its own that is connected to ours.

    Where its output is limited it goes into pipes, which are shown at the end.

    Arguments:
        container, plan: as for ``start``.

    Raises:
        ContainerError, OSError: as for ``start_command``.
    """
    from .options import CallOptions
    from .start import start
    from .stdio import PIPE, Stdio

    def streams() -> Stdio:
        if container.limits is not None and container.limits.output is not None:
            return Stdio(None, PIPE, PIPE)
        if not tty:
            return Stdio(None, None, None)
        from .terminal import TerminalStdio

        return TerminalStdio(None, None, None if os.isatty(2) else 2)

    # For one program a helper is not worth its start; a caller that is killed leaves the removal
    # of its cgroups to a helper.
    method = "fork" if container.limits is None else "forkserver"
    options = CallOptions(start_method=method)
    return start(container, None, options, streams, command=command, plan=plan)


def status_of(error: BaseException) -> int:
    """The exit status for what went wrong before a program ran."""
    if getattr(error, "step", "") == "execute the program":
        return NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
    return FAILED


def leave(status: int) -> NoReturn:
    """End without taking the interpreter apart, which is a fifth of what a short command takes."""
    import atexit
    import sys

    atexit._run_exitfuncs()  # a helper is ended
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed; or whoever read it has gone
    os._exit(status)


def _die_of(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
