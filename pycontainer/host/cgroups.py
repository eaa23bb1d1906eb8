"""Which cgroups the caller may make children of: limits of a whole container need one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from .files import HostFiles

WANTED = ("memory", "pids", "cpu")

_DELEGATE = "systemd-run --user --scope -p Delegate=yes COMMAND (as root: without --user)"


_WITHOUT = "limits go without: memory is looked at, and cpus= cannot be held"


class Delegation(NamedTuple):
    """What was found, in the words of ``Finding``."""

    status: Literal["works", "limited"]
    detail: str
    fixes: tuple[str, ...] = ()


def delegation(files: HostFiles) -> Delegation:
    """Whether the caller's cgroup is delegated to it, with which controllers (cgroups(7))."""
    mounts = files.mounts()
    unified = [mount.target for mount in mounts if mount.fstype == "cgroup2"]
    legacy = [mount.target for mount in mounts if mount.fstype == "cgroup"]
    paths = _own_paths(files)
    detail = "no cgroup file system is mounted"
    if unified and "" in paths:
        verdict = _version_2(files, unified[0], paths[""])
        if verdict.status == "works" or not legacy:
            return verdict
        detail = verdict.detail
    if legacy:
        writable = [
            name
            for name in WANTED
            for path in [paths.get(name)]
            if path is not None
            and any(
                _may_write(files.at(target) / path.lstrip("/"))
                for target in legacy
                if name in Path(target).name.split(",")
            )
        ]
        if writable:
            return Delegation(
                "works" if "memory" in writable else "limited",
                f"cgroup v1; the controllers {', '.join(writable)} are writable",
            )
        detail = "cgroup v1, which is not delegated to this user"
        return Delegation(
            "limited",
            f"{detail}: {_WITHOUT}",
            ("Boot with systemd.unified_cgroup_hierarchy=1, then: " + _DELEGATE,),
        )
    return Delegation("limited", f"{detail}: {_WITHOUT}", (_DELEGATE,))


def _version_2(files: HostFiles, target: str, path: str) -> Delegation:
    if path.startswith("/.."):
        return Delegation(
            "limited",
            "the caller's cgroup lies outside of its cgroup namespace",
            (_DELEGATE,),
        )
    own = files.at(target) / path.lstrip("/")
    try:
        controllers = (own / "cgroup.controllers").read_text().split()
    except OSError:
        return Delegation("limited", f"{own} is not to be read", (_DELEGATE,))
    absent = [name for name in WANTED if name not in controllers]
    if not _may_write(own):
        return Delegation(
            "limited",
            f"cgroup v2, and {path} belongs to another user: {_WITHOUT}",
            (_DELEGATE,),
        )
    if absent:
        return Delegation(
            "limited",
            f"cgroup v2 is delegated, but without the controllers {', '.join(absent)}",
            (
                "As root, in /etc/systemd/system/user@.service.d/delegate.conf: "
                "[Service] Delegate=cpu memory pids",
            ),
        )
    return Delegation("works", f"cgroup v2, {path} is delegated with {', '.join(WANTED)}")


def _may_write(directory: Path) -> bool:
    """To make a child and move into it; read-only mounts count, which os.access knows."""
    return os.access(directory, os.W_OK | os.X_OK) and os.access(
        directory / "cgroup.procs", os.W_OK
    )


def _own_paths(files: HostFiles) -> dict[str, str]:
    """Controller → path of /proc/self/cgroup; "" is the unified hierarchy."""
    found = {}
    for line in (files.read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            found[name] = path
    return found
