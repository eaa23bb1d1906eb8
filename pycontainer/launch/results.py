"""How a container ended: frozen data."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Generic, TypeVar

from attrs import field, frozen

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


@frozen
class ExitStatus:
    """How a process ended: with an exit code, or by a signal.

    Attributes:
        exit_code: 0 to 255, or None.
        signal: the signal's number, or None.
    """

    exit_code: int | None = None
    signal: int | None = None

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


@frozen
class Usage:
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

    user_time: float
    system_time: float
    wall_time: float
    max_rss: int


@frozen
class Completed(Generic[T_co]):
    """A container that has ended.

    Attributes:
        args: what ran: the function's name, or the command.
        status: how its function's process ended.
        verdict: why.
        usage: what it used.
        stdout, stderr: what was captured, or None.
        exception: what ``result()`` raises, or None.
        enforced: which mechanism held each limit.
    """

    args: Any
    status: ExitStatus
    verdict: Verdict
    usage: Usage
    stdout: Any = None
    stderr: Any = None
    enforced: Mapping[str, str] = field(factory=dict, hash=False)
    exception: BaseException | None = field(default=None, eq=False, repr=False)
    _value: Any = field(default=None, eq=False, repr=False)
    _words: str = field(
        default="", alias="words", eq=False, repr=False
    )  # how it ended without a value

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
        if self.exception is not None:
            raise self.exception
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
