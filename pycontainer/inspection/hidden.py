"""Containers of other users, as far as anybody may see them.

The links of /proc/PID/ns are for a process's owner and root, but anybody may read in which pid
namespaces it is numbered (``NSpid``), which mounts it sees, and its id maps.  Out of these come
numbers that stand for namespaces that nobody has told us: negative ones.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from .mountinfo import parse_mountinfo
from .procfs import KINDS, Namespaces, ProcessDirectory, Sample

__all__ = ["guess_namespaces", "root_mount"]

_MNT, _PID, _USER = (KINDS.index(kind) for kind in ("mnt", "pid", "user"))


class _Signs(NamedTuple):
    """What anybody may read.

    Attributes:
        numbers: its pids, from the reader's namespace to its own.
        mount: number of the mount that it has as its root.
        uid_map: as the reader sees it.
    """

    numbers: tuple[str, ...]
    mount: int
    uid_map: bytes


def guess_namespaces(
    hidden: list[Sample], processes: dict[int, Sample], host: Namespaces, own: int
) -> dict[int, tuple[Namespaces, Namespaces]]:
    """Where processes probably are that may not be looked at; by pid, without those of the host.

    For each what ``Sample`` has as ``namespaces`` and ``descends``.

    Numbers below 0 are made up: they are equal where the namespaces probably are the same one.

    Arguments:
        hidden: those processes.
        processes: all of them.
        host: the namespaces that are no container's.
        own: the caller's pid.
    """
    ours = _signs(own)
    if ours is None:
        return {}
    mounts = _mounts(own)
    signs = {sample.pid: found for sample in hidden if (found := _signs(sample.pid)) is not None}
    guesses: dict[int, Namespaces] = {}
    children: dict[int, list[Sample]] = {}
    for sample in processes.values():
        children.setdefault(sample.ppid, []).append(sample)
    for pid, each in signs.items():
        namespaces = list(host)
        if each.mount not in mounts:
            namespaces[_MNT] = -each.mount
        if len(each.numbers) > len(ours.numbers):
            namespaces[_PID] = -_init(pid, signs, processes)
        if each.uid_map != ours.uid_map:
            namespaces[_USER] = -1 - zlib.crc32(each.uid_map)
        if tuple(namespaces) == host:
            continue
        guesses[pid] = tuple(namespaces)
        # A process of the caller's own container that hides (a set-id program, say).
        parent = processes.get(processes[pid].ppid)
        for relative in ([parent] if parent else []) + children.get(pid, []):
            near = relative.descends
            if near is not None and near != host and _depth(relative.pid) == len(each.numbers):
                guesses[pid] = near
                break
    return {
        pid: (found, _descends(found, children.get(pid, []), guesses))
        for pid, found in guesses.items()
    }


def _descends(
    own: Namespaces, children: list[Sample], guesses: dict[int, Namespaces]
) -> Namespaces:
    """Those of the only child, if it is in another pid namespace and all the others are the same.

    So is that of ``unshare --fork``, which stays outside of the pid namespace that it makes.
    """
    if len(children) == 1 and children[0].pid in guesses:
        below = guesses[children[0].pid]
        if (*below[:_PID], own[_PID], *below[_PID + 1 :]) == own:
            return below
    return own


def _init(pid: int, signs: dict[int, _Signs], processes: dict[int, Sample]) -> int:
    """The nearest ancestor that is process 1 in the pid namespace, or as far as it is known."""
    depth = len(signs[pid].numbers)
    seen = set()  # a number may have gone to another process while all were read
    while signs[pid].numbers[-1] != "1" and pid not in seen:
        seen.add(pid)
        parent = processes[pid].ppid
        if parent not in signs or len(signs[parent].numbers) != depth:
            break
        pid = parent
    return pid


def _signs(pid: int) -> _Signs | None:
    try:
        with ProcessDirectory(pid) as directory:
            numbers = tuple(directory.status().get("NSpid", "").split())
            mounts = parse_mountinfo(directory.read("mountinfo"))
            return _Signs(numbers, mounts[0].id, directory.read("uid_map"))
    except (OSError, IndexError):
        return None  # it has ended, or hides all of it


def root_mount(pid: int) -> int | None:
    """The number of the mount that a process has as its root, which anybody may read.

    None: it has ended, or hides.
    """
    found = _signs(pid)
    return None if found is None else found.mount


def _mounts(pid: int) -> frozenset[int]:
    """The numbers of all mounts that a process sees."""
    with ProcessDirectory(pid) as directory:
        return frozenset(mount.id for mount in parse_mountinfo(directory.read("mountinfo")))


def _depth(pid: int) -> int:
    try:
        with ProcessDirectory(pid) as directory:
            return len(directory.status().get("NSpid", "").split())
    except OSError:
        return 0
