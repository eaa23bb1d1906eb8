"""Row 17, continued: a descriptor whose closing takes as long as its sender likes.

A socket with SO_LINGER holds up whoever closes the last copy until its peer has read everything
(socket(7)), and the kernel closes what lies unread in the queue of a socket that is closed.
"""

from __future__ import annotations

import os
import socket
import struct
import time

import pytest

from pycontainer import ContainerError, call_with_container

CALL = 3  # PC_FD_CALL
VALUE, NOISE = 5, 200
LINGER = 6  # seconds


@pytest.fixture(autouse=True)
def prompt_and_without_fd_leaks():
    call_with_container([], lambda: None, preload=["socket"])  # the helper is there
    before = sorted(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LINGER - 2
    while sorted(os.listdir("/proc/self/fd")) != before:
        assert time.monotonic() - started < LINGER + 10
        time.sleep(0.05)


def lingering():
    """A socket with more to send than is read, and the one that does not read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        reader, _ = server.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    sender.setblocking(True)
    return reader, sender


def in_another_socket():
    """The same in the queue of a socket that is sent."""
    reader, sender = lingering()
    outer, inner = socket.socketpair()
    socket.send_fds(inner, [b"x"], [sender.fileno()])
    return reader, outer


def says(kind, make, after=0):
    def fn():
        files = make()
        with socket.socket(fileno=os.dup(CALL)) as call:
            for _ in range(after):
                call.send(bytes([NOISE]))
            socket.send_fds(call, [bytes([kind])], [file.fileno() for file in files])
        return "late"

    return call_with_container([], fn, timeout=3, preload=["socket"])


@pytest.mark.parametrize("make", [lingering, in_another_socket])
def test_surplus(make):
    assert says(NOISE, make) == "late"


@pytest.mark.parametrize("make", [lingering, in_another_socket])
def test_in_place_of_a_value(make):
    with pytest.raises(ContainerError):
        says(VALUE, lambda: make()[::-1])


def test_more_than_is_read():
    """The value comes after them, and is not heard any more."""
    with pytest.raises(ContainerError):
        # The kernel closes those of one message from the last to the first, and undoes it so.
        says(NOISE, lambda: lingering()[::-1], after=100)
