"""Closing what a container has sent unasked, without waiting for it.

Whoever closes the last copy of a descriptor may have to wait: for as long as its sender likes, if
it is a socket with SO_LINGER (socket(7)), one that lies in the queue of another one that was sent,
or a file of a file system whose daemon does not answer.  So a thread does it, and nobody waits for
one that takes long.
"""

from __future__ import annotations

import _thread
import array
import os
import socket
from collections.abc import Iterable

from .._native import lib

__all__ = ["MOST_DESCRIPTORS", "discard", "discard_unread"]

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


def discard_unread(sock: socket.socket) -> None:
    """Empty the queue of a socket that is about to be closed: with it goes what lies in there."""
    try:
        # Then nothing is added; and a message without a word differs from the end, since the
        # kernel adds the sender's credentials to each (unix(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.shutdown(socket.SHUT_RD)
        room = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS) + socket.CMSG_SPACE(12)
        while True:
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            _, ancillary, _, _ = sock.recvmsg(1, room, flags)
            if not ancillary:
                return
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    discard(array.array("i", data[: len(data) // 4 * 4]))
    except OSError:
        pass  # ECONNRESET: its other end has gone with something of ours unread


os.register_at_fork(after_in_child=_closing.clear)
