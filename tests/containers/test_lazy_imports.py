"""What a function imports while it runs: the standard library is there, whatever the root."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from pycontainer import (
    SANDBOX,
    UNTRUSTED,
    Container,
    call_with_container,
    container_excursion,
    host_python,
    run_container,
    start_container,
)
from pycontainer._native import lib
from pycontainer.launch import forkserver as forkservers

STDLIB = lib.PC_FD_STDLIB


def most_common():
    return Counter("abracadabra").most_common(2)  # imports heapq


def in_latin_1():
    with open("/tmp/text", "w", encoding="latin-1") as out:
        out.write("ä")
    with open("/tmp/text", "rb") as written:
        return written.read()


def unnoticed():
    """No import statement that is seen beforehand."""
    return __import__("zipapp").__name__


def shared_library():
    """One of lib-dynload that the interpreter does not have built in, with its own file."""
    import _lsprof
    import cProfile

    return _lsprof.Profiler.__name__, cProfile.__name__, _lsprof.__file__.startswith("/")


def deep():
    import email.mime.text

    return email.mime.text.MIMEText("x").get_content_type()


def packed():
    """Modules that may need libz, which no container has."""
    import base64
    import gzip
    import zipfile

    return gzip.decompress(gzip.compress(base64.b64encode(b"x"))), zipfile.__name__


FUNCTIONS = {
    most_common: [("a", 5), ("b", 2)],
    in_latin_1: b"\xe4",
    unnoticed: "zipapp",
    shared_library: ("Profiler", "cProfile", True),
    deep: "text/plain",
    packed: (b"eA==", "zipfile"),
}
parametrize = pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__)


@parametrize
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"child_is_pid1": False},
        {"guest_uid": 1000, "guest_gid": 1000},
        {"lock_mounts": False},
        {"capabilities": ()},
        {"namespaces": {"user", "mnt"}},
        {"preload": ["ctypes"]},
        {"seccomp": UNTRUSTED},
        pytest.param({"host_uid_start": 0, "host_gid_start": 0}, marks=pytest.mark.is_root),
        pytest.param({"host_uids": 1000}, marks=pytest.mark.is_root),
    ],
    ids=lambda options: ",".join(options) or "default",
)
def test_in_an_empty_root(fn, options):
    for _ in range(2):  # a spare too, which is cloned ahead
        assert call_with_container([], fn, **options) == FUNCTIONS[fn]


@parametrize
def test_in_the_sandbox(fn):
    assert call_with_container(SANDBOX, fn) == FUNCTIONS[fn]


@parametrize
def test_in_excursions(fn):
    with start_container([]) as running:
        for _ in range(2):
            assert container_excursion(running, fn) == FUNCTIONS[fn]


def test_in_a_root_of_its_own(tmp_path):
    for name in ("dev", "etc", "proc", "sys", "tmp"):
        (tmp_path / name).mkdir()
    for fn, value in FUNCTIONS.items():
        assert call_with_container(Container(rootfs=tmp_path, writable_root=False), fn) == value


def test_in_the_populate_hook():
    def populate():
        with open("/tmp/counted", "w") as out:
            out.write(unnoticed())

    def fn():
        with open("/tmp/counted") as counted:
            return counted.read()

    assert call_with_container([], fn, populate_filesystem=populate) == "zipapp"


def test_in_processes_and_threads_of_the_function():
    def fn():
        child = os.fork()
        if child == 0:
            os._exit(len(unnoticed()))
        found = []
        thread = threading.Thread(target=lambda: found.append(unnoticed()))
        thread.start()
        thread.join()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), found

    assert call_with_container([], fn) == (6, ["zipapp"])


def test_where_loading_starts_a_thread(tmp_path):
    """The function is loaded in one process, its container cloned from that."""
    (tmp_path / "lazy_threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import lazy_threads
from pycontainer import call_with_container

def fn():
    import lazy_threads
    return lazy_threads.__name__, __import__("zipapp").__name__

for _ in range(3):
    print(call_with_container([], fn))
"""
    import pycontainer

    said = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(pycontainer.__file__))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines() == [str(("lazy_threads", "zipapp"))] * 3


def test_names_are_those_of_the_hosts_files():
    """So tracebacks and inspect show the lines, and bytecode that the host has is used."""

    def fn():
        import linecache
        import zipapp

        line = linecache.getline(zipapp.__file__, 1, vars(zipapp))
        code = vars(zipapp)["main"].__code__
        return zipapp.__file__, zipapp.__spec__.cached, line, code.co_filename

    spec = importlib.util.find_spec("zipapp")
    assert spec is not None
    assert spec.origin is not None
    file, cached, line, in_code = call_with_container([], fn)
    assert file == in_code == spec.origin
    assert cached == spec.cached
    with open(spec.origin) as source:
        assert line == source.readline()


def test_the_containers_own_files_come_first(tmp_path, monkeypatch):
    # What the caller has loaded is there before the container is, and other tests load much.
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    (tmp_path / "colorsys.py").write_text("whose = 'the container'\n")

    def fn():
        import colorsys

        sys.path.insert(0, "/mine")
        return vars(colorsys).get("whose")

    def of_the_container():
        sys.path.insert(0, "/mine")
        return fn()

    from pycontainer import bind

    assert call_with_container([bind(tmp_path, "/mine")], of_the_container) == "the container"
    assert call_with_container([bind(tmp_path, "/mine")], fn) is None
    assert call_with_container([*host_python()], most_common) == most_common()


@pytest.mark.parametrize("name", ["pytest", "pycontainer.calls", "_pytest.config"])
def test_only_the_standard_library(name):
    with pytest.raises(ModuleNotFoundError, match=name.partition(".")[0]):
        call_with_container([], lambda: __import__("importlib").import_module(name))


def test_without_the_descriptor():
    """A function may close what it does not know."""
    number = STDLIB

    def fn():
        os.close(number)
        return unnoticed()

    with pytest.raises(ModuleNotFoundError, match="zipapp") as caught:
        call_with_container([], fn)
    assert "host_python()" in "\n".join(caught.value.__notes__)


def test_library_that_needs_one_of_the_hosts():
    """Only Python's own files come along; what others they need, the container must have."""

    def fn():
        import _ctypes  # needs libffi

        return _ctypes.__name__

    completed = run_container([], fn)
    if completed.exception is not None:  # else it is built in
        assert isinstance(completed.exception, ImportError)
        notes = "\n".join(completed.exception.__notes__)
        for word in ("shared library", "host_python()", "preload="):
            assert word in notes
    assert call_with_container([*host_python()], fn) == "_ctypes"
    assert call_with_container([], fn, preload=["_ctypes"]) == "_ctypes"


def test_where_the_library_is_no_directory(tmp_path, monkeypatch):
    """A zip archive, say: then what is not loaded must be in the container, as it always was."""
    forkservers._end()
    monkeypatch.setattr(os, "__file__", str(tmp_path / "python.zip" / "os.py"))
    try:
        with pytest.raises(ModuleNotFoundError, match="zipapp") as caught:
            call_with_container([], unnoticed)
        assert "host_python()" in "\n".join(caught.value.__notes__)
        with start_container([]) as running:
            assert container_excursion(running, lambda: 1) == 1
    finally:
        forkservers._end()


def test_with_fork():
    """A fork of the caller has what the caller has loaded, and no descriptor."""
    import heapq

    assert heapq
    assert call_with_container([], most_common, start_method="fork") == most_common()
