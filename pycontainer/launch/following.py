"""The output of a container, handed on as it comes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ContainerExitError
from .output import Output
from .results import Completed, ExitStatus, Usage, Verdict

if TYPE_CHECKING:
    from .running import Running

__all__ = ["GLANCE", "Event", "follow", "takes", "to_stdout"]

GLANCE = 0.05
"""Seconds between looks at an event: no descriptor tells when it is set."""


class Event(Protocol):
    """What is asked of a ``threading.Event``."""

    def is_set(self) -> bool: ...


class _Followed(Output):
    def __init__(self, running: Running[Any], take: Callable[[bytes], object]) -> None:
        self._take = take
        held = running._held
        super().__init__(running, None, None if held is None else held.limits.output)

    def _keep(self, name: str, data: bytes) -> None:
        left = len(data) if self._most is None else self._most - self._amount
        self._amount += min(len(data), left)
        if left > 0:
            self._take(data[:left])
        if len(data) > left and (running := self._running()) is not None:
            running.overflow()


def follow(
    running: Running[Any], take: Callable[[bytes], object], cancel: Event | None = None
) -> Completed[Any]:
    """Give what the container writes to its pipes to *take*, until it has ended.

    Arguments:
        cancel: when it is set the container is killed.

    Raises:
        whatever *take* raises, after the container is killed; HelperError: the helper died.
    """
    try:
        output = _Followed(running, take)
        killed = False
        with running._stdio.serving(output.files):
            while True:
                if cancel is not None and cancel.is_set() and not killed:
                    killed = True
                    running.kill()
                deadline = None
                if cancel is not None and not killed:
                    deadline = time.monotonic() + GLANCE
                if running._pump("over", deadline, output.files) and not output.files:
                    break
                if running._exchange.over:
                    # A pipe may be held by somebody who outlives the container.
                    running._stdio.finish()
                    output.finish()
        try:
            running._complete()
        except ContainerExitError:
            if not killed:
                raise
            # It was killed before it was what it was to be.
            usage = running._exchange.usage or Usage(0.0, 0.0, 0.0, 0)
            status = ExitStatus(signal=int(signal.SIGKILL))
            return Completed(running.args, status, Verdict.CANCELLED, usage)
    except BaseException:
        running.end()
        raise
    assert running._completed is not None
    return running._completed


def to_stdout(data: bytes) -> None:
    """Write to this process's stdout, all of it."""
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


def takes(log: Any) -> tuple[Callable[[bytes], object], Callable[[], object]]:
    """What writes to *log*, and what ends that.

    Arguments:
        log: the path of a file that is written anew, a binary file, or a callable that takes bytes.

    Raises:
        OSError: the file cannot be written.  TypeError: it is none of these.
    """
    if isinstance(log, (str, bytes, os.PathLike)):
        file = open(log, "wb", buffering=0)  # noqa: SIM115 - closed by what is returned
        return file.write, file.close
    if callable(log):
        return log, bool
    write = getattr(log, "write", None)
    if not callable(write):
        raise TypeError(f"log is a path, a binary file or a callable, not {log!r}")
    return write, getattr(log, "flush", bool)
