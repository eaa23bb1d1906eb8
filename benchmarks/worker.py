"""A Python program that measures one call a line, so that a harness can interleave it with others.

Each line of stdin is ``name`` and its arguments as a JSON list; each answer is nanoseconds or
``failed: reason``.  ``--hold BYTES``: the process holds so much touched memory.  pycontainer is
imported at the first measurement that needs it, so that a worker for ``multiprocessing`` is a
process without it.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


def timed(action: Callable[[], Any], *, length: int | None = None) -> int:
    """Nanoseconds that ``action`` takes; the value is dropped after the clock has stopped.

    ``length``: what comes back has that many items, or is that number.
    """
    started = time.perf_counter_ns()
    value = action()
    taken = time.perf_counter_ns() - started
    if length is not None and length != (value if isinstance(value, int) else len(value)):
        raise AssertionError("the wrong value came back")
    return taken


# ---- calls ----


def call(options: dict[str, Any]) -> int:
    from pycontainer import call_with_container

    return timed(lambda: call_with_container([], lambda: None, **options))


def call_filtered(name: str) -> int:
    import pycontainer

    seccomp = getattr(pycontainer, name)
    return timed(lambda: pycontainer.call_with_container([], lambda: None, seccomp=seccomp))


def call_sandbox() -> int:
    from pycontainer import SANDBOX, call_with_container

    return timed(lambda: call_with_container(SANDBOX, lambda: None))


@functools.cache
def declared_binds(directory: str, count: int) -> Sequence[Any]:
    from pycontainer import bind

    return [bind(f"{directory}/{i:04d}", f"/binds/{i:04d}") for i in range(count)]


def call_binds(directory: str, count: int) -> int:
    from pycontainer import call_with_container

    mounts = declared_binds(directory, count)
    return timed(lambda: call_with_container(mounts, lambda: None))


def declare_and_call_binds(directory: str, count: int) -> int:
    from pycontainer import call_with_container

    declare = declared_binds.__wrapped__
    return timed(lambda: call_with_container(declare(directory, count), lambda: None))


def command(program: str, options: dict[str, Any]) -> int:
    from pycontainer import bind, run_command

    mounts = [bind(program, "/true")]
    return timed(lambda: run_command(mounts, ["/true"], check=True, **options))


def excursion(pid: int) -> int:
    from pycontainer import container_excursion

    return timed(lambda: container_excursion(pid, lambda: None))


def concurrent_calls(threads: int, calls: int) -> int:
    """Nanoseconds a call while ``threads`` callers make ``calls`` each."""
    from pycontainer import call_with_container

    gate = threading.Barrier(threads + 1)
    failures: list[BaseException] = []

    def caller() -> None:
        gate.wait()
        try:
            for _ in range(calls):
                call_with_container([], lambda: None)
        except BaseException as failure:
            failures.append(failure)

    callers = [threading.Thread(target=caller) for _ in range(threads)]
    for thread in callers:
        thread.start()
    started = time.perf_counter_ns()
    gate.wait()
    for thread in callers:
        thread.join()
    taken = time.perf_counter_ns() - started
    if failures:
        raise failures[0]
    return taken // (threads * calls)


# ---- data ----


def make_bytes(size: int) -> bytes:
    return b"x" * size


def make_array(size: int) -> Any:
    import numpy

    return numpy.ones(size, dtype=numpy.uint8)


def make_length(kind: str, size: int) -> int:
    return len(make_array(size) if kind == "array" else make_bytes(size))


def data_options(kind: str) -> dict[str, Any]:
    return {"preload": ("numpy",)} if kind == "array" else {}


def result(kind: str, size: int) -> int:
    from pycontainer import call_with_container

    make = functools.partial(make_array if kind == "array" else make_bytes, size)
    return timed(lambda: call_with_container([], make, **data_options(kind)), length=size)


def made(kind: str, size: int) -> int:
    """The same work in the container, but only its length comes back."""
    from pycontainer import call_with_container

    make = functools.partial(make_length, kind, size)
    return timed(lambda: call_with_container([], make, **data_options(kind)), length=size)


@functools.cache
def held_data(kind: str, size: int) -> Any:
    return make_array(size) if kind == "array" else make_bytes(size)


def payload(kind: str, size: int) -> int:
    from pycontainer import call_with_container

    take = functools.partial(len, held_data(kind, size))
    return timed(lambda: call_with_container([], take, **data_options(kind)), length=size)


# ---- builds ----


def scan(path: str, count: int) -> int:
    """Search a file for *count* needles that are not in it, while it is hashed."""
    from pycontainer.build.scan import scan as scan_path

    needles = [f"{number:032x}-not-there" for number in range(count)]
    return timed(lambda: len(scan_path(path, needles).references), length=0)


# ---- limits ----


def sleep_long() -> None:
    time.sleep(10)


def burn() -> None:
    while True:
        pass


def burn_in_four() -> None:
    os.fork()
    os.fork()
    burn()


def wall_time_late() -> int:
    """From when it should have ended until the caller knows that it has."""
    from pycontainer import Limits, Verdict, run_container

    limits = Limits(wall_time=0.2)
    started = time.perf_counter_ns()
    ended = run_container([], sleep_long, limits=limits)
    late = time.perf_counter_ns() - started - 200_000_000
    assert ended.verdict is Verdict.WALL_TIME
    return late


def cpu_time_late() -> int:
    """What it used beyond its limit."""
    return used_beyond(burn, 0.2)


def tree_cpu_time_late() -> int:
    """The same, of all its processes together."""
    return used_beyond(burn_in_four, 0.4)


def used_beyond(fn: Callable[[], None], limit: float) -> int:
    from pycontainer import Limits, Verdict, run_container

    ended = run_container([], fn, limits=Limits(cpu_time=limit), timeout=30)
    assert ended.verdict is Verdict.CPU_TIME
    return round((ended.usage.user_time + ended.usage.system_time - limit) * 1e9)


def stay() -> tuple[int, int]:
    started = time.perf_counter_ns()
    time.sleep(0.05)
    return started, time.perf_counter_ns()


def wall_usage_error() -> int:
    """The truth lies between the function's clock and the caller's: from the farther of the two."""
    from pycontainer import run_container

    before = time.perf_counter_ns()
    ended = run_container([], stay)
    around = time.perf_counter_ns() - before
    started, stopped = ended.result()
    said = round(ended.usage.wall_time * 1e9)
    assert stopped - started <= said <= around
    return max(said - (stopped - started), around - said)


def program_usage_error() -> int:
    """The same of a program that sleeps for 50 ms, which is less than it is there."""
    from pycontainer import host_system, run_command

    before = time.perf_counter_ns()
    ended = run_command([host_system()], ["/bin/sleep", "0.05"])
    around = time.perf_counter_ns() - before
    said = round(ended.usage.wall_time * 1e9)
    assert 50_000_000 <= said <= around
    return max(said - 50_000_000, around - said)


# ---- what Python offers without containers ----


def process(start_method: str) -> int:
    context: Any = multiprocessing.get_context(start_method)

    def start_and_join() -> None:
        child = context.Process(target=os.getpid)
        child.start()
        child.join()

    return timed(start_and_join)


def write_oci_bundle(directory: str, preset: str) -> int:
    import pycontainer
    from pycontainer.oci import write_bundle

    container = getattr(pycontainer, preset) if preset else pycontainer.Container()
    path = f"{directory}/written"
    taken = timed(lambda: write_bundle(path, container, ["/true"]))
    shutil.rmtree(path)
    return taken


def run_oci_bundle(directory: str, program: str, runtime: Any) -> int:
    from pycontainer import Container, bind
    from pycontainer.oci import run_bundle, write_bundle

    path = f"{directory}/run"
    if not os.path.exists(path):
        write_bundle(path, Container([bind(program, "/true")]), ["/true"])
    return timed(lambda: run_bundle(path, runtime=runtime, log=len).returncode, length=0)


MEASUREMENTS: dict[str, Callable[..., int]] = {
    function.__name__: function
    for function in (
        call,
        call_binds,
        call_filtered,
        call_sandbox,
        command,
        concurrent_calls,
        cpu_time_late,
        declare_and_call_binds,
        excursion,
        made,
        payload,
        process,
        program_usage_error,
        run_oci_bundle,
        result,
        tree_cpu_time_late,
        wall_time_late,
        wall_usage_error,
        scan,
        write_oci_bundle,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hold", type=int, default=0)
    held = bytearray(b"\x01") * parser.parse_args().hold
    # The answers keep the real stdout: whatever else is printed goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = str(MEASUREMENTS[name](*arguments))
        except Exception as failure:
            text = " ".join(f"{type(failure).__name__}: {failure}".split())
            answer = f"failed: {text[:300]}"
        answers.write(answer + "\n")
    del held


if __name__ == "__main__":
    main()
