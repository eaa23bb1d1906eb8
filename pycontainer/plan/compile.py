"""From a container to its plan: the steps in their order.

Pure: the host is never asked, so that the same container has the same plan everywhere.  That is
why nothing is made where the plan cannot tell what is there: below a bind or in ``rootfs`` a
target must exist, and the kernel says ENOENT where it does not.
"""

from __future__ import annotations

from functools import lru_cache

from ..declare.arrangement import Item, place_of
from ..declare.capabilities import ALL, capability_mask
from ..declare.checks import parents
from ..declare.container import Container
from ..declare.entries import Directory, File, Symlink
from ..declare.mounts import Mount, Overlay
from .bounds import bound_steps
from .defaults import NULL_NUMBER, TMPFS_SIZE, default_steps
from .plan import Plan
from .steps import MountAttr, Op, Step, StepFlag

__all__ = ["Plan", "compile", "explain", "kept_defaults", "kernel_places"]

_RECURSIVE = int(StepFlag.RECURSIVE)
_OPTIONAL = int(StepFlag.OPTIONAL)
_OPTIONAL_TARGET = int(StepFlag.OPTIONAL_TARGET)
_CREATE_TARGET = int(StepFlag.CREATE_TARGET)
_DEVICE = int(StepFlag.DEVICE)
_READ_ONLY = int(MountAttr.READ_ONLY)
_NO_SUID = int(MountAttr.NO_SUID)
_NO_DEV = int(MountAttr.NO_DEV)
_NO_EXEC = int(MountAttr.NO_EXEC)
_NO_SYMFOLLOW = int(MountAttr.NO_SYMFOLLOW)
_ATIME = {
    "relative": 0,
    "strict": int(MountAttr.STRICT_ATIME),
    "none": int(MountAttr.NO_ATIME),
}


def explain(container: Container) -> str:
    """What starting *container* would do, in words, step by step.  Nothing is started.

    The text is for readers; do not parse it.
    """
    return compile(container).explain()


@lru_cache(maxsize=256)
def compile(container: Container) -> Plan:  # noqa: A001 - re.compile has set the habit
    """The plan of *container*.  The plan of an equal container is the same object."""
    names = container.namespaces
    steps = _identity(container)
    if "mnt" in names:
        steps.append(Step(Op.MAKE_PRIVATE))
        steps.append(_root(container))
        steps += _files(container)
        if container.masked_paths:
            # While names are the host's: what masks a file must not come from the container.
            steps.append(Step(Op.HOLD_MASKS, "/dev/null", numbers=(NULL_NUMBER,)))
        steps.append(Step(Op.PIVOT))
    if "uts" in names:
        steps.append(Step(Op.SET_HOSTNAME, container.hostname))
    if "net" in names and container.loopback_network:
        steps.append(Step(Op.LOOPBACK_UP))
    hook = len(steps)
    if "mnt" in names:
        if container.rootfs is None and not container.writable_root:
            steps.append(Step(Op.ROOT_READ_ONLY))
        # A place may be made read-only and something in it be masked, and not the other way round.
        steps += [
            Step(Op.MAKE_READ_ONLY, path, flags=_OPTIONAL_TARGET)
            for path in container.readonly_paths
        ]
        steps += [Step(Op.MASK, path, flags=_OPTIONAL_TARGET) for path in container.masked_paths]
        if "user" in names and container.lock_mounts:
            steps.append(Step(Op.LOCK))
    filters: list[Step] = []
    if container.seccomp is not None:
        from .layers import filter_steps, refuses  # few have one

        filters = filter_steps(container.seccomp)
        if "user" in names and refuses(container.seccomp, "unshare"):
            steps.append(Step(Op.NO_USER_NAMESPACES))
    if "user" not in names:
        # Root's own ids: to give them up gives up the capabilities that the steps before need, and
        # where sets of capabilities are to be cut, that takes them.
        ids = (container.guest_uid, container.guest_gid)
        cut = container.capabilities != ALL
        steps.append(Step(Op.BECOME, numbers=(*ids, 1) if cut else ids))
    steps.append(Step(Op.CHANGE_DIRECTORY, container.cwd))
    limited = []
    if container.capabilities != ALL:
        mask = capability_mask(container.capabilities)
        numbers = (mask,) if container.ambient_capabilities else (mask, 1)
        limited.append(Step(Op.LIMIT_CAPABILITIES, numbers=numbers))
    if container.no_new_privs:
        steps += (*limited, Step(Op.NO_NEW_PRIVILEGES))
    elif not filters:
        steps += limited
    start = len(steps)
    steps += bound_steps(container.limits)
    steps += filters
    if filters and not container.no_new_privs:
        # Without no_new_privs a filter takes CAP_SYS_ADMIN (seccomp(2)).
        steps += limited
    return Plan(tuple(steps), hook, start, container.seccomp)


def _identity(container: Container) -> list[Step]:
    uid, gid, count = container.guest_uid, container.guest_gid, container.host_uids
    steps = []
    if "user" in container.namespaces:
        # Several ids are mapped from 0 on, so that the usual ones are among them.
        first = (uid, gid) if count == 1 else (0, 0)
        steps.append(Step(Op.MAP_IDS, numbers=(*first, count)))
        steps.append(Step(Op.BECOME, numbers=(uid, gid)))
    steps.append(Step(Op.NEW_KEYRING))
    return steps


def _root(container: Container) -> Step:
    if container.rootfs is None:
        return Step(Op.ROOT_TMPFS, container.root_size or TMPFS_SIZE, mode=0o755)
    # Read-only from the start, mounts below it included: the populate hook must not write to the
    # host either, and ROOT_READ_ONLY would reach the topmost mount alone.
    attributes = _NO_DEV | (0 if container.writable_root else _READ_ONLY)
    return Step(Op.ROOT_DIRECTORY, container.rootfs, flags=_RECURSIVE, numbers=(attributes,))


def _files(container: Container) -> list[Step]:
    """What is left of the default file system, then the container's own mounts and entries."""
    ground = _Ground(container)
    items = container.mounts
    # /dev, /tmp and the like need not exist in a rootfs; without them their contents fall away.
    condition = 0 if container.rootfs is None else _OPTIONAL_TARGET
    for step in kept_defaults(container):
        ground.default(step, condition)
    for item in items:
        if isinstance(item, Mount):
            ground.mount(item)
        elif isinstance(item, Overlay):
            ground.overlay(item, userxattr="user" in container.namespaces)
        else:
            ground.entry(item)
    return ground.steps + _kernel_masks(container)


def kept_defaults(container: Container) -> list[Step]:
    """The steps of the default file system, less what the container's own mounts replace."""
    if not container.default_files:
        return []
    items = container.mounts
    covers = {place_of(item) for item in items if not isinstance(item, Directory)}
    places = {place_of(item) for item in items}
    above = _all_parents(places)
    return [
        step
        for step in default_steps(container)
        if step.path not in places
        and covers.isdisjoint(parents(step.path))
        # Else something of the container's own needs a directory there.
        and (step.path not in above or step.op is Op.MOUNT)
    ]


def kernel_places(container: Container) -> list[str]:
    """The kernel's settings that are read-only in a container that holds host root's own id.

    The kernel lets uid 0 of the host write most of them whatever its capabilities
    (kernel/sysctl.c, net/sysctl_net.c); with any other id their modes forbid it.
    """
    start = container.host_uid_start
    if "mnt" not in container.namespaces or ("user" in container.namespaces and start != 0):
        return []
    places = [
        item.target for item in container.mounts if type(item) is Mount and item.type == "proc"
    ]
    if "/proc" not in places:  # the default one, or a bind of the host's
        places.append("/proc")
    return [f"{place}/{name}" for place in places for name in _KERNEL_SETTINGS]


def _kernel_masks(container: Container) -> list[Step]:
    """Read-only binds of ``kernel_places()`` over themselves."""
    attributes = int(MountAttr.READ_ONLY | MountAttr.NO_SUID | MountAttr.NO_DEV | MountAttr.NO_EXEC)
    flags = int(StepFlag.INSIDE | StepFlag.OPTIONAL | StepFlag.OPTIONAL_TARGET)
    return [
        Step(Op.BIND, path, path, flags=flags, numbers=(attributes,))
        for path in kernel_places(container)
    ]


_KERNEL_SETTINGS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")


def _all_parents(places: set[str]) -> set[str]:
    above: set[str] = set()
    for place in places:
        for directory in parents(place):
            if directory in above:
                break
            above.add(directory)
    return above


class _Ground:
    """The tree as far as it is built: which directories are there, and on whose file system."""

    def __init__(self, container: Container) -> None:
        self.steps: list[Step] = []
        self._modes = {item.path: item.mode for item in container.mounts if type(item) is Directory}
        # Directories on file systems of the container, in which things can be made, and places
        # where something of the host or the kernel begins, in which they cannot.
        self._own: set[str] = set()
        self._foreign: set[str] = set()
        (self._own if container.rootfs is None else self._foreign).add("/")

    def default(self, step: Step, condition: int) -> None:
        """Add a step of the default file system."""
        flags = step.flags | condition
        if self._reach(step.path) and step.op in (Op.MOUNT, Op.BIND, Op.CONSOLE):
            flags |= _CREATE_TARGET
        if flags != step.flags:
            step = _with_flags(step, flags)
        self.steps.append(step)
        if step.op is Op.MOUNT:
            self._lay(step.path, own=step.other == "tmpfs")

    def mount(self, mount: Mount) -> None:
        """Add a mount of the container's own."""
        flags = _OPTIONAL if mount.optional else 0
        if self._reach(mount.target):
            flags |= _CREATE_TARGET
        elif mount.optional:
            flags |= _OPTIONAL_TARGET
        attributes = (
            (0 if mount.writable else _READ_ONLY)
            | (mount.nosuid and _NO_SUID)
            | (mount.nodev and _NO_DEV)
            | (mount.noexec and _NO_EXEC)
            | (mount.nosymfollow and _NO_SYMFOLLOW)
            | _ATIME[mount.atime]
        )
        if mount.type == "bind":
            if mount.recursive:
                flags |= _RECURSIVE
            if mount.device:
                flags |= _DEVICE
            step = Step(
                Op.BIND, mount.target, mount.source or "", flags=flags, numbers=(attributes,)
            )
        else:
            options = mount.options
            if mount.type == "tmpfs" and not any(o.startswith("size=") for o in options):
                options = (f"size={TMPFS_SIZE}", *options)
            step = Step(
                Op.MOUNT, mount.target, mount.type, options, flags=flags, numbers=(attributes,)
            )
        self.steps.append(step)
        self._lay(mount.target, own=mount.type == "tmpfs" and mount.writable)

    def overlay(self, overlay: Overlay, userxattr: bool) -> None:
        """Add an overlay, on a tmpfs for its changes where it has no upper directory."""
        target = overlay.target
        flags = _CREATE_TARGET if self._reach(target) else 0
        attributes = (_NO_SUID | _NO_DEV,)
        if overlay.upper is None:
            # The overlay is laid over the very tmpfs that takes its changes.  Its layers are binds
            # there, so that they can be idmapped and their names may be as long as they are.
            size = (f"size={TMPFS_SIZE}", "mode=755")
            lower = [f"lower{number}" for number in range(len(overlay.lower))]
            self.steps += (
                Step(Op.MOUNT, target, "tmpfs", size, flags=flags, numbers=attributes),
                Step(Op.MAKE_DIRECTORY, f"{target}/upper", mode=0o755),
                Step(Op.MAKE_DIRECTORY, f"{target}/work", mode=0o755),
                *(
                    Step(
                        Op.BIND,
                        f"{target}/{name}",
                        source,
                        flags=_CREATE_TARGET,
                        numbers=(_READ_ONLY | _NO_SUID | _NO_DEV,),
                    )
                    for name, source in zip(lower, overlay.lower, strict=True)
                ),
            )
            flags = 0
            layers = [f"lowerdir={':'.join(lower)}", "upperdir=upper", "workdir=work"]
        else:
            # The kernel wants both of these on one mount (ovl_get_workdir() in
            # fs/overlayfs/super.c), which two binds are not.
            layers = [
                f"lowerdir={':'.join(overlay.lower)}",
                f"upperdir={overlay.upper}",
                f"workdir={overlay.work}",
            ]
        if userxattr:
            # trusted.* attributes are beyond a user namespace (overlayfs.rst, "userxattr").
            layers.append("userxattr")
        self.steps.append(
            Step(Op.MOUNT, target, "overlay", tuple(layers), flags=flags, numbers=attributes)
        )
        self._lay(target, own=False)

    def entry(self, entry: Item) -> None:
        """Add a directory, file or symbolic link."""
        if isinstance(entry, Directory):
            if self._reach(entry.path) and entry.path not in self._own:
                self._make(entry.path)
        elif isinstance(entry, File):
            self._reach(entry.path)
            self.steps.append(
                Step(Op.WRITE_FILE, entry.path, content=entry.content, mode=entry.mode)
            )
        elif isinstance(entry, Symlink):
            self._reach(entry.path)
            self.steps.append(Step(Op.MAKE_SYMLINK, entry.path, entry.to))

    def _reach(self, path: str) -> bool:
        """Make the directories above *path* that are missing; whether *path* can be made."""
        missing: list[str] = []
        for directory in parents(path):
            if directory in self._own:
                break
            if directory in self._foreign:
                return False
            missing.append(directory)
        for directory in reversed(missing):
            self._make(directory)
        return True

    def _make(self, path: str) -> None:
        mode = self._modes.get(path, 0o755)
        self.steps.append(Step(Op.MAKE_DIRECTORY, path, mode=mode))
        self._own.add(path)

    def _lay(self, path: str, own: bool) -> None:
        self._own.discard(path)
        self._foreign.discard(path)
        (self._own if own else self._foreign).add(path)


def _with_flags(step: Step, flags: int) -> Step:
    return Step(
        step.op, step.path, step.other, step.options, step.content, step.mode, flags, step.numbers
    )
