"""Processes, as the host's /proc shows them."""

from __future__ import annotations

import os

__all__ = ["children_of"]


def children_of(pid: int) -> list[int]:
    """The children of a process, as far as they may be seen; none when it has ended."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found
