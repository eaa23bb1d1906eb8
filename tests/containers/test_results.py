"""What comes back: sizes, kinds, exceptions."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import os
import pathlib
import signal
import sys
import uuid
from functools import partial
from typing import Any, NamedTuple

import pytest

from pycontainer import (
    ContainerExitError,
    Data,
    RemoteError,
    ResultError,
    call_with_container,
    run_container,
    start_container,
)


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int


class Size(NamedTuple):
    width: int
    height: int


class Colour(enum.Enum):
    RED = 1


class CustomError(ValueError):
    def __init__(self, code, words):
        super().__init__(code, words)
        self.code = code


@pytest.mark.parametrize("size", [0, 1000, 65535, 65536, 1 << 20, 20 << 20])
def test_size(size):
    assert call_with_container([], lambda: b"r" * size) == b"r" * size


@pytest.mark.parametrize("pid1", [True, False])
def test_large_result_without_a_reader(pid1):
    """It does not go through a pipe that somebody would have to empty."""
    with start_container([], lambda: bytes(20 << 20), child_is_pid1=pid1) as running:
        completed = running.wait(timeout=20)
    assert len(completed.result()) == 20 << 20


VALUES: list[Any] = [
    None,
    True,
    2**100,
    1.5,
    float("inf"),
    1 + 2j,
    "text \u00e4 \udcff",
    b"bytes",
    bytearray(b"x"),
    [1, [2]],
    (1, (2,)),
    {"a": {1: None}},
    {1, 2},
    frozenset({3}),
    collections.deque([1]),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("aab"),
    range(3),
    datetime.datetime(2024, 1, 2, 3, 4, 5, 6, datetime.UTC),
    datetime.date(2024, 2, 29),
    datetime.timedelta(days=1, microseconds=1),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=7),
    pathlib.PurePosixPath("/a"),
    pathlib.Path("/a"),
    ipaddress.ip_address("::1"),
    signal.SIGTERM,
    array.array("i", [1, 2]),
]


@pytest.mark.parametrize("value", VALUES, ids=[type(value).__name__ for value in VALUES])
def test_value(value):
    if isinstance(value, array.array):
        with pytest.raises(ResultError):
            call_with_container([], lambda: value)
        return
    found = call_with_container([], lambda: value)
    assert (type(found), found) == (type(value), value)


def test_what_the_standard_library_gives():
    status = call_with_container([], lambda: os.stat("/"))
    assert status.st_mode & 0o777 == 0o755
    assert call_with_container([], os.uname).nodename == "localhost"


def test_cycle():
    def fn():
        both: list[Any] = [1, 2]
        both.append(both)
        return both

    with pytest.raises(ResultError, match=r"result\[2\] contains itself"):
        call_with_container([], fn)


def test_max_result():
    assert call_with_container([], lambda: bytes(900), max_result=1000) == bytes(900)
    for size in (1001, 1 << 20):
        with pytest.raises(ResultError, match="1000"):
            call_with_container([], partial(bytes, size), max_result=1000)


def test_allow():
    def fn():
        return [Point(1, 2), Size(3, 4), Colour.RED]

    assert call_with_container([], fn, allow=[Point, Size, Colour]) == fn()
    with pytest.raises(ResultError, match="Size"):
        call_with_container([], fn, allow=[Point, Colour])


def test_allow_with_data():
    rule = Data(complex, lambda value: [value.real, value.imag], lambda pair: complex(*pair))
    assert call_with_container([], lambda: 1j, allow=[rule]) == 1j


def test_returns_pickle():
    def fn():
        return Point(1, 2), lambda: 3, type(os)

    point, function, kind = call_with_container([], fn, returns="pickle")
    assert (point, function(), kind) == (Point(1, 2), 3, type(os))
    assert type(point) is Point


def test_returns_pickle_of_a_large_value():
    found = call_with_container([], lambda: {"a": bytes(3 << 20)}, returns="pickle")
    assert len(found["a"]) == 3 << 20


def test_returns_pickle_of_what_cannot_be():
    with pytest.raises(ResultError, match="pickle"):
        call_with_container([], lambda: (n for n in [1]), returns="pickle")


def test_generator_does_not_cross():
    with pytest.raises(ResultError, match="generator"):
        call_with_container([], lambda: (n for n in [1]))


# ---- exceptions


@pytest.mark.parametrize(
    "error",
    [
        ValueError("words", 2),
        KeyError("key"),
        FileNotFoundError(2, "No such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        OSError(5, "io"),
        NotImplementedError(),
        RecursionError("deep"),
        AssertionError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exception(error):
    def fn():
        raise error

    with pytest.raises(type(error)) as caught:
        call_with_container([], fn)
    found = caught.value
    assert (type(found), found.args, str(found)) == (type(error), error.args, str(error))
    assert "line" in str(found.__cause__)
    assert "fn" in str(found.__cause__)


def test_exception_notes_and_context():
    def fn():
        try:
            raise KeyError("inner")
        except KeyError as error:
            outer = ValueError("outer")
            outer.add_note("a note")
            raise outer from error

    with pytest.raises(ValueError, match="outer") as caught:
        call_with_container([], fn)
    assert caught.value.__notes__ == ["a note"]
    assert "KeyError: 'inner'" in str(caught.value.__cause__)


def test_exception_group():
    def fn():
        raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])])

    with pytest.raises(ExceptionGroup) as caught:
        call_with_container([], fn)
    first, second = caught.value.exceptions
    assert isinstance(first, ValueError)
    assert isinstance(second, ExceptionGroup)
    assert isinstance(second.exceptions[0], KeyError)


def test_custom_exception():
    def fn():
        raise CustomError(7, "words")

    with pytest.raises(RemoteError) as caught:
        call_with_container([], fn)
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.type_name.endswith("CustomError")
    assert "words" in str(error)
    assert "raise CustomError" in error.traceback_text or "in fn" in error.traceback_text


def test_custom_exception_that_is_allowed():
    def fn():
        raise CustomError(7, "words")

    with pytest.raises(CustomError) as caught:
        call_with_container([], fn, allow=[CustomError])
    assert caught.value.code == 7


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, GeneratorExit])
def test_exception_that_would_mean_something_to_the_caller(kind):
    def fn():
        raise kind("x")

    with pytest.raises(RemoteError) as caught:
        call_with_container([], fn)
    assert caught.value.type_name.endswith(kind.__name__)


def test_keyboard_interrupt_of_the_function():
    def fn():
        raise KeyboardInterrupt

    completed = run_container([], fn)
    assert completed.status.signal == signal.SIGINT
    with pytest.raises(ContainerExitError):
        completed.result()


def test_exception_with_a_bad_str():
    class Bad(Exception):
        def __str__(self):
            raise RuntimeError

    def fn():
        raise Bad

    with pytest.raises(RemoteError, match=r"Bad|unprintable"):
        call_with_container([], fn)


def test_traceback_has_no_control_characters():
    def fn():
        raise ValueError("\x1b[31mred\r")

    with pytest.raises(ValueError) as caught:
        call_with_container([], fn)
    assert "\x1b" not in str(caught.value.__cause__)


def test_recursion():
    def fn():
        return fn()

    with pytest.raises(RecursionError):
        call_with_container([], fn)


def test_memory_error():
    with pytest.raises(MemoryError):
        call_with_container([], lambda: len(bytes(1 << 60)))


# ---- threads and processes of the function


def test_thread_left_running():
    def fn():
        import threading
        import time

        threading.Thread(target=time.sleep, args=(60,)).start()
        return threading.active_count()

    assert call_with_container([], fn, timeout=20) == 2


def test_child_that_returns_from_fork():
    """A forked child that returns from the function must not answer a second time."""

    def fn():
        return os.fork() == 0

    assert call_with_container([], fn, timeout=20) in (True, False)


def test_function_that_closes_everything():
    def fn():
        os.closerange(0, 1000)
        return 1

    with pytest.raises(ContainerExitError):
        call_with_container([], fn, timeout=20)
    assert call_with_container([], lambda: 2) == 2


def test_function_that_replaces_sys_stdout():
    def fn():
        sys.stdout = None
        return "fine"

    assert call_with_container([], fn) == "fine"
