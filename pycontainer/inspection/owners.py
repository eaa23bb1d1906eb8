"""Whose a container is."""

from __future__ import annotations

import os

from .procfs import KINDS, Namespaces, ProcessDirectory

__all__ = ["owner_of", "user_name"]

# ioctl_ns(2); include/uapi/linux/nsfs.h
_NS_GET_PARENT = 0xB702
_NS_GET_OWNER_UID = 0xB704
_DEEPEST = 32  # user namespaces in each other: user_namespaces(7)

_USER = KINDS.index("user")


def owner_of(directory: ProcessDirectory, host: Namespaces) -> int | None:
    """The user id, as the caller sees it, that made the process's outermost own user namespace.

    None where it has none, or the kernel does not tell.  The owner of the innermost one may be an
    id that only the container has.
    """
    import fcntl
    from array import array

    try:
        fd = os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory.fd)
    except OSError:
        return None
    owner = array("I", [0])
    found = None
    try:
        for _ in range(_DEEPEST):
            if os.fstat(fd).st_ino == host[_USER]:
                return found
            fcntl.ioctl(fd, _NS_GET_OWNER_UID, owner)
            found = owner[0]
            parent = fcntl.ioctl(fd, _NS_GET_PARENT)
            os.close(fd)
            fd = parent
    except OSError:
        pass  # EPERM: the caller is no ancestor's
    finally:
        os.close(fd)
    return found


def user_name(uid: int) -> str:
    """The name of a user of the host, or its number."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
