"""Processes as the caller's own /proc shows them.

A process is read by a descriptor of its directory: what is read from it is that process's or
nothing, also when its number goes to another one meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "KINDS",
    "MOST_COMMAND",
    "MOST_ENVIRONMENT",
    "Namespaces",
    "ProcessDirectory",
    "Sample",
    "check_proc",
    "own_namespaces",
    "samples",
]

KINDS = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup", "time")
"""Namespaces in the order in which they are shown (namespaces(7))."""

PID = KINDS.index("pid")

Namespaces = tuple[int, ...]
"""Inode numbers in the order of ``KINDS``; 0 for a kind that the kernel lacks."""

MOST_COMMAND = 1 << 17
"""Bytes of a command line: as many as one argument of execve(2) can have."""

MOST_ENVIRONMENT = 6 << 20
"""Bytes of an environment: execve(2) takes no more, with the arguments."""

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, include/linux/sched.h
_LINKS = tuple(f"ns/{kind}" for kind in KINDS)


class Sample(NamedTuple):
    """One process at one moment.

    Attributes:
        pid, ppid: as the caller sees them; a parent of 0 is outside of the caller's pid namespace.
        comm: its name for itself.
        state: one letter, as in proc_pid_stat(5).
        kernel: it is a thread of the kernel.
        threads: how many it has.
        started: ticks (``SC_CLK_TCK``) after boot.
        rss: pages in memory, shared ones too.
        namespaces: where it is; None where the caller may not look.
        descends: the same with the pid namespace of its next children: after unshare(CLONE_NEWPID)
            not its own (pid_namespaces(7)).
    """

    pid: int
    ppid: int
    comm: str
    state: str
    kernel: bool
    threads: int
    started: int
    rss: int
    namespaces: Namespaces | None
    descends: Namespaces | None


class ProcessDirectory:
    """/proc/PID, held open.

    Raises:
        ProcessLookupError: there is no such process.
    """

    def __init__(self, pid: int) -> None:
        try:
            self.fd = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessLookupError(
                errno.ESRCH, "there is no such process", f"/proc/{pid}"
            ) from None

    def __enter__(self) -> ProcessDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read(self, name: str, most: int = 1 << 62) -> bytes:
        """A file, whole or *most* bytes of it.  Raises OSError: ESRCH when the process has ended.

        ``cmdline`` and ``environ`` are as long as the process says, gigabytes if it likes
        (PR_SET_MM_MAP, PR_SET_MM(2const)).
        """
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            parts = []
            while part := os.read(fd, min(most, 1 << 15)):
                parts.append(part)
                most -= len(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def text(self, name: str) -> str:
        return os.fsdecode(self.read(name))

    def link(self, name: str) -> str:
        """What a link points to.  Raises OSError."""
        return os.readlink(name, dir_fd=self.fd)

    def names(self, name: str) -> list[str]:
        """The entries of a directory.  Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def command(self) -> tuple[str, ...]:
        """Its command line; the name in brackets where it has none, as ps(1) shows it.

        Raises OSError: it has ended.
        """
        # A process may have overwritten it with a title.
        line = self.read("cmdline", MOST_COMMAND).rstrip(b"\0")
        if not line:
            return (f"[{self.text('comm').rstrip(chr(10))}]",)
        return tuple(os.fsdecode(word) for word in line.split(b"\0"))

    def status(self) -> dict[str, str]:
        """The fields of proc_pid_status(5), by name.  Raises OSError."""
        # Not splitlines(): a name may hold what str, but not the kernel, takes for a line's end.
        lines = (line.partition(":") for line in self.text("status").split("\n"))
        return {name: value.strip() for name, _, value in lines}

    def sample(self, pid: int) -> Sample:
        """Raises OSError: it has ended, or hides (the mount option hidepid)."""
        fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            line = os.read(fd, 1 << 12)  # one line of some 300 bytes, which comes whole
        finally:
            os.close(fd)
        # comm may hold anything, also ")"; nothing after it does.
        comm = line[line.index(b"(") + 1 : line.rindex(b")")]
        fields = line[line.rindex(b")") + 2 :].split()
        kernel = bool(int(fields[6]) & _KERNEL_THREAD)
        state = fields[0].decode()
        namespaces = descends = None
        if not kernel and state not in "ZX":
            try:
                namespaces = self.namespaces()
                descends = self._descends(namespaces)
            except PermissionError:
                pass
        return Sample(
            pid,
            int(fields[1]),
            os.fsdecode(comm),
            state,
            kernel,
            int(fields[17]),
            int(fields[19]),
            int(fields[21]),
            namespaces,
            descends,
        )

    def namespaces(self) -> Namespaces:
        """Raises OSError: EACCES where the caller may not look."""
        found = []
        for link in _LINKS:
            try:
                # The text of the link: following it would cost twice as much.
                found.append(int(os.readlink(link, dir_fd=self.fd).partition("[")[2][:-1]))
            except FileNotFoundError:
                if link == _LINKS[0]:
                    raise ProcessLookupError(errno.ESRCH, "it has ended") from None
                found.append(0)
        return tuple(found)

    def _descends(self, namespaces: Namespaces) -> Namespaces:
        try:
            link = os.readlink("ns/pid_for_children", dir_fd=self.fd)
        except FileNotFoundError:  # unshared, and no child yet: the namespace is still to be made
            return namespaces
        number = int(link.partition("[")[2][:-1])
        if number == namespaces[PID]:
            return namespaces
        return (*namespaces[:PID], number, *namespaces[PID + 1 :])


def check_proc() -> None:
    """Make sure that /proc speaks of the processes that the caller knows by number.

    Raises:
        OSError: it is not mounted, or is another pid namespace's.
    """
    try:
        own = os.readlink("/proc/self")
    except OSError as error:
        raise OSError(error.errno, "there is no proc file system; mount one", "/proc") from None
    if own != str(os.getpid()):
        raise OSError(
            errno.ESTALE, "it belongs to another pid namespace; mount one of this", "/proc"
        )


def own_namespaces() -> Namespaces:
    """Those of the calling process."""
    with ProcessDirectory(os.getpid()) as own:
        return own.namespaces()


def samples() -> Iterator[Sample | int]:
    """Every process that is there; of one that may not be looked at at all, its pid."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        pid = int(name)
        try:
            with ProcessDirectory(pid) as directory:
                yield directory.sample(pid)
        except PermissionError:
            yield pid
        except (ProcessLookupError, FileNotFoundError):
            pass  # it has ended meanwhile
