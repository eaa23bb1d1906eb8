"""Closing what a container has sent unasked, without waiting for it.

Whoever closes the last copy of a descriptor may have to wait: for as long as its sender likes, if
it is a socket with SO_LINGER (socket(7)), one that lies in the queue of another one that was sent,
or a file of a file system whose daemon does not answer.  So a thread does it, and nobody waits for
one that takes long.
"""

from __future__ import annotations

import _thread
import os
from collections.abc import Iterable

from .._native import lib

__all__ = ["MOST_DESCRIPTORS", "discard"]

MOST_DESCRIPTORS = 253
"""That one message carries: SCM_MAX_FD of the kernel's include/net/scm.h.  Those that find no room
the kernel closes at once, and the receiver waits."""

_PATIENCE = 0.05  # seconds; what holds nobody up is closed before the caller goes on
_closing: set[_thread.LockType] = set()  # threads that are still at it, each with its lock


def discard(fds: Iterable[int]) -> None:
    """Close descriptors whose kind nobody knows."""
    fds = list(fds)
    if not fds:
        return
    patience = 0.0 if _closing else _PATIENCE
    done = _thread.allocate_lock()
    done.acquire()
    _closing.add(done)
    try:
        _thread.start_new_thread(_close, (fds, done))
    except RuntimeError:  # no thread can be had, or the interpreter ends
        _close(fds, done)
    done.acquire(timeout=patience)


def _close(fds: list[int], done: _thread.LockType) -> None:
    try:
        for fd in fds:
            lib.pc_discard(fd)
    finally:
        _closing.discard(done)
        done.release()


os.register_at_fork(after_in_child=_closing.clear)
