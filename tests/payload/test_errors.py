"""What cannot be sent: the error names the variable, and nothing is started."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import socket
import sqlite3
import sys
import threading
from typing import Any

import pytest

from pycontainer.errors import PayloadError
from pycontainer.launch.payload import dump_payload, load_failure

lock = threading.Lock()


def uses_lock():
    with lock:
        return 1


def calls_uses_lock():
    return uses_lock()


# They go by value however the tests are imported.
uses_lock.__module__ = calls_uses_lock.__module__ = "__main__"


@dataclasses.dataclass
class Job:
    connection: sqlite3.Connection


class Worker:
    def __init__(self):
        self.lock = threading.Lock()

    def work(self):
        return 1


def failure(fn, **options):
    with pytest.raises(PayloadError) as caught:
        dump_payload(fn, **options)
    return str(caught.value)


@pytest.fixture
def connection():
    made = sqlite3.connect(":memory:")
    yield made
    made.close()


def test_error_closure(connection):
    def count():
        return connection.execute("select 1")

    assert failure(count) == (
        "cannot send <function test_error_closure.<locals>.count>: its closure variable "
        "'connection' is a sqlite3.Connection, which cannot be pickled; "
        "open it inside the function, or pass what it is made from"
    )


def test_error_keeps_the_pickling_error_as_its_cause(connection):
    with pytest.raises(PayloadError) as caught:
        dump_payload(lambda: connection)
    assert "sqlite3.Connection" in str(caught.value.__cause__)
    assert caught.value.__notes__ == [
        "pickling it raised TypeError: cannot pickle 'sqlite3.Connection' object"
    ]


def test_error_global():
    assert (
        "its global variable 'lock' is a _thread.lock, which cannot be pickled; a container "
        in (failure(uses_lock))
    )


def test_error_global_of_a_function_that_it_calls():
    message = failure(calls_uses_lock)
    assert "its global variable 'uses_lock', whose global variable 'lock' is a _thr" in message


def test_error_inside_containers(connection):
    config = {"db": [connection]}
    assert "its closure variable 'config'['db'][0] is a sqlite3.Conn" in failure(lambda: config)


def test_error_attribute(connection):
    job = Job(connection)
    assert "its closure variable 'job'.connection is a sqlite3.Connection" in failure(lambda: job)


def test_error_default(connection):
    message = failure(lambda a=1, db=connection: db)
    assert "its default of parameter 'db' is a sqlite3.Connection" in message
    message = failure(lambda *, db=connection: db)
    assert "its default of parameter 'db' is a sqlite3.Connection" in message


def test_error_partial(connection):
    message = failure(functools.partial(print, 1, connection))
    assert (
        "cannot send functools.partial(<built-in function print>): its argument 1 is a sqlite3"
        in (message)
    )
    assert "keyword argument 'db'" in failure(functools.partial(print, db=connection))


def test_error_bound_method():
    message = failure(Worker().work)
    assert "cannot send <bound method Worker.work>: its object.lock is a _thread.lock" in message


def test_error_class_attribute(connection):
    class Holder:
        shared = connection

    message = failure(lambda: Holder)
    assert "its closure variable 'Holder', whose attribute 'shared' is a sqlite3.Conn" in message


@pytest.mark.parametrize(
    ("make", "kind", "hint"),
    [
        (lambda: socket.socket(), "a socket.socket", "open it inside"),
        (lambda: (n for n in [1]), "a generator", "pass a list of its items"),
        (lambda: open(__file__), "a _io.TextIOWrapper", "open the file inside"),
        (lambda: open(__file__, "rb"), "a _io.BufferedReader", "open the file inside"),
        (lambda: threading.Thread(), "a threading.Thread", "start the thread inside"),
        (lambda: threading.RLock(), "a _thread.RLock", "make it inside"),
        (lambda: threading.Event(), "a threading.Event", "make it inside"),
        (lambda: threading.local(), "a _thread._local", "make it inside"),
        (lambda: sys._getframe(), "a frame", "pass the values"),
        (lambda: ctypes.CDLL(None), "a ctypes.CDLL", "load the library inside"),
        (lambda: ctypes.CDLL(None).getpid, "a ctypes.", "inside the function"),
    ],
)
def test_error_kind(make, kind, hint):
    thing = make()
    message = failure(lambda: thing)
    assert f"its closure variable 'thing' is {kind}" in message
    assert ", which cannot be pickled; " in message
    assert hint in message
    if hasattr(thing, "close"):
        thing.close()


def test_error_not_a_function():
    assert failure(42) == (
        "fn must be a function, not an int; to send a call, wrap it: lambda: f(x)"
    )


def test_error_nested_too_deeply():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deeply" in failure(lambda: deep)


def test_error_of_populate_and_extra(connection):
    message = failure(print, populate=lambda root: connection)
    assert message.startswith("cannot send populate_filesystem <lambda at ")
    assert "closure variable 'connection'" in message
    assert "what goes with the function" in failure(print, extra={"a": connection})


def test_error_from_a_reducer_of_the_user():
    class Stubborn:
        def __reduce__(self):
            raise RuntimeError("never")

    thing = Stubborn()
    with pytest.raises(
        PayloadError, match=r"closure variable 'thing' is a .*Stubborn, wh"
    ) as caught:
        dump_payload(lambda: thing)
    assert "RuntimeError: never" in caught.value.__notes__[0]


def test_load_failure_words():
    assert str(load_failure("KeyError: 'API_KEY'", module="settings", environment=())) == (
        "could not load the function in the container: importing module 'settings' raised "
        "KeyError: 'API_KEY' (the container's environment is empty: env={...})"
    )
    error = load_failure("KeyError: 'A'", module="s", environment=("Z", "HOME"), detail="trace\n")
    assert str(error).endswith("(the container's environment holds only HOME, Z: env={...})")
    assert error.__notes__ == ["trace"]
    assert str(load_failure("EOFError: ")).endswith("in the container: EOFError: ")


def test_load_failure_in_a_child(tmp_path, run, monkeypatch):
    (tmp_path / "wants_key.py").write_text(
        "import os\nKEY = os.environ['API_KEY']\ndef f(): return KEY\n"
    )
    (tmp_path / "outer_module.py").write_text("import wants_key\ndef g(): return wants_key.f()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("API_KEY", "secret")
    import outer_module  # type: ignore[import-not-found]

    kind, value, module, environment = run(outer_module.g).failure
    assert (kind, value, module, environment) == ("KeyError", "'API_KEY'", "outer_module", True)


def test_load_failure_missing_module(run, monkeypatch, tmp_path):
    (tmp_path / "goes_away.py").write_text("def f(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import goes_away  # type: ignore[import-not-found]

    kind, value, module, environment = run(goes_away.f, path=[]).failure
    assert kind == "ModuleNotFoundError"
    assert "goes_away" in value
    assert module == "goes_away"
    assert not environment
