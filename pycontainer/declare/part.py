"""What mounts and entries have in common."""

from __future__ import annotations

from .record import Record

__all__ = ["Part"]


class Part(Record):
    """A mount or an entry: a part of a container's file system.

    With a class in common, a list of both has a type that the front doors take: checkers join
    ``[tmpfs("/a"), file("/a/b", "")]`` to ``list[Part]``, and without one to ``list[object]``.
    """

    __slots__ = ()
