"""How far fetching has come, on stderr: a bar at a terminal, else a line for each thing."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["Fetching"]


class Fetching:
    """Called as a ``pycontainer.shell.Progress``; shows nothing before that.

    Arguments:
        name: the command's, for plain lines.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __call__(self, words: str, done: int, total: int | None) -> None:
        if not os.isatty(2) or os.environ.get("TERM", "dumb") == "dumb":
            if words not in self._tasks:
                self._tasks[words] = None
                print(f"{self._name}: {words}", file=sys.stderr, flush=True)
            return
        if self._bars is None:
            self._bars = _bars()
        if words not in self._tasks:
            # What came before is over: one thing is fetched after the other.
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[words] = self._bars.add_task(words, total=total)
        self._bars.update(self._tasks[words], completed=done, total=total)

    def stop(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _bars() -> Any:
    """Bars of rich's, in progress."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a progress bar needs rich: pip install 'pycontainer-linux[cli]'", name="rich"
        ) from error
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bars.start()
    bars.console.show_cursor(True)  # a signal may end this process while they are shown
    return bars
