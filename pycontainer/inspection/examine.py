"""``inspect_container``: what a process, and the container around it, is made of."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from . import privileges
from .cgroup_limits import read_cgroup
from .grouping import Group
from .listing import age_of
from .mountinfo import MountLine, parse_mountinfo
from .network import read_network, sockets_of
from .owners import user_name
from .procfs import KINDS, MOST_ENVIRONMENT, ProcessDirectory, Sample
from .report import (
    IdRange,
    Inspection,
    MountEntry,
    NamespaceEntry,
    Network,
    OpenFile,
    ProcessEntry,
)
from .snapshot import Snapshot

__all__ = ["inspect_container"]

T = TypeVar("T")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MODES = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}


class _HasPid(Protocol):
    @property
    def pid(self) -> int: ...


def inspect_container(pid: int | _HasPid, /, *, environment: bool = False) -> Inspection:
    """What the process *pid* may do and see, and what else is in its container.

    Any process will do; one that is in no container is told by ``container`` being None.  What the
    caller may not read is empty or None, and ``unread`` says why.

    Arguments:
        pid: as the caller sees it; or something that has one, such as a ``Running``.
        environment: read its environment too, in which there may be secrets.

    Raises:
        ProcessLookupError: there is no such process, it has ended, or it is a thread of another.
        PermissionError: the caller may not look at it at all (the mount option hidepid).
        OSError: /proc is not mounted, or is another pid namespace's.
        TypeError: *pid* is no number.
    """
    pid = getattr(pid, "pid", pid)
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise TypeError(f"pid is a number, not {pid!r}")
    if pid <= 0:
        raise _no_process(pid, "there is no such process")
    snapshot = Snapshot()
    with ProcessDirectory(pid) as directory:
        try:
            status, sample = directory.status(), directory.sample(pid)
            why = _not_to_be_inspected(status, sample)
            if why is None:
                return _Reader(directory, snapshot, status, sample).report(environment)
        except (ProcessLookupError, FileNotFoundError):
            why = "it has ended"
        except PermissionError:
            raise PermissionError(
                errno.EACCES, "only its owner and root may look at it", f"/proc/{pid}"
            ) from None
    raise _no_process(pid, why)


def _no_process(pid: int, why: str) -> ProcessLookupError:
    return ProcessLookupError(errno.ESRCH, why, f"/proc/{pid}")


def _not_to_be_inspected(status: Mapping[str, str], sample: Sample) -> str | None:
    if status["Tgid"] != str(sample.pid):
        return f"it is a thread of process {status['Tgid']}; inspect that"
    if sample.state in "ZX":
        return f"it has ended, and its parent, {sample.ppid}, has not waited for it (a zombie)"
    return None


class _Reader:
    """Reads one process; what may not be read is noted."""

    def __init__(
        self,
        directory: ProcessDirectory,
        snapshot: Snapshot,
        status: Mapping[str, str],
        sample: Sample,
    ) -> None:
        self.pid = sample.pid
        self.directory = directory
        self.snapshot = snapshot
        self.status = status
        self.sample = sample
        self.unread: dict[str, str] = {}

    def try_to(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        """What *read* gives, or *otherwise* where it is refused."""
        try:
            return read()
        except (ProcessLookupError, FileNotFoundError):
            raise
        except OSError as error:
            words = "only its owner and root may read it"
            if error.errno not in (errno.EACCES, errno.EPERM):
                words = error.strerror or str(error)
            elif os.geteuid() == 0:
                words = "it may not be read, not by this root either"
            self.unread[name] = words
            return otherwise

    def report(self, environment: bool) -> Inspection:
        directory, status, sample = self.directory, self.status, self.sample
        group = self.snapshot.group_of(self.pid)
        container = group if group is None or group.kind == "container" else group.enclosing()
        members = self._members(container)
        processes = [entry for entry in map(_process, members) if entry is not None]
        holders = [self.pid] if container is None else [entry.pid for entry in processes]
        files = self._open_files(holders)
        uid, gid = int(status["Uid"].split()[1]), int(status["Gid"].split()[1])
        uid_map, gid_map = self._id_map("uid_map"), self._id_map("gid_map")
        namespaces = self._namespaces()
        return Inspection(
            pid=self.pid,
            container=None if container is None else container.first.pid,
            maker=None if container is None else container.maker,
            kind="host" if group is None else group.kind,
            made_here=self._made_here() if container is None else (),
            command=directory.command(),
            comm=sample.comm,
            inside=_inside(status),
            parent=sample.ppid,
            state=sample.state,
            user=user_name(uid),
            uid=uid,
            gid=gid,
            inside_uid=privileges.inside_id(uid_map, uid),
            inside_gid=privileges.inside_id(gid_map, gid),
            groups=tuple(map(int, status["Groups"].split())),
            age=age_of(sample.started),
            executable=self._link("executable", "exe"),
            cwd=self._link("cwd", "cwd"),
            root=self._link("root", "root"),
            namespaces=namespaces,
            mounts=self.try_to("mounts", self._mounts, ()),
            uid_map=uid_map,
            gid_map=gid_map,
            setgroups=self.try_to("setgroups", lambda: self._line("setgroups"), None),
            capabilities=privileges.capabilities(status),
            seccomp=privileges.seccomp(status),
            no_new_privileges=status.get("NoNewPrivs") == "1",
            label=self._label(),
            rlimits=self.try_to(
                "rlimits", lambda: privileges.resource_limits(directory.text("limits")), ()
            ),
            cgroup=read_cgroup(
                self.try_to("cgroup", lambda: directory.text("cgroup"), ""),
                frozenset(member.pid for member in members),
            ),
            processes=tuple(processes),
            open_files=tuple(files),
            network=self._network(namespaces, files),
            environment=self.try_to("environment", self._environment, None)
            if environment
            else None,
            unread=self.unread,
        )

    def _members(self, container: Group | None) -> list[Sample]:
        if container is None:
            return self.snapshot.descendants(self.pid) or [self.sample]
        members = self.snapshot.members(container)
        if any(member.pid == self.pid for member in members):
            return members
        return [*members, self.sample]  # what waits outside for the rest

    def _made_here(self) -> tuple[int, ...]:
        """Containers that are around no other and come from this process."""
        below = {sample.pid for sample in self.snapshot.descendants(self.pid)}
        return tuple(
            each.first.pid
            for each in self.snapshot.groups
            if each.kind == "container" and each.first.pid in below and each.enclosing() is None
        )

    def _namespaces(self) -> tuple[NamespaceEntry, ...]:
        found = self.try_to("namespaces", self.directory.namespaces, None)
        if found is None:
            return ()
        return tuple(
            NamespaceEntry(kind, number, number != host)
            for kind, number, host in zip(KINDS, found, self.snapshot.host, strict=True)
            if number
        )

    def _mounts(self) -> tuple[MountEntry, ...]:
        return tuple(map(_mount, parse_mountinfo(self.directory.read("mountinfo"))))

    def _id_map(self, name: str) -> tuple[IdRange, ...]:
        return self.try_to(name, lambda: privileges.id_map(self.directory.text(name)), ())

    def _line(self, name: str) -> str:
        return self.directory.text(name).rstrip("\n")

    def _link(self, name: str, link: str) -> str | None:
        try:
            return self.try_to(name, lambda: self.directory.link(link), None)
        except FileNotFoundError:
            return None  # a thread of the kernel has no program

    def _label(self) -> str | None:
        try:
            label = self._line("attr/current").rstrip("\0")
        except OSError:
            return None  # no security module that labels processes
        return None if label in ("", "unconfined", "kernel") else label

    def _environment(self) -> dict[str, str]:
        words = self.directory.read("environ", MOST_ENVIRONMENT).split(b"\0")
        pairs = (os.fsdecode(word).partition("=") for word in words if b"=" in word)
        return {name: value for name, _, value in pairs}

    def _open_files(self, pids: Iterable[int]) -> list[OpenFile]:
        found: list[OpenFile] = []
        for pid in pids:
            try:
                found += self.try_to("open_files", functools.partial(_files_of, pid), [])
            except (ProcessLookupError, FileNotFoundError):
                pass  # it has ended meanwhile
        return found

    def _network(
        self, namespaces: tuple[NamespaceEntry, ...], files: Iterable[OpenFile]
    ) -> Network:
        own = any(each.kind == "net" and each.own for each in namespaces)
        sockets = sockets_of((file.pid, file.target) for file in files)
        return self.try_to(
            "network",
            lambda: read_network(self.directory, own, sockets),
            Network(own, (), ()),
        )


def _inside(status: Mapping[str, str]) -> int | None:
    numbers = status.get("NSpid", "").split()
    return int(numbers[-1]) if numbers else None


def _mount(line: MountLine) -> MountEntry:
    return MountEntry(
        id=line.id,
        parent=line.parent,
        target=line.target,
        fstype=line.fstype,
        source=line.source,
        root=line.root,
        read_only="ro" in line.options or "ro" in line.super_options,
        flags=tuple(option for option in line.options if option not in ("rw", "ro")),
        propagation=line.propagation,
        options=tuple(option for option in line.super_options if option not in ("rw", "ro")),
    )


def _process(sample: Sample) -> ProcessEntry | None:
    """None where it has ended meanwhile, or a security module hides it."""
    try:
        with ProcessDirectory(sample.pid) as directory:
            status = directory.status()
            uid = int(status["Uid"].split()[1])
            return ProcessEntry(
                pid=sample.pid,
                parent=sample.ppid,
                inside=_inside(status),
                command=directory.command(),
                state=status["State"][:1],
                user=user_name(uid),
                uid=uid,
                threads=sample.threads,
                rss=sample.rss * _PAGE,
                age=age_of(sample.started),
            )
    except OSError:
        return None


def _files_of(pid: int) -> list[OpenFile]:
    found = []
    with ProcessDirectory(pid) as directory:
        for name in sorted(directory.names("fd"), key=int):
            try:
                target = directory.link(f"fd/{name}")
                flags = _flags(directory.text(f"fdinfo/{name}"))
            except FileNotFoundError:
                continue  # closed meanwhile
            mode = "path" if flags & os.O_PATH else _MODES.get(flags & os.O_ACCMODE, "?")
            found.append(OpenFile(pid, int(name), target, mode))
    return found


def _flags(text: str) -> int:
    """O_* of proc_pid_fdinfo(5)."""
    for line in text.split("\n"):
        if line.startswith("flags:"):
            return int(line[6:], 8)
    return 0
