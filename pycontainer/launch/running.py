"""A container that runs: wait for it, talk to it, end it."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Generic, NoReturn, TypeVar
from weakref import WeakSet

from .._native import lib
from ..errors import ContainerExitError, ResultError
from ..plan.plan import Plan
from ..plan.steps import Op
from .exchange import Exchange
from .output import Output, close
from .results import Completed, ExitStatus, Usage
from .stdio import Stdio
from .verdict import verdict_of, words_of

if TYPE_CHECKING:
    from ..errors import ContainerTimeoutError
    from .limits import Hold

__all__ = ["Running"]

T = TypeVar("T")

with_filters: WeakSet[Running[Any]] = WeakSet()
"""Those with a filter, for whoever knows of one no more than its pid."""


class Running(Generic[T]):
    """A running container.

    In a ``with`` statement an exception kills it, a normal end waits for it, and an idle one
    (without a function) is killed at the end.  It is not tied to the life of this object, but to
    that of the calling process.

    Attributes:
        args: what runs: the function's name, or the program and its arguments.
        stdin, stdout, stderr: files of the caller where PIPE was asked for, else None.
        text: how their bytes become text, or None for binary files.
        returncode: None while it runs; then the exit code, or a signal's number negated.
    """

    def __init__(
        self,
        exchange: Exchange,
        stdio: Stdio,
        *,
        args: Any,
        plan: Plan | None,
        allow: tuple[Any, ...],
        returns: str,
        max_result: int,
        idle: bool,
        keep: Any,
        refuse: Callable[[Exchange], NoReturn],
        command: bool = False,
        held: Hold | None = None,
    ) -> None:
        self.args = args
        self.stdin: IO[Any] | None = stdio.stdin
        self.stdout: IO[Any] | None = stdio.stdout
        self.stderr: IO[Any] | None = stdio.stderr
        self.text = stdio.text
        self._exchange = exchange
        self._stdio = stdio
        self._plan = plan
        self._allow = allow
        self._returns = returns
        self._max_result = max_result
        self._idle = idle
        self._command = command
        self._keep = keep  # the helper, which must outlive its containers
        self._refuse = refuse  # raises why the function did not start
        self._held = held  # how its limits are held, if it has any
        self._overflowed = False
        self._output: Output | None = None
        self._completed: Completed[T] | None = None
        self._filtered = plan is not None and plan.seccomp is not None
        if self._filtered or (
            plan is not None and any(step.op is Op.REFUSE_SET_ID for step in plan.steps)
        ):
            with_filters.add(self)

    # ---- looking

    @property
    def pid(self) -> int:
        """The container's first process, as the caller sees it."""
        return self._exchange.pid

    @property
    def pidfd(self) -> int:
        """A pidfd of the container's first process.

        Raises:
            ValueError: it has been waited for.
        """
        if self._exchange.pidfd < 0:
            raise ValueError("the container has ended")
        return self._exchange.pidfd

    def fileno(self) -> int:
        """The pidfd: readable when the container has ended."""
        return self.pidfd

    @property
    def returncode(self) -> int | None:
        """None until ``poll()`` or ``wait()`` has seen the end."""
        return None if self._completed is None else self._completed.returncode

    def poll(self) -> int | None:
        """The return code if the container has ended, else None."""
        if self._completed is None and self._exchange.pump("over", time.monotonic()):
            self._complete()
        return self.returncode

    # ---- waiting

    def wait(self, timeout: float | None = None) -> Completed[T]:
        """Wait for the end.

        Arguments:
            timeout: seconds.  When they pass the container goes on.

        Raises:
            ContainerTimeoutError: *timeout* passed.
            HelperError: the helper died, and the container with it.
        """
        if self._completed is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            files: dict[int, Any] = {}
            with self._stdio.serving(files):
                if not self._pump("over", deadline, files):
                    raise self._timeout_error(timeout or 0.0)
                self._stdio.finish()
            self._complete()
        assert self._completed is not None
        return self._completed

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end and return the function's value, or raise what it raised.

        Raises:
            ContainerExitError: it ended without a value.
            ResultError: the value does not cross.
            ContainerTimeoutError: *timeout* (seconds) passed; the container goes on.
        """
        return self.wait(timeout).result()

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send *input* to stdin, read stdout and stderr to their ends, and wait.

        All three are bytes, or str in text mode; None is what has no pipe.

        Raises:
            ContainerTimeoutError: *timeout* (seconds) passed; the container goes on.  What has
                been read until then is in ``stdout`` and ``stderr`` of the error.
        """
        completed = self.capture(input, timeout)
        return completed.stdout, completed.stderr

    def capture(self, input: Any = None, timeout: float | None = None) -> Completed[T]:
        """``communicate()``, returning the ``Completed`` with the output in it."""
        deadline = None if timeout is None else time.monotonic() + timeout
        # After a timeout the next call goes on where this one stopped, as with subprocess.
        most = None if self._held is None else self._held.limits.output
        output = self._output = self._output or Output(self, input, most)
        with self._stdio.serving(output.files):
            while not self._pump("over", deadline, output.files) or output.files:
                if deadline is not None and time.monotonic() >= deadline:
                    raise self._timeout_error(timeout or 0.0, output)
                if self._exchange.over:
                    # Pipes may be held by somebody who outlives the container: read what is there.
                    self._stdio.finish()
                    output.finish()
        self._complete()
        assert self._completed is not None
        written: list[Any] = [output.text("stdout"), output.text("stderr")]
        stderr = written[1]
        if self.text is not None:
            written = [self.text.decode(data) for data in written]
        self._completed = self._completed._with(stdout=written[0], stderr=written[1])
        error = self._completed.exception
        if isinstance(error, ContainerExitError):
            error.completed = self._completed
            from .words import stderr_note

            stderr_note(error, stderr)
        return self._completed

    def _pump(
        self, until: str, deadline: float | None = None, files: dict[int, Any] | None = None
    ) -> bool:
        return self._exchange.pump(until, deadline, files, self._stdio)

    def _timeout_error(self, timeout: float, output: Output | None = None) -> ContainerTimeoutError:
        from ..errors import ContainerTimeoutError

        completed: Completed[T] | None = self._completed
        error = ContainerTimeoutError(
            f"{self.args} did not end within {timeout:g} seconds", completed, timeout
        )
        error.cmd = self.args
        if output is not None:
            error.output, error.stderr = output.text("stdout"), output.text("stderr")
        return error

    # ---- ending

    def send_signal(self, number: int) -> None:
        """Send a signal to the container's first process; none once it has ended."""
        self._exchange.signal(number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the container: all its processes."""
        self.send_signal(signal.SIGKILL)

    def overflow(self) -> None:
        """Kill the container for its output."""
        self._overflowed = True
        self.kill()

    def end(self) -> None:
        """Kill the container, wait until it has ended, and close what was opened for it."""
        self._exchange.abandon()
        if self._completed is None and self._exchange.ready:
            self._complete()
        self.close()

    def close(self) -> None:
        """Close the descriptors.  The container goes on if it has not ended."""
        self._exchange.close()
        self._stdio.close()

    def __enter__(self) -> Running[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None or self._idle:
            self.end()
            return
        try:
            if self._command:
                # As Popen does: a program that writes more than a pipe holds has lost its reader.
                for stream in (self.stdout, self.stderr):
                    if stream is not None:
                        stream.close()
            if self.stdin is not None:
                close(self.stdin)
            self.wait()
        except BaseException:
            self.end()
            raise
        self.close()

    def __del__(self) -> None:
        exchange = getattr(self, "_exchange", None)
        if exchange is not None:
            if not exchange.over and not exchange.owned:
                message = f"container {self.pid} is still running"
                warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
            exchange.drop()
            if hasattr(self, "_stdio"):
                self._stdio.close()

    def __repr__(self) -> str:
        state = "running" if self._completed is None else str(self._completed.status)
        return f"<Running {self.args} pid={self.pid} {state}>"

    # ---- the outcome

    def _complete(self) -> None:
        if self._completed is not None:
            return
        exchange = self._exchange
        # What has written is running, though its init may not have come to say so.
        if not exchange.ready and not self._overflowed:
            self.close()
            self._refuse(exchange)
        status = exchange.status or ExitStatus(signal=int(signal.SIGKILL))
        usage = exchange.usage or Usage(0.0, 0.0, 0.0, 0)
        limits = None if self._held is None else self._held.limits
        verdict = verdict_of(
            status,
            usage,
            limits=limits,
            watched=exchange.limit,
            overflowed=self._overflowed,
            filtered=self._filtered,
            sent=exchange.sent,
        )
        completed: Completed[T] = Completed(
            self.args,
            status,
            verdict,
            usage,
            enforced={} if self._held is None else self._held.enforced,
            words=words_of(self.args, verdict, status, usage, limits),
        )
        value: Any = None
        error: BaseException | None = None
        try:
            value = self._value(completed)
        except BaseException as raised:  # the function's own, or why there is no value
            error = raised.with_traceback(None)
        self._completed = completed._with(_value=value, _exception=error)
        if isinstance(error, ContainerExitError):
            error.completed = self._completed
        exchange.close()

    def _value(self, completed: Completed[T]) -> Any:
        exchange = self._exchange
        if self._idle or self._command:
            return None
        if exchange.outcome is None:
            if exchange.malformed is not None:
                raise exchange.malformed
            raise ContainerExitError(completed._words)
        from .codec.decode import decode_refusal, decode_value
        from .codec.raised import decode_exception

        kind, body, memfd = exchange.outcome
        exchange.outcome = None
        view: memoryview | bytes = body
        if memfd >= 0:
            from .codec.transport import from_memfd
            from .codec.wire import EXCEPTION_ROOM

            room = EXCEPTION_ROOM if kind == lib.PC_SAY_EXCEPTION else 0
            view = from_memfd(memfd, max(self._max_result, room))
        if kind == lib.PC_SAY_UNENCODABLE:
            raise decode_refusal(view)
        if kind == lib.PC_SAY_EXCEPTION:
            error = decode_exception(view, self._allow)
            from .words import import_note, read_only_note

            import_note(error)
            if self._plan is not None:
                read_only_note(error, self._plan)
            raise error
        if kind == lib.PC_SAY_VALUE_PICKLE:
            if self._returns != "pickle":
                raise ResultError("malformed message: a pickle, which was not asked for")
            import pickle

            return pickle.loads(view)
        return decode_value(view, self._allow)
