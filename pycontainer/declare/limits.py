"""What a container may use."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

from .checks import Problems, check_flag, is_int, refuse

__all__ = ["UNLIMITED", "Limits"]

UNLIMITED = "unlimited"
"""The word for a stack without a bound."""

_LONGEST = 1e9
"""Seconds: 31 years, in nanoseconds still far from the end of 64 bits."""
_LARGEST = 2**62
"""Bytes, and counts: what the kernel takes for a resource (setrlimit(2)) and for a cgroup."""
_PROCESSORS = 1 << 15
"""Processors: above CONFIG_NR_CPUS of every kernel that distributions build."""
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _seconds_of(value: Any) -> Any:
    return float(value) if is_int(value) and abs(value) < _LARGEST else value


def _bytes_of(value: Any) -> Any:
    """Bytes of "512m" and the like; what cannot be read stays, for the check to name it."""
    if not isinstance(value, str) or not value:
        return value
    number, unit = (value[:-1], value[-1].lower()) if value[-1].isalpha() else (value, "")
    if not (number.isascii() and number.isdigit()) or (unit and unit not in _UNITS):
        return value
    return int(number) * _UNITS.get(unit, 1)


def _processors_of(value: Any) -> Any:
    if value is None or isinstance(value, (frozenset, str, bytes)):
        return value
    try:
        return frozenset(value)
    except TypeError:
        return value


@frozen(kw_only=True)
class Limits:
    """Bounds for everything that runs in a container, together.  None leaves a bound out.

    Sizes are bytes, or texts such as "512m" (k, m, g, t: powers of 1024).  What meets a limit that
    has a ``Verdict`` is killed with everything in its container.  Which mechanism holds each of
    them is in ``Completed.enforced``.  An excursion into the container ends with it, but what the
    excursion itself uses is the caller's.

    Attributes:
        cpu_time: processor time of all its processes together, in seconds.
        wall_time: from its start, set-up included, in seconds.
        memory: of all its processes together, files in its tmpfs included where a cgroup holds
            it; swap is none.
        stack: of each process's main thread, and of other threads by default (setrlimit(2)):
            None is the caller's, "unlimited" is without a bound.
        processes: processes and threads that exist at a time, the function or program itself
            included, an init of ours above it not.
        open_files: each process's descriptors are below this number.
        file_size: of each file that is written; a write beyond it fails with EFBIG, after SIGXFSZ.
            A result beyond 64 KiB is such a file.
        cpu_affinity: the processors to run on, by number.  The program may choose others.
        cpus: processors' worth of time in each moment, as 0.5: then it waits.  Takes a cgroup.
        output: bytes on stdout and stderr together.  Both must be pipes of ours (PIPE,
            ``capture_output``) or DEVNULL.
        strict: refuse to start where a limit cannot be held; otherwise ``enforced`` says so.

    Raises:
        ValueError: its message lists every bad field, a line each.
    """

    cpu_time: float | None = field(default=None, converter=_seconds_of)
    wall_time: float | None = field(default=None, converter=_seconds_of)
    memory: int | None = field(default=None, converter=_bytes_of)
    stack: int | str | None = field(default=None, converter=_bytes_of)
    processes: int | None = None
    open_files: int | None = None
    file_size: int | None = field(default=None, converter=_bytes_of)
    cpu_affinity: frozenset[int] | None = field(default=None, converter=_processors_of)
    cpus: float | None = field(default=None, converter=_seconds_of)
    output: int | None = field(default=None, converter=_bytes_of)
    strict: bool = True

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        for name in ("cpu_time", "wall_time"):
            _check_quantity(problems, name, getattr(self, name), "seconds", _LONGEST)
        _check_quantity(problems, "cpus", self.cpus, "processors", _PROCESSORS)
        for name in ("memory", "file_size", "output"):
            _check_bytes(problems, name, getattr(self, name), 0 if name == "output" else 1)
        if self.stack != UNLIMITED:
            _check_bytes(problems, "stack", self.stack, 1, f", or {UNLIMITED!r}")
        for name in ("processes", "open_files"):
            _check_count(problems, name, getattr(self, name))
        _check_processors(problems, self.cpu_affinity)
        check_flag(problems, "strict", self.strict)
        refuse("limits", problems)


def _check_quantity(problems: Problems, name: str, value: Any, unit: str, most: float) -> None:
    if value is None:
        return
    if not isinstance(value, float):
        problems.append(f"{name} must be a number of {unit}, not {value!r}")
    elif not 0 < value <= most or math.isnan(value):
        problems.append(f"{name} {value:g} is outside 0 to {most:g} {unit}")


def _check_bytes(problems: Problems, name: str, value: Any, least: int, other: str = "") -> None:
    if value is None:
        return
    if not is_int(value):
        problems.append(f"{name} {value!r} is no size; use bytes or a text as '512m'{other}")
    elif not least <= value <= _LARGEST:
        problems.append(f"{name} {value} is outside {least} to {_LARGEST} bytes")


def _check_count(problems: Problems, name: str, value: Any) -> None:
    if value is None:
        return
    if not is_int(value):
        problems.append(f"{name} must be an int, not {value!r}")
    elif not 1 <= value <= _LARGEST:
        problems.append(f"{name} {value} is outside 1 to {_LARGEST}")


def _check_processors(problems: Problems, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, frozenset) or not isinstance(value, Iterable):
        problems.append(f"cpu_affinity takes numbers of processors, as [0, 2], not {value!r}")
        return
    if not value:
        problems.append("cpu_affinity is empty: there must be a processor to run on")
    bad = [one for one in value if not is_int(one) or not 0 <= one < _PROCESSORS]
    if bad:
        problems.append(f"cpu_affinity: {sorted(map(repr, bad))[0]} is no processor's number")
