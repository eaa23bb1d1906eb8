"""The cgroups that a runtime leaves when it is killed while it makes a container.

It makes them before it writes down that there is a container, so that its own ``delete`` knows
nothing of them.  They are empty, and are named after the container.
"""

from __future__ import annotations

import os

from ..host.files import HostFiles

__all__ = ["cgroups_of", "remove_cgroups"]


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
    """Remove those that are there; what holds a process stays."""
    for place in places:
        try:
            os.rmdir(place)
        except OSError:
            pass
