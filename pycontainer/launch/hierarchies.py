"""Where the caller may make cgroups: for each controller a directory, or none and why.

Version 1 has a hierarchy for each controller, version 2 one for all; many hosts have both, each
with other controllers (cgroups(7)).  A place counts only if a cgroup could be made there and has
the controller's files: modes and mount flags do not tell the whole.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

__all__ = [
    "CPUACCT",
    "ENTRIES",
    "LEAF",
    "Hierarchy",
    "files_of_members",
    "find_hierarchies",
    "hierarchies",
    "name_prefix",
]

CPUACCT = "cpuacct"
"""Version 1's accounting of processor time; every cgroup of version 2 has it (``cpu.stat``)."""

LEAF = "inside"
"""``PC_CGROUP_LEAF``: the cgroup of the processes, below the one with the limits."""

ENTRIES = {1: "tasks", 2: "cgroup.procs"}
"""Files of members.  Of version 1, a single thread's own move takes no lock of the whole system
(cgroup_procs_write_start() in kernel/cgroup/cgroup.c)."""

MOST_PLACES = 16
"""``PC_SWEEP_MOST``: of directories in which this process may make cgroups."""

_FILES = {
    (1, "memory"): "memory.limit_in_bytes",
    (1, "pids"): "pids.max",
    (1, "cpu"): "cpu.cfs_quota_us",
    (1, CPUACCT): "cpuacct.usage_sys",
    (2, "memory"): "memory.max",
    (2, "pids"): "pids.max",
    (2, "cpu"): "cpu.max",
    (2, CPUACCT): "cpu.stat",
}
"""What a cgroup of a version must have for a controller to count."""


class Hierarchy(NamedTuple):
    """A directory in which cgroups may be made.

    Attributes:
        version: 1 or 2.
        directory: its path.
    """

    version: int
    directory: str


class _Mount(NamedTuple):
    version: int
    root: str
    target: str
    controllers: frozenset[str]  # of version 1


def find_hierarchies(
    wanted: Iterable[str],
    root: str = "/",
    pid: int | None = None,
    before: Callable[[set[str]], object] = lambda directories: None,
) -> dict[str, Hierarchy]:
    """The place for each of the controllers *wanted* that has one.

    Arguments:
        root: where /proc and /sys lie, for tests.
        pid: the process whose cgroups count; this one.
        before: is told of the directories in which one is made and removed, to try it.
    """
    mounts = list(_mounts(root))
    own = _own_cgroups(root, pid)
    found: dict[str, Hierarchy] = {}
    wanted = tuple(wanted)
    before(_candidates(wanted, mounts, own))
    for controller in wanted:
        place = None
        if controller in own:
            place = _version_1(controller, own[controller], mounts)
        if place is None and "" in own:
            place = _version_2(controller, own[""], mounts, root)
        if place is not None:
            found[controller] = place
    return found


def _candidates(wanted: Iterable[str], mounts: list[_Mount], own: dict[str, str]) -> set[str]:
    """Directories that may be written to, among them every one that may be tried."""
    found: list[str] = []
    for mount in mounts:
        names = mount.controllers.intersection(wanted) if mount.version == 1 else {""}
        for path in {own[name] for name in names if name in own}:
            place = _below(mount, path)
            if place is not None:
                found += [place] if mount.version == 1 else _upwards(place, mount.target)
    writable = [place for place in dict.fromkeys(found) if os.access(place, os.W_OK | os.X_OK)]
    return set(writable[:MOST_PLACES])


def _mounts(root: str) -> Iterator[_Mount]:
    """cgroup file systems of /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    with open(os.path.join(root, "proc/self/mountinfo"), "rb") as file:
        lines = os.fsdecode(file.read()).splitlines()
    for line in lines:
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        top, target = (_unescape(field) for field in fields.split(" ")[3:5])
        names = frozenset(options.split(","))
        yield _Mount(1 if kind == "cgroup" else 2, top, root.rstrip("/") + target, names)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _own_cgroups(root: str, pid: int | None) -> dict[str, str]:
    """Controller → path of the caller's cgroup; "" is version 2."""
    name = "self" if pid is None else str(pid)
    with open(os.path.join(root, "proc", name, "cgroup"), "rb") as file:
        lines = os.fsdecode(file.read()).splitlines()
    own = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _below(mount: _Mount, path: str) -> str | None:
    """Where the cgroup *path* lies in a mount that may show a part of the hierarchy."""
    top = mount.root.rstrip("/")
    if path != mount.root and not path.startswith(top + "/"):
        return None
    if ".." in path.split("/"):  # outside of the cgroup namespace
        return None
    return mount.target + path[len(top) :].rstrip("/")


def _version_1(controller: str, path: str, mounts: list[_Mount]) -> Hierarchy | None:
    for mount in mounts:
        if mount.version == 1 and controller in mount.controllers:
            directory = _below(mount, path)
            if directory is not None and _try(directory, _FILES[1, controller]):
                return Hierarchy(1, directory)
    return None


def _version_2(controller: str, path: str, mounts: list[_Mount], root: str) -> Hierarchy | None:
    """The caller's own cgroup or the nearest above whose children have the controller.

    A cgroup with processes in it cannot give its controllers to children (cgroups(7), "no
    internal processes"): one that the caller lives in can, if the caller moves to a child first.
    """
    for mount in mounts:
        own = _below(mount, path) if mount.version == 2 else None
        if own is None:
            continue
        for directory in _upwards(own, mount.target):
            if _gives(directory, controller) and _try(directory, _FILES[2, controller]):
                return Hierarchy(2, directory)
        if _make_room(own, root) and _try(own, _FILES[2, controller]):
            return Hierarchy(2, own)
    return None


def _upwards(directory: str, top: str) -> Iterator[str]:
    yield directory
    while directory != top:
        directory = os.path.dirname(directory)
        yield directory


def _words_of(directory: str, name: str) -> list[str]:
    try:
        with open(f"{directory}/{name}") as file:
            return file.read().split()
    except OSError:
        return []


def _gives(directory: str, controller: str) -> bool:
    """Whether children have the controller.  Their processor time is counted without one."""
    return controller == CPUACCT or controller in _words_of(directory, "cgroup.subtree_control")


_ROOM = "pycontainer.caller"
_WANTED = ("memory", "pids", "cpu")


def _make_room(own: str, root: str) -> bool:
    """Have a cgroup that is delegated to this user give its controllers to children.

    Its processes move to a child first: only if all of them are this one and its children, which
    are nobody else's business.
    """
    try:
        if os.stat(own).st_uid != os.geteuid():
            return False
    except OSError:
        return False
    missing = [name for name in _WANTED if name in _words_of(own, "cgroup.controllers")]
    if not missing:
        return False
    members = _words_of(own, "cgroup.procs")
    try:
        if members and os.path.exists(f"{own}/cgroup.type"):  # the root has no such file
            family = {str(os.getpid()), *_children(root)}
            if not family.issuperset(members):
                return False
            os.makedirs(f"{own}/{_ROOM}", exist_ok=True)
            for member in members:
                _write(f"{own}/{_ROOM}/cgroup.procs", member)
        _write(f"{own}/cgroup.subtree_control", " ".join(f"+{name}" for name in missing))
    except OSError:
        return False
    return True


def _children(root: str) -> list[str]:
    found = []
    for task in os.listdir(os.path.join(root, "proc/self/task")):
        found += _words_of(os.path.join(root, "proc/self/task", task), "children")
    return found


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def files_of_members(pid: int) -> list[str]:
    """Where a process enters the cgroups that a caller of this kind has made for the container of
    *pid*: a file of each."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            lines = file.read()
        if b"/pycontainer." not in lines:  # most have none, and mounts are many
            return []
        mounts = list(_mounts("/"))
    except OSError:
        return []  # it has ended
    found = []
    for line in os.fsdecode(lines).splitlines():
        _, controllers, path = line.split(":", 2)
        above, _, leaf = path.rpartition("/")
        if leaf != LEAF or not _NAME.match(above.rpartition("/")[2]):
            continue
        version = 1 if controllers else 2
        for mount in mounts:
            if mount.version == version and mount.controllers.issuperset(
                controllers.split(",") if controllers else ()
            ):
                directory = _below(mount, path)
                if directory is not None:
                    found.append(f"{directory}/{ENTRIES[version]}")
                    break
    return found


_trials = itertools.count()


def _try(directory: str, file: str) -> bool:
    """Whether a cgroup can be made in *directory*, and has *file*."""
    if not os.access(directory, os.W_OK | os.X_OK):
        return False
    trial = f"{directory}/{name_prefix()}try{next(_trials)}"
    try:
        os.mkdir(trial, 0o755)
    except OSError:
        return False
    try:
        return os.access(f"{trial}/{file}", os.W_OK if file != "cpu.stat" else os.R_OK)
    finally:
        os.rmdir(trial)


# ---- names: whose a cgroup is can be read from them ------------------------------------------

_NAME = re.compile(r"pycontainer\.(\d+)\.(\d+)\.(\d+)\.")
_prefixes: dict[int, str] = {}


def name_prefix() -> str:
    """How the names of this process's cgroups begin: pid namespace, pid, start of the process."""
    pid = os.getpid()
    prefix = _prefixes.get(pid)
    if prefix is None:
        namespace = os.stat("/proc/self/ns/pid").st_ino
        prefix = _prefixes[pid] = f"pycontainer.{namespace}.{pid}.{_start_of(pid)}."
    return prefix


def _start_of(pid: int) -> int:
    """When a process started, in clock ticks after the boot (field 22 of proc_pid_stat(5)).

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def sweep(directory: str) -> None:
    """Remove what callers left that were killed together with their helpers."""
    namespace = os.stat("/proc/self/ns/pid").st_ino
    for name in os.listdir(directory):
        match = _NAME.match(name)
        # Another pid namespace's processes are not ours to count.
        if match is None or int(match[1]) != namespace:
            continue
        try:
            if _start_of(int(match[2])) == int(match[3]):
                continue
        except (FileNotFoundError, ProcessLookupError):
            pass
        for path in (f"{directory}/{name}/{LEAF}", f"{directory}/{name}"):
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    break  # EBUSY: it is about to end


# ---- this process's --------------------------------------------------------------------------

_found: dict[bytes, dict[str, Hierarchy]] = {}
_lock = threading.Lock()


def hierarchies(before: Callable[[set[str]], object]) -> dict[str, Hierarchy]:
    """The places for this process's cgroups, looked for once and again when it has moved.

    Arguments:
        before: is told of the directories before anything is made in one of them.
    """
    try:
        with open("/proc/self/cgroup", "rb") as file:
            key = b"%d %d\n" % (os.getpid(), os.geteuid()) + file.read()
    except OSError:
        return {}
    found = _found.get(key)
    if found is None:
        with _lock:
            found = _found.get(key)
            if found is None:
                try:
                    found = find_hierarchies((*_WANTED, CPUACCT), before=before)
                    for place in set(found.values()):
                        sweep(place.directory)
                except OSError:
                    found = {}  # no /proc, or none that makes sense
                _found.clear()
                _found[key] = found
    return found


def _forget() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
