"""The namespaces of a container, by the kernel's names (those of /proc/PID/ns; namespaces(7))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .checks import Problems, nearest

__all__ = ["NAMESPACES"]

NAMESPACES: frozenset[str] = frozenset({"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"})
"""All the namespaces that a container has unless told otherwise.

``user``: ids and capabilities; ``pid``: processes; ``mnt``: mounts; ``net``: network devices,
addresses, abstract sockets; ``ipc``: System V IPC and POSIX message queues; ``uts``: the host
name; ``cgroup``: the view of the cgroup tree.  Take one away with ``NAMESPACES - {"net"}``.
"""


def namespace_names(names: Iterable[str]) -> frozenset[str]:
    """*names* as a frozenset where they are an iterable of names, unchanged where not."""
    if isinstance(names, (str, bytes)):
        return names  # type: ignore[return-value]
    try:
        return frozenset(names)
    except TypeError:
        return names  # type: ignore[return-value]


def check_namespaces(problems: Problems, names: Any) -> None:
    """*names* must be a frozenset of names from NAMESPACES."""
    if not isinstance(names, frozenset):
        hint = f"; write {{{names!r}}}" if isinstance(names, str) else ""
        problems.append(f"namespaces must be a collection of names, not {names!r}{hint}")
        return
    for name in sorted(names - NAMESPACES, key=str):
        hint = nearest(name, NAMESPACES) if isinstance(name, str) else ""
        if name == "mount":
            hint = "; did you mean 'mnt'?"
        elif name == "network":
            hint = "; did you mean 'net'?"
        problems.append(f"namespaces: unknown namespace {name!r}{hint}")
