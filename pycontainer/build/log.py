"""The log of a build: where it goes, and its end for the errors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from ..declare.checks import StrPath

__all__ = ["Tail"]

LINES = 10
LONGEST = 4096


class Tail:
    """Passes what is written on to a log, and keeps the end of it."""

    def __init__(self, log: StrPath | IO[bytes] | Callable[[bytes], object] | None) -> None:
        self._log: Any = log
        self._file: Any = None
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def __enter__(self) -> Tail:
        if isinstance(self._log, (str, bytes, os.PathLike)):
            self._file = open(self._log, "wb", buffering=0)
        elif hasattr(self._log, "write"):
            self._file = self._log
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None and self._file is not self._log:
            self._file.close()

    def write(self, data: bytes) -> None:
        """More of the log."""
        self._pieces.append(data)
        self._size += len(data)
        while self._size - len(self._pieces[0]) >= LONGEST:
            self._size -= len(self._pieces.popleft())
        if self._file is not None:
            self._file.write(data)
        elif self._log is not None:
            self._log(data)

    def note(self, error: BaseException) -> None:
        """Add the last lines to an error, as a note."""
        text = b"".join(self._pieces)[-LONGEST:].decode("utf-8", "backslashreplace")
        lines = [line for line in text.splitlines() if line.strip()][-LINES:]
        if lines:
            error.add_note("its last words:\n" + "\n".join(f"  {_shown(line)}" for line in lines))


def _shown(line: str) -> str:
    """Without control characters: those are for a terminal, not for whoever reads an error."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)
