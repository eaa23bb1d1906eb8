"""Sockets between a caller and its child, with whole messages and descriptors.

They are made of what the module ``socket`` is made of, whose import alone takes a command line as
long as a dozen of the modules here.
"""

from __future__ import annotations

import array
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_TRUNC,
    SCM_RIGHTS,
    SHUT_RD,
    SO_PASSCRED,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from collections.abc import Iterable
from typing import Any

from .discard import MOST_DESCRIPTORS, discard

__all__ = ["Socket", "discard_unread", "pair", "receive", "send"]


class Socket(socket):
    """One end; ``with`` closes it."""

    __slots__ = ()

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def pair() -> tuple[Socket, Socket]:
    """Two connected ends, neither of which a program inherits."""
    one, other = (
        Socket(AF_UNIX, SOCK_SEQPACKET, 0, end.detach())
        for end in socketpair(AF_UNIX, SOCK_SEQPACKET)
    )
    return one, other


def send(sock: socket, parts: Iterable[Any], fds: list[int]) -> None:
    """Send one message with descriptors."""
    rights = [(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg(parts, rights)


def receive(sock: socket, size: int, most_fds: int, wait: bool = True) -> tuple[bytes, list[int]]:
    """One message; descriptors beyond *most_fds* are closed, a cut message is empty.

    Raises:
        BlockingIOError: there is none, and *wait* is False.
    """
    fds = array.array("i")
    room = CMSG_SPACE(MOST_DESCRIPTORS * fds.itemsize)
    flags = MSG_CMSG_CLOEXEC if wait else MSG_CMSG_CLOEXEC | MSG_DONTWAIT
    message, ancillary, said, _ = sock.recvmsg(size, room, flags)
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    discard(fds[most_fds:])
    # Without a word it would pass for the end, and its descriptor would stay.
    if said & MSG_TRUNC or (fds and not message):
        discard(fds[:most_fds])
        return b"\xff", []
    return message, fds.tolist()[:most_fds]


def discard_unread(sock: socket) -> None:
    """Empty the queue of a socket that is about to be closed: with it goes what lies in there."""
    try:
        # Then nothing is added; and a message without a word differs from the end, since the
        # kernel adds the sender's credentials to each (unix(7)).
        sock.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        sock.shutdown(SHUT_RD)
        room = CMSG_SPACE(4 * MOST_DESCRIPTORS) + CMSG_SPACE(12)
        while True:
            _, ancillary, _, _ = sock.recvmsg(1, room, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
            if not ancillary:
                return
            for level, kind, data in ancillary:
                if level == SOL_SOCKET and kind == SCM_RIGHTS:
                    discard(array.array("i", data[: len(data) // 4 * 4]))
    except OSError:
        pass  # ECONNRESET: its other end has gone with something of ours unread
