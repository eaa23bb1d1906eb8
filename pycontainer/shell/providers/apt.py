"""Debian packages with what they depend on, unpacked into a root file system of the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from ..cache import Cache, key_of
from ..software import Apt, Progress, Software, SoftwareError
from .rootfs import system_paths

__all__ = ["provide"]

FORMAT = 1
"""Part of every key: entries that were made differently are not found."""


def provide(request: Apt, *, cache: Cache | None, progress: Progress | None) -> Software:
    """A root file system with the packages, as the host's package sources have them at the time
    when they are first asked for."""
    cache = Cache() if cache is None else cache
    packages = sorted(set(request.packages))
    what = f"apt {' '.join(packages)}"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SoftwareError(
            f"{what}: this host has no apt-get and dpkg-deb (they come with Debian and Ubuntu); an "
            "image or a root file system brings Debian's programs too"
        )
    sources = list(_source_texts())
    if not sources:
        raise SoftwareError(f"{what}: apt has no package sources (/etc/apt/sources.list.d)")

    def make(directory: str) -> None:
        from .apt_install import install  # only the first time

        install(packages, directory, cache, what, key_of(sources), progress)

    key = key_of(FORMAT, packages, os.uname().machine, sources)
    entry = cache.entry("apt", key, make, what=what, progress=progress)
    root = os.path.join(entry, "root")
    names = [one.split(":")[0].split("=")[0].split("/")[0] for one in request.packages]
    return Software(
        label=",".join(names[:3]) + (",…" if len(names) > 3 else ""),
        rootfs=root,
        search_paths={**system_paths(root), "MANPATH": ("/usr/share/man",)},
    )


def _source_texts() -> Iterator[str]:
    """The contents of the host's lists of package sources (sources.list(5))."""
    places = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"]
    if "APT_CONFIG" in os.environ:  # the caller's own configuration may name others
        from .apt_settings import apt_settings

        places = apt_settings().source_places()
    for place in places:
        names = [place]
        if os.path.isdir(place):
            names = sorted(os.path.join(place, name) for name in os.listdir(place))
        for name in names:
            if name.endswith((".list", ".sources")) and os.path.isfile(name):
                with open(name, encoding="utf-8", errors="surrogateescape") as file:
                    text = file.read()
                if text.strip():
                    yield text
