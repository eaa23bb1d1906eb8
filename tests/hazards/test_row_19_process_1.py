"""Row 19: the duties of process 1.

The kernel drops signals to it that have no handler, and leaves it every orphan of the container.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pycontainer import ContainerExitError, call_with_container, run_container, start_container


def make_orphans(count=20):
    """Processes that end after their parent has; returns when all of them are over."""
    read, write = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.02)
            os._exit(0)
    for _ in range(count):
        os.wait()
    os.close(write)
    assert os.read(read, 1) == b""  # the last of them has closed it


def zombies():
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state == "Z":
                found.append(entry.name)
    return found


def test_orphans_below_an_init():
    def fn():
        make_orphans()
        deadline = time.monotonic() + 5
        while zombies() and time.monotonic() < deadline:
            time.sleep(0.01)
        return zombies()

    assert call_with_container([], fn, child_is_pid1=False, timeout=20) == []


def test_orphans_in_an_idle_container_end_with_it():
    with start_container([]) as running:
        running.terminate()
        assert running.wait(timeout=5).status.signal == signal.SIGTERM


ENDING = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM]


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("pid1", [True, False])
def test_signal_ends_a_function(pid1, number):
    with start_container([], lambda: time.sleep(30), child_is_pid1=pid1) as running:
        time.sleep(0.05)
        running.send_signal(number)
        completed = running.wait(timeout=5)
    assert completed.status.signal == number
    assert completed.returncode == -number
    with pytest.raises(ContainerExitError):
        completed.result()


@pytest.mark.parametrize("pid1", [True, False])
def test_signal_by_itself(pid1):
    completed = run_container(
        [], lambda: os.kill(os.getpid(), signal.SIGTERM), child_is_pid1=pid1, timeout=20
    )
    assert completed.status.signal == signal.SIGTERM


@pytest.mark.parametrize("pid1", [True, False])
def test_segmentation_fault(pid1):
    def fn():
        import ctypes

        ctypes.string_at(0)

    completed = run_container([], fn, preload=("ctypes",), child_is_pid1=pid1, timeout=20)
    assert completed.status.signal == signal.SIGSEGV
    assert completed.returncode == -11
    assert completed.status.exit_code is None


@pytest.mark.parametrize("pid1", [True, False])
def test_abort(pid1):
    completed = run_container([], os.abort, child_is_pid1=pid1, timeout=20)
    assert completed.status.signal == signal.SIGABRT


@pytest.mark.parametrize("pid1", [True, False])
def test_kill_takes_the_whole_tree(pid1):
    def fn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                break
        time.sleep(30)

    with start_container([], fn, child_is_pid1=pid1) as running:
        time.sleep(0.05)
        running.kill()
        assert running.wait(timeout=5).status.signal == signal.SIGKILL
