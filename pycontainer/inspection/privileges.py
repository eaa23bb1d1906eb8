"""What a process may do: ids, capabilities, filters, resource limits."""

from __future__ import annotations

from collections.abc import Mapping

from ..declare.capabilities import CAPABILITIES
from .report import Capabilities, IdRange, ResourceLimit, Seccomp

__all__ = ["capabilities", "id_map", "inside_id", "resource_limits", "seccomp"]

_NAMES = {number: name for name, number in CAPABILITIES.items()}

_MODES = {"0": "none", "1": "strict", "2": "filter"}  # SECCOMP_MODE_*: proc_pid_status(5)

_RESOURCES = {
    "Max cpu time": "cpu",
    "Max file size": "fsize",
    "Max data size": "data",
    "Max stack size": "stack",
    "Max core file size": "core",
    "Max resident set": "rss",
    "Max processes": "nproc",
    "Max open files": "nofile",
    "Max locked memory": "memlock",
    "Max address space": "as",
    "Max file locks": "locks",
    "Max pending signals": "sigpending",
    "Max msgqueue size": "msgqueue",
    "Max nice priority": "nice",
    "Max realtime priority": "rtprio",
    "Max realtime timeout": "rttime",
}
"""The words of /proc/PID/limits (the kernel's fs/proc/base.c), and RLIMIT_ without its prefix."""

_UNITS = {"us": "microseconds"}


def capabilities(status: Mapping[str, str]) -> Capabilities:
    """The five sets of a process (capabilities(7)).

    Arguments:
        status: the fields of proc_pid_status(5).
    """
    return Capabilities(
        effective=_names(status.get("CapEff", "0")),
        permitted=_names(status.get("CapPrm", "0")),
        inheritable=_names(status.get("CapInh", "0")),
        bounding=_names(status.get("CapBnd", "0")),
        ambient=_names(status.get("CapAmb", "0")),
    )


def _names(mask: str) -> tuple[str, ...]:
    bits = int(mask, 16)
    return tuple(
        # One that is newer than this has a number only.
        _NAMES.get(number, f"CAP_{number}")
        for number in range(bits.bit_length())
        if bits >> number & 1
    )


def seccomp(status: Mapping[str, str]) -> Seccomp:
    """The mode, and how many filters where the kernel (5.9) says so."""
    filters = status.get("Seccomp_filters")
    mode = status.get("Seccomp", "0")
    return Seccomp(_MODES.get(mode, mode), None if filters is None else int(filters))


def id_map(text: str) -> tuple[IdRange, ...]:
    """The lines of a uid_map or gid_map, whose ids outside are the caller's."""
    return tuple(IdRange(*map(int, line.split())) for line in text.splitlines())


def inside_id(ranges: tuple[IdRange, ...], outside: int) -> int | None:
    """What an id of the host is in there; None where it is not mapped."""
    for each in ranges:
        if each.outside <= outside < each.outside + each.count:
            return each.inside + outside - each.outside
    return None


def resource_limits(text: str) -> tuple[ResourceLimit, ...]:
    """The lines of /proc/PID/limits."""
    found = []
    for line in text.splitlines():
        words = next((words for words in _RESOURCES if line.startswith(words)), None)
        if words is None:
            continue
        soft, hard, *unit = line[len(words) :].split()
        unit = [_UNITS.get(word, word) for word in unit]
        found.append(ResourceLimit(_RESOURCES[words], _bound(soft), _bound(hard), *unit))
    return tuple(found)


def _bound(word: str) -> int | None:
    return None if word == "unlimited" else int(word)
