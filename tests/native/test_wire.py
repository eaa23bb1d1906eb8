"""What arrives with descriptors on the caller's sockets."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from pycontainer._native import ffi, lib


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def no_fd_leaks():
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


def status(kind, value=0):
    return bytes(ffi.buffer(ffi.new("struct pc_status *", {"kind": kind, "value": value})))


def test_no_descriptor_where_nothing_could_be_received():
    heard, pidfd, loader = ffi.new("struct pc_status *"), ffi.new("int *", -1), ffi.new("int *", -1)
    with open("/dev/null") as file:
        assert lib.pc_receive_status(file.fileno(), heard, pidfd, loader) == -errno.ENOTSOCK
    assert (pidfd[0], heard.kind) == (-1, 0)


def test_whom_to_kill_is_told_once(no_fd_leaks, pair):
    ours, theirs = pair
    heard, pidfd, loader = ffi.new("struct pc_status *"), ffi.new("int *", -1), ffi.new("int *", -1)
    started = status(lib.PC_STATUS_STARTED, 7)
    for _ in range(2):
        socket.send_fds(theirs, [started], [0])
    assert lib.pc_receive_status(ours.fileno(), heard, pidfd, loader) == 1
    assert (heard.kind, heard.value) == (lib.PC_STATUS_STARTED, 7)
    first = pidfd[0]
    assert first > 2
    assert lib.pc_receive_status(ours.fileno(), heard, pidfd, loader) == 0
    assert (pidfd[0], heard.kind) == (first, 0)
    lib.pc_close(pidfd)


def test_a_loader_is_told_apart(no_fd_leaks, pair):
    ours, theirs = pair
    heard, pidfd, loader = ffi.new("struct pc_status *"), ffi.new("int *", -1), ffi.new("int *", -1)
    # The container's supervisor may be quicker than the helper.
    for kind in (lib.PC_STATUS_STARTED, lib.PC_STATUS_LOADING):
        socket.send_fds(theirs, [status(kind, 7)], [0])
        assert lib.pc_receive_status(ours.fileno(), heard, pidfd, loader) == 1
        assert heard.kind == kind
    assert min(pidfd[0], loader[0]) >= 0
    assert pidfd[0] != loader[0]
    lib.pc_close(pidfd)
    lib.pc_close(loader)


@pytest.mark.parametrize("message", [b"", b"short", status(3) + b"long"])
def test_other_messages_are_the_end(no_fd_leaks, pair, message):
    ours, theirs = pair
    heard, pidfd, loader = ffi.new("struct pc_status *"), ffi.new("int *", -1), ffi.new("int *", -1)
    theirs.send(message)
    assert lib.pc_receive_status(ours.fileno(), heard, pidfd, loader) in (0, -errno.EMSGSIZE)
    assert pidfd[0] == -1
