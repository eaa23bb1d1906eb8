"""One container's cgroups: made by the caller, entered by the container's first process, read and
removed by its supervisor (``_native/cgroup.c``), which outlives the caller.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Mapping

from .._native import lib
from ..errors import SetupError
from .descriptor import Descriptor
from .hierarchies import CPUACCT, ENTRIES, LEAF, Hierarchy, name_prefix

__all__ = ["Bounds", "Cgroups"]

PERIOD = 100_000
"""Microseconds over which a quota of processor time is counted: the kernel's own default."""
LEAST_QUOTA = 1000
"""Microseconds: the kernel takes no smaller quota (min_cfs_quota_period in kernel/sched/core.c)."""

_numbers = itertools.count()

Bounds = Mapping[str, int]
"""Controller → its bound: bytes, processes, microseconds in each ``PERIOD``; 0 only counts."""


def _settings(version: int, controller: str, bound: int) -> list[tuple[str, str, bool]]:
    """What is written to which files, in order, and whether a file may be missing.

    Version 1: the kernel's Documentation/admin-guide/cgroup-v1/; version 2: cgroup-v2.rst.
    """
    if controller == "memory":
        if version == 1:
            # Memory and swap together; without accounting of swap there is no such file.
            return [
                ("memory.limit_in_bytes", str(bound), False),
                ("memory.memsw.limit_in_bytes", str(bound), True),
            ]
        return [
            ("memory.max", str(bound), False),
            ("memory.swap.max", "0", True),
            ("memory.oom.group", "1", True),
        ]
    if controller == "pids":
        return [("pids.max", str(bound), False)]
    if controller == "cpu":
        if version == 1:
            return [
                ("cpu.cfs_period_us", str(PERIOD), False),
                ("cpu.cfs_quota_us", str(bound), False),
            ]
        return [("cpu.max", f"{bound} {PERIOD}", False)]
    return []


_WATCHED = {
    (1, CPUACCT): {
        lib.PC_WATCH_CPU_USER: "cpuacct.usage_user",
        lib.PC_WATCH_CPU_SYSTEM: "cpuacct.usage_sys",
    },
    (1, "memory"): {
        lib.PC_WATCH_PEAK: "memory.max_usage_in_bytes",
        # Version 1 counts a kill where the process was (memcg_memory_event(), memcontrol.h).
        lib.PC_WATCH_OOM: f"{LEAF}/memory.oom_control",
    },
    (2, "memory"): {lib.PC_WATCH_PEAK: "memory.peak", lib.PC_WATCH_OOM: "memory.events"},
}
"""What the supervisor reads, by version and controller; version 2 has some in every cgroup."""
_WATCHED_ALWAYS: dict[int, dict[int, str]] = {
    1: {},
    2: {lib.PC_WATCH_CPU_USER: "cpu.stat", lib.PC_WATCH_KILL: "cgroup.kill"},
}


class Cgroups:
    """A container's cgroups, one of each hierarchy that bounds it.

    Attributes:
        name: of each of them, in its hierarchy.
        members: descriptors of their files of members, for the container's process to enter.
        files: PC_WATCH_* → a descriptor for the supervisor.
        parents: descriptors of the directories that they lie in, in the same order as *members*.
    """

    def __init__(self, bounds: Bounds, places: Mapping[str, Hierarchy]) -> None:
        """Make them.

        Arguments:
            bounds: for controllers that are all in *places*.

        Raises:
            SetupError: naming the file, or the directory.
        """
        self.name = f"{name_prefix()}{next(_numbers)}"
        self.members: list[Descriptor] = []
        self.files: dict[int, Descriptor] = {}
        self.parents: list[Descriptor] = []
        self._made: list[str] = []
        path = ""
        try:
            for place in dict.fromkeys(places[controller] for controller in bounds):
                path = place.directory
                self.parents.append(_open(path, os.O_PATH | os.O_DIRECTORY))
                path = f"{place.directory}/{self.name}"
                os.mkdir(path, 0o755)
                self._made.append(path)
                path = f"{path}/{LEAF}"
                os.mkdir(path, 0o755)
                path = self._made[-1]
                for controller, bound in bounds.items():
                    if places[controller] == place:
                        self._set_up(place.version, path, controller, bound)
                self.members.append(_open(f"{path}/{LEAF}/{ENTRIES[place.version]}", os.O_WRONLY))
                for number, file in _WATCHED_ALWAYS[place.version].items():
                    self._watch(number, f"{path}/{file}")
        except OSError as error:
            self.remove()
            at = error.filename or path
            raise SetupError(error.errno or 0, None, at, "make a cgroup") from error
        except BaseException:
            self.remove()
            raise

    def _set_up(self, version: int, path: str, controller: str, bound: int) -> None:
        for file, text, may_miss in _settings(version, controller, bound):
            try:
                fd = _open(f"{path}/{file}", os.O_WRONLY)
            except FileNotFoundError:
                if may_miss:
                    continue
                raise
            try:
                os.write(fd.fd, text.encode())
            except OSError as error:
                error.filename = f"{path}/{file}"
                raise
        for number, file in _WATCHED.get((version, controller), {}).items():
            self._watch(number, f"{path}/{file}")
        if version == 1 and controller == "memory":
            self._ask_for_notice(path)

    def _watch(self, number: int, path: str) -> None:
        mode = os.O_WRONLY if number == lib.PC_WATCH_KILL else os.O_RDONLY
        try:
            self.files[number] = _open(path, mode)
        except FileNotFoundError:
            pass  # an older kernel; one that counts the same has been there before

    def _ask_for_notice(self, path: str) -> None:
        """An eventfd that the kernel signals when the memory is at an end (memory.rst, 10)."""
        notice = Descriptor(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        try:
            oom = _open(f"{path}/memory.oom_control", os.O_RDONLY)
            control = _open(f"{path}/cgroup.event_control", os.O_WRONLY)
            os.write(control.fd, f"{notice.fd} {oom.fd}".encode())
        except OSError:
            return  # the count of kills tells at the end
        self.files[lib.PC_WATCH_NOTICE] = notice

    @property
    def watched(self) -> list[int]:
        """The supervisor's descriptors, in the order of ``struct pc_watch``."""
        files = [self.files[number].fd for number in sorted(self.files)]
        return files + [parent.fd for parent in self.parents]

    @property
    def bits(self) -> int:
        """Which of the files are there, as ``struct pc_watch`` has it."""
        return sum(1 << number for number in self.files)

    def sent(self) -> None:
        """Close what others hold now."""
        self.members.clear()
        self.files.clear()
        self.parents.clear()

    def remove(self, patience: float = 0.0) -> None:
        """Remove them, where the supervisor has not done it.

        Arguments:
            patience: seconds for the last processes to go.
        """
        self.sent()
        deadline = time.monotonic() + patience
        while self._made:
            path = self._made[-1]
            try:
                for directory in (f"{path}/{LEAF}", path):
                    try:
                        os.rmdir(directory)
                    except FileNotFoundError:
                        pass
            except OSError as error:
                if error.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.002)
                    continue
            self._made.pop()


def _open(path: str, flags: int) -> Descriptor:
    return Descriptor(os.open(path, flags | os.O_CLOEXEC))
