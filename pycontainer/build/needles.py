"""Searching blocks of bytes for texts."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable

__all__ = ["Needles", "Spans"]


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
        self._left = {needle: os.fsencode(needle) for needle in needles}
        self._found: list[str] = []
        self.overlap = max((len(needle) - 1 for needle in self._left.values()), default=0)

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

    def found(self) -> tuple[str, ...]:
        """What was found, sorted."""
        return tuple(sorted(self._found, key=os.fsencode))
