"""``list_containers``: every container on the host, whoever made it."""

from __future__ import annotations

import os
import time

from attrs import frozen

from .grouping import Group
from .makers import INITS
from .memory import MemoryReader
from .owners import owner_of, user_name
from .procfs import ProcessDirectory, Sample
from .snapshot import Snapshot

__all__ = ["ContainerSummary", "Survey", "list_containers", "survey"]


@frozen
class ContainerSummary:
    """A container, or something else with namespaces of its own, at one moment.

    Attributes:
        pid: its first process, as the caller sees it.
        command: of the program that it runs: that of ``program_pid``.  Chosen by the container:
            escape it before it is shown (``printable``).
        program_pid: the first process, or what it waits for where that is an init.
        user: who made it, by name where there is one: the owner of its user namespace, or of its
            first process.
        uid: the number of that user.
        process_uid: the effective user id of its first process, on the host.
        age: seconds since its first process was started.
        namespaces: kinds that are not those of the host, or of the container around it.
        memory: bytes, of all of its processes together.
        memory_source: what was counted: ``"cgroup"``, ``"pss"``, ``"rss"`` or ``"pss+rss"``.
        processes: how many, with those of containers inside it.
        pids: which.
        maker: a guess of what made it, or None.
        kind: ``"container"``; and, if everything is asked for, ``"service"`` (of systemd),
            ``"visitor"`` (has joined a part of a container), ``"spare"`` (pycontainer's, waiting
            for a call) or ``"part"`` (other processes with namespaces of their own).
        complete: False for another user's, of which not all namespaces are known.
        parent: the first process of the container that it lies in, or None.
        cgroup: the directory of the cgroup that holds it and nothing else, or None.
    """

    pid: int
    command: tuple[str, ...]
    program_pid: int
    user: str
    uid: int
    process_uid: int
    age: float
    namespaces: tuple[str, ...]
    memory: int
    memory_source: str
    processes: int
    pids: tuple[int, ...]
    maker: str | None
    kind: str
    complete: bool
    parent: int | None
    cgroup: str | None


@frozen
class Survey:
    """What was found on the host.

    Attributes:
        containers: the oldest first, each followed by those inside it.
        unreadable: how many processes the caller may not look at: other users' that only root may.
        others: how many groups of processes with namespaces of their own were left out, as they
            are no containers; what pycontainer keeps ready is not among them.
    """

    containers: tuple[ContainerSummary, ...]
    unreadable: int
    others: int


def list_containers(*, everything: bool = False) -> list[ContainerSummary]:
    """Every container on the host that the caller may look at, the oldest first.

    A container is a set of processes with their own view of the files (namespace ``mnt``) and at
    least one more namespace of their own, or that a program made that makes containers.

    Arguments:
        everything: also services, sandboxes and whatever else has a namespace of its own.

    Raises:
        OSError: /proc is not mounted, or is another pid namespace's.
    """
    return list(survey(everything=everything).containers)


def survey(*, everything: bool = False) -> Survey:
    """The same, with how much was not to be seen."""
    snapshot = Snapshot()
    shown = [each for each in snapshot.groups if everything or each.kind == "container"]
    memory = MemoryReader()
    summaries = []
    for each in _nested(shown):
        try:
            summaries.append(summary(each, snapshot, memory))
        except (ProcessLookupError, FileNotFoundError):
            pass  # it has ended meanwhile
    others = sum(each.kind not in ("container", "spare") for each in snapshot.groups)
    return Survey(tuple(summaries), len(snapshot.unreadable), 0 if everything else others)


def _nested(shown: list[Group]) -> list[Group]:
    """Each followed by those inside it."""
    there = {id(each) for each in shown}
    inner: dict[int | None, list[Group]] = {}
    for each in shown:
        outer = each.around
        while outer is not None and id(outer) not in there:
            outer = outer.around
        inner.setdefault(None if outer is None else id(outer), []).append(each)
    ordered: list[Group] = []
    waiting = inner.get(None, [])[::-1]
    while waiting:
        each = waiting.pop()
        ordered.append(each)
        waiting += inner.get(id(each), [])[::-1]
    return ordered


def summary(each: Group, snapshot: Snapshot, memory: MemoryReader) -> ContainerSummary:
    """What is shown of one group.

    Raises:
        OSError: ESRCH: it has ended.
    """
    first, members = each.first, snapshot.members(each)
    program = _program(each)
    with ProcessDirectory(first.pid) as directory:
        process_uid = snapshot.evidence(first.pid).uid
        uid = owner_of(directory, snapshot.host)
        if uid is None:
            uid = process_uid
    command = _command(program)
    used, source, cgroup = memory.of(members, each.cgroup)
    outer = each.enclosing()
    return ContainerSummary(
        pid=first.pid,
        command=command,
        program_pid=program.pid,
        user=user_name(uid),
        uid=uid,
        process_uid=process_uid,
        age=age_of(first.started),
        namespaces=each.fresh,
        memory=used,
        memory_source=source,
        processes=len(members),
        pids=tuple(sorted(member.pid for member in members)),
        maker=each.maker,
        kind=each.kind,
        complete=all(number >= 0 for number in each.key),
        parent=None if outer is None else outer.first.pid,
        cgroup=cgroup,
    )


def age_of(started: int) -> float:
    """Seconds since a process was started, so many ticks after boot."""
    ticks = os.sysconf("SC_CLK_TCK")
    return round(max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / ticks), 2)


def _command(program: Sample) -> tuple[str, ...]:
    try:
        with ProcessDirectory(program.pid) as directory:
            return directory.command()
    except PermissionError:  # of a security module
        return (f"[{program.comm}]",)


def _program(each: Group) -> Sample:
    """What the first process waits for, where it is nothing but an init."""
    program = each.first
    while program.comm in INITS:
        child = next((m for m in each.members if m.ppid == program.pid), None)
        if child is None:
            break
        program = child
    return program
