"""Row 6: a leaked descriptor or working directory (runc CVE-2024-21626).

A descriptor of a directory of the host is a way out by "..", whatever the root is.  Close-on-exec
does not help where nothing is executed.  There is one on purpose, of which nothing leads up and
nothing can be written: the standard library's (row 44).
"""

from __future__ import annotations

import errno
import os
import socket

import pytest

from pycontainer import NAMESPACES, call_with_container, container_excursion, start_container
from pycontainer._native import lib

METHODS = ["forkserver", "fork"]
STDLIB = lib.PC_FD_STDLIB


@pytest.fixture
def held(victim):
    """Descriptors that the caller holds of the host's directory, close-on-exec and not."""
    kept = [os.open(victim, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for _ in range(40)]
    kept.append(os.open(victim, os.O_PATH | os.O_DIRECTORY))
    os.set_inheritable(kept[-1], True)
    kept.append(os.dup2(kept[0], 200, inheritable=True))
    kept.append(os.dup2(kept[0], 900, inheritable=True))
    yield kept
    for fd in kept:
        os.close(fd)


@pytest.fixture
def working(victim, monkeypatch):
    """The caller's working directory is of the host."""
    monkeypatch.chdir(victim)
    return victim


def ways_out():
    """Descriptors beyond 0, 1, 2 that are more than a socket, and directories reached by any."""
    found: list[tuple[int, str]] = []
    for fd in range(1000):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        if fd == STDLIB:
            up = os.stat("..", dir_fd=fd)
            if (up.st_dev, up.st_ino) != (status.st_dev, status.st_ino):
                found.append((fd, "leads up"))
            os.stat("heapq.py", dir_fd=fd)
            continue
        if fd > 2 and (status.st_mode & 0o170000) != 0o140000:
            found.append((fd, oct(status.st_mode)))
        try:
            os.close(os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=fd))
            found.append((fd, "leads up"))
        except OSError:
            pass
        try:
            os.fchdir(fd)
            found.append((fd, "is a directory"))
        except OSError:
            pass
    return found


def where():
    """The working directory, and whether ".." leads out of the root from there."""
    root, here = os.stat("/"), os.stat(".")
    up = os.stat("../../../../../../../..")
    return (
        os.getcwd(),
        (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino),
        (root.st_dev, root.st_ino) == (up.st_dev, up.st_ino),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pid1", [True, False])
def test_numbers_of_the_caller(held, method, pid1):
    numbers = list(held)

    def fn():
        found: list[int | None] = []
        for fd in numbers:
            try:
                os.fstat(fd)
                found.append(0)
            except OSError as error:
                found.append(error.errno)
        return found

    found = call_with_container([], fn, start_method=method, child_is_pid1=pid1)
    assert set(found) == {errno.EBADF}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pid1", [True, False])
@pytest.mark.parametrize("without", ["", "mnt", "pid"])
def test_every_number(held, working, method, pid1, without):
    names = NAMESPACES - {"mnt": {"mnt", "pid"}, "pid": {"pid"}, "": set()}[without]
    found = call_with_container(
        [], ways_out, start_method=method, child_is_pid1=pid1 and without == "", namespaces=names
    )
    assert found == []


def test_every_number_in_the_second_container(held, working):
    """Its process was cloned before it was ordered."""
    for _ in range(3):
        assert call_with_container([], ways_out) == []


@pytest.mark.parametrize("method", METHODS)
def test_in_the_populate_hook(held, working, method):
    """It runs before the last step; what it sees must not be the host either."""

    def populate():
        # The hook may hold the tree's own descriptors; none may lead to the host.
        with open("/tmp/found", "w") as out:
            for fd in range(3, 300):
                try:
                    names = os.listdir(fd)
                except OSError:
                    continue
                out.write(f"{fd}: {names}\n")

    def fn():
        with open("/tmp/found") as found:
            return found.read()

    assert call_with_container([], fn, populate_filesystem=populate, start_method=method) == ""


@pytest.mark.parametrize("method", METHODS)
def test_working_directory(working, method):
    assert call_with_container([], where, start_method=method) == ("/", True, True)


def test_excursion(held, working):
    with start_container([]) as running:
        for _ in range(3):
            assert container_excursion(running, ways_out) == []
            assert container_excursion(running, where) == ("/", True, True)


def test_idle_container(held, working):
    """Its init holds nothing but the caller's socket."""
    with start_container([]) as running:

        def fn():
            found: dict[str, object] = {}
            for fd in os.listdir("/proc/1/fd"):
                try:
                    found[fd] = os.readlink(f"/proc/1/fd/{fd}")
                except OSError as error:
                    found[fd] = error.errno
            return found

        found = container_excursion(running, fn)
    assert all(isinstance(to, int) or str(to).startswith("socket:") for to in found.values())


def test_joiner_holds_nothing_of_the_host(held, working, is_root):
    """While the function runs, the process that joined waits for it, in the target's namespaces."""
    ours, theirs = socket.socketpair()
    with start_container([]) as running, ours, theirs:

        def fn():
            import os
            import time

            time.sleep(0.3)
            return os.getpid()

        import threading

        from pycontainer.launch import forkserver as forkservers

        thread = threading.Thread(target=lambda: container_excursion(running, fn))
        thread.start()
        import time

        time.sleep(0.15)
        helper = forkservers.forkserver().pid
        with open(f"/proc/{helper}/task/{helper}/children") as children:
            pids = [int(pid) for pid in children.read().split()]
        joined = []
        target = os.stat(f"/proc/{running.pid}/ns/mnt").st_ino
        for pid in pids:
            try:
                if pid != running.pid and os.stat(f"/proc/{pid}/ns/mnt").st_ino == target:
                    joined.append(pid)
            except PermissionError:
                pass  # non-dumpable: only root may look
        found = []
        for pid in joined:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if int(fd) > 2:
                    found.append(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0])
        thread.join()
    assert len(joined) == (1 if is_root else 0)
    # The standard library, the call's, the status, and its own for its child to look at.
    assert sorted(found) == (["/", "anon_inode", "socket", "socket"] if is_root else [])
