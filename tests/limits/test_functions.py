"""Functions under limits, and what their errors say."""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import Any

import pytest

from pycontainer import (
    DEVNULL,
    PIPE,
    ContainerExitError,
    ContainerTimeoutError,
    Limits,
    SetupError,
    Verdict,
    call_with_container,
    host_python,
    run_container,
    start_container,
)

from .conftest import patience


def sleep():
    time.sleep(30)


def burn():
    end = time.process_time() + 30
    while time.process_time() < end:
        pass


def allocate():
    return [len(bytes([1]) * (16 << 20)) for _ in range(1)] and bytearray(b"x" * (300 << 20))[:1]


@pytest.mark.parametrize("method", ["forkserver", "fork"])
@pytest.mark.parametrize(
    ("limits", "fn", "verdict", "words"),
    [
        (Limits(wall_time=0.5), sleep, Verdict.WALL_TIME, r"wall_time=0.5 after 0\.[5-9]"),
        (Limits(cpu_time=0.5), burn, Verdict.CPU_TIME, r"cpu_time=0.5: it used 0\.[5-9]"),
        (Limits(memory="100m"), allocate, Verdict.MEMORY, r"memory=104857600 \(100 MiB\): its"),
    ],
)
def test_a_limit_is_met(method, limits, fn, verdict, words):
    completed = run_container([], fn, limits=limits, start_method=method, timeout=60)
    assert completed.verdict is verdict
    with pytest.raises(ContainerExitError, match=words) as caught:
        completed.result()
    ended = caught.value.completed
    assert ended is not None
    assert ended.verdict is verdict


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_a_value_within_limits(method):
    limits = Limits(
        cpu_time=5, wall_time=20, memory="200m", stack="16m", processes=20, open_files=50,
        file_size="1m", cpu_affinity=[0],
    )  # fmt: skip
    completed = run_container([], lambda: 42, limits=limits, start_method=method)
    assert completed.result() == 42
    assert set(completed.enforced) == {
        "cpu_time", "wall_time", "memory", "stack", "processes", "open_files", "file_size",
        "cpu_affinity",
    }  # fmt: skip
    assert all(not words.startswith("not held") for words in completed.enforced.values())


def test_resources_of_the_function():
    def fn():
        names = ("RLIMIT_CPU", "RLIMIT_STACK", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE")
        found = [resource.getrlimit(getattr(resource, name)) for name in names]
        return found, os.sched_getaffinity(0)

    limits = Limits(
        cpu_time=7.5, stack="4m", processes=9, open_files=40, file_size=4096, cpu_affinity=[0]
    )
    found, processors = call_with_container([], fn, limits=limits)
    assert found == [(n, n) for n in (8, 4 << 20, 9, 40, 4096)]
    assert processors == {0}


def test_below_an_init():
    def fn():
        made = 0
        while True:
            try:
                if os.fork() == 0:
                    time.sleep(20)
                    os._exit(0)
            except BlockingIOError:
                return made
            made += 1

    for pid1 in (True, False):
        limits = Limits(processes=4, wall_time=20)
        assert call_with_container([], fn, limits=limits, child_is_pid1=pid1) == 3


def test_functions_that_start_threads_as_they_load(tmp_path):
    """The supervisor of a loader keeps the watch, and its container is in the cgroups."""

    def fn():
        import numpy

        numpy.zeros(1)
        time.sleep(30)

    def memory():
        import numpy

        return float(numpy.ones(40 << 20).sum())

    for _ in range(2):
        completed = run_container(host_python(), fn, limits=Limits(wall_time=3), timeout=60)
        assert completed.verdict is Verdict.WALL_TIME
        completed = run_container(host_python(), memory, limits=Limits(memory="200m"), timeout=60)
        assert completed.verdict is Verdict.MEMORY


def test_without_a_pid_namespace(is_root):
    from pycontainer import NAMESPACES

    def fn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
                time.sleep(60)
        time.sleep(60)

    names = NAMESPACES - {"pid"}
    completed = run_container([], fn, namespaces=names, limits=Limits(wall_time=1), timeout=30)
    assert completed.verdict is Verdict.WALL_TIME
    assert 1 <= completed.usage.wall_time < 1 + 3 * patience()


def test_a_set_up_that_meets_a_limit():
    with pytest.raises(ContainerExitError, match="met its limit wall_time while it was set up"):
        call_with_container(
            [], lambda: None, limits=Limits(wall_time=0.3), populate_filesystem=lambda: sleep()
        )


def test_cancelled():
    with pytest.raises(ContainerTimeoutError) as caught:
        call_with_container([], sleep, timeout=1.0)
    completed = caught.value.completed
    assert completed is not None
    assert completed.verdict is Verdict.CANCELLED
    for end in ("kill", "terminate"):
        with start_container([], sleep) as running:
            getattr(running, end)()
            assert running.wait(30).verdict is Verdict.CANCELLED
            with pytest.raises(ContainerExitError, match="was ended by its caller"):
                running.result()


def test_killed_by_somebody_else():
    with start_container([], sleep) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(30).verdict is Verdict.SIGNAL


def test_output_needs_pipes():
    fn = lambda: print("x" * 50)  # noqa: E731
    loose_streams: list[dict[str, Any]] = [{}, {"stdout": PIPE}, {"stderr": DEVNULL}]
    for streams in loose_streams:
        with pytest.raises(SetupError, match=r"output= cannot be held: std\w+ (and stderr )?goes"):
            call_with_container([], fn, limits=Limits(output=10), **streams)
    for stdout in (PIPE, DEVNULL):
        completed = run_container([], fn, limits=Limits(output=100), stdout=stdout, stderr=DEVNULL)
        assert completed.verdict is Verdict.OK
    loose = Limits(output=10, strict=False)
    completed = run_container([], fn, limits=loose, stdout=PIPE)
    assert completed.verdict is Verdict.OUTPUT
    assert completed.enforced["output"].startswith("not held: stderr goes where")
