"""All processes of the host at one moment, and the groups that they are in."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .grouping import Group, group
from .hidden import guess_namespaces
from .makers import Evidence
from .procfs import Namespaces, ProcessDirectory, Sample, check_proc, own_namespaces, samples

__all__ = ["Snapshot"]


class Snapshot:
    """What the caller may see of the host now.

    Attributes:
        host: the namespaces that are no container's: those of process 1 where it may be looked at,
            else the caller's.
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
        init = self.processes.get(1)
        self.host: Namespaces = (init.namespaces if init else None) or own_namespaces()
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
        children: dict[int, list[Sample]] = {}
        for sample in self.processes.values():
            children.setdefault(sample.ppid, []).append(sample)

        def below(sample: Sample, above: frozenset[int]) -> Iterator[Sample]:
            yield sample
            for child in children.get(sample.pid, ()):
                if child.pid not in above:
                    yield from below(child, above | {child.pid})

        first = self.processes.get(pid)
        return [] if first is None else list(below(first, frozenset({pid})))

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
                waiting = [member for member in each.members if member not in inside(each)]
                members[id(each.around)] = members[id(each.around)] + waiting + members[id(each)]
        return members


def inside(each: Group) -> list[Sample]:
    """Its own processes, without what waits outside of its pid namespace, if anything is in it."""
    return [member for member in each.members if member.namespaces == each.key] or each.members


def _read_evidence(pid: int) -> Evidence:
    try:
        with ProcessDirectory(pid) as directory:
            uid = int(directory.status()["Uid"].split()[1])
            comm = directory.text("comm").rstrip("\n")
            return Evidence(pid, comm, directory.read("cmdline"), uid, directory.text("cgroup"))
    except (OSError, KeyError):
        return Evidence(pid, "", b"", -1, "")  # it has ended, or hides
