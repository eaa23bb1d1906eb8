"""How a container ended: frozen data."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Generic, TypeVar

from ..declare.record import Record, set_field

__all__ = ["Completed", "ExitStatus", "Usage", "Verdict"]

T_co = TypeVar("T_co", covariant=True)


class Verdict(Enum):
    """Why a container ended.

    OK: with exit status 0.  EXIT: with another.  SIGNAL: by a signal that no limit sent.
    WALL_TIME, CPU_TIME, MEMORY, OUTPUT: by that limit, whichever mechanism held it.
    SECCOMP: by its filter.  CANCELLED: the caller ended it.
    """

    OK = "ok"
    EXIT = "exit"
    SIGNAL = "signal"
    WALL_TIME = "wall_time"
    CPU_TIME = "cpu_time"
    MEMORY = "memory"
    OUTPUT = "output"
    SECCOMP = "seccomp"
    CANCELLED = "cancelled"


class ExitStatus(Record):
    """How a process ended: with an exit code, or by a signal.

    Attributes:
        exit_code: 0 to 255, or None.
        signal: the signal's number, or None.
    """

    __slots__ = ("exit_code", "signal")

    exit_code: int | None
    signal: int | None

    def __init__(self, exit_code: int | None = None, signal: int | None = None) -> None:
        set_field(self, "exit_code", exit_code)
        set_field(self, "signal", signal)

    @property
    def signal_name(self) -> str | None:
        """The signal's name, such as "SIGKILL", or None."""
        if self.signal is None:
            return None
        try:
            return signal.Signals(self.signal).name
        except ValueError:  # the real-time signals between the first and the last have no name
            return f"SIGRTMIN+{self.signal - signal.SIGRTMIN}"

    @property
    def returncode(self) -> int:
        """The exit code, or the signal's number negated, as ``subprocess`` has it."""
        return self.exit_code if self.exit_code is not None else -(self.signal or 0)

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by signal {self.signal} ({self.signal_name})"
        return f"exit status {self.exit_code}"

    @classmethod
    def of_wait_status(cls, status: int) -> ExitStatus:
        """From the status that wait(2) gives."""
        if status & 0x7F:
            return cls(signal=status & 0x7F)
        return cls(exit_code=status >> 8 & 0xFF)


class Usage(Record):
    """What a container used: its first process and all that were reaped inside.

    With a limit of processor time or memory it is what all its processes used together, those
    included that nobody has reaped.

    Attributes:
        user_time, system_time: processor time, in seconds.
        wall_time: from the clone to the reaping, in seconds.
        max_rss: the largest resident set of a single process, in bytes (getrusage(2)).  It counts
            what the process had in common with the helper that cloned it.  With a limit of memory
            it is the peak of all processes together: where a cgroup holds it, with the page cache
            and the files in a tmpfs.
    """

    __slots__ = ("user_time", "system_time", "wall_time", "max_rss")  # noqa: RUF023 - in the order of __init__()

    user_time: float
    system_time: float
    wall_time: float
    max_rss: int

    def __init__(
        self, user_time: float, system_time: float, wall_time: float, max_rss: int
    ) -> None:
        set_field(self, "user_time", user_time)
        set_field(self, "system_time", system_time)
        set_field(self, "wall_time", wall_time)
        set_field(self, "max_rss", max_rss)


class Completed(Record, Generic[T_co]):
    """A container that has ended.

    Attributes:
        args: what ran: the function's name, or the command.
        status: how its function's process ended.
        verdict: why.
        usage: what it used.
        stdout, stderr: what was captured, or None.
        enforced: which mechanism held each limit.
    """

    __slots__ = (  # noqa: RUF023 - in the order of __init__()
        "args",
        "status",
        "verdict",
        "usage",
        "stdout",
        "stderr",
        "enforced",
        "_exception",
        "_value",
        "_words",
    )

    args: Any
    status: ExitStatus
    verdict: Verdict
    usage: Usage
    stdout: Any
    stderr: Any
    enforced: Mapping[str, str]
    _exception: BaseException | None
    _value: Any
    _words: str

    def __init__(
        self,
        args: Any,
        status: ExitStatus,
        verdict: Verdict,
        usage: Usage,
        stdout: Any = None,
        stderr: Any = None,
        enforced: Mapping[str, str] | None = None,
        exception: BaseException | None = None,
        value: Any = None,
        words: str = "",
    ) -> None:
        set_field(self, "args", args)
        set_field(self, "status", status)
        set_field(self, "verdict", verdict)
        set_field(self, "usage", usage)
        set_field(self, "stdout", stdout)
        set_field(self, "stderr", stderr)
        set_field(self, "enforced", {} if enforced is None else enforced)
        set_field(self, "_exception", exception)
        set_field(self, "_value", value)
        set_field(self, "_words", words)  # how it ended without a value

    def __hash__(self) -> int:
        return hash((self.status, self.verdict, self.usage))

    @property
    def exception(self) -> BaseException | None:
        """What ``result()`` raises, or None."""
        return self._exception

    @property
    def returncode(self) -> int:
        """The exit code; a signal's number negated."""
        return self.status.returncode

    def result(self) -> T_co:
        """The function's value.

        Raises:
            whatever the function raised; ContainerExitError: it ended without a value;
            ResultError: the value does not cross.
        """
        if self._exception is not None:
            raise self._exception
        value: T_co = self._value
        return value

    def check_returncode(self) -> None:
        """Nothing after a success.

        Raises:
            CommandError: the status is not 0.
        """
        if self.returncode:
            from ..errors import CommandError

            ordinary = self.verdict in (Verdict.OK, Verdict.EXIT, Verdict.SIGNAL)
            words = f"{self.args!r}: {self.status}"
            raise CommandError(words if ordinary or not self._words else self._words, self)


def name_of(fn: Callable[..., Any]) -> str:
    """How messages call a function.  Never by its repr, which may show what it was given."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(fn).__qualname__}"
