"""Processes that a caller has left which was killed: a runtime, and the container in its making."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator

from ..host.processes import children_of

__all__ = ["end_processes_of"]

_PATIENCE = 5.0
"""Seconds for a process that was killed to be gone."""


def end_processes_of(word: str) -> None:
    """Kill this user's processes that were started with the argument *word*, and all below them.

    Arguments:
        word: a path that nobody else has as an argument: below the private directory of a run.
    """
    held = [pidfd for pid in list(_processes_of(word)) for pidfd in _tree(pid)]
    try:
        for pidfd in held:
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + _PATIENCE
        for pidfd in held:
            # Ready when the process has ended (pidfd_open(2)), whoever its parent is.
            select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        for pidfd in held:
            os.close(pidfd)


def _processes_of(word: str) -> Iterator[int]:
    wanted = os.fsencode(word)
    own = os.geteuid()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != own:
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue  # it has ended
        if wanted in words:
            yield int(name)


def _tree(first: int) -> Iterator[int]:
    """Descriptors of a process and all below it, the uppermost first."""
    left = [first]
    while left:
        pid = left.pop(0)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        yield pidfd
        left += children_of(pid)
