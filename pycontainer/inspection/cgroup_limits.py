"""What a cgroup is held to, and what it uses, in the same words for both versions (cgroups(7))."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping

from . import cgroups
from .report import Cgroup, CgroupPath

__all__ = ["read_cgroup"]

_NO_LIMIT = 1 << 62
"""Version 1 writes about 2**63, rounded to pages, for no limit."""

_LIMITS = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "memory_high": ("memory.high", "memory.soft_limit_in_bytes"),
    "swap": ("memory.swap.max",),
    "processes": ("pids.max",),
}
_USAGE = {
    "memory": ("memory.current", "memory.usage_in_bytes"),
    "memory_peak": ("memory.peak", "memory.max_usage_in_bytes"),
    "swap": ("memory.swap.current",),
    "processes": ("pids.current",),
}


def read_cgroup(text: str, pids: Container[int]) -> Cgroup:
    """The cgroups of a process.

    Arguments:
        text: its /proc/PID/cgroup.
        pids: the processes of its container.
    """
    where = cgroups.parse_paths(text)
    mounted = cgroups.hierarchies()
    paths = []
    limits: dict[str, int | float | str | None] = dict.fromkeys((*_LIMITS, "cpus", "cpuset"))
    usage: dict[str, int | float | None] = dict.fromkeys((*_USAGE, "cpu_time"))
    alone = False
    for controllers, path in sorted(where.items()):
        hierarchy = next((h for h in mounted if h.controllers == controllers), None)
        directory = None if hierarchy is None else cgroups.place(hierarchy, path)
        version = 2 if controllers == ("",) else 1
        if directory is None or hierarchy is None:
            paths.append(CgroupPath(version, () if version == 2 else controllers, path, None))
            continue
        there = tuple(_words(f"{directory}/cgroup.controllers")) if version == 2 else controllers
        paths.append(CgroupPath(version, there, path, directory))
        _lower(limits, directory, hierarchy.target)
        whole = cgroups.whole_cgroup(directory, hierarchy.target, pids)
        if whole is None:
            continue  # others' processes are in it too
        alone = True
        for name, number in _used(whole).items():
            if usage[name] is None:
                usage[name] = number
    return Cgroup(tuple(paths), alone, limits, usage)


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read()).split()
    except OSError:
        return []


def _upwards(directory: str, top: str) -> Iterator[str]:
    """A directory and those above it, up to the mount's."""
    while directory.startswith(top):
        yield directory
        if directory == top:
            return
        directory = os.path.dirname(directory)


def _lower(limits: dict[str, int | float | str | None], directory: str, top: str) -> None:
    for each in _upwards(directory, top):
        found: dict[str, int | float | None] = {
            name: next(_numbers(each, files), None) for name, files in _LIMITS.items()
        }
        found["cpus"] = _cpus(each)
        for name, number in found.items():
            before = limits[name]
            lower = not isinstance(before, (int, float)) or (number or 0) < before
            if number is not None and number < _NO_LIMIT and lower:
                limits[name] = number
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
        words = _words(f"{directory}/{name}")
        if words:
            limits["cpuset"] = words[0]


def _numbers(directory: str, files: tuple[str, ...]) -> Iterator[int]:
    for file in files:
        number = cgroups.read_number(f"{directory}/{file}")
        if number is not None:
            yield number


def _cpus(directory: str) -> float | None:
    """Processors' worth of time: the quota in each period."""
    words = _words(f"{directory}/cpu.max") or [
        *_words(f"{directory}/cpu.cfs_quota_us"),
        *_words(f"{directory}/cpu.cfs_period_us"),
    ]
    try:
        quota, period = map(int, words)
    except ValueError:  # "max", or no such files
        return None
    return quota / period if quota > 0 and period > 0 else None


def _used(directory: str) -> Mapping[str, int | float]:
    found: dict[str, int | float] = {}
    for name, files in _USAGE.items():
        for number in _numbers(directory, files):
            found[name] = number
    for file, read in _CPU_TIME.items():
        seconds = read(_words(f"{directory}/{file}"))
        if seconds is not None:
            found["cpu_time"] = seconds
    return found


def _of_version_2(words: list[str]) -> float | None:
    return int(words[1]) / 1e6 if words[:1] == ["usage_usec"] else None


def _of_version_1(words: list[str]) -> float | None:
    return int(words[0]) / 1e9 if words else None


_CPU_TIME: Mapping[str, Callable[[list[str]], float | None]] = {
    "cpu.stat": _of_version_2,
    "cpuacct.usage": _of_version_1,
}
