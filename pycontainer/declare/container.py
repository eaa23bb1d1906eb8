"""A container, declared as data: ``Container``, and what makes one from another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from attrs import evolve, field, frozen

from .arrangement import Item, arrange, check_arrangement
from .capabilities import ALL, capability_names, check_capabilities
from .checks import (
    ID_MAX,
    Problems,
    StrPath,
    check_flag,
    check_guest_path,
    check_size,
    check_text,
    encodable,
    guest_path,
    host_path,
    is_int,
    refuse,
    text_of,
)
from .masks import check_places, places_of
from .mounts import Mount
from .namespaces import NAMESPACES, check_namespaces, namespace_names
from .part import Part
from .record import HashedRecord

if TYPE_CHECKING:  # few containers have some, and a command line pays for every class
    from .filters import SeccompFilter
    from .limits import Limits
    from .options import ContainerChanges, ContainerOptions

__all__ = ["Container", "Environment", "extend", "to_container"]

Mounts: TypeAlias = "Iterable[Part | Iterable[Part]]"
"""What the front doors take: mounts and entries, and collections of them (one level deep)."""

HOSTNAME_MAX = 64
"""The longest host name in bytes: __NEW_UTS_LEN in the kernel's include/uapi/linux/utsname.h."""


class Environment(Mapping[str, str]):
    """Environment variables as an immutable, hashable mapping in the order of their names."""

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, StrPath]) -> None:
        texts = {name: text_of(value) for name, value in variables.items()}
        # A name that is no str is kept for the check to name it.
        self._variables: dict[str, str] = dict(sorted(texts.items(), key=_name_of))

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __hash__(self) -> int:
        return hash(tuple(self._variables.items()))

    def __repr__(self) -> str:
        return repr(self._variables)

    def __reduce__(self) -> tuple[Any, ...]:
        return Environment, (self._variables,)


def _name_of(variable: tuple[Any, Any]) -> str:
    return str(variable[0])


_NO_VARIABLES = Environment({})


def _environment_of(variables: Mapping[str, StrPath]) -> Environment:
    if isinstance(variables, Environment):
        return variables
    if isinstance(variables, Mapping):
        return Environment(variables) if variables else _NO_VARIABLES
    return variables  # reported by the check


def _rootfs_of(path: StrPath | None) -> str | None:
    return None if path is None else host_path(path)


def _size_of(size: int | str | None) -> str | None:
    return str(size) if is_int(size) else size  # type: ignore[return-value]


@frozen(eq=False, repr=False)
class Container(HashedRecord):
    """A container as data: frozen, hashable, picklable, and checked when it is made.

    Relative host paths (``rootfs`` and the sources of mounts) are taken from the current directory
    of the moment of construction.

    What depends on what: without "user" in *namespaces* (which takes real root) there is no lock,
    ids are the host's, and so are the capabilities, unless ``capabilities`` says otherwise: with
    them it can do what root can, but for set-id files below a writable bind; without "mnt" the
    container sees the host's file system, so mounts, ``rootfs`` and the root's options are refused;
    without "pid" there is no /proc by default; without "net" no /sys, no /etc/hosts and no loopback
    device to bring up; without "uts" a ``hostname`` is refused.

    Attributes:
        mounts: mounts and entries, in the order in which they are made; collections among them
            are flattened one level, so that ``[host_python(), bind("/srv")]`` works; what comes
            from a collection yields to what is given later for the same place, and to a later
            bind that shows the same there.  Equal ones count once.
        namespaces: the namespaces that are the container's own, from ``NAMESPACES``.
        rootfs: a directory of the host to use as the root; None for an empty tmpfs.
        writable_root: leave the root writable.  With ``rootfs``, the host's directory is.
        root_size: the bound of the tmpfs root: bytes, "64m" or "10%" of RAM; a tenth when None.
        default_files: whether there are /proc, /sys, a small /dev, /tmp and the files of /etc
            without asking; False leaves a root with nothing but *mounts*.
        hostname: at most 64 bytes.
        guest_uid, guest_gid: the ids that the function or program sees itself as.
        host_uids: how many ids are mapped, for users and for groups.  With one, it is
            ``guest_uid`` (``guest_gid``); with more, they are 0 to ``host_uids - 1`` inside, and
            ``guest_uid`` and ``guest_gid`` must be among them.
        host_uid_start, host_gid_start: the first id of the host that is mapped; None leaves
            the choice to pycontainer: an ordinary user is ``guest_uid``.  With more than one id its
            own as the first makes it the container's 0, before its subordinate ids.
        env: the whole environment; nothing is inherited.
        cwd: the directory to start in: absolute, in the container.
        lock_mounts: make it impossible to undo the mounts from inside.
        child_is_pid1: whether the function or program is process 1 itself or the child of a small
            init.  None: True for functions, False for programs.
        loopback_network: bring the loopback device up in a "net" namespace.
        capabilities: "all" that a user namespace grants, or names from capabilities(7), with or
            without ``CAP_``, in either case; kept as a frozenset of "CAP_…" names.
        ambient_capabilities: whether the *capabilities* that are named are ambient too, so that a
            program has them whatever its uid.  "all" never are: uid 0 has them without.
        no_new_privs: forbid set-id programs and file capabilities to raise privileges
            (PR_SET_NO_NEW_PRIVS of prctl(2)).
        seccomp: which system calls are allowed; None filters none.
        limits: what it may use; None is as much as the caller.
        set_id_files: let host root's container make set-id programs, and give files capabilities,
            in what it may write of the host; otherwise that is refused (an ordinary user's can make
            its own files set-id in any case).  For places that only root can get at: elsewhere such
            a program is every user's.
        readonly_paths: places in the container that are made read-only, with the mounts below
            them, when everything is mounted and a ``populate_filesystem`` hook has run; those that
            do not exist are passed over.
        masked_paths: places that are hidden then: a file behind /dev/null, a directory behind an
            empty read-only tmpfs; those that do not exist are passed over.

    Raises:
        ValueError: its message lists every bad field, a line each.
    """

    mounts: tuple[Item, ...] = field(default=(), converter=arrange)
    namespaces: frozenset[str] = field(default=NAMESPACES, converter=namespace_names, kw_only=True)
    rootfs: str | None = field(default=None, converter=_rootfs_of, kw_only=True)
    writable_root: bool = field(default=False, kw_only=True)
    root_size: str | None = field(default=None, converter=_size_of, kw_only=True)
    default_files: bool = field(default=True, kw_only=True)
    hostname: str = field(default="localhost", kw_only=True)
    guest_uid: int = field(default=0, kw_only=True)
    guest_gid: int = field(default=0, kw_only=True)
    host_uids: int = field(default=1, kw_only=True)
    host_uid_start: int | None = field(default=None, kw_only=True)
    host_gid_start: int | None = field(default=None, kw_only=True)
    env: Environment = field(default=_NO_VARIABLES, converter=_environment_of, kw_only=True)
    cwd: str = field(default="/", converter=guest_path, kw_only=True)
    lock_mounts: bool = field(default=True, kw_only=True)
    child_is_pid1: bool | None = field(default=None, kw_only=True)
    loopback_network: bool = field(default=True, kw_only=True)
    capabilities: str | frozenset[str] = field(
        default=ALL, converter=capability_names, kw_only=True
    )
    ambient_capabilities: bool = field(default=True, kw_only=True)
    no_new_privs: bool = field(default=True, kw_only=True)
    seccomp: SeccompFilter | None = field(default=None, kw_only=True)
    limits: Limits | None = field(default=None, kw_only=True)
    set_id_files: bool = field(default=False, kw_only=True)
    readonly_paths: tuple[str, ...] = field(default=(), converter=places_of, kw_only=True)
    masked_paths: tuple[str, ...] = field(default=(), converter=places_of, kw_only=True)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        check_namespaces(problems, self.namespaces)
        _check_root(problems, self)
        _check_names(problems, self)
        _check_identity(problems, self)
        _check_environment(problems, self.env)
        for name in (
            "lock_mounts",
            "loopback_network",
            "no_new_privs",
            "ambient_capabilities",
            "set_id_files",
        ):
            check_flag(problems, name, getattr(self, name))
        if self.child_is_pid1 is not None:
            check_flag(problems, "child_is_pid1", self.child_is_pid1)
        check_capabilities(problems, self.capabilities)
        if self.seccomp is not None or self.limits is not None:
            _check_bounds(problems, self)
        if self.readonly_paths:
            use = "writable_root=False makes it read-only"
            check_places(problems, "readonly_paths", self.readonly_paths, use)
        if self.masked_paths:
            check_places(problems, "masked_paths", self.masked_paths, "name what is to be hidden")
        check_arrangement(problems, self.mounts, _namespaces(self), self.rootfs, self.default_files)
        _check_settings(problems, self)
        refuse("container", problems)


def extend(
    container: Container,
    /,
    *mounts: Part | Iterable[Part],
    env: Mapping[str, StrPath] = _NO_VARIABLES,
    **changes: Unpack[ContainerChanges],
) -> Container:
    """*container* with *mounts* appended, *env* merged into its own, and other fields replaced.

    A new mount or entry takes the place of an old one at the same path.

    Raises:
        ValueError: listing every bad field of the result.
        TypeError: for a keyword that is no field of ``Container``.
    """
    everything: dict[str, Any] = dict(changes)
    if mounts:
        everything["mounts"] = (container.mounts, *mounts)
    if env:
        everything["env"] = {**container.env, **env}
    return evolve(container, **everything) if everything else container


def to_container(mounts: Mounts | Container, options: ContainerOptions) -> Container:
    """The container that a front door's *mounts* and ``**options`` declare.

    A ``Container`` given as *mounts* is extended with the options.
    """
    if isinstance(mounts, Container):
        return extend(mounts, **options) if options else mounts
    # A relative rootfs is another one in another directory.
    if isinstance(mounts, (list, tuple)) and "rootfs" not in options:
        # With their types, as True == 1, and one of the two is a mistake.
        given = tuple((name, type(value), value) for name, value in options.items())
        try:
            return _container_of(tuple(mounts), given)
        except TypeError:
            pass  # something in it cannot be hashed; or it is wrong, and that is said below
    return Container(mounts, **options)


@lru_cache(maxsize=32)
def _container_of(mounts: tuple[Any, ...], options: tuple[tuple[str, type, Any], ...]) -> Container:
    """Made once: callers repeat themselves, and the checks take as long as a few system calls."""
    return Container(mounts, **{name: value for name, _, value in options})


def _check_bounds(problems: Problems, container: Container) -> None:
    from .filters import SeccompFilter
    from .limits import Limits

    for name, kind in (("seccomp", SeccompFilter), ("limits", Limits)):
        value: Any = getattr(container, name)
        if value is not None and not isinstance(value, kind):
            problems.append(f"{name} must be a {kind.__name__} or None, not {value!r}")


def _check_root(problems: Problems, container: Container) -> None:
    check_flag(problems, "writable_root", container.writable_root)
    check_flag(problems, "default_files", container.default_files)
    if container.rootfs is not None and check_text(problems, "rootfs", container.rootfs):
        if container.rootfs == "/":
            problems.append("rootfs is '/'; bind what the container needs of it")
        if container.root_size is not None:
            problems.append("root_size is for the tmpfs root; with rootfs= there is none")
    if container.root_size is not None:
        check_size(problems, "root_size", container.root_size)
    if "mnt" not in _namespaces(container):
        for name, given in (
            ("mounts", container.mounts != ()),
            ("rootfs", container.rootfs is not None),
            ("writable_root", container.writable_root is True),
            ("root_size", container.root_size is not None),
            ("readonly_paths", container.readonly_paths != ()),
            ("masked_paths", container.masked_paths != ()),
        ):
            if given:
                problems.append(f"{name}: without the 'mnt' namespace the host's mounts are seen")
    check_guest_path(problems, "cwd", container.cwd)


def _check_names(problems: Problems, container: Container) -> None:
    hostname: Any = container.hostname
    if not check_text(problems, "hostname", hostname):
        return
    length = len(os.fsencode(hostname))
    if length > HOSTNAME_MAX:
        problems.append(f"hostname is {length} bytes long; the kernel takes {HOSTNAME_MAX}")
    if "\n" in hostname or "/" in hostname or " " in hostname:
        problems.append(f"hostname {hostname!r} contains a space, newline or slash")
    if hostname != "localhost" and "uts" not in _namespaces(container):
        problems.append("hostname needs the 'uts' namespace; without it the name is the host's")


def _check_identity(problems: Problems, container: Container) -> None:
    good = True
    for name in ("guest_uid", "guest_gid", "host_uid_start", "host_gid_start"):
        value: Any = getattr(container, name)
        if value is None and name.startswith("host"):
            continue
        if not is_int(value):
            problems.append(f"{name} must be an int, not {value!r}")
        elif not 0 <= value <= ID_MAX:
            problems.append(f"{name} {value} is outside 0 to {ID_MAX}")
        else:
            continue
        good = False
    count: Any = container.host_uids
    if not is_int(count):
        problems.append(f"host_uids must be an int, not {count!r}")
    elif not 1 <= count <= ID_MAX + 1:
        problems.append(f"host_uids {count} is outside 1 to {ID_MAX + 1}")
    elif good:
        _check_map(problems, container, count)


def _check_map(problems: Problems, container: Container, count: int) -> None:
    owned = "user" in _namespaces(container)
    for guest, start in (("guest_uid", "host_uid_start"), ("guest_gid", "host_gid_start")):
        wanted: int = getattr(container, guest)
        first: int | None = getattr(container, start)
        if count > 1 and wanted >= count:
            problems.append(f"{guest} {wanted} is not mapped: host_uids maps 0 to {count - 1}")
        if first is None:
            continue
        if first + count - 1 > ID_MAX:
            problems.append(f"{start} {first} and {count} ids go beyond the last id, {ID_MAX}")
        if not owned and first != (wanted if count == 1 else 0):
            problems.append(f"{start} {first}: without the 'user' namespace ids are the host's")


def _check_settings(problems: Problems, container: Container) -> None:
    """The kernel's settings in sysfs: host root's own id may write them, in any namespace."""
    if "user" in _namespaces(container) and container.host_uid_start != 0:
        return
    for item in container.mounts:
        if isinstance(item, Mount) and item.type == "sysfs" and item.writable:
            problems.append(
                f"sysfs at {item.target} is writable, and with the host's own root (host_uid_start "
                f"0, or no 'user' namespace) that changes the host: use sysfs({item.target!r})"
            )


def _check_environment(problems: Problems, env: Any) -> None:
    if not isinstance(env, Environment):
        problems.append(f"env must be a mapping of names to values, not {type(env).__name__}")
        return
    for name, value in env.items():
        if check_text(problems, "env: a name", name) and "=" in name:
            problems.append(f"env: name {name!r} contains '='")
        # The value itself may be a secret and stays out of the message.
        if not isinstance(value, str):
            problems.append(f"env: the value of {name!r} is a {type(value).__name__}, not a str")
        elif "\0" in value:
            problems.append(f"env: the value of {name!r} contains a NUL character")
        elif not encodable(value):
            problems.append(f"env: the value of {name!r} cannot be encoded")


def _namespaces(container: Container) -> frozenset[str]:
    """The namespaces, or all of them when they are not right themselves: one report is enough."""
    names: Any = container.namespaces
    return names if isinstance(names, frozenset) and names <= NAMESPACES else NAMESPACES
