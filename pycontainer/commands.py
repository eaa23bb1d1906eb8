"""The front doors for programs, with the habits of ``subprocess``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

from .calls import RELAYED, finish
from .declare.container import Container, Mounts, to_container
from .declare.options import ContainerOptions
from .errors import CommandError
from .excursion import find_target
from .launch.command import Argument, Command
from .launch.results import Completed
from .launch.running import Running
from .launch.signals import NO_RELAY, Relay
from .launch.start import CallOptions, start, start_join
from .launch.stdio import PIPE, Stdio, Stream
from .launch.text import Text

__all__ = ["exec_command", "run_command", "start_command", "start_exec"]


def run_command(
    mounts: Mounts | Container,
    argv: Sequence[Argument],
    /,
    *,
    input: Any = None,
    capture_output: bool = False,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    timeout: float | None = None,
    check: bool = False,
    tty: bool = False,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Iterable[int] = (),
    relayed_signals: Iterable[int] = RELAYED,
    process_spawned_hook: Callable[[Running[None]], object] | None = None,
    **options: Unpack[ContainerOptions],
) -> Completed[None]:
    """Run a program in a fresh container, wait for it, and return how it ended.

    The program comes from the container: ``host_system()`` shows it the host's programs.  It runs
    below a small init, which reaps what it leaves, forwards signals to it and, when it ends, ends
    everything else; with ``child_is_pid1=True`` it is process 1 itself.

    Arguments:
        mounts: mounts and entries, or a whole ``Container``, as for ``call_with_container``.
        argv: the program and its arguments: str, bytes or paths.  A name without a slash is looked
            for in the PATH of the container's ``env``, or in the usual places if it has none.
        input: what the program reads from stdin: bytes, or a str in text mode.
        capture_output: keep stdout and stderr in the ``Completed``.
        text, encoding, errors: text mode, as ``subprocess`` has it: any of them turns it on; the
            locale's encoding and "strict" are the defaults.
        timeout: the caller's patience, in seconds; then everything in the container is killed.
        check: raise ``CommandError`` for an exit status that is not 0.
        tty: give the program a terminal of its own, as its streams and to be controlled by.  Then
            stdin and stdout are what is at the other end of it: None connects it with the caller's,
            which is in raw mode while the caller waits; PIPE gives files that type and read;
            DEVNULL types the end of the input.  Another stderr than None passes the terminal by.
        stdin, stdout, stderr: None (the caller's own), PIPE, DEVNULL, STDOUT, a file or a
            descriptor.
        pass_fds: descriptors that the program has too, under the same numbers, and with them
            whatever they lead to.  Directories are refused.
        relayed_signals: signals that go to the program while the caller waits (main thread
            only).  A second one, or five seconds, kills the container.
        process_spawned_hook: called in the caller with the ``Running`` before the program starts.
        **options: the fields of ``Container``.

    Raises:
        ValueError, TypeError: a bad field of the container, or a bad argument.
        SetupError: the kernel refused a step; or the program, or its interpreter, is not in the
            container (it is a FileNotFoundError then) or may not be executed (PermissionError).
        CommandError: with *check*; a ``subprocess.CalledProcessError`` too.
        ContainerTimeoutError: *timeout* passed; a ``subprocess.TimeoutExpired`` too, with the
            output so far, as bytes.
        UnicodeDecodeError: in text mode, for output that is not in the encoding.
        HelperError: the helper process died.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    streams = _captured(input, capture_output, tty, (stdin, stdout, stderr))

    def begin(relay: Relay) -> Running[None]:
        return _start(
            mounts,
            argv,
            Text.of(text, encoding, errors),
            tty,
            streams,
            pass_fds,
            process_spawned_hook,
            options,
            deadline,
            quiet=True,
            relay=relay,
        )

    return _checked(finish(begin, timeout, deadline, relayed_signals, input), check)


def start_command(
    mounts: Mounts | Container,
    argv: Sequence[Argument],
    /,
    *,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    tty: bool = False,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Iterable[int] = (),
    process_spawned_hook: Callable[[Running[None]], object] | None = None,
    **options: Unpack[ContainerOptions],
) -> Running[None]:
    """Start a program in a fresh container, and return while it runs.

    ``Running`` has what ``subprocess.Popen`` has: ``communicate()``, ``poll()``, ``wait()``,
    ``terminate()``, and its ends of pipes as files: stdin unbuffered in binary mode, and flushed
    at the end of each line in text mode.

    Arguments: those of ``run_command``.

    Raises:
        ValueError, TypeError, SetupError, HelperError: as there, before the program has started.
    """
    return _start(
        mounts,
        argv,
        Text.of(text, encoding, errors),
        tty,
        (stdin, stdout, stderr),
        pass_fds,
        process_spawned_hook,
        options,
        None,
        quiet=False,
    )


def exec_command(
    pid: int | Running[Any],
    argv: Sequence[Argument],
    /,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    input: Any = None,
    capture_output: bool = False,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    timeout: float | None = None,
    check: bool = False,
    tty: bool = False,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Iterable[int] = (),
    relayed_signals: Iterable[int] = RELAYED,
    process_spawned_hook: Callable[[Running[None]], object] | None = None,
) -> Completed[None]:
    """Run a program of a running container inside it, and return how it ended.

    It joins the container as ``container_excursion`` does: its namespaces, its ids, at most its
    capabilities, the filters of a container that was made here, and its cgroups.  When it ends,
    what is left of its process group is killed.  What has left the group lives on in the container
    if that has a "pid" namespace; without one nothing else would end it, and it is killed too.

    Arguments:
        pid: a process of the container, as this process sees it, or a ``Running``.
        argv: as for ``run_command``; the program comes from the container's files.
        env: the program's whole environment.
        cwd: its working directory, in the container.
        timeout: the caller's patience, in seconds; then the program and its group are killed.
        The others are those of ``run_command``.

    Raises:
        SetupError: ESRCH and EPERM as for ``container_excursion``; what ``run_command`` raises for
            a program that is not there; ENOENT or ENOTDIR for *cwd*.
        The others as for ``run_command``.
    """
    streams = _captured(input, capture_output, tty, (stdin, stdout, stderr))
    deadline = None if timeout is None else time.monotonic() + timeout

    def begin(relay: Relay) -> Running[Any]:
        return start_exec(
            pid,
            argv,
            env=env,
            cwd=cwd,
            text=Text.of(text, encoding, errors),
            tty=tty,
            streams=streams,
            pass_fds=pass_fds,
            process_spawned_hook=process_spawned_hook,
            deadline=deadline,
            quiet=True,
            relay=relay,
        )

    return _checked(finish(begin, timeout, deadline, relayed_signals, input), check)


def start_exec(
    pid: int | Running[Any],
    argv: Sequence[Argument],
    /,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    text: Text | None = None,
    tty: bool = False,
    streams: tuple[Stream, Stream, Stream] = (None, None, None),
    pass_fds: Iterable[int] = (),
    process_spawned_hook: Callable[[Running[None]], object] | None = None,
    deadline: float | None = None,
    quiet: bool = False,
    relay: Relay = NO_RELAY,
) -> Running[Any]:
    """``exec_command()`` that does not wait: for a command line, which has signals of its own.

    Arguments:
        streams: stdin, stdout, stderr.
        deadline: monotonic; until then it must have started.
        quiet: return at once; whether it ran is known at its end.
        The others are those of ``exec_command``, which says what is raised.
    """
    container = Container(env=env or {}, cwd=cwd)  # checks them
    command = Command.of(argv, container.env, container.cwd, pass_fds)
    pidfd, join, seccomp = find_target(pid)
    try:
        return start_join(
            None,
            CallOptions(process_spawned_hook=process_spawned_hook),
            lambda: _open(tty)(*streams, text=text),
            container.env,
            pidfd.fd,
            join,
            False,
            deadline,
            quiet=quiet,
            command=command,
            seccomp=seccomp,
            relay=relay,
        )
    finally:
        pidfd.close()


def _captured(
    sent: Any, capture_output: bool, tty: bool, streams: tuple[Stream, Stream, Stream]
) -> tuple[Stream, Stream, Stream]:
    """The streams that ``input=`` and ``capture_output=`` stand for."""
    stdin, stdout, stderr = streams
    if sent is not None:
        if stdin is not None:
            raise ValueError("stdin and input may not be given together")
        stdin = PIPE
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr may not be given together with capture_output")
        stdout = PIPE
        stderr = None if tty else PIPE  # a terminal has one output
    return stdin, stdout, stderr


def _open(tty: bool) -> type[Stdio]:
    if not tty:
        return Stdio
    from .launch.terminal import TerminalStdio  # few programs have one

    return TerminalStdio


def _start(
    mounts: Mounts | Container,
    argv: Sequence[Argument],
    text: Text | None,
    tty: bool,
    streams: tuple[Stream, Stream, Stream],
    pass_fds: Iterable[int],
    hook: Callable[[Running[None]], object] | None,
    options: ContainerOptions,
    deadline: float | None,
    quiet: bool,
    relay: Relay = NO_RELAY,
) -> Running[None]:
    container = to_container(mounts, options)
    command = Command.of(argv, container.env, passed=pass_fds)
    return start(
        container,
        None,
        CallOptions(process_spawned_hook=hook),
        lambda: _open(tty)(*streams, text=text),
        deadline,
        quiet=quiet,
        command=command,
        relay=relay,
    )


def _checked(completed: Completed[None], check: bool) -> Completed[None]:
    if check and completed.returncode:
        raise CommandError(f"{completed.args!r}: {completed.status}", completed)
    return completed
