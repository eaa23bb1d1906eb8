"""Try what containers need of the kernel, each in a process of its own, and print the errnos.

Settings can only hint at what a call would say, so this makes the calls.  Run as a script by an
interpreter that imports nothing but the standard library: after fork() in a threaded caller such
calls could hang, and unshare(CLONE_NEWUSER) is refused there (unshare(2)).  Prints one line
"name errno" for each attempt; 0 is success, and an attempt that cannot be made prints nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

# linux/sched.h and linux/mount.h; the same on every architecture.
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
MS_REC_PRIVATE = 0x4000 | 0x40000

NOBODY = 65534

UNTRIED = 255  # no errno is as large

libc = ctypes.CDLL(None, use_errno=True)


class UntriedError(Exception):
    """The attempt cannot be made here, which says nothing about what it would have shown."""


def errno_of(attempt: Callable[[], None]) -> int:
    """The errno with which *attempt* ends, in a child of its own; 0 when it succeeds."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            attempt()
        except UntriedError:
            code = UNTRIED
        except OSError as error:
            code = error.errno or errno.EIO
        except BaseException:
            code = errno.EIO
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def call(function: str, *arguments: object) -> int:
    result = int(getattr(libc, function)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def user_namespace() -> None:
    call("unshare", CLONE_NEWUSER)


def capabilities_inside() -> None:
    """Ubuntu's AppArmor lets the namespace be made and denies every capability in it."""
    call("unshare", CLONE_NEWUSER)
    call("unshare", CLONE_NEWNS)


def unprivileged_namespaces() -> None:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:  # root of a user namespace that has no such id, or without CAP_SETUID
        raise UntriedError from None
    capabilities_inside()


def mount_proc() -> None:
    """EPERM when something in the caller's /proc is mounted over (mount_namespaces(7))."""
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
    call("mount", None, b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None)

    def mount() -> None:
        call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(MS_NOSUID_NODEV_NOEXEC), None)

    number = errno_of(mount)
    if number:
        raise OSError(number, os.strerror(number))


def load_libseccomp() -> None:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise OSError(errno.ENOENT, "libseccomp.so.2") from None


def main() -> None:
    attempts: list[Callable[[], None]] = [
        user_namespace,
        capabilities_inside,
        mount_proc,
        load_libseccomp,
    ]
    if os.geteuid() == 0:
        attempts.append(unprivileged_namespaces)
    for attempt in attempts:
        if len(sys.argv) > 1 and attempt.__name__ not in sys.argv[1:]:
            continue
        number = errno_of(attempt)
        if number != UNTRIED:
            print(attempt.__name__, number, flush=True)


if __name__ == "__main__":
    main()
