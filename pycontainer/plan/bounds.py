"""The steps that bound the function's or program's own process: resources and processors.

They hold each process by itself, whoever starts it.  What holds all of them together is the
launcher's (``launch/limits.py``), which knows the host.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from .steps import Op, Step

if TYPE_CHECKING:
    from ..declare.limits import Limits

__all__ = ["NO_BOUND", "affinity_step", "bound_steps", "resource_step"]

NO_BOUND = 2**64 - 1
"""RLIM_INFINITY of the helper's protocol."""

_NUMBERS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "nproc": 5,
    "nofile": 6,
    "as": 7,
}
"""Resources of setrlimit(2), without "RLIMIT_", as the helper numbers them (``PC_LIMIT_*``)."""


def resource_step(name: str, bound: int) -> Step:
    """The step that bounds a resource, by a name of ``_NUMBERS``."""
    return Step(Op.SET_LIMIT, name, numbers=(_NUMBERS[name], bound, bound))


# One byte, not none.  A core_pattern that is a pipe starts a program of the host's for every
# crash, as root, whatever the limit: but for a limit of one, which the kernel keeps for programs
# that must not crash into themselves (do_coredump() in fs/coredump.c).  A file is not written
# either: an ELF core takes a page.
_NO_CORE = resource_step("core", 1)


def bound_steps(limits: Limits | None) -> list[Step]:
    """The steps for *limits*, in the phase "start"."""
    steps = [_NO_CORE]
    if limits is None:
        return steps
    if limits.cpu_time is not None:
        # The watch ends the whole tree at the moment itself; this ends a process if the watch
        # comes late.  The kernel counts whole seconds.
        steps.append(resource_step("cpu", int(limits.cpu_time) + 1))
    if limits.file_size is not None:
        steps.append(resource_step("fsize", limits.file_size))
    if limits.stack is not None:
        from ..declare.limits import UNLIMITED

        bound = NO_BOUND if limits.stack == UNLIMITED else int(limits.stack)
        steps.append(resource_step("stack", bound))
    if limits.processes is not None:
        steps.append(resource_step("nproc", limits.processes))
    if limits.open_files is not None:
        steps.append(resource_step("nofile", limits.open_files))
    if limits.cpu_affinity is not None:
        steps.append(affinity_step(limits.cpu_affinity))
    return steps


def affinity_step(processors: Set[int]) -> Step:
    """The step that chooses the processors to run on."""
    numbers = sorted(processors)
    return Step(Op.SET_AFFINITY, ",".join(map(str, numbers)), content=_bits(numbers))


def _bits(numbers: list[int]) -> bytes:
    """A whole number of longs, bit 0 first (sched_setaffinity(2))."""
    length = (numbers[-1] // 64 + 1) * 8
    return sum(1 << number for number in numbers).to_bytes(length, "little")
