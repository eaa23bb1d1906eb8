"""Row 36: what a container takes from the machine (systemd#1930).

A tmpfs is half of the RAM by default, a fork bomb takes every process, and a crash starts a
program of the host's, as root.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import time

import pytest

from pycontainer import (
    ExitStatus,
    Limits,
    Verdict,
    call_with_container,
    host_system,
    run_command,
    run_container,
    tmpfs,
)

RAM = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("method", ["forkserver", "fork"])
@pytest.mark.parametrize("pid1", [True, False])
def test_no_core(method, pid1):
    """A byte is less than any core, and the one limit for which a pipe is not started either."""

    def fn():
        before = resource.getrlimit(resource.RLIMIT_CORE)
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))
        except (ValueError, OSError):
            return before
        return "raised"

    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    wanted = (1, 1) if hard else (0, 0)
    # Without the capability over the host that raises a hard limit.
    found = call_with_container([], fn, start_method=method, child_is_pid1=pid1)
    assert found == wanted


def test_no_core_of_a_program():
    completed = run_command(
        [host_system()], ["/bin/sh", "-c", "ulimit -H -c; kill -SEGV $$"], capture_output=True
    )
    assert completed.stdout == b"0\n"  # in blocks
    assert completed.status == ExitStatus(signal=signal.SIGSEGV)


def test_every_tmpfs_has_its_bounds():
    def fn():
        places = ("/", "/dev", "/dev/shm", "/tmp", "/t")
        found = {}
        for place in places:
            status = os.statvfs(place)
            found[place] = status.f_blocks * status.f_frsize, status.f_files
        return found

    for place, (size, files) in call_with_container([tmpfs("/t")], fn).items():
        assert 0 < size <= RAM // 10 + 4096, place
        assert 0 < files <= 1 << 20, place


def test_a_full_one_is_said_early():
    def fn():
        written = 0
        with open("/t/file", "wb", 0) as file:
            try:
                while written < 64 << 20:
                    written += file.write(b"x" * 65536)
            except OSError as error:
                return written, error.errno
        return written, 0

    written, error = call_with_container([tmpfs("/t", size="2m")], fn)
    assert (written, error) == (2 << 20, errno.ENOSPC)


def test_forks():
    def fn():
        made = 0
        while made < 500:
            try:
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
            except OSError as error:
                return made, error.errno
            made += 1
        return made, 0

    limits = Limits(processes=10, wall_time=60)
    for pid1 in (True, False):
        found = call_with_container([], fn, limits=limits, child_is_pid1=pid1)
        assert found == (9, errno.EAGAIN)


def test_memory():
    def fn():
        for _ in range(8):
            if os.fork() == 0:
                kept = b"x" * (40 << 20)
                time.sleep(30)
                os._exit(len(kept) & 1)
        time.sleep(5)

    completed = run_container([], fn, limits=Limits(memory="150m", wall_time=60))
    assert completed.verdict is Verdict.MEMORY
