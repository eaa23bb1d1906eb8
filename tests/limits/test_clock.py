"""``Usage.wall_time`` lies between two clocks: the function's own, and one around the call.

What lies between the two is bounded by no clock; on a machine with nothing else to do it is a few
milliseconds.
"""

from __future__ import annotations

import time

import pytest

from pycontainer import Limits, Verdict, host_system, run_command, run_container

NEAR = 0.02  # seconds from the truth


@pytest.mark.parametrize("options", [{}, {"child_is_pid1": False}], ids=["process 1", "init"])
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_usage_of_a_function(method, options):
    def stay():
        start = time.monotonic()
        time.sleep(0.01)
        return start, time.monotonic()

    unknown = []
    for _ in range(10):
        before = time.monotonic()
        completed = run_container([], stay, start_method=method, **options)
        around = time.monotonic() - before
        start, end = completed.result()
        assert end - start <= completed.usage.wall_time <= around
        unknown.append(around - (end - start))
    if method == "forkserver":  # to fork takes a large caller longer
        assert min(unknown) < NEAR


def test_usage_of_a_program():
    unknown = []
    for _ in range(10):
        before = time.monotonic()
        completed = run_command([host_system()], ["/bin/sleep", "0.01"])
        around = time.monotonic() - before
        assert 0.01 <= completed.usage.wall_time <= around
        unknown.append(around - 0.01)
    assert min(unknown) < NEAR


def test_usage_of_what_a_limit_ended():
    before = time.monotonic()
    completed = run_container([], lambda: time.sleep(30), limits=Limits(wall_time=0.2))
    assert completed.verdict is Verdict.WALL_TIME
    assert 0.2 <= completed.usage.wall_time <= time.monotonic() - before
