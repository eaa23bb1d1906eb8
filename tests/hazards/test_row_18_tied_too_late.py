"""Row 18, continued: a parent that is killed between the fork and prctl(PR_SET_PDEATHSIG).

The kernel holds the child at that call (seccomp_unotify(2)) while the test kills its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from pycontainer import (
    NAMESPACES,
    ContainerError,
    call_with_container,
    container_excursion,
    start_container,
)
from pycontainer.launch import forkserver as forkservers

# A module for ``preload=``: all children of its helper are held.
HOLDING = """
import ctypes, os, platform, socket, struct

LOAD, EQUAL, RETURN, ALLOW, NOTIFY = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FC00000
prctl, seccomp = (157, 317) if platform.machine() == "x86_64" else (167, 277)
code = [(LOAD, 0, 0, 0), (EQUAL, 0, 5, prctl), (LOAD, 0, 0, 16), (EQUAL, 0, 3, 1),  # PDEATHSIG
        (LOAD, 0, 0, 24), (EQUAL, 0, 1, 9), (RETURN, 0, 0, NOTIFY), (RETURN, 0, 0, ALLOW)]
memory = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(memory))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
listener = libc.syscall(seccomp, 1, 8, program)  # SET_MODE_FILTER, NEW_LISTENER
assert listener >= 0, os.strerror(ctypes.get_errno())
with socket.socket(socket.AF_UNIX) as test:
    test.connect({path!r})
    socket.send_fds(test, [str(os.getpid()).encode()], [listener])
os.close(listener)
"""
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1  # linux/seccomp.h
NOTICE = struct.Struct("QII64x")


def state_of(pid):
    """Its letter in /proc/PID/stat, and its parent; a process that has gone is dead."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return words[0], int(words[1])


def wait_for_the_end(pid):
    deadline = time.monotonic() + 5
    while state_of(pid)[0] not in "ZX":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def held(tmp_path, monkeypatch):
    """The name for ``preload=``, and where its helper connects to."""
    name = f"holding_{os.getpid()}_{time.monotonic_ns()}"
    path = str(tmp_path / "socket")
    (tmp_path / f"{name}.py").write_text(HOLDING.replace("{path!r}", repr(path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(20)
        yield name, server
    forkservers._running.pop(((name,), False)).close()


def visit(running, preload):
    container_excursion(running, lambda: signal.pause(), preload=preload)


def run_below_an_init(running, preload):
    names = NAMESPACES - {"pid"}
    call_with_container([], lambda: signal.pause(), namespaces=names, preload=preload)


@pytest.mark.parametrize("act", [visit, run_below_an_init])
def test_parent_is_killed_before_its_child_is_tied_to_it(held, act):
    name, server = held
    raised: list[BaseException] = []

    def call():
        try:
            act(running, (name,))
        except ContainerError as error:
            raised.append(error)

    with start_container([]) as running:
        thread = threading.Thread(target=call)
        thread.start()
        connection = server.accept()[0]
        message, (listener,), _, _ = socket.recv_fds(connection, 16, 1)
        helper = int(message)
        try:
            child = 0
            while not child:
                assert select.select([listener], [], [], 20)[0], "nothing was held"
                notice = ctypes.create_string_buffer(NOTICE.size)
                fcntl.ioctl(listener, RECEIVE, notice)
                number, pid, _ = NOTICE.unpack(notice)
                parent = state_of(pid)[1]
                if parent != helper:
                    child = pid
                    os.kill(parent, signal.SIGKILL)
                    assert wait_for_the_end(parent)
                with contextlib.suppress(FileNotFoundError):
                    # Unless the helper was quicker, for which it is a leftover of its parent's.
                    fcntl.ioctl(listener, SEND, struct.pack("QqiI", number, 0, 0, CONTINUE))
            ended = wait_for_the_end(child)
            if not ended:
                os.kill(child, signal.SIGKILL)
        finally:
            os.close(listener)
            connection.close()
        thread.join(20)
    assert raised
    assert ended, "the function runs on"
