"""The steps of a plan: what the child does between its birth and the function, one by one.

A step is a row of operands; ``describe()`` says it in a line.  The compiled helper runs the same
rows (``pack.py`` writes them), so the numbers here are a protocol and are never reused.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag

from ..declare.record import Record, set_field

__all__ = ["PHASES", "MountAttr", "Op", "Refused", "Step", "StepFlag"]


class Op(IntEnum):
    """What a step does."""

    MAP_IDS = 1
    BECOME = 2
    MAKE_PRIVATE = 3
    ROOT_TMPFS = 4
    ROOT_DIRECTORY = 5
    MAKE_DIRECTORY = 6
    WRITE_FILE = 7
    MAKE_SYMLINK = 8
    MOUNT = 9
    BIND = 10
    CONSOLE = 11
    PIVOT = 12
    ROOT_READ_ONLY = 13
    LOCK = 14
    SET_HOSTNAME = 15
    LOOPBACK_UP = 16
    NEW_KEYRING = 17
    CHANGE_DIRECTORY = 18
    LIMIT_CAPABILITIES = 19
    NO_NEW_PRIVILEGES = 20
    REFUSE_SET_ID = 21
    SET_LIMIT = 22
    SET_AFFINITY = 23
    INSTALL_FILTER = 24
    NO_USER_NAMESPACES = 25
    HOLD_MASKS = 26
    MAKE_READ_ONLY = 27
    MASK = 28


class Refused(IntFlag):
    """What a REFUSE_SET_ID refuses: PC_REFUSE_* of the helper."""

    MODES = 1
    ATTRIBUTES = 2
    CAPABILITIES = 4


class StepFlag(IntFlag):
    """How a step is done.

    OPTIONAL: skip it when the source does not exist (ENOENT).
    OPTIONAL_TARGET: skip it when there is no place for the target: a rootfs may lack /dev.
    CREATE_TARGET: make the target first, a directory or a file like the source.  Only set where
    the target lies on a tmpfs of the container.
    IGNORE_EPERM: skip it when the kernel forbids it.
    RECURSIVE: with the mounts below the source.
    DEVICE: the source must be a character device.
    TREE: the launcher hands the source over as an open mount.
    INSIDE: the source is a place of the container, not of the host.
    """

    OPTIONAL = 1
    CREATE_TARGET = 2
    IGNORE_EPERM = 4
    RECURSIVE = 8
    DEVICE = 16
    TREE = 32
    OPTIONAL_TARGET = 64
    INSIDE = 128


class MountAttr(IntFlag):
    """The attributes of a mount (mount_setattr(2)), in numbers of our own."""

    READ_ONLY = 1
    NO_SUID = 2
    NO_DEV = 4
    NO_EXEC = 8
    STRICT_ATIME = 16
    NO_ATIME = 32
    NO_SYMFOLLOW = 64


PHASES = (
    "identity",
    "root",
    "files",
    "pivot",
    "network and names",
    "populate",
    "lock",
    "privileges",
    "start",
)
"""The phases of a plan, in order.  "populate" has no steps: a ``populate_filesystem`` hook runs
there.  "start" is what only the function's or program's own process does, below an init."""

_PHASE = {
    Op.MAP_IDS: "identity",
    Op.BECOME: "identity",
    Op.NEW_KEYRING: "identity",
    Op.MAKE_PRIVATE: "root",
    Op.ROOT_TMPFS: "root",
    Op.ROOT_DIRECTORY: "root",
    Op.MAKE_DIRECTORY: "files",
    Op.WRITE_FILE: "files",
    Op.MAKE_SYMLINK: "files",
    Op.MOUNT: "files",
    Op.BIND: "files",
    Op.CONSOLE: "files",
    Op.HOLD_MASKS: "files",
    Op.PIVOT: "pivot",
    Op.SET_HOSTNAME: "network and names",
    Op.LOOPBACK_UP: "network and names",
    Op.ROOT_READ_ONLY: "lock",
    Op.MAKE_READ_ONLY: "lock",
    Op.MASK: "lock",
    Op.LOCK: "lock",
    Op.NO_USER_NAMESPACES: "lock",
    Op.CHANGE_DIRECTORY: "privileges",
    Op.LIMIT_CAPABILITIES: "privileges",
    Op.NO_NEW_PRIVILEGES: "privileges",
    Op.REFUSE_SET_ID: "privileges",
    Op.SET_LIMIT: "start",
    Op.SET_AFFINITY: "start",
    Op.INSTALL_FILTER: "start",
}


class Step(Record):
    """One step.  Which operands count depends on ``op``; the others keep their defaults.

    Attributes:
        op: what it does.
        path: the place in the container; for ROOT_TMPFS the size, for ROOT_DIRECTORY the host's
            path, for SET_HOSTNAME the name.
        other: a bind's source, a mount's file system, what a symbolic link points to.
        options: a mount's options.  In an overlay's, a layer without a leading "/" lies in the
            mount that is at the target already.
        content: what a file holds.
        mode: permission bits.
        flags: how it is done.
        numbers: at most three: a mount's attributes, ids, a device's number, a set of
            capabilities.
    """

    __slots__ = (  # noqa: RUF023 - in the order of __init__()
        "op",
        "path",
        "other",
        "options",
        "content",
        "mode",
        "flags",
        "numbers",
    )

    op: Op
    path: str
    other: str
    options: tuple[str, ...]
    content: bytes | None
    mode: int
    flags: int
    numbers: tuple[int, ...]

    def __init__(
        self,
        op: Op,
        path: str = "",
        other: str = "",
        options: tuple[str, ...] = (),
        content: bytes | None = None,
        mode: int = 0,
        flags: int = 0,
        numbers: tuple[int, ...] = (),
    ) -> None:
        set_field(self, "op", op)
        set_field(self, "path", path)
        set_field(self, "other", other)
        set_field(self, "options", options)
        set_field(self, "content", content)
        set_field(self, "mode", mode)
        set_field(self, "flags", flags)
        set_field(self, "numbers", numbers)

    @property
    def phase(self) -> str:
        """The phase that it belongs to, one of PHASES."""
        return _PHASE[self.op]

    @property
    def attributes(self) -> MountAttr:
        """The attributes of the mount that it makes."""
        return MountAttr(self.numbers[0] if self.numbers else 0)

    def describe(self) -> str:
        """The step in a line of plain English, without control characters."""
        return _WORDS[self.op](self)


def _map_ids(step: Step) -> str:
    uid, gid, count = step.numbers
    if count == 1:
        return f"map one user and one group to uid {uid} and gid {gid}"
    return f"map {count} users and groups, from uid {uid} and gid {gid} on"


def _become(step: Step) -> str:
    uid, gid, *kept = step.numbers
    words = ", and keep the capabilities" if any(kept) else ""
    return f"become uid {uid} and gid {gid}, with no other groups{words}"


def _root_tmpfs(step: Step) -> str:
    return f"take an empty tmpfs as the root (size={step.path}, mode {step.mode:o})"


def _root_directory(step: Step) -> str:
    access, restrictions = _access(step)
    return f"take {show(step.path)} as the root, {access}{restrictions}"


def _make_directory(step: Step) -> str:
    return f"make the directory {show(step.path)} (mode {step.mode:o}){_conditions(step)}"


def _write_file(step: Step) -> str:
    length = len(step.content or b"")
    unit = "byte" if length == 1 else "bytes"
    return f"write {show(step.path)} ({length} {unit}, mode {step.mode:o}){_conditions(step)}"


def _make_symlink(step: Step) -> str:
    return f"link {show(step.path)} to {show(step.other)}{_conditions(step)}"


def _mount(step: Step) -> str:
    words = [show(option) for option in step.options] + _restrictions(step.attributes)
    if step.attributes & MountAttr.READ_ONLY:
        words.insert(0, "read-only")
    inside = f" ({', '.join(words)})" if words else ""
    return f"mount {show(step.other)} at {show(step.path)}{inside}{_conditions(step)}"


def _bind(step: Step) -> str:
    access, restrictions = _access(step)
    device = "device " if step.flags & StepFlag.DEVICE else ""
    alone = "" if step.flags & (StepFlag.RECURSIVE | StepFlag.DEVICE) else ", without submounts"
    return (
        f"bind {device}{show(step.other)} {access} at {show(step.path)}"
        f"{restrictions}{alone}{_conditions(step)}"
    )


def _console(step: Step) -> str:
    return f"bind the terminal of stdin at {show(step.path)}, if it is one{_conditions(step)}"


def _set_limit(step: Step) -> str:
    _, soft, hard = step.numbers
    bound = "no bound" if soft == 2**64 - 1 else str(soft)
    if soft != hard:
        bound += f", at most {hard}"
    return f"bound RLIMIT_{step.path.upper()} of each process: {bound}"


def _limit_capabilities(step: Step) -> str:
    from ..declare.capabilities import CAPABILITIES  # only the words need the table

    mask = step.numbers[0]
    kept = [name for name, number in CAPABILITIES.items() if mask >> number & 1]
    if not kept:
        return "give up every capability"
    return f"keep {', '.join(kept)} alone" + (", none of them ambient" * (len(step.numbers) > 1))


_WORDS: dict[Op, Callable[[Step], str]] = {
    Op.MAP_IDS: _map_ids,
    Op.BECOME: _become,
    Op.NEW_KEYRING: lambda step: "join a new, empty session keyring",
    Op.MAKE_PRIVATE: lambda step: "make all mounts private, so that none propagates",
    Op.ROOT_TMPFS: _root_tmpfs,
    Op.ROOT_DIRECTORY: _root_directory,
    Op.MAKE_DIRECTORY: _make_directory,
    Op.WRITE_FILE: _write_file,
    Op.MAKE_SYMLINK: _make_symlink,
    Op.MOUNT: _mount,
    Op.BIND: _bind,
    Op.CONSOLE: _console,
    Op.HOLD_MASKS: lambda step: (
        f"hold the host's {show(step.path)} and an empty tmpfs, to hide things behind"
    ),
    Op.PIVOT: lambda step: "pivot to the new root and detach the old one",
    Op.SET_HOSTNAME: lambda step: f"set the host name to {show(step.path)}",
    Op.LOOPBACK_UP: lambda step: "bring the loopback device up",
    Op.ROOT_READ_ONLY: lambda step: "make the root read-only",
    Op.MAKE_READ_ONLY: lambda step: f"make {show(step.path)} read-only{_conditions(step)}",
    Op.MASK: lambda step: f"hide {show(step.path)}{_conditions(step)}",
    Op.LOCK: lambda step: "lock the mounts in a second user and mount namespace",
    Op.CHANGE_DIRECTORY: lambda step: f"change to the directory {show(step.path)}",
    Op.LIMIT_CAPABILITIES: _limit_capabilities,
    Op.NO_NEW_PRIVILEGES: lambda step: "allow no new privileges",
    Op.SET_LIMIT: _set_limit,
    Op.SET_AFFINITY: lambda step: f"run on the processors {show(step.path)} alone",
    Op.NO_USER_NAMESPACES: lambda step: "allow no user namespaces below this one",
    Op.INSTALL_FILTER: lambda step: f"filter system calls: {step.path}",
    Op.REFUSE_SET_ID: lambda step: (
        "refuse "
        + " and ".join(
            words
            for bit, words in (
                (Refused.MODES, "set-id modes"),
                (Refused.ATTRIBUTES, "attributes of files"),
                (Refused.CAPABILITIES, "capabilities of files"),
            )
            if step.numbers[0] & bit
        )
    ),
}

_NAMES = {
    MountAttr.NO_SUID: "nosuid",
    MountAttr.NO_DEV: "nodev",
    MountAttr.NO_EXEC: "noexec",
    MountAttr.STRICT_ATIME: "strictatime",
    MountAttr.NO_ATIME: "noatime",
    MountAttr.NO_SYMFOLLOW: "nosymfollow",
}


def show(text: str) -> str:
    """*text* as it is if it is plain, else quoted with its odd characters escaped.

    Descriptions end up in terminals and logs; a file name may hold anything.
    """
    return text if text.isprintable() and " " not in text and text else ascii(text)


def _restrictions(attributes: MountAttr) -> list[str]:
    return [name for attribute, name in _NAMES.items() if attributes & attribute]


def _access(step: Step) -> tuple[str, str]:
    access = "read-only" if step.attributes & MountAttr.READ_ONLY else "writable"
    names = _restrictions(step.attributes)
    return access, f" ({', '.join(names)})" if names else ""


def _conditions(step: Step) -> str:
    words = ""
    if step.flags & StepFlag.OPTIONAL:
        words += ", if it exists"
    if step.flags & StepFlag.OPTIONAL_TARGET:
        words += ", if there is such a place"
    if step.flags & StepFlag.IGNORE_EPERM:
        words += ", if the kernel allows it"
    return words
