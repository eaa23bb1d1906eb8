"""Searching blocks of bytes for texts."""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["Needles"]


class Needles:
    """Texts to search for, and which of them were found.

    Attributes:
        overlap: how many bytes of one block must be seen again before the next.
    """

    def __init__(self, needles: Iterable[str]) -> None:
        self._left = {needle: os.fsencode(needle) for needle in needles}
        self._found: list[str] = []
        self.overlap = max((len(needle) - 1 for needle in self._left.values()), default=0)

    def search(self, block: bytearray, start: int, end: int) -> None:
        """Search ``block[start:end]`` for what has not been found yet."""
        for needle, text in list(self._left.items()):
            if block.find(text, start, end) >= 0:
                del self._left[needle]
                self._found.append(needle)

    def found(self) -> tuple[str, ...]:
        """What was found, sorted."""
        return tuple(sorted(self._found, key=os.fsencode))
