"""All processes of the host at one moment, and the groups that they are in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from .grouping import Group, group
from .hidden import guess_namespaces, root_mount
from .makers import Evidence
from .procfs import (
    KINDS,
    MOST_COMMAND,
    PID,
    Namespaces,
    ProcessDirectory,
    Sample,
    check_proc,
    own_namespaces,
    samples,
)

__all__ = ["Snapshot"]

_FIRST = {
    "ipc": 0xEFFFFFFF,
    "uts": 0xEFFFFFFE,
    "user": 0xEFFFFFFD,
    "pid": 0xEFFFFFFC,
    "cgroup": 0xEFFFFFFB,
    "time": 0xEFFFFFFA,
}
"""Numbers of the kernel's first namespaces (PROC_*_INIT_INO, include/linux/proc_ns.h)."""

_ASKED = 5
"""Of so many processes of each kind it is asked which mounts they see."""


class Snapshot:
    """What the caller may see of the host now.

    Attributes:
        host: the namespaces that are no container's.
        processes: by pid.
        groups: those with other namespaces, each after the one that it lies in, the oldest first.
        unreadable: pids of processes that the caller may not look at.

    Raises:
        OSError: /proc is not mounted, or is another pid namespace's.
    """

    def __init__(self) -> None:
        check_proc()
        self.processes: dict[int, Sample] = {}
        self.unreadable: list[int] = []
        for sample in samples():
            if isinstance(sample, int):
                self.unreadable.append(sample)
                continue
            self.processes[sample.pid] = sample
            if not sample.kernel and sample.state not in "ZX" and sample.namespaces is None:
                self.unreadable.append(sample.pid)
        self.host = host_namespaces(self.processes, own_namespaces())
        self._guess()
        self._evidence: dict[int, Evidence] = {}
        self.groups = group(self.processes.values(), self.host, self.evidence)
        self._members = self._gather()

    def evidence(self, pid: int) -> Evidence:
        """What is known of a process beside its sample; read once."""
        found = self._evidence.get(pid)
        if found is None:
            found = self._evidence[pid] = _read_evidence(pid)
        return found

    def members(self, each: Group) -> list[Sample]:
        """The processes of a group and of those in it."""
        return self._members[id(each)]

    def group_of(self, pid: int) -> Group | None:
        """The group that a process is in; None: the host's, or it may not be looked at."""
        for each in self.groups:
            if any(member.pid == pid for member in each.members):
                return each
        return None

    def descendants(self, pid: int) -> list[Sample]:
        """A process and all that come from it."""
        return descendants(pid, self.processes)

    def _guess(self) -> None:
        """Of other users' processes one may know at least that they are in a container."""
        hidden = [self.processes[pid] for pid in self.unreadable if pid in self.processes]
        if not hidden:
            return
        guesses = guess_namespaces(hidden, self.processes, self.host, os.getpid())
        for pid, (namespaces, descends) in guesses.items():
            self.processes[pid] = self.processes[pid]._replace(
                namespaces=namespaces, descends=descends
            )

    def _gather(self) -> dict[int, list[Sample]]:
        members = {id(each): inside(each) for each in self.groups}
        for each in reversed(self.groups):
            if each.around is not None and each.kind != "visitor":
                # What waits outside of the inner one is still inside of the outer one.
                own = members[id(each)]
                if len(own) < len(each.members):
                    own = own + [m for m in each.members if m.namespaces != each.key]
                members[id(each.around)] = members[id(each.around)] + own
        return members


def host_namespaces(
    processes: Mapping[int, Sample],
    own: Namespaces,
    root_mount: Callable[[int], int | None] = root_mount,
) -> Namespaces:
    """Those of process 1, where it may be looked at.

    Else the kernel's first ones, if the caller sees the processes of the first pid namespace: most
    of their numbers are always the same, and of the others those of whoever sees the same mounts
    as process 1, or else of most processes.  In a container, or if there is no such process, the
    caller's own.

    Arguments:
        root_mount: tells the number of the mount that a process has as its root.
    """
    init = processes.get(1)
    if init is not None and init.namespaces is not None:
        return init.namespaces
    if own[PID] == _FIRST["pid"]:
        there: dict[Namespaces, list[int]] = {}
        for sample in processes.values():
            if sample.namespaces is not None and all(
                number in (0, _FIRST.get(kind, number))
                for kind, number in zip(KINDS, sample.namespaces, strict=True)
            ):
                there.setdefault(sample.namespaces, []).append(sample.pid)
        if len(there) > 1:
            root = root_mount(1)
            alike = [
                each
                for each, pids in there.items()
                # Some may have changed their root.
                if root is not None and root in map(root_mount, pids[:_ASKED])
            ]
            there = {each: there[each] for each in alike} or there
        if there:
            return max(there, key=lambda each: (len(there[each]), each == own))
    return own


def descendants(pid: int, processes: Mapping[int, Sample]) -> list[Sample]:
    """A process and all that come from it, a parent before its children."""
    children: dict[int, list[Sample]] = {}
    for sample in processes.values():
        children.setdefault(sample.ppid, []).append(sample)
    found: dict[int, Sample] = {}
    waiting = [processes[pid]] if pid in processes else []
    while waiting:  # a chain may be longer than the stack of this interpreter
        sample = waiting.pop()
        if sample.pid not in found:
            found[sample.pid] = sample
            waiting += children.get(sample.pid, ())
    return list(found.values())


def inside(each: Group) -> list[Sample]:
    """Its own processes, without what waits outside of its pid namespace, if anything is in it."""
    return [member for member in each.members if member.namespaces == each.key] or each.members


def _read_evidence(pid: int) -> Evidence:
    try:
        with ProcessDirectory(pid) as directory:
            uid = int(directory.status()["Uid"].split()[1])
            comm = directory.text("comm").rstrip("\n")
            command = directory.read("cmdline", MOST_COMMAND)
            return Evidence(pid, comm, command, uid, directory.text("cgroup"))
    except (OSError, KeyError):
        return Evidence(pid, "", b"", -1, "")  # it has ended, or hides
