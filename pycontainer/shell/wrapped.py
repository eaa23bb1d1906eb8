"""What a wrapper does when it is called: the only thing that it can do."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from ..declare.container import Container, extend
from ..errors import ContainerError
from ..launch.foreground import leave, run_in_foreground, start_program, status_of

if TYPE_CHECKING:
    from ..launch.results import Completed
    from ..launch.running import Running

__all__ = ["run_wrapped"]

_FIRST = 3
"""The number of the first descriptor that is handed over: SD_LISTEN_FDS_START, sd_listen_fds(3)."""


def run_wrapped(
    program: str, container: Container, *, preserve: Iterable[str], tty: bool | None = None
) -> NoReturn:
    """Run *program* with this process's arguments in *container*, and end as it ends.

    Ends with its exit status; 128 and the signal's number, after a message, when a signal has
    ended it; 125 when the container could not be started, 126 and 127 when the program could not.

    Arguments:
        preserve: the variables that it has of this process.
        tty: whether it gets a terminal of its own; None: where stdin and stdout are terminals.
    """
    import gc

    # Nothing here lives long enough to be collected.
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    name = os.path.basename(sys.argv[0]) or "wrapper"
    try:
        status = _run(name, [program, *sys.argv[1:]], container, tuple(preserve), tty)
    except (ContainerError, ValueError, OSError) as error:
        notes = [line for note in getattr(error, "__notes__", ()) for line in note.splitlines()]
        print(f"{name}: {error}", *(f"  {note}" for note in notes), sep="\n", file=sys.stderr)
        status = status_of(error)
    leave(status)


def _run(
    name: str, argv: list[str], container: Container, preserve: tuple[str, ...], tty: bool | None
) -> int:
    from ..launch.command import Command

    env, descriptors = environment(preserve)
    # What was settled when it was written comes first.
    container = extend(container, env={**env, **container.env})
    command = Command.of(
        argv,
        container.env,
        passed=descriptors,
        pid_variable="LISTEN_PID" if descriptors else "",
    )
    if tty is None:
        limited = container.limits is not None and container.limits.output is not None
        tty = os.isatty(0) and os.isatty(1) and not limited

    def start() -> Running[Any]:
        running = start_program(container, command, tty)
        for fd in descriptors:  # the program's alone: it may end a connection
            os.close(fd)
        return running

    def ended(completed: Completed[Any]) -> None:
        # A reader that has gone, as in `... | head`, and Ctrl-C need no words.
        if completed.status.signal not in (None, signal.SIGPIPE, signal.SIGINT):
            print(f"{name}: {words(completed, argv[0], container)}", file=sys.stderr, flush=True)

    return run_in_foreground(start, ended)


def words(completed: Completed[Any], program: str, container: Container) -> str:
    """How a signal or a limit has ended it."""
    from ..launch.verdict import limit_words

    status = completed.status
    said = limit_words(completed, program, container.limits)
    return said or f"{program} was ended by signal {status.signal} ({status.signal_name})"


def environment(preserve: tuple[str, ...]) -> tuple[dict[str, str], tuple[int, ...]]:
    """The variables that are handed on, and the descriptors that go with them.

    LISTEN_PID is not among them: it is the program's own pid, which nobody knows yet.

    Raises:
        ValueError: LISTEN_FDS is no number.
        OSError: one of the descriptors is not open.
    """
    env = {name: os.environ[name] for name in preserve if name in os.environ}
    listened = {name: env.pop(name) for name in _LISTEN if name in env}
    count = listened.get("LISTEN_FDS", "0")
    # They are for whoever has this pid, and it must be us: sd_listen_fds(3).
    if listened.get("LISTEN_PID") != str(os.getpid()):
        return env, ()
    if not (count.isascii() and count.isdigit()):
        raise ValueError(f"LISTEN_FDS is the number of descriptors, not {count!r}")
    descriptors = tuple(range(_FIRST, _FIRST + int(count[:6])))
    for fd in descriptors:
        os.set_inheritable(fd, False)  # they are for the program, and for no helper of ours
    if descriptors:
        env["LISTEN_FDS"] = count
        if "LISTEN_FDNAMES" in listened:
            env["LISTEN_FDNAMES"] = listened["LISTEN_FDNAMES"]
    return env, descriptors


_LISTEN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
