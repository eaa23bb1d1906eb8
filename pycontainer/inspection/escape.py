"""Text that a container chose, made harmless for a terminal.

A process names itself (comm, argv), its files, mounts and cgroups; a control character in such a
name could move the cursor, colour the screen, set the window's title or answer for the user, and a
newline or a change of direction could pretend to be another line of the output.
"""

from __future__ import annotations

__all__ = ["printable"]

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}


def printable(text: str) -> str:
    r"""*text* with every character that does not print as one, and the backslash, escaped.

    ``\n``, ``\t``, ``\r`` and ``\\`` as in Python; bytes that are no UTF-8 and other characters
    below 256 as ``\xNN``; the rest (line separators, marks of direction, lone surrogates) as
    ``\uNNNN`` or ``\UNNNNNNNN``.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    short = _SHORT.get(character)
    if short is not None:
        return short
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that os.fsdecode could not read
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
