"""A root file system: a directory as it is, or an archive that is unpacked once by its digest."""

from __future__ import annotations

import os

from ..cache import Cache, key_of
from ..software import Progress, Rootfs, Software, SoftwareError

__all__ = ["SEARCH_PATH", "provide", "system_paths"]

SEARCH_PATH = (
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/games",
    "/usr/games",
)
"""Where a root file system has its programs (hier(7))."""


def provide(request: Rootfs, *, cache: Cache | None, progress: Progress | None) -> Software:
    """The directory, or that of the cache in which the archive is unpacked."""
    path = request.path
    label = os.path.basename(path)
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise SoftwareError(f"rootfs {path} does not exist")
        path = _unpacked(path, Cache() if cache is None else cache, progress)
        label = label.split(".")[0] or label
    if os.path.realpath(path) == "/":
        raise SoftwareError("rootfs / is the host itself; name a directory with another system")
    if not any(os.path.lexists(os.path.join(path, name)) for name in ("usr", "bin", "nix", "gnu")):
        raise SoftwareError(
            f"rootfs {request.path} is no root file system: it has no usr and no bin"
        )
    return Software(label=label, rootfs=path, search_paths=system_paths(path))


def system_paths(root: str) -> dict[str, tuple[str, ...]]:
    """PATH for the programs of the file system at *root*."""
    there = tuple(place for place in SEARCH_PATH if os.path.lexists(root + place))
    return {"PATH": there or SEARCH_PATH}


def _unpacked(path: str, cache: Cache, progress: Progress | None) -> str:
    what = f"rootfs {path}"
    digest = _digest(path, cache, what, progress)

    def make(directory: str) -> None:
        from ..archives import Digesting, open_archive, open_regular
        from ..unpacking import Unpacker

        told = None if progress is None else lambda done: progress(what, done, None)
        with open_regular(path) as file:
            source = Digesting(file)
            unpacker = Unpacker(os.path.join(directory, "root"), what, told=told)
            os.mkdir(unpacker.root, 0o755)
            with open_archive(source) as archive:
                unpacker.unpack(archive)
            if source.hexdigest() != digest:
                raise SoftwareError(f"{what} changed while it was read; try again")
        unpacker.finish()

    return os.path.join(cache.entry("rootfs", digest, make, what=what, progress=progress), "root")


def _digest(path: str, cache: Cache, what: str, progress: Progress | None) -> str:
    """The archive's SHA-256, kept for as long as nobody has written to it.

    The time of a file's last change cannot be set by its owner (inode(7), ctime), unlike the time
    of its modification.
    """
    status = os.stat(path)
    key = key_of(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )

    def make(directory: str) -> None:
        from ..archives import file_digest, open_regular

        if progress is not None:
            progress(f"{what}: reading", 0, status.st_size)
        with open_regular(path) as file, open(os.path.join(directory, "sha256"), "w") as kept:
            kept.write(file_digest(file))

    directory = cache.entry("digest", key, make, what=what)
    with open(os.path.join(directory, "sha256")) as kept:
        return kept.read()
