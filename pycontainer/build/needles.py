"""Searching blocks of bytes for texts."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping

__all__ = ["Needles", "Spans"]

LONG, MANY = 8, 3
"""From so many needles of such a length on they are searched for together: that takes as long as
``bytes.find`` takes for two, and hardly longer for a hundred."""


class Spans:
    """Parts of a block, in order, with a gap between each two."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """One more, after the others; one that follows at once makes the last longer."""
        if self.ends and self.ends[-1] == start:
            self.ends[-1] = end
        elif start < end:
            self.starts.append(start)
            self.ends.append(end)

    def hold(self, start: int, end: int) -> bool:
        """Whether one of them has all from *start* to *end*."""
        number = bisect_right(self.starts, start) - 1
        return number >= 0 and end <= self.ends[number]

    def moved(self, start: int, by: int) -> Spans:
        """What is beyond *start*, counted from *by* less."""
        found = Spans()
        for number in range(bisect_right(self.ends, start), len(self.ends)):
            found.add(max(start, self.starts[number]) - by, self.ends[number] - by)
        return found


class Needles:
    """Texts to search for, and which of them were found.

    Attributes:
        overlap: how many bytes of one block must be seen again before the next.
    """

    def __init__(self, needles: Iterable[str]) -> None:
        texts = {needle: os.fsencode(needle) for needle in needles}
        self.overlap = max((len(text) - 1 for text in texts.values()), default=0)
        self._found: list[str] = []
        long = {needle: text for needle, text in texts.items() if len(text) >= LONG}
        if len(long) < MANY:
            long = {}
        self._left = {needle: text for needle, text in texts.items() if needle not in long}
        self._many = _Many(long) if long else None

    def search(self, block: bytearray, spans: Spans) -> None:
        """Search the *spans* of a block for what has not been found yet."""
        if not spans.starts:
            return
        start, end = spans.starts[0], spans.ends[-1]
        for needle, text in list(self._left.items()):
            at = block.find(text, start, end)
            # What lies between the spans is searched too, which is quicker than to leave it out.
            while at >= 0 and not spans.hold(at, at + len(text)):
                at = block.find(text, at + 1, end)
            if at >= 0:
                del self._left[needle]
                self._found.append(needle)
        if self._many is not None:
            self._found += self._many.search(block, spans)

    def found(self) -> tuple[str, ...]:
        """What was found, sorted."""
        return tuple(sorted(self._found, key=os.fsencode))


class _Many:
    """Texts that are searched for together, outside of the interpreter and its lock."""

    def __init__(self, needles: Mapping[str, bytes]) -> None:
        from .._native import ffi, lib

        self._needles = list(needles.items())
        self._left = len(self._needles)
        self._ffi, self._lib = ffi, lib
        texts = list(needles.values())
        made = lib.pc_needles_new(b"".join(texts), list(map(len, texts)), len(texts))
        if made == ffi.NULL:
            raise MemoryError("no memory to search for needles")
        self._table = ffi.gc(made, lib.pc_needles_free)
        self._which = ffi.new("uint32_t *")

    def search(self, block: bytearray, spans: Spans) -> list[str]:
        """Which were found in the *spans* of a block, for the first time."""
        if not self._left:
            return []
        found: list[str] = []
        at, end = spans.starts[0], spans.ends[-1]
        which = self._which
        which[0] = self._lib.PC_NEEDLE_NONE
        with self._ffi.from_buffer(block) as data:
            while True:
                # From there on, and there only those that come after the last one found.
                at = self._lib.pc_needles_find(self._table, data, at, end, which)
                if at < 0:
                    return found
                needle, text = self._needles[which[0]]
                if spans.hold(at, at + len(text)):
                    self._lib.pc_needles_drop(self._table, which[0])
                    found.append(needle)
                    self._left -= 1
                    if not self._left:
                        return found
