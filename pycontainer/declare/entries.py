"""Entries: directories, files and symbolic links that are made inside the container.

They are made on the container's own tmpfs, never on the host: an entry inside a bind or inside
``rootfs`` is refused when the ``Container`` is built.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import field, frozen

from .checks import (
    Problems,
    StrPath,
    check_guest_path,
    check_mode,
    check_text,
    guest_path,
    refuse,
    text_of,
)
from .part import Part

__all__ = ["Directory", "Entry", "File", "Symlink", "directory", "file", "symlink"]


def _bytes_of(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content


@frozen(eq=False, repr=False)
class Directory(Part):
    """A directory to make; see ``directory``."""

    path: str = field(converter=guest_path)
    mode: int = 0o755

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_place(problems, self.path)
        check_mode(problems, "mode", self.mode, 0o7777)
        refuse("directory", problems)


@frozen(eq=False, repr=False)
class File(Part):
    """A file to write; see ``file``.  ``content`` is kept as bytes and not shown by ``repr``."""

    path: str = field(converter=guest_path)
    content: bytes = field(converter=_bytes_of)
    mode: int = 0o644

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_place(problems, self.path)
        if not isinstance(self.content, bytes):
            problems.append(f"content must be str or bytes, not {type(self.content).__name__}")
        elif len(self.content) >= 2**32:
            problems.append(f"content is {len(self.content)} bytes long; use bind() from 4 GiB on")
        check_mode(problems, "mode", self.mode, 0o777)
        refuse("file", problems)

    def _shown(self, name: str) -> str:
        # A file may hold a secret: a repr ends up in logs.
        if name == "content" and isinstance(self.content, bytes):
            return f"<{len(self.content)} bytes>"
        return super()._shown(name)


@frozen(eq=False, repr=False)
class Symlink(Part):
    """A symbolic link to make; see ``symlink``."""

    path: str = field(converter=guest_path)
    to: str = field(converter=text_of)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_place(problems, self.path)
        check_text(problems, "to", self.to)
        refuse("symlink", problems)


Entry: TypeAlias = Directory | File | Symlink


def directory(path: StrPath, mode: int = 0o755) -> Directory:
    """A directory at *path*, made with those above it that do not exist yet.

    Arguments:
        path: absolute, in the container.
        mode: permission bits, not cut by any umask.  Directories made on the way have mode 755.

    Raises:
        ValueError: naming every bad argument.
    """
    return Directory(path, mode)


def file(path: StrPath, content: str | bytes, mode: int = 0o644) -> File:
    """A new file at *path* that holds *content*.

    Arguments:
        path: absolute, in the container.
        content: a str is written as UTF-8.  Less than 4 GiB.
        mode: permission bits up to 0o777, not cut by any umask.  Set-id bits would do nothing: the
            container's tmpfs are nosuid.

    Raises:
        ValueError: naming every bad argument.
    """
    return File(path, content, mode)


def symlink(path: StrPath, to: StrPath) -> Symlink:
    """A symbolic link at *path* that points to *to*.

    Nothing can be mounted or made below the link: name the place that it points to instead.

    Arguments:
        path: absolute, in the container.
        to: what readlink(2) gives inside; absolute in the container, or relative to the link.

    Raises:
        ValueError: naming every bad argument.
    """
    return Symlink(path, to)


def _check_place(problems: Problems, path: Any) -> None:
    if check_guest_path(problems, "path", path) and path == "/":
        problems.append("path is '/', which always exists")
