"""A config.json as a container and a command: ``from_spec``."""

from __future__ import annotations

import json
import os
from typing import Any

from attrs import evolve

from ..declare.checks import refuse
from ..declare.container import Container
from ..declare.entries import Entry, Symlink
from ..declare.mounts import Mount, Overlay, device
from ..plan.compile import kept_defaults, kernel_places
from ..plan.steps import Op
from .annotations import KEYS, PLAIN, PREFIX, VERSION, entry_of, is_of_kind
from .fields import Fields, lines_of
from .mounts import COPY_UP, mount_of, of_default, owner_of
from .reading_process import read_limits, read_process
from .spec import NAMESPACES, Extent, mappings

__all__ = ["from_spec", "read_config"]


def read_config(bundle: str | os.PathLike[str]) -> dict[str, Any]:
    """What the config.json of the bundle in a directory holds.

    Raises:
        OSError: it cannot be read.  ValueError: it is no JSON object.
    """
    path = os.path.join(os.fspath(bundle), "config.json")
    with open(path, encoding="utf-8") as file:
        try:
            spec = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{path}: must be an object, not {spec!r}")
    return spec


def from_spec(
    spec: dict[str, Any], *, bundle: str | os.PathLike[str] = ".", terminal: bool = False
) -> tuple[Container, list[str]]:
    """The container that a config.json describes, and the command to run in it.

    Pure: the host is not asked.  A config.json that ``to_spec`` made gives back its container.
    Another's gives one without default files of our own: its mounts, and the devices and links
    that every OCI runtime adds to /dev.

    What is stricter here than there: a read-only bind is read-only with the mounts below it; all
    mounts are locked; capabilities are inheritable where a runtime leaves that out; core dumps are
    off.  Where there is no cgroup namespace a "cgroup" mount is an empty directory.

    Arguments:
        spec: what json.load() makes of a config.json.
        bundle: the directory that relative paths in it are in.
        terminal: the caller gives the program a terminal, so that "process.terminal" may be true.

    Raises:
        ValueError: its message lists everything that is wrong or not supported, a line each, with
            its JSON path.
    """
    problems: list[str] = []
    top = Fields(problems, "", spec)
    version = top.take("ociVersion", str, "")
    if not version.startswith("1."):
        problems.append(f"ociVersion: {version!r} is not supported: 1.x is")
    notes = _notes(problems, top.take("annotations", dict, {}))
    ours = "version" in notes
    fields: dict[str, Any] = {name: notes[name] for name in PLAIN if name in notes}
    if not ours:
        fields.update(default_files=False, child_is_pid1=True)
    linux = top.section("linux")
    process = top.section("process")
    fields["namespaces"] = _namespaces(problems, linux)
    args, bounds = read_process(problems, process, terminal, notes, fields)
    root = top.section("root")
    path = root.take("path", str, "rootfs")
    read_only = root.take("readonly", bool, False)
    root.finish()
    if "mnt" in fields["namespaces"]:
        fields["writable_root"] = not read_only
        if not ours or path != "rootfs":
            fields["rootfs"] = os.path.join(os.fspath(bundle), path)
    elif path != "/":
        problems.append(f"root.path: {path!r}: without the 'mount' namespace it is '/'")
    hostname = top.take("hostname", str, None)
    if hostname is not None:
        fields["hostname"] = hostname
    given = top.take("mounts", list, [])
    usual = len(notes.get("defaults", ()))
    fields["mounts"] = _items(problems, given, usual, notes, fields, os.fspath(bundle))
    _identity(problems, linux, notes, fields)
    read_limits(problems, linux, bounds, notes, fields)
    _seccomp(problems, linux, notes, fields)
    fields["masked_paths"] = linux.texts("maskedPaths")
    read_only_places = linux.texts("readonlyPaths")
    if linux.take("rootfsPropagation", str, "private") not in ("private", "rprivate", ""):
        problems.append("linux.rootfsPropagation: all is private here")
    linux.finish()
    top.finish()
    container = None
    if not problems:
        try:
            container = Container(**fields)
        except ValueError as error:
            problems += lines_of(error)
    if container is not None:
        container = _with_read_only(problems, container, read_only_places, ours)
    if container is not None and usual:
        container = _with_changed(problems, container, given[:usual], notes)
    refuse("config.json", problems)
    assert container is not None
    return container, args


def _notes(problems: list[str], annotations: dict[str, Any]) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    # Who converts an image copies its labels (conversion.md of the image specification), which are
    # whatever the image's maker wrote: they shall not weaken what runs it.
    of_image = any(key.startswith("org.opencontainers.image.") for key in annotations)
    for key, text in annotations.items():
        where = f"annotations[{key!r}]"
        if not isinstance(text, str):
            problems.append(f"{where}: must be a str, not {text!r}")
        elif key.startswith("run.oci."):
            problems.append(f"{where}: not supported")  # crun's; others' say nothing to a runtime
        elif key.startswith(PREFIX):
            name = key.removeprefix(PREFIX)
            try:
                note = json.loads(text)
            except (ValueError, RecursionError) as error:
                problems.append(f"{where}: no JSON: {error}")
                continue
            if name not in KEYS:
                problems.append(f"{where}: not supported")
            elif not is_of_kind(name, note):
                problems.append(f"{where}: {text:.100} is not what it can be")
            elif of_image:
                problems.append(f"{where}: is with annotations of an image, which may not say that")
            else:
                notes[name] = note
    if notes.get("version", VERSION) != VERSION:
        problems.append(f"annotations[{PREFIX + 'version'!r}]: {VERSION} is supported")
    return notes


def _namespaces(problems: list[str], linux: Fields) -> frozenset[str]:
    names = {word: name for name, word in NAMESPACES.items()}
    found = set()
    for number, given in enumerate(linux.take("namespaces", list, [])):
        one = Fields(problems, f"linux.namespaces[{number}]", given)
        kind = one.take("type", str, "")
        if kind not in names:
            problems.append(f"{one.where}.type: {kind!r} is not supported")
        elif names[kind] in found:
            problems.append(f"{one.where}.type: {kind!r} is there twice")
        else:
            found.add(names[kind])
        one.finish()
    return frozenset(found)


def _items(
    problems: list[str],
    given: list[Any],
    usual: int,
    notes: dict[str, Any],
    fields: dict[str, Any],
    bundle: str,
) -> list[Mount | Overlay | Entry]:
    """The mounts and entries but for the first *usual* ones, which ours have by default."""
    said = notes.get("mounts", {})
    cgroup = "version" in notes or "cgroup" in fields["namespaces"]
    items: list[Mount | Overlay | Entry] = []
    for number, one in enumerate(given[usual:], usual):
        where = f"mounts[{number}]"
        if not isinstance(one, dict):
            problems.append(f"{where}: must be an object, not {one!r}")
            continue
        target = one.get("destination")
        more = said.get(target, {}) if isinstance(target, str) else {}
        mount = _not_copied_up(one, more.get("own", 0)) if "version" in notes else one
        item = mount_of(problems, where, mount, more, bundle, cgroup)
        if item is not None:
            items.append(item)
    if "version" not in notes:
        items = [_without_devices(item) for item in items]
        items += _of_runtimes(items, "mnt" in fields["namespaces"])
        return items
    for number, record in enumerate(notes.get("entries", ())):
        try:
            items.insert(record["at"], entry_of(record))
        except (ValueError, TypeError, KeyError) as error:
            problems.append(f"annotations[{PREFIX + 'entries'!r}][{number}]: {error}")
    return items


def _without_devices(item: Any) -> Any:
    """A tmpfs on which no device file can be opened that root inside has made: a runtime has a
    cgroup that refuses it.  The devices of /dev are binds here, which are none of that mount's."""
    if isinstance(item, Mount) and item.type == "tmpfs":
        return evolve(item, nodev=True)
    return item


def _of_runtimes(items: list[Any], has_mounts: bool) -> list[Mount | Entry]:
    """What runtimes add to /dev: devices and links (config-linux.md, "Default Devices")."""
    places = {item.target: item for item in items}
    below = places.get("/dev")
    if not has_mounts or (isinstance(below, Mount) and below.type == "bind"):
        return []
    added: list[Mount | Entry] = []
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        if f"/dev/{name}" not in places:
            added.append(evolve(device(f"/dev/{name}"), optional=True))
    if isinstance(below, Mount) and below.type == "tmpfs":
        links = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
        added += [Symlink(f"/dev/{name}", f"/proc/self/fd{to}") for name, to in links.items()]
        if "/dev/pts" in places and "/dev/ptmx" not in places:
            added.append(Symlink("/dev/ptmx", "pts/ptmx"))
    return added


def _with_read_only(
    problems: list[str], container: Container, given: tuple[str, ...], ours: bool
) -> Container:
    """*container* with read-only places, less those that it has without being told."""
    implied = tuple(kernel_places(container))
    if ours and given[: len(implied)] == implied:
        given = given[len(implied) :]
    if not given:
        return container
    try:
        return evolve(container, readonly_paths=given)
    except ValueError as error:
        problems += lines_of(error)
        return container


def _not_copied_up(mount: dict[str, Any], own: int = 0) -> dict[str, Any]:
    """*mount* without the word that ``write_bundle`` adds; what is copied is in the entries.

    Arguments:
        own: how many options are the file system's own, at the end.
    """
    options = mount.get("options")
    if isinstance(options, list) and options[:1] == [COPY_UP] and len(options) > own:
        return {**mount, "options": options[1:]}
    return mount


def _with_changed(
    problems: list[str], container: Container, usual: list[Any], notes: dict[str, Any]
) -> Container:
    """*container* with those of its default mounts that somebody has changed as its own."""
    owner = owner_of(container)
    expected = {
        step.path: of_default(step, owner)
        for step in kept_defaults(container)
        if step.op is Op.MOUNT
    }
    changed: list[Any] = []
    for number, name in enumerate(notes["defaults"]):
        mount = usual[number] if number < len(usual) else None
        if not isinstance(mount, dict) or mount.get("destination") != name:
            problems.append(f"mounts[{number}]: {PREFIX}defaults says that {name} is here")
            return container
        mount = _not_copied_up(mount)
        if mount != expected.get(name):
            item = mount_of(problems, f"mounts[{number}]", mount, {}, ".", False)
            changed += [] if item is None else [item]
    if not changed or problems:
        return container
    try:
        return evolve(container, mounts=(*changed, *container.mounts))
    except ValueError as error:
        problems += lines_of(error)
        return container


def _identity(
    problems: list[str], linux: Fields, notes: dict[str, Any], fields: dict[str, Any]
) -> None:
    maps = []
    for key in ("uidMappings", "gidMappings"):
        extents = []
        for number, given in enumerate(linux.take(key, list, [])):
            one = Fields(problems, f"linux.{key}[{number}]", given)
            extents.append(tuple(one.take(name, int, 0) for name in _EXTENT))
            one.finish()
        maps.append(extents)
    ids = notes.get("ids")
    if isinstance(ids, dict):
        for name in ids.keys() - {"host_uids", "host_uid_start", "host_gid_start"}:
            problems.append(f"annotations[{PREFIX + 'ids'!r}]: {name!r} is not supported")
        for name in ("host_uids", "host_uid_start", "host_gid_start"):
            fields[name] = ids.get(name, 1 if name == "host_uids" else None)
        if fields["host_uid_start"] is None:
            return
        # The group's may be the launcher's choice even so.
        try:
            wanted = mappings(Container(**{n: fields[n] for n in _IDENTITY if n in fields}))
        except ValueError as error:
            problems += lines_of(error)
            return
        for key, extents, expected in zip(("uid", "gid"), maps, wanted, strict=True):
            if "user" in fields["namespaces"] and not _begins_so(extents, *expected):
                problems.append(
                    f"linux.{key}Mappings: the annotation {PREFIX}ids says {list(expected)}"
                )
        return
    if "user" not in fields["namespaces"]:
        for key, extents in zip(("uid", "gid"), maps, strict=True):
            if extents:
                problems.append(f"linux.{key}Mappings: there is no 'user' namespace")
        return
    for key, guest, extents in zip(("uid", "gid"), ("guest_uid", "guest_gid"), maps, strict=True):
        if len(extents) != 1:
            problems.append(f"linux.{key}Mappings: there must be one, not {len(extents)}")
            return
        inside, outside, count = extents[0]
        fields[f"host_{key}_start"] = outside
        if inside != (fields[guest] if count == 1 else 0):
            what = f"the user's own {fields[guest]}" if count == 1 else "0"
            problems.append(f"linux.{key}Mappings[0].containerID: must be {what}, not {inside}")
    fields["host_uids"] = maps[0][0][2]
    if maps[1][0][2] != fields["host_uids"]:
        problems.append("linux.gidMappings[0].size: must be that of linux.uidMappings[0]")


def _begins_so(extents: list[Any], expected: Extent) -> bool:
    """Whether a map is the one that an ordinary user may have in its place as well: from its own
    id on, with subordinate ids behind it."""
    following, start, count = expected
    total = 0
    for inside, _, many in extents:
        if inside != following:
            return False
        following += many
        total += many
    return total == count and bool(extents) and extents[0][1] == start


_EXTENT = ("containerID", "hostID", "size")
_IDENTITY = (
    "namespaces",
    "guest_uid",
    "guest_gid",
    "host_uids",
    "host_uid_start",
    "host_gid_start",
)


def _seccomp(
    problems: list[str], linux: Fields, notes: dict[str, Any], fields: dict[str, Any]
) -> None:
    given = linux.take("seccomp", dict, None)
    note = notes.get("seccomp")
    if given is None:
        if note is not None:
            problems.append(f"linux.seccomp: is not there, but {PREFIX}seccomp is")
        return
    from .filters import filter_of

    fields["seccomp"] = filter_of(problems, "linux.seccomp", given, note)
