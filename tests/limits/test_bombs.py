"""Programs that would harm the machine: each is bounded, and told by its verdict."""

from __future__ import annotations

import signal
import time

import pytest

from pycontainer import ContainerTimeoutError, ExitStatus, Verdict, tmpfs

from .conftest import patience


@pytest.mark.parametrize("most", [1, 2, 7])
@pytest.mark.parametrize("pid1", [False, True])
def test_processes(misbehave, most, pid1):
    completed = misbehave("fork", processes=most, wall_time=20, child_is_pid1=pid1)
    assert completed.stdout == b"%d EAGAIN\n" % (most - 1)
    assert completed.verdict is Verdict.OK


def test_fork_bomb(misbehave):
    completed = misbehave("forkbomb", processes=30, wall_time=1.5)
    assert completed.verdict is Verdict.WALL_TIME
    assert completed.usage.wall_time < 1.5 + 3 * patience()


def test_allocation_bomb(misbehave):
    """No process is above the limit: all of them together are."""
    completed = misbehave("allocbomb", memory="200m", wall_time=20)
    assert completed.verdict is Verdict.MEMORY
    assert completed.status == ExitStatus(signal=signal.SIGKILL)
    assert completed.usage.max_rss < 400 << 20


def test_processor_time_that_nobody_waits_for(misbehave):
    completed = misbehave("burnbomb", cpu_time=1, wall_time=25)
    assert completed.verdict is Verdict.CPU_TIME
    assert 1 <= completed.usage.user_time + completed.usage.system_time < 2


def test_output_flood(misbehave):
    completed = misbehave("flood", output=100_000, wall_time=20)
    assert completed.verdict is Verdict.OUTPUT
    assert len(completed.stdout) + len(completed.stderr) == 100_000
    assert set(completed.stdout) == {ord("x")}


def test_output_that_fits(misbehave):
    completed = misbehave("fork", processes=2, output=9)
    assert completed.stdout == b"1 EAGAIN\n"
    assert completed.verdict is Verdict.OK
    assert misbehave("fork", processes=2, output=8).verdict is Verdict.OUTPUT


def test_one_that_ignores_every_signal(misbehave):
    assert misbehave("stubborn", wall_time=0.5).verdict is Verdict.WALL_TIME
    before = time.monotonic()
    with pytest.raises(ContainerTimeoutError) as caught:
        misbehave("stubborn", timeout=0.5, wall_time=30)
    assert time.monotonic() - before < 0.5 + 3 * patience()
    completed = caught.value.completed
    assert completed is not None
    assert completed.verdict is Verdict.CANCELLED


def test_daemons_end_with_the_program(misbehave):
    before = time.monotonic()
    completed = misbehave("daemon", 0, wall_time=30)
    assert completed.verdict is Verdict.OK
    assert time.monotonic() - before < 10


def test_daemons_count(misbehave):
    completed = misbehave("daemon", 30, cpu_time=1, wall_time=25)
    assert completed.verdict is Verdict.CPU_TIME
    assert completed.usage.user_time + completed.usage.system_time >= 1


def test_a_full_tmpfs(misbehave):
    completed = misbehave("tmpfs", 64, "/t/x", mounts=[tmpfs("/t", size="4m")], wall_time=20)
    assert completed.stdout == b"4194304 ENOSPC\n"
    assert completed.verdict is Verdict.OK


def test_a_tmpfs_within_the_memory(misbehave, is_root):
    """Its files are memory: a cgroup counts them, and without one it is no larger."""
    completed = misbehave("tmpfs", 200, "/tmp/x", memory="50m", wall_time=20)
    if "cgroup" in completed.enforced["memory"]:
        assert completed.verdict is Verdict.MEMORY
    else:
        assert completed.stdout == b"52428800 ENOSPC\n"
        assert not is_root
