"""What ``pycontainer build`` says on stderr while it works, and where the log goes."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..build.builds import BuildResult

__all__ = ["Saying"]

PARTS = {
    "inputs": "looking at the inputs",
    "waiting": "waiting for a place",
    "building": "building",
    "outputs": "taking the outputs",
}
WIDTH = 60


class Saying:
    """Says what is being done: a line for each part; at a terminal that is not the log's, one line
    that moves.

    Arguments:
        quiet: say nothing.
        log: the file that the log goes to; None for stderr.
    """

    def __init__(self, quiet: bool, log: str | None) -> None:
        self._quiet = quiet
        self._path = log
        self._file: Any = None
        self._moving: Any = None
        self._part = ""
        self._began = time.monotonic()

    def __enter__(self) -> Saying:
        if self._path is not None:
            self._file = open(self._path, "wb", buffering=0)
            if not self._quiet and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb":
                self._moving = _moving()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._moving is not None:
            self._moving.stop()
        if self._file is not None:
            self._file.close()

    def log(self, data: bytes) -> None:
        """What the build has written."""
        left = memoryview(data)
        fd = 2 if self._file is None else self._file.fileno()
        while left:
            left = left[os.write(fd, left) :]
        if self._moving is not None:
            words = data.decode("utf-8", "replace").split("\n")
            last = next((line for line in reversed(words) if line.strip()), "")
            shown = "".join(one if one.isprintable() else " " for one in last)[:WIDTH]
            seconds = time.monotonic() - self._began
            self._show(f"{self._part}, {seconds:.0f} s: {shown}")

    def part(self, name: str) -> None:
        """A part of the work begins."""
        self._part = PARTS[name]
        self._began = time.monotonic()
        self._say(self._part)

    def end(self, result: BuildResult) -> None:
        """All is done."""
        if result.completed is None:
            self._say("the store has it")
        else:
            self._say(f"built in {result.completed.usage.wall_time:.1f} s")

    def _say(self, words: str) -> None:
        if self._moving is not None:
            self._show(words)
        elif not self._quiet:
            print(f"pycontainer build: {words}", file=sys.stderr, flush=True)

    def _show(self, words: str) -> None:
        from rich.text import Text

        self._moving.update(Text(words))


def _moving() -> Any:
    """rich's line with a spinner, in motion; None where rich is not installed."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None
    moving = Console(stderr=True).status("")
    moving.start()
    return moving
