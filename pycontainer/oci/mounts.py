"""Mounts of a container as the mounts of a config.json, and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..declare.container import Container
from ..declare.mounts import TMPFS_SIZE, Mount, Overlay
from ..plan.steps import MountAttr, Step

__all__ = [
    "COPY_UP",
    "Problems",
    "mount_of",
    "of_default",
    "of_mount",
    "of_overlay",
    "options_of",
    "owner_of",
]

Problems = list[str]
Owner = tuple[int, int]
"""The ids of the program in the container."""

COPY_UP = "tmpcopyup"
"""The word for a tmpfs that starts with what is below it, to runc and crun."""


_WORDS = {
    MountAttr.READ_ONLY: "ro",
    MountAttr.NO_SUID: "nosuid",
    MountAttr.NO_DEV: "nodev",
    MountAttr.NO_EXEC: "noexec",
    MountAttr.NO_SYMFOLLOW: "nosymfollow",
    MountAttr.STRICT_ATIME: "strictatime",
    MountAttr.NO_ATIME: "noatime",
}
_ATIME = {"strict": "strictatime", "none": "noatime"}

# What each word of config.md's table says about a Mount.
_MEANING: dict[str, tuple[str, Any]] = {
    "ro": ("writable", False),
    "rw": ("writable", True),
    "nosuid": ("nosuid", True),
    "suid": ("nosuid", False),
    "nodev": ("nodev", True),
    "dev": ("nodev", False),
    "noexec": ("noexec", True),
    "exec": ("noexec", False),
    "nosymfollow": ("nosymfollow", True),
    "symfollow": ("nosymfollow", False),
    "relatime": ("atime", "relative"),
    "strictatime": ("atime", "strict"),
    "noatime": ("atime", "none"),
}
# An "r" before them is for the mounts below as well, and so are all attributes of a bind here.
_MEANING.update({f"r{word}": meaning for word, meaning in tuple(_MEANING.items())})
_NO_EFFECT = {
    *("defaults", "private", "rprivate", "async", "loud", "noiversion", "nomand", "nolazytime"),
    *("atime", "diratime", "nostrictatime", "norelatime"),
    *("ratime", "rdiratime", "rnostrictatime", "rnorelatime"),
}
"""Words for what is so in every container here."""
_UNKNOWN = {
    *("sync", "dirsync", "mand", "silent", "iversion", "lazytime", "nodiratime", "rnodiratime"),
    *("shared", "rshared", "slave", "rslave", "unbindable", "runbindable", "remount"),
    *("idmap", "ridmap", "copy-symlink", COPY_UP),
}
"""Words of config.md that have no counterpart here."""


def owner_of(container: Container) -> Owner:
    """Who makes a container's files here: the program's user, but root without a user namespace,
    who gives up its ids last."""
    if "user" not in container.namespaces:
        return 0, 0
    return container.guest_uid, container.guest_gid


def options_of(mount: Mount) -> list[str]:
    """The attributes of *mount* in mount(8)'s words, those of a bind with an "r" before them.

    That says that they hold for the mounts below too, as they do here; and that no remount is
    needed, which an ordinary user may not do where the source has more attributes
    (mount_setattr(2), "locked").
    """
    prefix = "r" if mount.type == "bind" else ""
    words = [] if mount.writable else [f"{prefix}ro"]
    words += [
        prefix + name
        for name in ("nosuid", "nodev", "noexec", "nosymfollow")
        if getattr(mount, name)
    ]
    if mount.atime in _ATIME:
        words.append(prefix + _ATIME[mount.atime])
    return words


def _implied(options: Sequence[str], owner: Owner) -> list[str]:
    """What a tmpfs has here without being told, and elsewhere has not."""
    implied = {
        "size": TMPFS_SIZE,
        "mode": "1777",  # the kernel's own; runc takes what is below it
        "nr_inodes": "1m",  # pc_make_filesystem() of the helper
    }
    if owner != (0, 0):
        # Here the program's user mounts it; runtimes mount as the container's root.
        implied.update(uid=str(owner[0]), gid=str(owner[1]))
    given = {option.partition("=")[0] for option in options}
    return [f"{name}={value}" for name, value in implied.items() if name not in given]


def of_default(step: Step, owner: Owner) -> dict[str, Any]:
    """A mount of the default file system."""
    words = [word for attribute, word in _WORDS.items() if step.attributes & attribute]
    if step.other == "tmpfs":
        words += _implied(step.options, owner)
    return _mount(step.path, step.other, step.other, [*words, *step.options])


def of_mount(mount: Mount, owner: Owner) -> tuple[dict[str, Any], dict[str, Any]]:
    """A mount, and what a config.json has no word for."""
    more: dict[str, Any] = {}
    options = options_of(mount)
    if mount.optional:
        more["optional"] = True
    if mount.type == "bind":
        assert mount.source is not None
        kind = "rbind" if mount.recursive else "bind"
        if mount.device:
            more["device"] = True
        return _mount(mount.target, "bind", mount.source, [kind, "rprivate", *options]), more
    if not mount.recursive:
        more["recursive"] = False
    if any(map(_is_word, mount.options)):
        more["own"] = len(mount.options)  # the file system's, whatever they look like
    implied: list[str] = []
    if mount.type == "tmpfs":
        implied = _implied(mount.options, owner)
    if implied:
        more["implied"] = implied
    return _mount(mount.target, mount.type, mount.type, [*options, *implied, *mount.options]), more


def of_overlay(overlay: Overlay, number: int, userxattr: bool) -> tuple[dict[str, Any], Any]:
    """An overlay, and what a config.json has no word for.

    Arguments:
        number: which of the container's overlays.  One without an upper directory has one of the
            bundle's; ``write_bundle`` makes it.
    """
    more: dict[str, Any] = {"overlay": True}
    upper, work = overlay.upper, overlay.work
    if upper is None:
        more["upper"] = None
        upper, work = f"overlays/{number}/upper", f"overlays/{number}/work"
    options = [
        "nosuid",
        "nodev",
        f"lowerdir={':'.join(overlay.lower)}",
        f"upperdir={upper}",
        f"workdir={work}",
    ]
    if userxattr:
        options.append("userxattr")
    return _mount(overlay.target, "overlay", "overlay", options), more


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _is_word(option: str) -> bool:
    return option in _MEANING or option in _NO_EFFECT or option in _UNKNOWN or _is_bind(option)


def _is_bind(option: str) -> bool:
    return option in ("bind", "rbind")


def mount_of(
    problems: Problems,
    where: str,
    mount: dict[str, Any],
    more: dict[str, Any],
    bundle: str,
    cgroup: bool,
) -> Mount | Overlay | None:
    """The mount of an entry of a config.json's "mounts"; None where there are problems.

    Arguments:
        where: its JSON path, for the problems.
        more: what the annotations say about it.
        cgroup: cgroups are mounted as it says: the container has a cgroup namespace, or was a
            ``Container`` that declared them.
    """
    before = len(problems)
    target, kind = mount.get("destination"), mount.get("type", "")
    options = mount.get("options") or []
    if not isinstance(target, str):
        problems.append(f"{where}.destination: must be a str, not {target!r}")
    if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
        problems.append(f"{where}.options: must be a list of str, not {options!r}")
    problems += [
        f"{where}.{key}: not supported"
        for key in sorted(mount.keys() - {"destination", "type", "source", "options"})
    ]
    if len(problems) > before:
        return None
    assert isinstance(target, str)
    is_bind = kind == "bind" or ("own" not in more and any(map(_is_bind, options)))
    fields, own = _attributes(problems, where, options, more, is_bind)
    if len(problems) > before:
        return None
    if target[:1] != "/":
        target = f"/{target}"  # relative to the root: so older runtimes take it (config.md)
    try:
        if more.get("overlay"):
            return _overlay_of(target, own, more)
        if is_bind:
            return _bind_of(problems, where, target, mount, fields, own, more, bundle)
        if kind in ("cgroup", "cgroup2") and not cgroup:
            # The host's tree, less what is not the container's, takes a cgroup namespace.
            fields.update(writable=False)
            return Mount(target, "tmpfs", options=("size=4k", "mode=755"), **fields)
        name = {"cgroup": "cgroup2"}.get(kind, kind)
        return Mount(
            target,
            name,
            options=own,
            recursive=more.get("recursive", True),
            optional=more.get("optional", False),
            **fields,
        )
    except (ValueError, TypeError) as error:
        problems.append(f"{where}: {error}")
        return None


def _attributes(
    problems: Problems, where: str, options: list[str], more: dict[str, Any], is_bind: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields that *options* set, and those that are the file system's own."""
    fields: dict[str, Any] = {"writable": True, "nosuid": False, "nodev": False}
    number_own = more.get("own", 0)
    if not isinstance(number_own, int) or not 0 <= number_own <= len(options):
        problems.append(f"{where}.options: the annotation says that {number_own!r} are its own")
        number_own = 0
    words = options[: len(options) - number_own]
    implied = list(more.get("implied", ()))
    own = []
    for number, option in enumerate(words):
        if option in implied:
            implied.remove(option)
        elif option in _MEANING:
            name, value = _MEANING[option]
            fields[name] = value
        elif option in _UNKNOWN:
            problems.append(f"{where}.options[{number}]: {option!r} is not supported")
        elif option not in _NO_EFFECT and not (is_bind and _is_bind(option)):
            own.append(option)
    return fields, (*own, *options[len(words) :])


def _bind_of(
    problems: Problems,
    where: str,
    target: str,
    mount: dict[str, Any],
    fields: dict[str, Any],
    own: tuple[str, ...],
    more: dict[str, Any],
    bundle: str,
) -> Mount | None:
    source = mount.get("source")
    if not isinstance(source, str) or not source:
        problems.append(f"{where}.source: a bind needs one")
        return None
    problems += [f"{where}.options: {option!r} is not supported for a bind" for option in own]
    return Mount(
        target,
        "bind",
        os.path.join(bundle, source),
        recursive="rbind" in (mount.get("options") or []),
        optional=more.get("optional", False),
        device=more.get("device", False),
        **fields,
    )


def _overlay_of(target: str, own: tuple[str, ...], more: dict[str, Any]) -> Overlay:
    layers = dict(option.partition("=")[::2] for option in own if option != "userxattr")
    if layers.keys() != {"lowerdir", "upperdir", "workdir"}:
        raise ValueError(f"an overlay of these options is not supported: {', '.join(own)}")
    upper: str | None = layers["upperdir"]
    work: str | None = layers["workdir"]
    if "upper" in more:
        upper = work = None
    return Overlay(target, layers["lowerdir"].split(":"), upper, work)
