"""Ten thousand calls leave everything as it was."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer import (
    ContainerExitError,
    ContainerTimeoutError,
    call_with_container,
    container_excursion,
    start_container,
)
from pycontainer.launch import forkserver

CALLS = 10_000
WARM_UP = 500


def memory(pid: int) -> int:
    """Anonymous memory of a process, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def state(helper: int) -> dict[str, int]:
    return {
        "caller's memory": memory(os.getpid()),
        "helper's memory": memory(helper),
        "caller's descriptors": descriptors(os.getpid()),
        "helper's descriptors": descriptors(helper),
        "caller's children": len(children(os.getpid())),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
    }


def settled(helper: int) -> None:
    """Wait until the helper has nothing but its spares."""
    deadline = time.monotonic() + 10
    while len(children(helper)) > 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(children(helper)) <= 2  # a spare container and a spare visitor


def exits() -> None:
    os._exit(3)


def fails() -> None:
    raise ValueError("as it should")


def large() -> bytes:
    return bytes(100_000)


def one_of(number: int, box: int) -> None:
    kind = number % 20
    if kind == 1:
        with pytest.raises(ContainerExitError):
            call_with_container([], exits)
    elif kind == 2:
        with pytest.raises(ValueError, match="as it should"):
            call_with_container([], fails)
    elif kind == 3:
        assert len(call_with_container([], large)) == 100_000
    elif kind == 4:
        assert call_with_container([], os.getpid, child_is_pid1=False) > 1
    elif kind == 5:
        assert container_excursion(box, os.getpid) > 1
    elif kind == 6 and number % 200 == 6:
        slow: Callable[[], None] = lambda: time.sleep(60)  # noqa: E731
        with pytest.raises(ContainerTimeoutError):
            call_with_container([], slow, timeout=0.02)
    else:
        assert call_with_container([], os.getpid) == 1


@pytest.mark.timeout(900)
def test_ten_thousand_calls():
    temporary = {name for name in os.listdir("/tmp") if name.startswith("pycontainer")}
    with start_container([]) as box:
        helper = forkserver.forkserver().pid
        for number in range(WARM_UP):
            one_of(number, box.pid)
        settled(helper)
        before = state(helper)
        for number in range(CALLS):
            one_of(number, box.pid)
        assert forkserver.forkserver().pid == helper
        settled(helper)
        after = state(helper)
    print(f"{before}\n{after}", file=sys.stderr)
    for name in ("caller's descriptors", "helper's descriptors", "caller's children", "mounts"):
        # A spare that has ended or begun in between has its socket, pidfd and process.
        assert abs(after[name] - before[name]) <= 4, name
    # KiB; allocators keep what they have had, so a few hundred come and go.
    assert after["helper's memory"] - before["helper's memory"] < 256
    assert after["caller's memory"] - before["caller's memory"] < 4096
    now = {name for name in os.listdir("/tmp") if name.startswith("pycontainer")}
    assert now <= temporary
