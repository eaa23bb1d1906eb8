"""A program in the foreground of a command line: it has our signals, and we end as it has ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .results import Completed
    from .running import Running

__all__ = ["run_in_foreground"]

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
    ended(completed)
    status = completed.status
    if status.signal is not None:
        if status.signal == signal.SIGINT and signal.SIGINT in came:
            _die_of(signal.SIGINT)
        return 128 + status.signal
    return status.exit_code or 0


def _die_of(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
