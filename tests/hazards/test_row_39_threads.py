"""Row 39: the scope of a filter.

A filter that is installed when there are threads holds for one of them alone (seccomp(2)); here
it is there before any can be.
"""

from __future__ import annotations

import errno

import pytest

from pycontainer import (
    SANDBOX,
    UNTRUSTED,
    Container,
    SeccompFilter,
    call_with_container,
    container_excursion,
    start_container,
)

IN_THREADS = {
    "thread_unshare": "EPERM",
    "thread_clone": "EPERM",
    "thread_fchmod": "EPERM",
    "thread_socket": "ENOSYS",
}
NO_MKDIR = SeccompFilter("allow", dict.fromkeys(("mkdir", "mkdirat"), errno.EXDEV))


@pytest.mark.parametrize(
    "container", [SANDBOX, Container(seccomp=UNTRUSTED)], ids=["sandbox", "capabilities"]
)
def test_a_second_thread(say, container):
    assert say(container, *IN_THREADS) == IN_THREADS


def everywhere():
    """What threads, and a child of one, hear; and how many filters each has."""
    import _thread
    import os
    import time

    said: list[object] = []

    def look():
        try:
            os.mkdir("/tmp/directory")
            said.append(0)
        except OSError as error:
            said.append(error.errno)
        tasks = os.listdir("/proc/self/task")
        for task in tasks:
            with open(f"/proc/self/task/{task}/status") as file:
                words = dict(line.split(":", 1) for line in file)
            said.append(words["Seccomp"].strip())

    look()
    if os.fork() == 0:
        _thread.start_new_thread(look, ())
        time.sleep(0.05)
        os._exit(0 if said[1:] and set(said) <= {18, "2"} else 1)
    status = os.wait()[1]
    for _ in range(4):
        _thread.start_new_thread(look, ())
    time.sleep(0.1)
    return set(said), status


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"child_is_pid1": False},
        {"no_new_privs": False},
        {"start_method": "fork"},
        {"start_method": "fork", "child_is_pid1": False},
    ],
)
def test_threads_of_a_function(options):
    said = call_with_container([], everywhere, seccomp=NO_MKDIR, timeout=20, **options)
    assert said == ({errno.EXDEV, "2"}, 0)


def test_threads_of_a_visitor():
    with start_container([], seccomp=NO_MKDIR) as running:
        assert container_excursion(running, everywhere, timeout=20) == ({errno.EXDEV, "2"}, 0)


def test_modules_that_start_threads(tmp_path, monkeypatch):
    """Loading such a function takes a process of its own."""
    name = "starts_a_thread_of_row_39"
    (tmp_path / f"{name}.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(name)

    def fn():
        assert module
        return everywhere()

    said = call_with_container([], fn, seccomp=NO_MKDIR, timeout=20)
    assert said == ({errno.EXDEV, "2"}, 0)
