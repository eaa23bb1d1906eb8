"""A prefix with bin, lib and share: its files, and from Guix's or Nix's store all they refer to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ...declare.mounts import bind
from ...declare.part import Part
from ...host.mounts import STORES, View
from ..cache import Cache, key_of
from ..software import Profile, Progress, Software, SoftwareError

__all__ = ["provide"]

SEARCH_PATHS = {
    "PATH": ("bin", "sbin"),
    "MANPATH": ("share/man", "man"),
    "INFOPATH": ("share/info",),
    "XDG_DATA_DIRS": ("share",),
    "PKG_CONFIG_PATH": ("lib/pkgconfig", "lib64/pkgconfig", "share/pkgconfig"),
    "ACLOCAL_PATH": ("share/aclocal",),
    "CMAKE_PREFIX_PATH": ("lib/cmake",),
}
"""Variables, and what of a prefix belongs in each."""


def provide(request: Profile, *, cache: Cache | None, progress: Progress | None) -> Software:
    """The profile where it really is, so that ~/.guix-profile need not be there."""
    given = request.path
    if not os.path.isdir(given):
        wrong = "is not a directory" if os.path.exists(given) else "does not exist"
        raise SoftwareError(f"profile {given} {wrong}")
    real = os.path.realpath(given)
    if not any(os.path.isdir(os.path.join(real, name)) for name in ("bin", "lib", "sbin", "share")):
        raise SoftwareError(f"profile {given} has no bin, lib or share: it is no prefix")
    if real in ("/", "/usr"):
        raise SoftwareError(f"profile {given} is the host itself; name a prefix of its own")
    item = _item_of(real)
    mounts: list[Part] = []
    paths = _search_paths(real)
    if item is None:
        view = View()
        view.show(real)
        view.show_loader(closely=True)
        mounts.append(view.mounts())
        if _has_libraries(os.path.join(real, "lib")):
            paths["LD_LIBRARY_PATH"] = (os.path.join(real, "lib"),)
        start = real
    else:
        start = item
    closure = _closure(start, item is not None, cache, progress)
    mounts += [bind(one) for one in closure]
    env, own_paths = _of_guix(real)
    return Software(
        label=os.path.basename(given).lstrip("."),
        mounts=tuple(mounts),
        env=env,
        search_paths=paths | own_paths,
    )


def _item_of(path: str) -> str | None:
    """The item of a store that *path* is or lies in."""
    for store in STORES:
        if path.startswith(store + "/"):
            return os.path.join(store, path[len(store) + 1 :].split("/", maxsplit=1)[0])
    return None


def _search_paths(prefix: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, places in SEARCH_PATHS.items():
        there = tuple(os.path.join(prefix, one) for one in places)
        there = tuple(one for one in there if os.path.isdir(one))
        if there:
            found[name] = there
    return found


def _has_libraries(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(".so" in entry.name for entry in entries)
    except OSError:
        return False


# A line of a Guix profile's etc/profile: export PATH="${GUIX_PROFILE:-/gnu/…}/bin${PATH:+:}$PATH"
_EXPORT = re.compile(r'^export (?P<name>\w+)="(?P<value>[^"]*)"$')


def _of_guix(prefix: str) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The variables and search paths that a Guix profile itself declares."""
    env: dict[str, str] = {}
    paths: dict[str, tuple[str, ...]] = {}
    try:
        with open(os.path.join(prefix, "etc/profile"), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return env, paths
    for line in lines:
        found = _EXPORT.match(line)
        if found is None:
            continue
        name = found["name"]
        value = re.sub(r"\$\{GUIX_PROFILE:-[^}]*\}", lambda _: prefix, found["value"])
        own = re.sub(rf"\$\{{{name}:\+.\}}\${name}$", "", value)
        if "$" in own:
            continue
        if own != value:
            paths[name] = tuple(one for one in own.split(":") if one)
        else:
            env[name] = own
    return env, paths


# ---- what a store item refers to ----


def _closure(start: str, stored: bool, cache: Cache | None, progress: Progress | None) -> list[str]:
    """The items of stores that *start* refers to, directly or not, itself included.

    Items never change, so what one refers to is looked up once; a prefix elsewhere is read each
    time.
    """
    if not stored:
        return sorted(_scanned([start], {}))
    cache = Cache() if cache is None else cache
    what = f"profile {start}"

    def make(directory: str) -> None:
        if progress is not None:
            progress(f"{what}: looking for what it refers to", 0, None)
        items = _asked(start) or sorted(_scanned([start], {}) | {start})
        with open(os.path.join(directory, "items"), "w", errors="surrogateescape") as file:
            file.write("\n".join(items))

    entry = cache.entry("closure", key_of(1, start), make, what=what, progress=progress)
    with open(os.path.join(entry, "items"), errors="surrogateescape") as file:
        items = file.read().split("\n")
    gone = next((one for one in items if not os.path.lexists(one)), None)
    if gone is not None:
        raise SoftwareError(f"{what} refers to {gone}, which is gone; build the profile anew")
    return items


def _asked(item: str) -> list[str]:
    """The closure as the store's own program has it; nothing if there is none."""
    import shutil
    import subprocess

    program = ["nix-store", "-qR"] if item.startswith(_NIX) else ["guix", "gc", "-R"]
    if shutil.which(program[0]) is None:
        return []
    done = subprocess.run([*program, item], capture_output=True, text=True, check=False)
    items = [line for line in done.stdout.splitlines() if line.startswith("/")]
    return sorted(items) if done.returncode == 0 and item in items else []


_NIX = "/nix/"

# 32 characters of the alphabet of nix-base32, before the dash of a name.
_HASH = re.compile(rb"[0-9abcdfghijklmnpqrsvwxyz]{32}(?=-)")


def _scanned(waiting: list[str], names: dict[bytes, str]) -> set[str]:
    """The items whose hashes stand in the files below *waiting*, or in those of what is found.

    That is how both stores find out themselves what an item refers to.
    """
    for store in STORES:
        if os.path.isdir(store):
            for name in os.listdir(store):
                names[os.fsencode(name)[:32]] = os.path.join(store, name)
    found: set[str] = set()
    while waiting:
        for digest in _hashes_below(waiting.pop()):
            item = names.get(digest)
            if item is not None and item not in found:
                found.add(item)
                waiting.append(item)
    return found


def _hashes_below(place: str) -> Iterator[bytes]:
    if os.path.islink(place) or not os.path.isdir(place):
        yield from _hashes_in(place)
        return
    for parent, directories, names in os.walk(place):
        for name in (*directories, *names):
            yield from _hashes_in(os.path.join(parent, name))


def _hashes_in(path: str) -> Iterator[bytes]:
    import mmap

    if os.path.islink(path):
        yield from _HASH.findall(os.fsencode(os.readlink(path)))
    elif os.path.isfile(path) and os.path.getsize(path):
        try:
            with open(path, "rb") as file:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    yield from set(_HASH.findall(content))
        except PermissionError:
            return  # nor can the container read it
