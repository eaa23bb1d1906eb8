"""The front doors for functions: call one in a container, or start a container to live beside."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, Unpack, overload

from .declare.container import Container, Mounts, to_container
from .declare.options import ContainerOptions
from .errors import ContainerExitError, ContainerTimeoutError, PayloadError
from .launch.codec import decode, raised
from .launch.results import Completed
from .launch.running import Running
from .launch.signals import Relay, relaying
from .launch.start import MAX_RESULT, CallOptions, ThreadsError, start
from .launch.stdio import PIPE, Stdio, Stream

__all__ = ["call_with_container", "run_container", "start_container"]

_ = decode, raised  # of use when a value has come, when there may be no descriptor for an import

T = TypeVar("T")

RELAYED = (signal.SIGINT, signal.SIGTERM)


def call_with_container(
    mounts: Mounts | Container,
    fn: Callable[[], T],
    /,
    *,
    timeout: float | None = None,
    start_method: str = "forkserver",
    preload: Iterable[str] = (),
    returns: str = "data",
    allow: Iterable[Any] = (),
    max_result: int = MAX_RESULT,
    relayed_signals: Iterable[int] = RELAYED,
    process_spawned_hook: Callable[[Running[T]], object] | None = None,
    populate_filesystem: Callable[[], object] | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    **options: Unpack[ContainerOptions],
) -> T:
    """Call *fn* in a fresh container and return its value, or raise what it raises.

    Arguments:
        mounts: mounts and entries (collections of them are flattened one level), or a whole
            ``Container``.
        fn: a function without parameters; use a lambda or ``functools.partial`` for arguments.
        timeout: the caller's patience, in seconds; then the container is killed.
        start_method: "forkserver" (fn is sent to a child of a lean helper process) or "fork"
            (fn runs in a fork of this process, with everything that is in its memory).
        preload: modules that the helper has loaded already.  What *fn* imports while it runs must
            be in the container or of the standard library.
        returns: "data" (nothing that comes back runs code here) or "pickle", for an fn that you
            trust with this process.
        allow: classes beyond the default list whose instances may come back: dataclasses, attrs
            classes, NamedTuples, Enums, exceptions, or ``Data(cls, encode, decode)``.
        max_result: the most bytes that come back.
        relayed_signals: signals that go to the container while the caller waits (main thread
            only).  A second one, or five seconds, kills it.
        process_spawned_hook: called in the caller with the ``Running`` before fn starts.
        populate_filesystem: called in the container before its root becomes read-only, with all
            the capabilities that setting it up takes: code that you trust.  In a container of host
            root's with a writable bind it makes no set-id files either, sets no attributes and
            mounts no new file systems.
        stdin, stdout, stderr: as for ``subprocess``; None is the caller's own.
        **options: the fields of ``Container``.

    Raises:
        ValueError: listing every bad field of the container.
        PayloadError: fn cannot be sent or loaded; nothing has run.
        SetupError: the kernel refused a step; fn has not run.
        ContainerExitError: fn ended its process or was killed.
        ContainerTimeoutError: *timeout* passed.
        ResultError: the value does not cross.
        RemoteError: an exception of fn that does not cross as itself.
        HelperError: the helper process died.
    """
    completed: Completed[T] = _run(
        to_container(mounts, options),
        fn,
        CallOptions.of(
            start_method=start_method,
            preload=preload,
            returns=returns,
            allow=allow,
            max_result=max_result,
            process_spawned_hook=process_spawned_hook,
            populate_filesystem=populate_filesystem,
        ),
        (stdin, stdout, stderr),
        timeout,
        relayed_signals,
    )
    return completed.result()


def run_container(
    mounts: Mounts | Container,
    fn: Callable[[], T],
    /,
    *,
    timeout: float | None = None,
    capture_output: bool = False,
    text: bool = False,
    start_method: str = "forkserver",
    preload: Iterable[str] = (),
    returns: str = "data",
    allow: Iterable[Any] = (),
    max_result: int = MAX_RESULT,
    relayed_signals: Iterable[int] = RELAYED,
    process_spawned_hook: Callable[[Running[T]], object] | None = None,
    populate_filesystem: Callable[[], object] | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    **options: Unpack[ContainerOptions],
) -> Completed[T]:
    """Call *fn* in a fresh container and return how it ended: status, usage, output, value.

    An fn that raises or is killed raises nothing here: ``Completed.result()`` does.

    Arguments:
        capture_output: keep stdout and stderr in the ``Completed``.
        text: as text, decoded as UTF-8 with replacement characters for what is none.
        The others are those of ``call_with_container``.

    Raises:
        ValueError, PayloadError, SetupError, ContainerTimeoutError, HelperError: as there.
    """
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr may not be given together with capture_output")
        stdout = stderr = PIPE
    completed: Completed[T] = _run(
        to_container(mounts, options),
        fn,
        CallOptions.of(
            start_method=start_method,
            preload=preload,
            returns=returns,
            allow=allow,
            max_result=max_result,
            process_spawned_hook=process_spawned_hook,
            populate_filesystem=populate_filesystem,
        ),
        (stdin, stdout, stderr),
        timeout,
        relayed_signals,
    )
    if text:
        completed = completed._with(stdout=_text(completed.stdout), stderr=_text(completed.stderr))
        if isinstance(completed.exception, ContainerExitError):
            completed.exception.completed = completed
    return completed


@overload
def start_container(
    mounts: Mounts | Container,
    fn: Callable[[], T],
    /,
    *,
    start_method: str = ...,
    preload: Iterable[str] = ...,
    returns: str = ...,
    allow: Iterable[Any] = ...,
    max_result: int = ...,
    process_spawned_hook: Callable[[Running[T]], object] | None = ...,
    populate_filesystem: Callable[[], object] | None = ...,
    stdin: Stream = ...,
    stdout: Stream = ...,
    stderr: Stream = ...,
    **options: Unpack[ContainerOptions],
) -> Running[T]: ...


@overload
def start_container(
    mounts: Mounts | Container,
    fn: None = None,
    /,
    *,
    process_spawned_hook: Callable[[Running[None]], object] | None = ...,
    stdin: Stream = ...,
    stdout: Stream = ...,
    stderr: Stream = ...,
    **options: Unpack[ContainerOptions],
) -> Running[None]: ...


def start_container(
    mounts: Mounts | Container,
    fn: Callable[[], Any] | None = None,
    /,
    *,
    start_method: str = "forkserver",
    preload: Iterable[str] = (),
    returns: str = "data",
    allow: Iterable[Any] = (),
    max_result: int = MAX_RESULT,
    process_spawned_hook: Callable[[Running[Any]], object] | None = None,
    populate_filesystem: Callable[[], object] | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    **options: Unpack[ContainerOptions],
) -> Running[Any]:
    """Start a container and return while it runs.

    Arguments:
        fn: what runs in it.  Without one the container is idle: a small init holds it open for
            excursions until it is killed.
        The others are those of ``call_with_container``.

    Raises:
        ValueError, PayloadError, SetupError, HelperError: as there.
    """
    return start(
        to_container(mounts, options),
        fn,
        CallOptions.of(
            start_method=start_method,
            preload=preload,
            returns=returns,
            allow=allow,
            max_result=max_result,
            process_spawned_hook=process_spawned_hook,
            populate_filesystem=populate_filesystem,
        ),
        lambda: Stdio(stdin, stdout, stderr),
    )


def _text(output: bytes | None) -> str | None:
    return None if output is None else output.decode("utf-8", "replace")


def _run(
    container: Container,
    fn: Callable[[], Any],
    options: CallOptions,
    streams: tuple[Stream, Stream, Stream],
    timeout: float | None,
    signals: Iterable[int],
) -> Completed[Any]:
    if fn is None:
        raise PayloadError("fn must be a function, not None; start_container() needs none")
    deadline = None if timeout is None else time.monotonic() + timeout
    return finish(
        lambda relay: start(
            container, fn, options, lambda: Stdio(*streams), deadline, quiet=True, relay=relay
        ),
        timeout,
        deadline,
        signals,
    )


def finish(
    begin: Callable[[Relay], Running[Any]],
    timeout: float | None,
    deadline: float | None,
    signals: Iterable[int],
    input: Any = None,
) -> Completed[Any]:
    """Start with *begin* and wait for the end, relaying *signals* from before the start on.

    Arguments:
        deadline: a moment of the monotonic clock; then it is killed.
        timeout: the seconds from the beginning to there, for messages.
        input: what it reads from stdin.
    """
    with relaying(signals) as relay:
        while True:
            try:
                return _finish(begin(relay), timeout, deadline, relay, input)
            except ThreadsError:
                continue


def _finish(
    running: Running[Any],
    timeout: float | None,
    deadline: float | None,
    relay: Relay,
    input: Any,
) -> Completed[Any]:
    try:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        completed = running.capture(input, left)
    except ThreadsError:
        running.end()
        raise
    except ContainerTimeoutError as error:
        _end(running, relay)
        final = ContainerTimeoutError(
            f"{running.args} did not end within {timeout:g} seconds and was killed",
            running._completed,
            timeout or 0.0,
        )
        final.cmd, final.output, final.stderr = error.cmd, error.output, error.stderr
        raise final from None
    except BaseException:
        _end(running, relay)
        raise
    running.close()
    return completed


def _end(running: Running[Any], relay: Relay) -> None:
    try:
        relay.restore()  # whoever has had enough of this wait too may interrupt it
    finally:
        running.end()
