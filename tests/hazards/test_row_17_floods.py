"""Row 17: hangs and floods (sandlock#149, CPython#79492, Guix reading after it has waited).

Whatever the other side does - too much, nothing, for ever, or by a grandchild that stays - the
caller has a value or a typed error, soon, and as many descriptors as before.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import threading
import time
from typing import Any

import pytest

from pycontainer import (
    NAMESPACES,
    PIPE,
    ContainerExitError,
    ContainerTimeoutError,
    RemoteError,
    ResultError,
    call_with_container,
    run_container,
    start_container,
)

CALL = 3  # PC_FD_CALL
VALUE = 5  # PC_SAY_VALUE


@pytest.fixture(autouse=True)
def prompt_and_without_fd_leaks():
    call_with_container([], lambda: None)  # the helper is there
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 20
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


def fork_and_stay(seconds=30):
    """Leave a process of its own session that keeps every descriptor; its pid."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(seconds)
        os._exit(0)
    return pid


def end(pid):
    """Kill what may have ended with its container."""
    try:
        if pid:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_a_mebibyte():
    assert call_with_container([], lambda: b"x" * (1 << 20)) == b"x" * (1 << 20)


def test_a_mebibyte_of_output_and_of_result():
    """Neither waits for the other to be read (the 64 KiB of a pipe)."""

    def fn():
        os.write(2, b"e" * (1 << 20))
        os.write(1, b"o" * (1 << 20))
        return b"r" * (1 << 20)

    completed = run_container([], fn, capture_output=True, timeout=20)
    assert len(completed.stdout) == len(completed.stderr) == len(completed.result()) == 1 << 20


def test_ten_gibibytes_claimed():
    def fn():
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 10 << 30)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        with socket.socket(fileno=CALL) as call:
            socket.send_fds(call, [bytes([VALUE])], [fd])
        os._exit(0)

    with pytest.raises(ResultError, match="max_result"):
        call_with_container([], fn, timeout=20)


def test_more_than_max_result():
    with pytest.raises(ResultError):
        call_with_container([], lambda: b"x" * 2000, max_result=1000, timeout=20)


@pytest.mark.parametrize("code", [0, 3])
def test_exit_without_a_value(code):
    with pytest.raises(ContainerExitError) as caught:
        call_with_container([], lambda: os._exit(code), timeout=20)
    assert caught.value.completed is not None
    assert caught.value.completed.status.exit_code == code


@pytest.mark.parametrize("pid1", [True, False])
def test_daemon_that_holds_everything(pid1):
    """The end of the pid namespace's process 1 is the daemon's end."""

    def fn():
        fork_and_stay()
        os.write(1, b"said")
        return "value"

    completed = run_container([], fn, capture_output=True, timeout=20, child_is_pid1=pid1)
    assert completed.result() == "value"
    assert completed.stdout == b"said"


@pytest.mark.parametrize("wait", ["run_container", "wait", "result", "communicate"])
def test_daemon_without_a_pid_namespace(wait):
    """It lives on and holds the socket and the pipes: nobody waits for it."""

    def fn():
        pid = fork_and_stay(8)
        os.write(1, b"said")
        return pid

    options: Any = {"namespaces": NAMESPACES - {"pid"}, "stdout": PIPE}
    pid = 0
    try:
        if wait == "run_container":
            completed = run_container([], fn, timeout=20, **options)
            assert completed.stdout == b"said"
            pid = completed.result()
        else:
            with start_container([], fn, **options) as running:
                if wait == "communicate":
                    assert running.communicate()[0] == b"said"
                elif wait == "wait":
                    running.wait()
                pid = running.result()
    finally:
        end(pid)


def test_daemon_that_floods_without_a_pid_namespace():
    """What it writes after the function has ended is not waited for."""

    def fn():
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.alarm(8)
            flood_output()
        return pid

    pid = 0
    try:
        with start_container([], fn, namespaces=NAMESPACES - {"pid"}, stdout=PIPE) as running:
            running.communicate(timeout=6)
            pid = running.result()
    finally:
        end(pid)


class Unpicklable(Exception):
    def __init__(self):
        super().__init__(threading.Lock())
        self.lock = self.args[0]

    def __reduce__(self):
        raise RuntimeError("not me")

    def __str__(self):
        raise RuntimeError("nor in words")


def test_exception_that_cannot_be_pickled():
    def fn():
        raise Unpicklable

    with pytest.raises(RemoteError) as caught:
        call_with_container([], fn, timeout=20)
    assert "Unpicklable" in caught.value.type_name


def test_value_that_cannot_be_pickled():
    with pytest.raises(ResultError):
        call_with_container([], lambda: [threading.Lock()], timeout=20)


def flood_output():
    block = b"x" * 65536
    while True:
        os.write(1, block)


def flood_call():
    with socket.socket(fileno=CALL) as call:
        while True:
            call.send(b"\xc8" * 100)


def flood_both():
    if os.fork():
        flood_call()
    flood_output()


def spin():
    while True:
        pass


def hold_and_sleep():
    os.close(CALL)
    time.sleep(60)


@pytest.mark.parametrize("fn", [flood_output, flood_call, flood_both, spin, hold_and_sleep])
def test_endless_function_with_a_timeout(fn):
    started = time.monotonic()
    with pytest.raises(ContainerTimeoutError) as caught:
        run_container([], fn, capture_output=True, timeout=1.0)
    assert time.monotonic() - started < 15
    if fn is flood_output:
        assert caught.value.output.startswith(b"xxx")


@pytest.mark.parametrize("fn", [flood_output, flood_call])
def test_looking_at_an_endless_function_returns(fn):
    with start_container([], fn, stdout=PIPE) as running:
        assert running.poll() is None
        with pytest.raises(ContainerTimeoutError):
            running.wait(timeout=0.2)
        with pytest.raises(ContainerTimeoutError):
            running.communicate(timeout=0.2)
        running.kill()
        assert running.wait(timeout=10).status.signal == signal.SIGKILL
