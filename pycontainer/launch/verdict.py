"""Why a container ended: one place for every mechanism that can end one."""

from __future__ import annotations

import signal
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from .._native import lib
from .results import Completed, ExitStatus, Usage, Verdict

if TYPE_CHECKING:
    from ..declare.limits import Limits

__all__ = ["limit_words", "verdict_of", "words_of"]

_WATCHED = {
    lib.PC_WATCHED_WALL_TIME: Verdict.WALL_TIME,
    lib.PC_WATCHED_CPU_TIME: Verdict.CPU_TIME,
    lib.PC_WATCHED_MEMORY: Verdict.MEMORY,
}
_OF_TIME = (signal.SIGXCPU, signal.SIGKILL)


def verdict_of(
    status: ExitStatus,
    usage: Usage,
    *,
    limits: Limits | None = None,
    watched: int = 0,
    overflowed: bool = False,
    filtered: bool = False,
    sent: Collection[int] = (),
) -> Verdict:
    """The verdict.

    Arguments:
        watched: PC_WATCHED_*: the limit by which the supervisor ended it.
        overflowed: the caller ended it for its output.
        filtered: it has a filter of system calls.
        sent: the signals that the caller has sent.
    """
    if overflowed:
        return Verdict.OUTPUT
    if watched in _WATCHED:
        return _WATCHED[watched]
    number = status.signal
    if number is None:
        return Verdict.EXIT if status.exit_code else Verdict.OK
    if number == signal.SIGSYS and filtered:
        return Verdict.SECCOMP
    if limits is not None and limits.cpu_time is not None and number in _OF_TIME:
        used = usage.user_time + usage.system_time
        if used >= limits.cpu_time:  # RLIMIT_CPU was quicker than the watch
            return Verdict.CPU_TIME
    return Verdict.CANCELLED if number in sent else Verdict.SIGNAL


def words_of(
    args: Any, verdict: Verdict, status: ExitStatus, usage: Usage, limits: Limits | None
) -> str:
    """How it ended without a value, in a line: the limit, its value, and what was used."""
    used = usage.user_time + usage.system_time
    if limits is None:
        pass  # none of them was met
    elif verdict is Verdict.WALL_TIME:
        return f"{args} met its limit wall_time={limits.wall_time:g} after {usage.wall_time:.2f} s"
    elif verdict is Verdict.CPU_TIME:
        return f"{args} met its limit cpu_time={limits.cpu_time:g}: it used {used:.2f} s"
    elif verdict is Verdict.MEMORY:
        return (
            f"{args} met its limit memory={limits.memory} ({size(limits.memory or 0)}): "
            f"its peak was {size(usage.max_rss)}"
        )
    elif verdict is Verdict.OUTPUT:
        return f"{args} met its limit output={limits.output}: it wrote more bytes"
    if verdict is Verdict.SECCOMP:
        return f"{args} made a system call that its filter kills for: {status}"
    if verdict is Verdict.CANCELLED:
        return f"{args} was ended by its caller: {status}"
    words = f"{args} ended without a value: {status}"
    if limits is not None and limits.memory is not None:
        words += f"; its peak was {size(usage.max_rss)} of memory={limits.memory}"
    return words


def limit_words(completed: Completed[Any], command: str, limits: Limits | None) -> str:
    """The line for a command that has met a limit or its filter; "" for one that has not."""
    if completed.verdict not in _LIMITS:
        return ""
    return words_of(command, completed.verdict, completed.status, completed.usage, limits)


_LIMITS = (
    Verdict.WALL_TIME,
    Verdict.CPU_TIME,
    Verdict.MEMORY,
    Verdict.OUTPUT,
    Verdict.SECCOMP,
)


def size(number: int) -> str:
    """Bytes for readers."""
    amount, unit = float(number), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"
