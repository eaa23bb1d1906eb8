"""A container for code that nobody trusts: ``SANDBOX``."""

from __future__ import annotations

from .container import Container
from .limits import Limits
from .mounts import Mount
from .untrusted import UNTRUSTED

__all__ = ["SANDBOX"]


def _tmpfs(target: str, size: str) -> Mount:
    return Mount(target, "tmpfs", options=(f"size={size}", "mode=1777", "nr_inodes=16k"))


SANDBOX = Container(
    [
        # A tmpfs is memory, and where no cgroup may be made its size is all that bounds it.  An
        # empty file takes a kilobyte of the kernel's, so that their number is bounded too.
        _tmpfs("/tmp", "256m"),
        _tmpfs("/dev/shm", "64m"),
    ],
    # All of them: without one of its own, a container sees the host's network, processes, System V
    # memory or name.  No bind, no rootfs: it sees no file of the host either.
    # The root is read-only and holds what the plan puts there, and nothing else.
    writable_root=False,
    root_size="16m",
    # The mounts cannot be undone, and thereby nothing below one of them be reached.
    lock_mounts=True,
    # Not 0: for no other id does an exec raise capabilities, and what takes uid 0 for power over
    # the machine is not deceived.
    guest_uid=1000,
    guest_gid=1000,
    # None, in all five sets: what the kernel lets a capability in a user namespace do is where
    # most of its holes were.
    capabilities=(),
    # No set-id program and no file capability gives any back.
    no_new_privs=True,
    # No further namespaces, no io_uring, no bpf, no keys, nothing that is new in the kernel.
    seccomp=UNTRUSTED,
    # What anybody can hold without a cgroup.  Where there is one, it holds memory and processes.
    limits=Limits(
        memory="1g",
        # Enough for a compiler or a test suite, and far from a fork bomb.
        processes=256,
        # As most systems have it.
        open_files=1024,
        # A file through a writable bind cannot fill the disk.
        file_size="1g",
        # Nobody waits for ever; the time of processors is what the machine's others miss.
        wall_time=600,
        cpu_time=600,
    ),
)
"""A container with every door closed that any user can hold: for code that nobody trusts.

Take from it what you need, and open what you must::

    call_with_container(SANDBOX, fn, timeout=10)
    run_command(extend(SANDBOX, host_system(), bind("in", "/in")), ["/in/program"])

It has namespaces of its own, of all kinds; no file of the host; a small read-only root, 256 MiB in
/tmp and 64 MiB in /dev/shm; uid and gid 1000 inside; no capabilities and no way to any; the filter
``UNTRUSTED``; and limits: 1 GiB of memory, 256 processes, 1,024 open files, files of 1 GiB, ten
minutes.

What it does not close: the kernel itself, whose mistakes are as wide as the calls that are allowed;
what the processors of a machine leak; and what you bind or hand in.
"""
