"""Calls from many threads at once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pycontainer import (
    ContainerExitError,
    ContainerTimeoutError,
    call_with_container,
    container_excursion,
    start_container,
)


def ask(number: int) -> str:
    """One call of a kind of its own, and that nobody else's result came back."""
    kind = number % 5
    if kind == 0:
        assert call_with_container([], lambda: number) == number
    elif kind == 1:
        with pytest.raises(KeyError, match=str(number)):
            call_with_container([], lambda: dict[int, int]()[number])
    elif kind == 2:
        with pytest.raises(ContainerExitError) as caught:
            call_with_container([], lambda: os._exit(number % 100 + 1))
        assert caught.value.completed is not None
        assert caught.value.completed.status.exit_code == number % 100 + 1
    elif kind == 3:
        assert call_with_container([], lambda: bytes([number % 256]) * 200_000) == (
            bytes([number % 256]) * 200_000
        )
    else:
        assert call_with_container([], lambda: number, child_is_pid1=False) == number
    return "well"


@pytest.mark.timeout(120)
def test_64_threads():
    begin = threading.Barrier(64)

    def several(number: int) -> list[str]:
        begin.wait()
        return [ask(64 * turn + number) for turn in range(5)]

    with ThreadPoolExecutor(64) as pool:
        results = list(pool.map(several, range(64)))
    assert results == [["well"] * 5] * 64


@pytest.mark.timeout(120)
def test_64_threads_time_out():
    def slow() -> None:
        import time

        time.sleep(60)

    def one(number: int) -> bool:
        with pytest.raises(ContainerTimeoutError):
            call_with_container([], slow, timeout=0.3)
        return True

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(one, range(64)))


@pytest.mark.timeout(120)
def test_excursions_from_threads():
    with start_container([], hostname="box") as box, ThreadPoolExecutor(16) as pool:
        names = pool.map(
            lambda n: container_excursion(box, lambda: (n, os.uname().nodename)), range(64)
        )
        assert list(names) == [(number, "box") for number in range(64)]


@pytest.mark.timeout(120)
def test_fork_from_threads():
    with ThreadPoolExecutor(8) as pool:
        numbers = pool.map(
            lambda n: call_with_container([], lambda: n, start_method="fork"), range(32)
        )
        assert list(numbers) == list(range(32))
