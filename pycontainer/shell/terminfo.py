"""The description of the caller's terminal, without which no program can draw on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..declare.entries import File, file
from .lookup import Lookup

__all__ = ["terminal_description"]

# Where ncurses looks without being told, on one distribution or another (terminfo(5)).
_DIRECTORIES = (
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/lib/terminfo",
    "/run/current-system/sw/share/terminfo",
)
_LARGEST = 1 << 15  # bytes, MAX_ENTRY_SIZE2 in ncurses


def terminal_description(terminal: str, lookup: Lookup) -> Iterator[File]:
    """The entry for *terminal*, at /etc/terminfo, where the container has none."""
    if "/" in terminal or terminal.startswith("."):
        return
    entries = (f"{terminal[0]}/{terminal}", f"{ord(terminal[0]):x}/{terminal}")
    if any(lookup.exists(f"{place}/{one}") for place in _DIRECTORIES for one in entries):
        return
    places = [os.path.expanduser("~/.terminfo"), *_DIRECTORIES]
    if os.environ.get("TERMINFO", "").startswith("/"):
        places.insert(0, os.environ["TERMINFO"])
    for place in places:
        for one in entries:
            try:
                with open(f"{place}/{one}", "rb") as found:
                    yield file(f"/etc/terminfo/{one}", found.read(_LARGEST))
                    return
            except OSError:
                continue
