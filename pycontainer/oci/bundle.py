"""Bundles: a config.json and the root that goes with it, in a directory: ``write_bundle``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from ..declare.checks import parents
from ..declare.container import Container
from ..declare.entries import Directory, File, Symlink
from ..declare.mounts import Mount, Overlay
from ..plan.compile import compile
from ..plan.steps import Op
from .ids import caller_maps, outside
from .mounts import COPY_UP
from .program import located, view_of
from .spec import to_spec
from .state import write_file

__all__ = ["Bundle", "write_bundle"]


@frozen
class Bundle:
    """A bundle on disk.

    Attributes:
        path: its directory.
        spec: what its config.json holds.
    """

    path: str
    spec: dict[str, Any]

    def remove(self) -> None:
        """Remove it, and what a container has written into it.  Nothing outside is touched.

        Raises:
            OSError: it cannot be removed.
        """
        for parent, directories, _ in os.walk(self.path):
            for name in directories:
                # An overlay's scratch directory cannot be listed by its owner.
                with contextlib.suppress(OSError):
                    path = os.path.join(parent, name)
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
        shutil.rmtree(self.path)


def write_bundle(
    path: str | os.PathLike[str],
    container: Container,
    argv: Sequence[str | bytes | os.PathLike[Any]],
) -> Bundle:
    """Write the bundle of *container* and *argv*, for the caller to run on this host.

    It is ``to_spec``'s config.json, and: the host's ids that the caller has; optional binds if
    their source exists now; a program without a slash at its place, where no PATH says how to
    look for it; directories for the changes of overlays; and, for a container without a
    ``rootfs``, a root with the container's entries and a place for each mount.

    The directory has mode 700: files may hold secrets.  As root it belongs to the root of the
    container, like everything in it.

    Arguments:
        path: a directory to make; an empty one of the caller's is fine.

    Raises:
        OSError: it cannot be written; FileExistsError: there is something in it already.
        SetupError: the caller does not have the ids that the container asks for.
        ValueError: something cannot be said in a config.json, such as a path that is no UTF-8.
    """
    place = os.path.abspath(path)
    maps = caller_maps(container)
    spec = to_spec(container, argv, uid_map=maps[0], gid_map=maps[1])
    process = spec["process"]
    if "/" not in process["args"][0] and "PATH" not in container.env:
        process["args"][0] = located(container, process["args"][0])
    _leave_out_absent(container, spec)
    _plain_for_files(spec)
    _absolute_layers(container, spec, place)
    copied = _copied_up(container)
    for mount in spec["mounts"]:
        if mount["destination"] in copied:
            mount["options"].insert(0, COPY_UP)
    text = _encoded(spec)
    _make(place)
    try:
        owner = None
        if os.geteuid() == 0 and maps[0]:
            owner = outside(maps[0], container.guest_uid), outside(maps[1], container.guest_gid)
        made: list[str] = []
        if "mnt" in container.namespaces and container.rootfs is None:
            _write_root(os.path.join(place, "rootfs"), container, made)
        _write_overlays(place, container, made)
        if owner is not None:
            for one in made:
                os.chown(one, *owner, follow_symlinks=False)
            root = outside(maps[0], 0, owner[0]), outside(maps[1], 0, owner[1])
            os.chown(place, *root, follow_symlinks=False)
        config = os.path.join(place, "config.json")
        write_file(config, text, 0o600)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return Bundle(place, spec)


def _make(place: str) -> None:
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        found = os.lstat(place)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or os.listdir(place):
            raise
        os.chmod(place, 0o700)


def _encoded(spec: dict[str, Any]) -> bytes:
    try:
        return _text_of(spec).encode()
    except UnicodeEncodeError:
        places = ", ".join(_not_utf_8("", spec))
        raise ValueError(f"config.json is UTF-8, which these are not: {places}") from None


def _text_of(spec: dict[str, Any]) -> str:
    """JSON with a line for each member of a section: json's own indentation is slow."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    sections = []
    for name, value in spec.items():
        if isinstance(value, dict):
            rows = [f"  {encode(key)}: {encode(one)}" for key, one in value.items()]
            text = "{\n" + ",\n".join(rows) + "\n }"
        elif isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f"  {encode(one)}" for one in value) + "\n ]"
        else:
            text = encode(value)
        sections.append(f" {encode(name)}: {text}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _not_utf_8(where: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _not_utf_8(f"{where}.{key}" if where else key, one)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _not_utf_8(f"{where}[{number}]", one)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            yield where


def _leave_out_absent(container: Container, spec: dict[str, Any]) -> None:
    """Drop the mounts that have no source or, in a rootfs, no place."""
    absent = {
        item.target
        for item in container.mounts
        if isinstance(item, Mount)
        and item.optional
        and item.source is not None
        and not os.path.exists(item.source)
    }
    defaults = json.loads(spec["annotations"].get("org.pycontainer.defaults", "[]"))
    if container.rootfs is not None:
        view = view_of(container)
        free = {
            item.target for item in container.mounts if isinstance(item, Mount) and item.optional
        }
        free.update(defaults)
        made: set[str] = set()  # file systems of the container, in which places can be made
        for mount in spec["mounts"]:
            place = mount["destination"]
            if place in free and made.isdisjoint(parents(place)) and not view.has_place(place):
                absent.add(place)
                continue
            if mount["type"] == "tmpfs":
                made.add(place)
    if not absent:
        return
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] not in absent]
    left = [name for name in defaults if name not in absent]
    if left != defaults:
        spec["annotations"]["org.pycontainer.defaults"] = json.dumps(left)


def _plain_for_files(spec: dict[str, Any]) -> None:
    """Attributes of binds of files without the "r": crun opens the target as a directory for it.

    Then they are set by a remount, in which an ordinary user must name those that the source has.
    """
    for mount in spec["mounts"]:
        source = mount["source"]
        if mount["type"] != "bind" or not os.path.exists(source) or os.path.isdir(source):
            continue
        words = [_PLAIN.get(word, word) for word in mount["options"]]
        flags = os.statvfs(source).f_flag
        words += [word for bit, word in _LOCKED.items() if flags & bit and word not in words]
        mount["options"] = words


_PLAIN = {
    f"r{word}": word
    for word in ("ro", "nosuid", "nodev", "noexec", "nosymfollow", "noatime", "strictatime")
}
_LOCKED = {os.ST_NOSUID: "nosuid", os.ST_NODEV: "nodev", os.ST_NOEXEC: "noexec"}


def _absolute_layers(container: Container, spec: dict[str, Any], place: str) -> None:
    """Paths in an overlay's options are not relative to the bundle, whatever runs it."""
    if not any(isinstance(item, Overlay) and item.upper is None for item in container.mounts):
        return
    for character in ":,\\":
        if character in place:
            raise ValueError(f"{place!r} contains {character!r}, which no overlay's layer may")
    for mount in spec["mounts"]:
        if mount["type"] == "overlay":
            mount["options"] = [
                option.replace("dir=overlays/", f"dir={place}/overlays/", 1)
                if option.startswith(("upperdir=overlays/", "workdir=overlays/"))
                else option
                for option in mount["options"]
            ]


def _copied_up(container: Container) -> set[str]:
    """The tmpfs with entries in them: runtimes copy them there from the root.

    Raises:
        ValueError: there are some, and the root is a directory of the host.
    """
    if not any(isinstance(item, (Directory, File, Symlink)) for item in container.mounts):
        return set()
    tmpfs = {step.path for step in compile(container).steps if step.op is Op.MOUNT}
    found: set[str] = set()
    for item in container.mounts:
        if isinstance(item, (Mount, Overlay)):
            continue
        # All that are above it: what lies in the root is hidden by the outermost.
        above = tmpfs.intersection(parents(item.path))
        if above and container.rootfs is not None:
            raise ValueError(
                f"{item.path} lies in a tmpfs over rootfs, where no runtime makes it: use a bind"
            )
        found |= above
    return found


def _write_root(root: str, container: Container, made: list[str]) -> None:
    """The root's directories, files, links and places for mounts."""
    os.mkdir(root)
    os.chmod(root, 0o755)
    made.append(root)
    known = {"/"}
    kinds = {
        item.target: item for item in container.mounts if isinstance(item, Mount) and item.source
    }
    below: list[str] = []  # what is mounted so far: there, only entries are made
    own = {item.path for item in container.mounts if isinstance(item, (Directory, File, Symlink))}
    needed = own.union(*(parents(path) for path in own))

    def directory(path: str, mode: int = 0o755) -> None:
        if path in known:
            return
        directory(os.path.dirname(path))
        os.mkdir(root + path)
        os.chmod(root + path, mode)
        made.append(root + path)
        known.add(path)

    for step in compile(container).steps:
        path = step.path
        if step.op is Op.PIVOT:
            break
        if step.op not in _FILES:
            continue
        if path not in needed and any(one in below for one in parents(path)):
            continue  # the runtime makes it
        if step.op is Op.MAKE_DIRECTORY:
            directory(path, step.mode)
            continue
        directory(os.path.dirname(path))
        if step.op is Op.WRITE_FILE:
            write_file(root + path, step.content or b"", step.mode)
            made.append(root + path)
        elif step.op is Op.MAKE_SYMLINK:
            os.symlink(step.other, root + path)
            made.append(root + path)
        elif step.op is Op.BIND and path in kinds:
            if os.path.isdir(step.other):
                directory(path)
            elif path not in known and os.path.exists(step.other):
                write_file(root + path, b"", 0o644)
                made.append(root + path)
            known.add(path)
            below.append(path)
        elif step.op is Op.MOUNT:
            directory(path, _mode_of(step.options) if step.other == "tmpfs" else 0o755)
            below.append(path)


def _mode_of(options: Sequence[str]) -> int:
    """What a tmpfs's root gets, for runtimes copy the mode up too."""
    modes = [option[5:] for option in options if option.startswith("mode=")]
    return int(modes[-1], 8) if modes else 0o1777


_FILES = (Op.MAKE_DIRECTORY, Op.WRITE_FILE, Op.MAKE_SYMLINK, Op.BIND, Op.MOUNT)


def _write_overlays(place: str, container: Container, made: list[str]) -> None:
    """Directories for the changes of overlays that have none of their own."""
    overlays = [item for item in container.mounts if isinstance(item, Overlay)]
    for number, overlay in enumerate(overlays):
        if overlay.upper is None:
            top = os.path.join(place, "overlays")
            new = [top, f"{top}/{number}", f"{top}/{number}/upper", f"{top}/{number}/work"]
            for one in new if top not in made else new[1:]:
                os.mkdir(one, 0o755)
                made.append(one)
