"""What is counted: memory that processes share counts once, time of what has ended stays."""

from __future__ import annotations

import mmap
import os
import time

import pytest

from pycontainer import ContainerExitError, Limits, Verdict, run_container, start_container
from pycontainer.launch import limits as launch_limits


@pytest.fixture(params=["as it is", "without cgroups"])
def means(request, monkeypatch):
    """Whatever this host has, and nothing."""
    if request.param != "as it is":
        monkeypatch.setattr(launch_limits, "hierarchies", lambda before: {})


def test_shared_memory_counts_once(means):
    def fn():
        shared = mmap.mmap(-1, 80 << 20)
        for _ in range(80):
            shared.write(b"x" * (1 << 20))
        for _ in range(5):
            if os.fork() == 0:
                assert shared[::4096].count(b"x") == 20480
                time.sleep(0.5)
                os._exit(0)
        for _ in range(5):
            os.wait()
        return "done"

    completed = run_container([], fn, limits=Limits(memory="200m", wall_time=30))
    assert completed.verdict is Verdict.OK, completed
    assert 80 << 20 < completed.usage.max_rss < 200 << 20


def test_memory_that_is_reserved_does_not_count(means):
    def fn():
        return len(mmap.mmap(-1, 1 << 30))

    completed = run_container([], fn, limits=Limits(memory="100m", wall_time=30))
    assert completed.result() == 1 << 30


def test_the_peak_stays(means):
    def fn():
        kept = mmap.mmap(-1, 150 << 20)
        for _ in range(150):
            kept.write(b"x" * (1 << 20))
        time.sleep(0.1)
        kept.close()
        time.sleep(0.1)

    completed = run_container([], fn, limits=Limits(memory="300m", wall_time=30))
    assert 150 << 20 < completed.usage.max_rss < 300 << 20


def test_time_of_processes_that_are_killed(means):
    def fn():
        for _ in range(2):
            if os.fork() == 0:
                end = time.process_time() + 0.4
                while time.process_time() < end:
                    pass
                time.sleep(60)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ticks = 0
            for name in os.listdir("/proc"):
                if name.isdigit() and name != "1":
                    ticks += sum(map(int, open(f"/proc/{name}/stat").read().split()[13:15]))
            if ticks >= 76:  # hundredths of a second
                return
            time.sleep(0.02)

    completed = run_container([], fn, limits=Limits(cpu_time=20, wall_time=40))
    assert completed.verdict is Verdict.OK
    assert completed.usage.user_time + completed.usage.system_time > 0.7


def test_too_little_memory_to_start(means):
    with pytest.raises(ContainerExitError, match="met its limit memory"):
        start_container([], lambda: time.sleep(5), limits=Limits(memory="64k")).result()


def test_an_idle_container(means):
    with start_container([], limits=Limits(wall_time=0.3, memory="100m")) as running:
        completed = running.wait(20)
    assert completed.verdict is Verdict.WALL_TIME
    assert completed.usage.wall_time >= 0.3
