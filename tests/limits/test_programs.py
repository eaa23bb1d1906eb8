"""C programs under limits: what tabox tests, and how each end is called."""

from __future__ import annotations

import signal
import time

import pytest

from pycontainer import CommandError, ExitStatus, Verdict

from .conftest import patience

MB = 1 << 20


def test_memory_below_the_limit(misbehave):
    completed = misbehave("fill", 200, memory="256m")
    assert completed.verdict is Verdict.OK
    assert 200 * MB < completed.usage.max_rss <= 256 * MB
    assert set(completed.enforced) == {"memory"}


def test_memory_beyond_the_limit(misbehave):
    completed = misbehave("fill", 512, memory="256m", wall_time=30)
    assert completed.verdict is Verdict.MEMORY
    assert completed.status == ExitStatus(signal=signal.SIGKILL)
    assert completed.usage.max_rss > 250 * MB
    with pytest.raises(CommandError, match=r"met its limit memory=268435456 \(256 MiB\): its peak"):
        completed.check_returncode()


@pytest.mark.parametrize(
    ("stack", "ends"),
    [("100m", None), ("unlimited", None), ("60m", signal.SIGSEGV), (None, signal.SIGSEGV)],
)
def test_stack(misbehave, stack, ends):
    """None is the caller's, 8 MiB on most hosts."""
    completed = misbehave("deep", 80, stack=stack, memory="100m", wall_time=30)
    assert completed.status.signal == ends
    assert completed.verdict is (Verdict.SIGNAL if ends else Verdict.OK)
    assert ends or completed.usage.max_rss > 80 * MB


def test_cpu_time(misbehave):
    completed = misbehave("burn", 30, cpu_time=1, wall_time=25)
    assert completed.verdict is Verdict.CPU_TIME
    used = completed.usage.user_time + completed.usage.system_time
    assert 1 <= used < 2
    assert completed.status.signal == signal.SIGKILL


def test_cpu_time_below_a_second(misbehave):
    completed = misbehave("burn", 30, cpu_time=0.3, wall_time=20)
    assert completed.verdict is Verdict.CPU_TIME
    assert 0.29 <= completed.usage.user_time + completed.usage.system_time < 1


def test_cpu_time_is_reported(misbehave):
    completed = misbehave("burn", 2, cpu_time=10)
    assert completed.verdict is Verdict.OK
    assert 1.9 < completed.usage.user_time + completed.usage.system_time < 3.1


def test_wall_time_below_the_limit(misbehave):
    completed = misbehave("sleep", 2, wall_time=6)
    assert completed.verdict is Verdict.OK
    assert 2.0 <= completed.usage.wall_time < 2.0 + patience()


def test_wall_time(misbehave):
    before = time.monotonic()
    completed = misbehave("sleep", 10, wall_time=1)
    took = time.monotonic() - before
    assert completed.verdict is Verdict.WALL_TIME
    assert completed.status == ExitStatus(signal=signal.SIGKILL)
    assert 1.0 <= completed.usage.wall_time < 1.0 + patience()
    assert completed.usage.wall_time <= took < completed.usage.wall_time + patience()


def test_wall_time_of_many_at_once(program):
    from pycontainer import Limits, bind, host_system, start_command

    running = [
        start_command(
            [host_system(), bind(program, "/misbehave")],
            ["/misbehave", "sleep", "20"],
            limits=Limits(wall_time=1 + number / 10),
        )
        for number in range(5)
    ]
    for number, one in enumerate(running):
        completed = one.wait(30)
        one.close()
        assert completed.verdict is Verdict.WALL_TIME
        assert 1 + number / 10 <= completed.usage.wall_time < 1 + number / 10 + patience()


def test_no_limit_is_met(misbehave):
    assert misbehave("nothing", 3, memory="1g", wall_time=10).verdict is Verdict.EXIT
    assert misbehave("null", memory="1g", wall_time=10).verdict is Verdict.SIGNAL


def test_file_size(misbehave):
    completed = misbehave("file", 2000, file_size=1000)
    assert completed.stdout == b"1000 EFBIG\n"


def test_processors(misbehave):
    completed = misbehave("burn", 0.1, cpu_affinity=[0])
    assert completed.verdict is Verdict.OK
    assert completed.enforced["cpu_affinity"].startswith("sched_setaffinity()")


@pytest.mark.is_root
def test_a_quota_of_processors(misbehave):
    completed = misbehave("burn", 0.5, cpus=0.5, cpu_time=10)
    assert completed.verdict is Verdict.OK
    assert completed.usage.wall_time > 0.8
    assert "cpu" in completed.enforced["cpus"]
