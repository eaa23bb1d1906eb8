"""The sources of host root's binds: opened, idmapped and handed to the child by the caller.

The child of a host root has other ids and could not reach, say, a directory of mode 700.  And only
a process that holds CAP_SYS_ADMIN over a file system may idmap a mount of it (mount_setattr(2)),
while the mount is not attached anywhere yet.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

from .._native import lib
from ..errors import SetupError
from ..plan.steps import MountAttr, Op, Step, StepFlag
from .descriptor import Descriptor
from .identity import Identity
from .sockets import Socket, send
from .words import step_failure

__all__ = ["send_trees"]

_BATCH = 200  # descriptors in one message; the kernel takes 253 (SCM_MAX_FD)


def send_trees(call: Socket, steps: tuple[Step, ...], identity: Identity) -> None:
    """Open the sources of *steps* and send them, in batches, each closed here once it is sent.

    Raises:
        SetupError: a source cannot be opened or idmapped; says which and what to do.
        OSError: EPIPE when the child has gone.
    """
    held = _mount_namespace(identity)
    namespace = held.fd if held else -1
    for start in range(0, len(steps), _BATCH):
        errors = bytearray()
        trees: list[Descriptor] = []
        for step in steps[start : start + _BATCH]:
            try:
                trees.append(_open(step, namespace))
                errors.append(0)
            except FileNotFoundError:
                if not step.flags & StepFlag.OPTIONAL:
                    raise
                errors.append(errno.ENOENT)
        send(call, [bytes(errors)], [tree.fd for tree in trees])


def _source(step: Step) -> str:
    return step.path if step.op is Op.ROOT_DIRECTORY else step.other


def _open(step: Step, namespace: int) -> Descriptor:
    source = _source(step)
    recursive = bool(step.flags & StepFlag.RECURSIVE) or step.op is Op.ROOT_DIRECTORY
    attributes = step.numbers[0]
    if step.flags & StepFlag.DEVICE:
        namespace = -1  # devtmpfs cannot be idmapped; a device's mode lets everyone in, or not
    tree, error = _try(source, recursive, attributes, namespace)
    if not error:
        return tree
    if namespace >= 0 and error in (errno.EINVAL, errno.EPERM):
        # EINVAL: the file system, or one below it, cannot be idmapped (mount_setattr(2)).
        return _open_one_by_one(step, source, recursive, attributes, namespace)
    raise step_failure(step, error, lib.PC_AT_SOURCE)


def _try(path: str, recursive: bool, attributes: int, namespace: int) -> tuple[Descriptor, int]:
    """The tree and 0, or nothing and an errno."""
    tree = Descriptor(lib.pc_open_source(os.fsencode(path), recursive, attributes, namespace))
    return tree, max(0, -tree.fd)


def _open_one_by_one(
    step: Step, source: str, recursive: bool, attributes: int, namespace: int
) -> Descriptor:
    """The source and each mount below it by itself; what cannot be idmapped goes plainly."""
    tree = _open_idmapped_or_plain(step, source, attributes, namespace)
    for below in _mounts_below(source) if recursive else ():
        part = _open_idmapped_or_plain(step, below, attributes, namespace)
        relative = os.fsencode(os.path.relpath(below, os.path.realpath(source)))
        error = lib.pc_graft(tree.fd, relative, part.fd)
        if error:
            raise SetupError(error, None, below, step.describe())
    return tree


def _open_idmapped_or_plain(step: Step, path: str, attributes: int, namespace: int) -> Descriptor:
    tree, error = _try(path, False, attributes, namespace)
    if not error:
        return tree
    if error not in (errno.EINVAL, errno.EPERM):
        raise SetupError(error, None, path, step.describe())
    if not attributes & MountAttr.READ_ONLY:
        raise SetupError(
            error,
            "its file system cannot be idmapped, so host root's container cannot write to it; "
            "bind it read-only, or choose the host's ids yourself with host_uid_start=",
            path,
            step.describe(),
        )
    tree, error = _try(path, False, attributes, -1)
    if error:
        raise SetupError(error, None, path, step.describe())
    return tree


def _mounts_below(source: str) -> Iterator[str]:
    """Mount points below *source*, outer ones first, each once."""
    prefix = os.path.realpath(source).rstrip("/") + "/"
    seen = set()
    with open("/proc/self/mountinfo", "rb") as file:
        lines = file.read().splitlines()
    for line in lines:
        # proc_pid_mountinfo(5): field 5, with blanks and backslashes in octal.
        escaped = line.split(b" ")[4]
        point = os.fsdecode(escaped.decode("unicode_escape").encode("latin-1"))
        if point.startswith(prefix) and point not in seen:
            seen.add(point)
            yield point


# ---- the user namespace that the mounts are mapped by ----------------------------------------

_MOST = 8  # of them stay open: one for each pair of guest ids that was used last


_namespaces: dict[tuple[str, str], Descriptor] = {}  # the one used last stands last
_lock = threading.Lock()


def _mount_namespace(identity: Identity) -> Descriptor | None:
    """A user namespace with the maps, kept open for the next call; None for no idmapped binds."""
    if not identity.mount_uid_map:
        return None
    key = (identity.mount_uid_map, identity.mount_gid_map)
    with _lock:
        namespace = _namespaces.pop(key, None)
        if namespace is None:
            fd = lib.pc_make_user_namespace(*(text.encode() for text in key))
            if fd < 0:
                raise SetupError(-fd, None, None, "make the user namespace of idmapped mounts")
            namespace = Descriptor(int(fd))
        _namespaces[key] = namespace
        while len(_namespaces) > _MOST:
            del _namespaces[next(iter(_namespaces))]
    return namespace


def _forget() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
