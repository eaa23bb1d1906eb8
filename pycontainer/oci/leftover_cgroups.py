"""The cgroups that a runtime leaves when it is killed while it makes a container.

It makes them before it writes down that there is a container, so that its own ``delete`` knows
nothing of them.  They are named after the container.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from ..host.files import HostFiles

__all__ = ["cgroups_of", "remove_cgroups"]

_PATIENCE = 5.0
"""Seconds for a process that was killed to be gone."""

_PAUSE = 0.01


def cgroups_of(name: str) -> list[str]:
    """Where a runtime that this process starts makes the cgroups of the container *name*.

    In each hierarchy below its own cgroup, which is this process's (cgroups(7)).
    """
    host = HostFiles()
    hierarchies = [one.target for one in host.mounts() if one.fstype in ("cgroup", "cgroup2")]
    own = {line.split(":", 2)[2] for line in (host.read("/proc/self/cgroup") or "").splitlines()}
    places = (
        os.path.join(hierarchy, path.lstrip("/"), name)
        for hierarchy in hierarchies
        for path in {*own, "/"}
    )
    return sorted(places)


def remove_cgroups(places: list[str]) -> None:
    """Remove those that are there, with the processes that are still in them.

    What the runtime had just forked when it was killed is nobody's child any more, and in no list
    but theirs.
    """
    left = places
    deadline = time.monotonic() + _PATIENCE
    while True:
        left = [place for place in left if not _removed(place)]
        if not left or time.monotonic() > deadline:
            return
        for place in left:
            _end_processes_in(place)
        time.sleep(_PAUSE)


def _removed(place: str) -> bool:
    """Whether nothing is there, or nothing that will go: only what is busy may."""
    try:
        os.rmdir(place)
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def _end_processes_in(place: str) -> None:
    for pid in _processes_in(place):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue  # it has ended
        try:
            if pid in _processes_in(place):  # it is that one, and not another of its number
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def _processes_in(place: str) -> list[int]:
    try:
        with open(f"{place}/cgroup.procs") as file:
            return list(map(int, file.read().split()))
    except OSError:
        return []
