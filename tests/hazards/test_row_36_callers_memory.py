"""Row 36: what counts for a memory limit is what the container takes, not what its caller has.

A fork shares all the pages of the process that it was copied from.  A cgroup leaves them with that
one; whoever reads /proc has to.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from pycontainer import Container, Limits, Verdict, host_system, run_command, run_container
from pycontainer.launch import limits as launch_limits
from pycontainer.launch.command import Command
from pycontainer.launch.start import CallOptions, start
from pycontainer.launch.stdio import Stdio

MIB = 1 << 20
LIMIT = Limits(memory=160 * MIB)  # above what a function may import before it runs


@pytest.fixture(autouse=True, params=["by what may", "by looking"])
def mechanism(request, monkeypatch, is_root):
    if request.param == "by looking":
        monkeypatch.setattr(launch_limits, "hierarchies", lambda before: {})
    elif not is_root:
        pytest.skip("needs root; the run as root has it")
    return request.param


@pytest.fixture(params=[0, 400], ids=["small caller", "large caller"])
def held(request):
    return bytearray(os.urandom(MIB)) * request.param


method = pytest.mark.parametrize("method", ["forkserver", "fork"])
pid1 = pytest.mark.parametrize("pid1", [True, False], ids=["process 1", "below an init"])


def linger():
    time.sleep(0.1)  # there are several looks
    return os.getpid()


def allocate():
    taken = bytearray(b"x") * (250 * MIB)
    time.sleep(8)
    return len(taken)


def share_out():
    """Five times 50 MiB, each in a process of its own."""
    for _ in range(5):
        if os.fork() == 0:
            allocated = bytearray(b"x") * (50 * MIB)
            time.sleep(8)
            os._exit(len(allocated) % 2)
    time.sleep(8)


def share():
    """80 MiB that two children have too: the same pages."""
    allocated = bytearray(b"x") * (80 * MIB)
    for _ in range(2):
        if os.fork() == 0:
            time.sleep(0.1)
            os._exit(len(allocated) % 2)
    for _ in range(2):
        assert os.wait()[1] == 0
    return len(allocated)


@method
@pid1
@pytest.mark.parametrize("fn", [linger, share])
def test_within_the_limit(held, method, pid1, fn):
    completed = run_container([], fn, limits=LIMIT, start_method=method, child_is_pid1=pid1)
    assert completed.verdict is Verdict.OK
    assert completed.result() == (80 * MIB if fn is share else 1 if pid1 else 2)


@method
@pid1
@pytest.mark.parametrize("fn", [allocate, share_out])
def test_beyond_the_limit(held, method, pid1, fn):
    completed = run_container([], fn, limits=LIMIT, start_method=method, child_is_pid1=pid1)
    assert completed.verdict is Verdict.MEMORY
    assert completed.status.signal == signal.SIGKILL  # all of it, not one of its children
    assert completed.usage.max_rss > 150 * MIB


def test_a_caller_that_changes_its_own_pages(held):
    """Then they are the copy's alone, and were still not taken by the container."""
    released = None

    def begin(running):
        nonlocal released
        for at in range(0, len(held), 4096):
            held[at] = 1
        released = True

    completed = run_container(
        [], linger, limits=LIMIT, start_method="fork", process_spawned_hook=begin
    )
    assert released
    assert completed.verdict is Verdict.OK


def test_a_program_in_little_memory(held, mechanism):
    """Its init is a copy of the helper, and larger than it is."""
    words = ["/bin/sleep", "0.1"]
    # A cgroup counts what the kernel needs for it too.
    for memory in (100 * MIB, 2 * MIB if mechanism == "by looking" else 20 * MIB):
        completed = run_command([host_system()], words, limits=Limits(memory=memory))
        assert completed.verdict is Verdict.OK


def test_a_program_of_a_fork_in_little_memory(held, mechanism):
    """Its init is a copy of the caller, and may not be looked into."""
    if mechanism != "by looking":
        return
    container = Container([host_system()], limits=Limits(memory=2 * MIB))
    command = Command.of(["/bin/sleep", "0.1"], container.env)
    options = CallOptions(start_method="fork")
    running = start(container, None, options, lambda: Stdio(None, None, None), command=command)
    assert running.wait(30).verdict is Verdict.OK
