"""The life of the helper process."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from pycontainer import HelperError, call_with_container, start_container
from pycontainer.launch import forkserver


def helper() -> int:
    return forkserver.forkserver().pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_one_helper_for_many_calls():
    call_with_container([], lambda: None)
    first = helper()
    call_with_container([], lambda: None)
    assert helper() == first
    assert call_with_container([], os.getppid) == 0  # nobody of the container's own


def test_new_helper_for_another_limit():
    first = helper()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with start_container([]) as box:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        try:
            limit = call_with_container([], lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            assert limit == soft - 1
            assert helper() != first
            assert box.poll() is None  # goes on below the helper that it was started by
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    del box


def test_new_helper_when_it_was_killed():
    call_with_container([], lambda: None)
    first = helper()
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert call_with_container([], os.getpid) == 1
    assert helper() != first


def test_a_running_container_ends_with_its_helper():
    running = start_container([], lambda: time.sleep(60))
    pid = running.pid
    os.kill(helper(), signal.SIGKILL)
    with pytest.raises(HelperError):
        running.wait(timeout=10)
    running.end()
    assert gone(pid)


def test_not_shared_across_a_fork():
    call_with_container([], lambda: None)
    first = helper()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            value = call_with_container([], os.getpid)
            os.write(write, f"{value} {helper()}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        value, theirs = map(int, pipe.read().split())
    os.waitpid(child, 0)
    assert value == 1
    assert theirs != first
    assert gone(theirs)
    assert helper() == first
    assert call_with_container([], os.getpid) == 1
