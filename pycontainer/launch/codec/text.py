"""Text of a container, made fit for a terminal and a log."""

from __future__ import annotations

__all__ = ["one_line", "printable"]


def printable(text: str) -> str:
    """*text* with every character escaped that is no printable one, a newline or a tab.

    What a terminal would obey is escaped (ESC and its kin, carriage return, C1), and so is what
    changes the order of the text shown (bidirectional marks) and what has no form of its own.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(c) for c in text)


def one_line(text: str) -> str:
    """*text* as ``printable`` makes it, newlines escaped as well."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
