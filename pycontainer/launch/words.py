"""Errors in words: what the helper and the child report by number becomes an exception."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from .._native import lib
from ..errors import ContainerError, PayloadError, ResultError, SetupError
from ..plan.plan import Plan
from ..plan.steps import MountAttr, Op, Step
from .codec.text import printable
from .command import Command, exec_failure
from .protocol import FAILURE

__all__ = [
    "clone_failure",
    "import_note",
    "keyring_note",
    "load_error",
    "read_only_note",
    "setup_failure",
    "stderr_note",
    "step_failure",
]

_STAGES = {
    lib.PC_STAGE_START: "arrange the child's descriptors",
    lib.PC_STAGE_REQUEST: "read the request",
    lib.PC_STAGE_FORK: "fork the function's process",
    lib.PC_STAGE_TIE: "tie the child to its parent",
    lib.PC_STAGE_JOIN: "join the target's namespaces",
    lib.PC_STAGE_JOIN_OWNER: "join the owner of the target's pid namespace",
    lib.PC_STAGE_JOIN_IDS: "take the target's ids",
    lib.PC_STAGE_JOIN_CAPABILITIES: "take the target's capabilities",
    lib.PC_STAGE_JOIN_FILTERS: "take the target's filters",
    lib.PC_STAGE_CGROUP: "enter the container's cgroup",
    lib.PC_STAGE_DIRECTORY: "go to the program's working directory",
    lib.PC_STAGE_TERMINAL: "take the terminal",
}


def clone_failure(error: int) -> SetupError:
    """The error for namespaces that the kernel does not give, with the reasons it may have."""
    from ..host.refusals import explain_clone_error  # only a failure pays for it

    failure = SetupError(error, None, None, "clone a process into new namespaces")
    for line in explain_clone_error(error):
        failure.add_note(line)
    return failure


def setup_failure(body: bytes, plan: Plan | None, command: Command | None = None) -> ContainerError:
    """The error for a ``struct pc_failure``, and for what a program's adds to it."""
    if len(body) > FAILURE.size and command is not None:
        _, error, why, stage = FAILURE.unpack_from(body)
        if stage == lib.PC_STAGE_EXEC:
            return exec_failure(error, why, body[FAILURE.size :], command.program, plan)
    if len(body) != FAILURE.size:
        return ContainerError("the container's process reported a failure that makes no sense")
    index, error, at, stage = FAILURE.unpack(body)
    if index < 0 or plan is None or index >= len(plan.steps):
        path = None
        if stage == lib.PC_STAGE_DIRECTORY and command is not None:
            path = command.directory
        failure = SetupError(error, None, path, _STAGES.get(stage, "start the child"))
        if stage in (lib.PC_STAGE_JOIN, lib.PC_STAGE_JOIN_OWNER) and error == errno.EPERM:
            failure.add_note(
                "joining needs the target's owner or root; see `man 2 setns`. "
                "A process that made itself non-dumpable can be joined by root alone."
            )
        return failure
    return step_failure(plan.steps[index], error, at)


def step_failure(step: Step, error: int, at: int) -> SetupError:
    """The error for a step that the kernel refused, with what to do about it.

    Arguments:
        at: whether it was the source (PC_AT_SOURCE) or the target that was refused.
    """
    failure = SetupError(error, *_words(step, error, at), step.describe())
    note = _note(step, error, at)
    if note:
        failure.add_note(note)
    return failure


def _words(step: Step, error: int, at: int) -> tuple[str, str | None]:
    path = None
    if step.op is Op.ROOT_DIRECTORY:
        path = step.path
    elif step.op in (Op.BIND, Op.MOUNT) and at == lib.PC_AT_SOURCE:
        path = step.other
    elif step.path.startswith("/"):
        path = step.path
    return os.strerror(error), path


def _note(step: Step, error: int, at: int) -> str:
    target = at == lib.PC_AT_TARGET
    if error == errno.ENOENT and step.op is Op.BIND and not target:
        return f"{step.other} does not exist on the host; optional=True would leave the bind out"
    if error == errno.ENOENT and step.op in (Op.BIND, Op.MOUNT) and target:
        return (
            f"{step.path} does not exist in what is mounted above it; nothing is created on the "
            "host, so create it there or mount elsewhere"
        )
    if error == errno.ENOENT and step.op is Op.CHANGE_DIRECTORY:
        return f"cwd={step.path!r} is not a directory of the container"
    if error == errno.ENOTDIR and step.op is Op.BIND and target:
        return f"{step.other} and {step.path} must both be directories, or neither"
    if error == errno.ENOTDIR and step.op is Op.MOUNT and target:
        return f"{step.path} is no directory, and a file system can only be mounted on one"
    if error == errno.ENOTDIR and step.op is Op.ROOT_DIRECTORY:
        return f"rootfs={step.path!r} must be a directory; an image has to be unpacked or mounted"
    if step.op is Op.NEW_KEYRING:
        return keyring_note(error)
    if error == errno.EACCES and step.op is Op.INSTALL_FILTER:
        return "a filter takes no_new_privs=True, or CAP_SYS_ADMIN in the container (seccomp(2))"
    if step.op is Op.HOLD_MASKS:
        return "what masks a file is the null device; on this host that is no such device"
    if error == errno.EXDEV:
        return f"{step.path} leads through a link or bind onto the host, where nothing is created"
    if error == errno.EPERM and step.op is Op.MOUNT and step.other == "proc":
        return (
            "the kernel mounts /proc only where the caller's own is fully visible; inside another "
            "container it may be masked: bind(/proc) instead, or unmask it there"
        )
    if error == errno.ENOSPC and step.op in (Op.WRITE_FILE, Op.MAKE_DIRECTORY):
        return "the tmpfs is full: give it a larger size"
    if error == errno.EINVAL and step.op is Op.BIND and not target:
        if step.attributes & MountAttr.READ_ONLY:
            return "a mount below the source may be locked; try recursive=True"
        return "the source may be a mount that cannot be cloned"
    return ""


def keyring_note(error: int) -> str:
    """Why a session keyring was refused, and what to do."""
    if error == errno.EDQUOT:
        return (
            "this user has as many keys as it may have, and without a keyring of its own a "
            "container would see the caller's: look at /proc/key-users, end some sessions, or "
            "raise the sysctls kernel.keys.maxkeys and maxbytes (keyrings(7))"
        )
    return "a seccomp filter, as Docker's, may refuse keyctl(2): allow it there"


def load_error(body: bytes, env: Mapping[str, str]) -> ContainerError:
    """The error for a function that did not load in the child."""
    from .codec.decode import decode_value
    from .codec.raised import decode_exception
    from .payload import load_failure

    try:
        words, module, variable, raised = decode_value(body)
        cause = decode_exception(raised)
    except (ResultError, ValueError, TypeError):
        return PayloadError("the function could not be loaded in the container")
    failure: PayloadError = load_failure(
        words, module=module, environment=tuple(env) if variable else None
    )
    failure.__cause__ = cause
    return failure


def import_note(error: BaseException) -> None:
    """The hint for a module that the container does not have."""
    if isinstance(error, ModuleNotFoundError):
        error.add_note(
            "the container has no such module: add host_python() to its mounts, import it outside "
            "the function, or name it in preload="
        )
    elif isinstance(error, ImportError) and "cannot open shared object file" in str(error):
        error.add_note(  # in dlopen(3)'s words
            "the module needs a shared library that the container does not have: add host_python() "
            "to its mounts, import it outside the function, or name it in preload="
        )
    elif isinstance(error, LookupError) and str(error).startswith("unknown encoding: "):
        error.add_note(
            "an encoding is a module of Python's that is loaded when it is first used: add "
            "host_python() to the mounts, or name it in preload=, as in 'encodings.cp1252'"
        )


def read_only_note(error: BaseException, plan: Plan) -> None:
    """The hint for a write below a read-only bind: which bind, and what would let it through."""
    if not isinstance(error, OSError) or error.errno != errno.EROFS:
        return
    path: Any = error.filename
    if not isinstance(path, str) or not path.startswith("/"):
        return
    found = None
    for step in plan.steps:
        if step.op is not Op.MAKE_READ_ONLY and (
            step.op not in (Op.BIND, Op.MOUNT) or not step.attributes & MountAttr.READ_ONLY
        ):
            continue
        inside = path == step.path or path.startswith(step.path.rstrip("/") + "/")
        if inside and (found is None or len(step.path) >= len(found.path)):
            found = step
    if found is None:
        error.add_note("the root is read-only: writable_root=True, or mount a tmpfs there")
    elif found.op is Op.MAKE_READ_ONLY:
        error.add_note(f"readonly_paths makes {found.path} read-only")
    elif found.op is Op.BIND:
        error.add_note(
            f"{found.path} is a read-only bind of {found.other}: bind it with writable=True, or "
            "use overlay() to keep the writes in the container"
        )


_LAST_WORDS = 1000  # bytes of stderr that an error shows


def stderr_note(error: BaseException, stderr: bytes | None) -> None:
    """What a container that gave no value wrote last, where that was captured."""
    if not stderr or not stderr.strip():
        return
    last = stderr[-_LAST_WORDS:]
    if len(last) < len(stderr):
        last = last.partition(b"\n")[2] or last
    # Whoever runs inside chooses these bytes: they must not reach a terminal as they are.
    words = printable(last.decode("utf-8", "backslashreplace").rstrip("\n"))
    error.add_note(f"the last of its stderr:\n{words}")
