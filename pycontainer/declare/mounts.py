"""Mounts of a container: what is seen where, and how.

``bind``, ``tmpfs``, ``overlay``, ``device``, ``proc``, ``sysfs``, ``devpts`` and ``mqueue`` are the
usual ones; ``Mount`` spells out any other file system that may be mounted in a user namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from attrs import Factory, field, frozen

from .checks import (
    Problems,
    StrPath,
    check_flag,
    check_guest_path,
    check_size,
    check_text,
    guest_path,
    host_path,
    refuse,
)
from .part import Part

__all__ = [
    "AnyMount",
    "Mount",
    "Overlay",
    "bind",
    "device",
    "devpts",
    "mqueue",
    "overlay",
    "proc",
    "sysfs",
    "tmpfs",
]

TMPFS_SIZE = "10%"
"""The bound of a tmpfs for which none is given: a tenth of RAM (the kernel's own is a half)."""


def _options_of(options: Iterable[str]) -> tuple[str, ...]:
    if isinstance(options, (str, bytes)):
        return options  # type: ignore[return-value]
    try:
        return tuple(options)
    except TypeError:
        return options  # type: ignore[return-value]


def _source_of(source: StrPath | None) -> str | None:
    return None if source is None else host_path(source)


@frozen(eq=False, repr=False)
class Mount(Part):
    """One mount, spelled out.  The functions of this module make the usual ones.

    Attributes:
        target: where it is seen: absolute, in the container.
        type: ``"bind"``, or a file system of the kernel, such as ``"tmpfs"`` (/proc/filesystems).
        source: for a bind, the file or directory of the host; made absolute at construction.
        options: the file system's own options, ``"key=value"`` or ``"key"`` each, as in its manual
            page (tmpfs(5), proc(5) …).  A tmpfs without ``size=`` is held to a tenth of RAM.
        writable: default True, but False for a bind.
        recursive: for a bind, bring the mounts below the source along.
        optional: leave the mount out when its source does not exist, or when its target does not
            and lies where nothing may be created (in a bind or in ``rootfs``).
        nosuid, nodev, noexec, nosymfollow: as in mount(8).
        atime: when access times are written: ``"relative"``, ``"strict"`` or ``"none"``.
        device: for a bind, insist that the source is a character device.

    Raises:
        ValueError: naming every bad field.
    """

    target: str = field(converter=guest_path)
    type: str
    source: str | None = field(default=None, converter=_source_of)
    options: tuple[str, ...] = field(default=(), converter=_options_of, kw_only=True)
    writable: bool = field(
        default=Factory(lambda self: self.type != "bind", takes_self=True), kw_only=True
    )
    recursive: bool = field(default=True, kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    nosuid: bool = field(default=True, kw_only=True)
    nodev: bool = field(default=True, kw_only=True)
    noexec: bool = field(default=False, kw_only=True)
    nosymfollow: bool = field(default=False, kw_only=True)
    atime: Literal["relative", "strict", "none"] = field(default="relative", kw_only=True)
    device: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_target(problems, self.target, self.type)
        if check_text(problems, "type", self.type):
            if self.type == "bind":
                self._check_bind(problems)
            else:
                self._check_file_system(problems)
        for name in _FLAGS:
            check_flag(problems, name, getattr(self, name))
        if self.atime not in ("relative", "strict", "none"):
            problems.append(f"atime must be 'relative', 'strict' or 'none', not {self.atime!r}")
        refuse("mount" if problems and not isinstance(self.type, str) else self.type, problems)

    def _check_bind(self, problems: Problems) -> None:
        if self.source is None:
            problems.append("source is missing: a bind shows a file or directory of the host")
        else:
            check_text(problems, "source", self.source)
        if self.options != ():
            problems.append(f"options {self.options!r} are for file systems; a bind has none")
        if self.device is True and self.nodev is True:
            problems.append("nodev=True would make the device useless; say nodev=False")

    def _check_file_system(self, problems: Problems) -> None:
        if self.source is not None:
            problems.append(f"source is for binds; a {self.type} has none")
        if self.device is True:
            problems.append(f"device is for binds, not for a {self.type}")
        if not isinstance(self.options, tuple):
            problems.append(f"options must be a sequence of str, not {self.options!r}")
            return
        for option in self.options:
            if check_text(problems, "option", option):
                if "\n" in option:
                    problems.append(f"option {option!r} contains a newline")
                elif self.type == "tmpfs":
                    _check_tmpfs_option(problems, option)


_FLAGS = (
    "writable",
    "recursive",
    "optional",
    "nosuid",
    "nodev",
    "noexec",
    "nosymfollow",
    "device",
)


def _layers_of(lower: StrPath | Iterable[StrPath]) -> tuple[str, ...]:
    if isinstance(lower, (str, bytes, os.PathLike)):
        return (host_path(lower),)
    try:
        return tuple(host_path(layer) for layer in lower)
    except TypeError:
        return lower  # type: ignore[return-value]


@frozen(eq=False, repr=False)
class Overlay(Part):
    """Directories of the host laid over each other; see ``overlay``.

    Attributes:
        target: where it is seen: absolute, in the container.
        lower: the read-only layers, the uppermost first.
        upper: the directory that takes the changes, or None for a tmpfs that ends with the
            container.
        work: the kernel's scratch directory for ``upper``.
    """

    target: str = field(converter=guest_path)
    lower: tuple[str, ...] = field(converter=_layers_of)
    upper: str | None = field(default=None, converter=_source_of)
    work: str | None = field(default=None, converter=_source_of)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_target(problems, self.target, "overlay")
        if not isinstance(self.lower, tuple):
            problems.append(f"lower must be a path or a sequence of paths, not {self.lower!r}")
        elif not self.lower:
            problems.append("lower is empty: an overlay needs a directory to lie on")
        else:
            for layer in self.lower:
                _check_layer(problems, "lower", layer)
        if self.upper is not None:
            _check_layer(problems, "upper", self.upper)
        if self.work is not None:
            _check_layer(problems, "work", self.work)
        if self.upper is not None and self.work is None:
            problems.append("upper needs work=, an empty directory on the same file system")
        if self.upper is None and self.work is not None:
            problems.append("work is of use only with upper=")
        refuse("overlay", problems)


AnyMount: TypeAlias = Mount | Overlay


def bind(
    source: StrPath,
    target: StrPath | None = None,
    *,
    writable: bool = False,
    recursive: bool = True,
    optional: bool = False,
    nosuid: bool = True,
    nodev: bool = True,
    noexec: bool = False,
) -> Mount:
    """Show a file or directory of the host in the container, read-only unless *writable*.

    Arguments:
        source: on the host; a relative path is taken from the current directory of this moment.
        target: absolute, in the container; *source* (made absolute) when None.
        writable: let the container write to it, so that the host sees the changes.
        recursive: bring the mounts below *source* along, with the same restrictions.
        optional: leave it out when *source* does not exist.
        nosuid, nodev, noexec: as in mount(8).

    Raises:
        ValueError: naming every bad argument.
    """
    absolute = host_path(source)
    return Mount(
        absolute if target is None else target,
        "bind",
        absolute,
        writable=writable,
        recursive=recursive,
        optional=optional,
        nosuid=nosuid,
        nodev=nodev,
        noexec=noexec,
    )


def tmpfs(target: StrPath, *, size: int | str | None = None, mode: int = 0o755) -> Mount:
    """An empty, writable file system in memory, gone with the container (nosuid, nodev).

    Arguments:
        target: absolute, in the container.
        size: its bound: bytes, ``"64m"``, ``"1g"`` or a percentage of RAM; a tenth when None.
        mode: permission bits of its root.

    Raises:
        ValueError: naming every bad argument.
    """
    octal = f"{mode:o}" if isinstance(mode, int) else mode
    return Mount(
        target,
        "tmpfs",
        options=(f"size={TMPFS_SIZE if size is None else size}", f"mode={octal}"),
    )


def overlay(
    lower: StrPath | Iterable[StrPath],
    target: StrPath | None = None,
    *,
    upper: StrPath | None = None,
    work: StrPath | None = None,
) -> Overlay:
    """Show directories of the host as if they were writable.

    Without *upper*, changes go to a tmpfs (a tenth of RAM) and end with the container; with it
    they stay in *upper*.  Mounts below a layer are not shown: an overlay does not cross them
    (Documentation/filesystems/overlayfs.rst).

    Arguments:
        lower: a directory, or several with the uppermost first.
        target: absolute, in the container; *lower* (made absolute) when None.
        upper: a directory of the host that takes the changes.
        work: with *upper*, an empty directory on the same file system, for the kernel's use.

    Raises:
        ValueError: naming every bad argument.
    """
    if target is None:
        layers = _layers_of(lower)
        if not isinstance(layers, tuple) or len(layers) != 1:
            raise ValueError("overlay: several lower directories need a target")
        target = layers[0]
    return Overlay(target, lower, upper, work)


def device(source: StrPath) -> Mount:
    """Show a character device of the host at the same place, such as ``/dev/fuse``.

    The mount is read-only, nosuid and noexec: that forbids changing the node's owner and mode,
    not writing to the device (do_dentry_open() in the kernel's fs/open.c asks special files for
    no write access to their mount).

    Arguments:
        source: on the host; anything but a character device is an error when the container starts.

    Raises:
        ValueError: naming every bad argument.
    """
    path = host_path(source)
    return Mount(path, "bind", path, recursive=False, nodev=False, noexec=True, device=True)


def proc(target: StrPath = "/proc") -> Mount:
    """The proc file system of the container's own pid namespace (nosuid, nodev, noexec).

    A container with a "pid" namespace has one at /proc without asking.
    """
    return Mount(target, "proc", noexec=True)


def sysfs(target: StrPath = "/sys") -> Mount:
    """A read-only sysfs (nosuid, nodev, noexec) that shows the container's own network devices.

    A container with a "net" namespace has one at /sys without asking.
    """
    return Mount(target, "sysfs", writable=False, noexec=True)


def devpts(target: StrPath = "/dev/pts") -> Mount:
    """A pseudo-terminal file system of the container's own (nosuid, noexec; devpts(5)).

    Every container with a "mnt" namespace has one at /dev/pts without asking.
    """
    options = ("newinstance", "ptmxmode=0666", "mode=0620")
    return Mount(target, "devpts", options=options, nodev=False, noexec=True)


def mqueue(target: StrPath = "/dev/mqueue") -> Mount:
    """The POSIX message queues of the container's "ipc" namespace as files (mq_overview(7))."""
    return Mount(target, "mqueue", noexec=True)


def _check_target(problems: Problems, target: Any, kind: Any) -> None:
    if check_guest_path(problems, "target", target) and target == "/":
        hint = {"bind": "; say rootfs=", "tmpfs": "; say root_size= and writable_root="}
        problems.append(f"target is '/', the container's root{hint.get(kind, '')}")


def _check_layer(problems: Problems, name: str, layer: Any) -> None:
    if not check_text(problems, name, layer):
        return
    if any(character in layer for character in ":,\\\n"):
        # They separate layers and options in the kernel's own syntax (overlayfs.rst).
        problems.append(f"{name} {layer!r} contains ':', ',', a backslash or a newline")


def _check_tmpfs_option(problems: Problems, option: str) -> None:
    key, _, value = option.partition("=")
    if key == "size":
        check_size(problems, "size", value)
    elif key == "mode" and not (0 < len(value) <= 4 and set(value) <= set("01234567")):
        problems.append(f"mode {value!r} is not made of permission bits, 0 to 0o7777")
