"""One option of a command line.  Commands have tables of them."""

from __future__ import annotations

__all__ = ["Option"]


class Option:
    """One option.

    Attributes:
        names: the first is what it is called in the program.
        takes: names of its arguments.
        words: its help.
        group: the heading that it stands under.
    """

    __slots__ = ("group", "names", "takes", "words")

    def __init__(self, group: str, names: str, takes: str, words: str) -> None:
        self.group = group
        self.names = tuple(names.split())
        self.takes = tuple(takes.split())
        self.words = words
