"""How much memory a container holds."""

from __future__ import annotations

import os
from collections.abc import Iterable

from . import cgroups
from .procfs import ProcessDirectory, Sample

__all__ = ["MemoryReader"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryReader:
    """Reads the memory of containers; the host's cgroup mounts are looked up once."""

    def __init__(self) -> None:
        self._memory: list[cgroups.Hierarchy] | None = None

    def of(self, members: Iterable[Sample], paths: str) -> tuple[int, str, str | None]:
        """Bytes, what was counted, and the cgroup, of a container.

        What was counted is "cgroup" (all that the kernel charges to its cgroup, with files in the
        page cache) where it has one of its own; "pss" (the sum of what each process has to itself
        and of its share in the rest; proc_pid_smaps(5)); "rss", where that may not be read (the
        sum of all pages: those that are shared count once for each process); "pss+rss", where it
        may be read of some.

        Arguments:
            members: all of its processes.
            paths: /proc/PID/cgroup of the first.
        """
        everyone = {member.pid: member for member in members}
        directory = self._own_cgroup(everyone, paths)
        if directory is not None:
            charged = cgroups.memory_of(directory)
            if charged is not None:
                return charged, "cgroup", directory
        total, sources = 0, set()
        for member in everyone.values():
            share = _pss(member.pid)
            sources.add("rss" if share is None else "pss")
            total += member.rss * _PAGE if share is None else share
        return total, "+".join(sorted(sources)) or "pss", directory

    def _own_cgroup(self, everyone: dict[int, Sample], paths: str) -> str | None:
        if self._memory is None:
            all_of_them = cgroups.hierarchies()
            self._memory = [h for h in all_of_them if "memory" in h.controllers] + [
                h for h in all_of_them if h.version == 2
            ]
        where = cgroups.parse_paths(paths)
        for hierarchy in self._memory:
            path = where.get(hierarchy.controllers)
            if path is None and hierarchy.version == 1:
                continue
            directory = None if path is None else cgroups.place(hierarchy, path)
            if directory is not None:
                found = cgroups.whole_cgroup(directory, hierarchy.target, everyone)
                if found is not None:
                    return found
        return None


def _pss(pid: int) -> int | None:
    """Bytes; 0 for a process that has ended; None where it cannot be read."""
    try:
        with ProcessDirectory(pid) as directory:
            for line in directory.read("smaps_rollup").split(b"\n"):
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except ProcessLookupError:
        return 0
    except (OSError, ValueError):
        pass
    return None
