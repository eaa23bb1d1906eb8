"""Row 18: orphans, and the parent-death signal (bubblewrap#700).

PDEATHSIG is forgotten at every change of credentials, is missed when the parent has died before,
and fires when the *thread* that forked ends.  A container lives as long as its caller and its
helper do, no shorter and no longer.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pycontainer import HelperError, call_with_container, start_container
from pycontainer.launch import forkserver as forkservers

# Everything that the caller starts shows *mark* in its command line: the helper is executed under
# the name sys.executable, and its children are forks of it.
CALLER = """
    import os, sys, threading, time
    from pycontainer import run_container, start_container

    mark, method = sys.argv[1:]
    sys.executable = mark

    def fn():
        for _ in range(3):
            if os.fork() == 0:
                if os.fork() == 0:
                    os.setsid()
                break
        time.sleep(60)

    def start(pid1):
        while True:
            # Held: the threads start the next one while this one runs.
            running.append(start_container([], fn, start_method=method, child_is_pid1=pid1))
            if len(running) > 20:
                running.pop(0).end()

    running = []
    print("go", flush=True)
    threading.Thread(target=start, args=[False], daemon=True).start()
    start(True)
"""


@pytest.fixture
def mark(tmp_path):
    link = tmp_path / "marked-python"
    link.symlink_to(os.path.realpath(sys.executable))
    return str(link)


def marked(mark):
    """The processes of the host, zombies apart, whose command line shows *mark*."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(mark) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def alive(pid):
    """Neither gone nor a zombie that some init will reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def none_survives(mark):
    deadline = time.monotonic() + 5
    while left := marked(mark):
        if time.monotonic() > deadline:
            states = [Path(f"/proc/{pid}/status").read_text()[:200] for pid in left]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail("survived: " + "\n".join(states))
        time.sleep(0.01)


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_caller_is_killed(mark, method):
    for _ in range(8 if method == "forkserver" else 4):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CALLER), mark, method],
            stdout=subprocess.PIPE,
        ) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == b"go\n"
            time.sleep(random.uniform(0, 0.25))
            caller.kill()
        none_survives(mark)


NO_PID_NAMESPACE = """
    import os, sys, time
    from pycontainer import NAMESPACES, start_container

    mark, method = sys.argv[1:]
    sys.executable = mark

    def fn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                break
        time.sleep(60)

    running = start_container([], fn, namespaces=NAMESPACES - {"pid"}, start_method=method)
    print("go", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_caller_is_killed_without_a_pid_namespace(mark, method):
    """Nothing but the helper knows those who have left the session and their parents."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(NO_PID_NAMESPACE), mark, method],
        stdout=subprocess.PIPE,
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"go\n"
        time.sleep(0.2)
        assert len(marked(mark)) >= 5
        caller.kill()
    none_survives(mark)


def test_the_search_finds_what_lives(mark, monkeypatch):
    """The test above looks for the right thing: a helper and a container carry the mark."""
    monkeypatch.setattr(sys, "executable", mark)
    server = forkservers.Forkserver((), b"", ranges=False)
    monkeypatch.setattr("pycontainer.launch.forkserver.forkserver", lambda *_, **__: server)
    # One without a function would show the name of an init.
    with start_container([], lambda: time.sleep(60)) as running:
        try:
            assert {server.pid, running.pid} <= set(marked(mark))
        finally:
            running.kill()
    server.close()
    none_survives(mark)


def test_started_from_a_thread_that_ends():
    started = []
    for method in ("forkserver", "fork"):
        thread = threading.Thread(
            target=lambda method=method: started.append(
                start_container([], lambda: time.sleep(0.4), start_method=method)
            )
        )
        thread.start()
        thread.join()
    time.sleep(0.2)
    for running in started:
        with running:
            assert running.poll() is None
            assert running.wait(timeout=10).status.exit_code == 0


@pytest.mark.parametrize("pid1", [True, False])
def test_helper_is_killed(pid1):
    def fn():
        if os.fork() == 0:
            os.setsid()
        time.sleep(60)

    server = forkservers.forkserver()
    with start_container([], fn, child_is_pid1=pid1) as running:
        assert alive(running.pid)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(HelperError):
            running.wait(timeout=10)
    deadline = time.monotonic() + 5
    while alive(running.pid):
        assert time.monotonic() < deadline, "the container has survived its helper"
        time.sleep(0.01)
    # The next call has a new helper.
    assert call_with_container([], lambda: 1) == 1


def test_container_that_outlives_a_fork_of_its_caller():
    """A fork of the caller that ends takes nothing with it."""
    with start_container([]) as running:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.05)
        assert running.poll() is None
