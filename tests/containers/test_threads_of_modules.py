"""Modules that start threads when they are imported, as numpy does."""

from __future__ import annotations

import os
from typing import Any

import numpy
import pytest

from pycontainer import (
    ContainerError,
    call_with_container,
    container_excursion,
    host_python,
    start_container,
)


def product():
    return numpy.arange(6).reshape(2, 3) @ numpy.ones((3, 2)), os.getpid()


@pytest.mark.parametrize("pid1", [True, False])
def test_numpy(pid1):
    for _ in range(2):  # the second call knows that loading it starts threads
        array, pid = call_with_container([], product, child_is_pid1=pid1, timeout=30)
        assert array.tolist() == [[3.0, 3.0], [12.0, 12.0]]
        assert pid == (1 if pid1 else 2)


def test_numpy_comes_back_writable():
    array = call_with_container([], lambda: numpy.zeros((1000, 1000)))
    array[0, 0] = 1.0
    assert array.shape == (1000, 1000)
    assert array.sum() == 1.0


@pytest.mark.parametrize("dtype", ["int8", "float32", "complex128", "bool", "datetime64[s]", "U5"])
def test_numpy_types(dtype):
    found = call_with_container([], lambda: numpy.zeros(3, dtype))
    assert found.dtype == numpy.dtype(dtype)
    assert found.shape == (3,)


def test_numpy_as_an_argument():
    data = numpy.arange(1 << 20, dtype=float)
    assert call_with_container([], data.sum) == data.sum()
    assert call_with_container([], lambda: float(data[7])) == 7.0


def test_numpy_preloaded():
    array, pid = call_with_container([], product, preload=["numpy"], timeout=30)
    assert array[0, 0] == 3.0
    assert pid == 1


def test_numpy_imported_inside():
    def fn():
        import numpy.linalg

        return float(numpy.linalg.norm([3, 4]))

    assert call_with_container([host_python()], fn, timeout=30) == 5.0


def test_numpy_by_fork():
    options: Any = {"start_method": "fork"}
    array, _ = call_with_container([], product, timeout=30, **options)
    assert array[1, 1] == 12.0


def test_numpy_started():
    with start_container([], product) as running:
        array, pid = running.result(timeout=30)
    assert pid == 1
    assert array.shape == (2, 2)


def test_numpy_in_an_excursion():
    with start_container([]) as running:
        array, pid = container_excursion(running, product, timeout=30)
    assert array[0, 0] == 3.0
    assert pid > 1


def test_preload_that_starts_a_thread(tmp_path, monkeypatch):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ContainerError, match="'starts_a_thread' started a thread"):
        call_with_container([], os.getpid, preload=["starts_a_thread"])


def test_others_end_meanwhile(tmp_path):
    """Its supervisor is a fork of the process that the helper cloned, and nobody's leftover."""
    read, write = os.pipe()

    def fn():
        total = numpy.ones(3).sum()
        os.write(1, b"x")
        os.read(0, 1)
        return float(total)

    with open(tmp_path / "heard", "wb") as heard, start_container([]) as box:
        running: Any = start_container([], fn, stdin=read, stdout=heard)
        with running:
            for _ in range(3):
                assert container_excursion(box, lambda: 1) == 1
                assert call_with_container([], os.getpid, child_is_pid1=False) > 1
            os.write(write, b"x")
            assert running.result(timeout=20) == 3.0
    os.close(read)
    os.close(write)
