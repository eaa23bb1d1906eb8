"""``start_method="fork"``: the function runs with all that the caller's memory holds."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pycontainer import (
    NAMESPACES,
    PIPE,
    ContainerExitError,
    ContainerTimeoutError,
    PayloadError,
    SetupError,
    bind,
    call_with_container,
    run_container,
    start_container,
    tmpfs,
)

FORK: Any = {"start_method": "fork"}


def test_closure_over_what_cannot_be_pickled(tmp_path):
    lock = threading.Lock()
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (n)")
    connection.execute("insert into t values (42)")

    def fn():
        with lock:
            return connection.execute("select n from t").fetchone()

    with pytest.raises(PayloadError):
        call_with_container([], fn)
    assert call_with_container([], fn, **FORK) == (42,)
    connection.close()


def test_namespaces_and_ids():
    def fn():
        return os.getpid(), os.getuid(), os.getgid(), os.uname().nodename, os.getcwd()

    found = call_with_container([], fn, guest_uid=42, guest_gid=77, hostname="forked", **FORK)
    assert found == (1, 42, 77, "forked", "/")


def test_child_is_pid1_false():
    assert call_with_container([], os.getpid, child_is_pid1=False, **FORK) == 2


def test_namespaces_without_pid():
    names = NAMESPACES - {"pid"}
    assert call_with_container([], os.getpid, namespaces=names, **FORK) > 2


def test_root_and_mounts(tmp_path):
    (tmp_path / "x").write_text("x")

    def fn():
        try:
            os.mkdir("/new")
        except OSError as error:
            return error.errno, Path("/mnt/x").read_text(), sorted(os.listdir("/"))

    mounts = [bind(tmp_path, "/mnt"), tmpfs("/scratch")]
    assert call_with_container(mounts, fn, **FORK) == (
        errno.EROFS,
        "x",
        ["dev", "etc", "mnt", "proc", "scratch", "sys", "tmp"],
    )


def test_environment_is_the_containers():
    os.environ["OF_THE_CALLER"] = "secret"
    try:
        found = call_with_container([], lambda: dict(os.environ), env={"A": "b"}, **FORK)
    finally:
        del os.environ["OF_THE_CALLER"]
    assert found == {"A": "b"}


def test_descriptors_are_closed(tmp_path):
    with open(tmp_path / "secret", "w") as secret:
        number = secret.fileno()

        def fn():
            try:
                os.fstat(number)
            except OSError as error:
                return error.errno

        assert call_with_container([], fn, **FORK) == errno.EBADF


def test_exception():
    with pytest.raises(ZeroDivisionError) as caught:
        call_with_container([], lambda: 1 // 0, **FORK)
    assert "ZeroDivisionError" in str(caught.value.__cause__)


def test_setup_error(tmp_path):
    with pytest.raises(SetupError) as caught:
        call_with_container([bind(tmp_path / "absent", "/mnt")], os.getpid, **FORK)
    assert caught.value.errno == errno.ENOENT


def test_populate_filesystem():
    made = []

    def populate():
        made.append(1)
        os.mkdir("/made")

    fn = lambda: (os.listdir("/made"), made)  # noqa: E731
    assert call_with_container([], fn, populate_filesystem=populate, **FORK) == ([], [1])
    assert made == []


def test_capture_output():
    def fn():
        os.write(1, b"out\n")  # pytest has put something else in the place of sys.stdout
        os.write(2, b"err\n")

    completed = run_container([], fn, capture_output=True, text=True, **FORK)
    assert (completed.stdout, completed.stderr) == ("out\n", "err\n")


def test_unflushed_output_of_the_caller_is_not_written_twice(tmp_path):
    with open(tmp_path / "log", "w") as log:
        log.write("once")
        call_with_container([], lambda: None, **FORK)
    assert (tmp_path / "log").read_text() == "once"


def test_large_value():
    assert len(call_with_container([], lambda: bytes(5 << 20), **FORK)) == 5 << 20


def test_exit_and_signal():
    assert run_container([], lambda: os._exit(3), **FORK).returncode == 3
    with pytest.raises(ContainerExitError, match="SIGABRT"):
        call_with_container([], os.abort, **FORK)


def test_timeout():
    with pytest.raises(ContainerTimeoutError):
        call_with_container([], lambda: time.sleep(30), timeout=0.2, **FORK)


def test_in_a_caller_with_threads():
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert call_with_container([], threading.active_count, **FORK) == 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_running():
    with start_container([], lambda: os.read(0, 1), stdin=PIPE, **FORK) as running:
        assert running.poll() is None
        assert running.stdin is not None
        running.stdin.write(b"x")
        assert running.result(timeout=10) == b"x"


def test_running_is_killed():
    with start_container([], lambda: time.sleep(30), **FORK) as running:
        running.kill()
        assert running.wait(timeout=5).returncode == -9


def test_random_numbers_differ():
    import random

    assert len({call_with_container([], random.random, **FORK) for _ in range(3)}) == 3


def test_returns_pickle():
    class Local:
        pass

    found = call_with_container([], Local, returns="pickle", **FORK)
    assert type(found).__name__ == "Local"


def test_forkserver_goes_on_working():
    assert call_with_container([], os.getpid, **FORK) == 1
    assert call_with_container([], os.getpid) == 1
