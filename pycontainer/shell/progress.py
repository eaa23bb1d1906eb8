"""Showing how far a fetch is: a bar at a terminal, a line a step elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .software import Progress

__all__ = ["shown_progress"]


@contextmanager
def shown_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """A ``Progress`` that shows what it is told on *stream*, stderr when None.

    Nothing is imported, and nothing shown, before it is first called: most often all is cached.
    """
    shown = _Shown(sys.stderr if stream is None else stream)
    try:
        yield shown
    finally:
        shown.end()


class _Shown:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._words = ""
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, words: str, done: int, total: int | None) -> None:
        if self._bar is None and self._words == "" and _is_terminal(self._stream):
            self._begin()
        if self._bar is None:
            if words != self._words:
                self._stream.write(f"{words} ...\n")
                self._stream.flush()
        elif words != self._words:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(words, total=total, completed=done)
        else:
            self._bar.update(self._task, total=total, completed=done)
        self._words = words

    def _begin(self) -> None:
        try:
            from rich import console, progress
        except ImportError:
            return  # lines will do
        self._bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TimeElapsedColumn(),
            console=console.Console(file=self._stream),
            transient=True,
        )
        self._bar.start()

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _is_terminal(stream: TextIO) -> bool:
    try:
        return os.isatty(stream.fileno()) and os.environ.get("TERM", "dumb") != "dumb"
    except (OSError, ValueError):
        return False
