"""Directories that the root of a container may not search, as a runtime of host root meets them.

It opens the root and the sources of binds in the container's user namespace, where host root's
private directories are somebody else's.  So they are bound, in a mount namespace of the runtime's
own, at a place that anybody may search.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["bind_script", "is_searchable", "make_places", "moved"]


def is_searchable(path: str, owner: int) -> bool:
    """Whether the user *owner*, without privileges, gets as far as *path*."""
    above = os.path.dirname(os.path.abspath(path))
    while True:
        try:
            found = os.stat(above)
        except OSError:
            return True  # the runtime says so better
        if not found.st_mode & 0o001 and not (found.st_uid == owner and found.st_mode & 0o100):
            return False
        if above == "/":
            return True
        above = os.path.dirname(above)


def moved(spec: dict[str, Any], places: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """*spec*, whose paths are absolute, with what cannot be reached bound below *places*.

    Returns the pairs to bind as well: what, where.
    """
    pairs: list[tuple[str, str]] = []
    maps = (spec.get("linux") or {}).get("uidMappings") or ()
    owner = next((one["hostID"] for one in maps if one.get("containerID") == 0), -1)
    if not maps or owner == 0:
        return spec, pairs

    def place_of(path: str) -> str:
        if is_searchable(path, owner):
            return path
        for known, place in pairs:
            if known == path:
                return place
        pairs.append((path, f"{places}/{len(pairs)}"))
        return pairs[-1][1]

    root = dict(spec["root"])
    root["path"] = place_of(root["path"])
    mounts = [
        {**mount, "source": place_of(mount["source"])} if _is_bind(mount) else mount
        for mount in spec.get("mounts") or ()
    ]
    return {**spec, "root": root, "mounts": mounts}, pairs


def _is_bind(mount: dict[str, Any]) -> bool:
    options = mount.get("options") or ()
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def make_places(pairs: list[tuple[str, str]]) -> None:
    """The places for the binds: files and directories."""
    for path, place in pairs:
        if os.path.isdir(path):
            os.mkdir(place, 0o711)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def bind_script(pairs: list[tuple[str, str]]) -> list[str]:
    """The words that bind *pairs* and then execute what follows them.

    They are for a mount namespace of their own.
    """
    script = 'n=$1; shift; while [ "$n" -gt 0 ]; do mount --rbind -- "$1" "$2" || exit 125; '
    script += 'shift 2; n=$((n - 1)); done; exec "$@"'
    flat = [word for pair in pairs for word in pair]
    return ["/bin/sh", "-c", script, "reach", str(len(pairs)), *flat]
