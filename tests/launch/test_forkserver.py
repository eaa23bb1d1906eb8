"""The life of the helper process."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pycontainer import HelperError, call_with_container, start_container
from pycontainer.launch import forkserver


def helper() -> int:
    return forkserver.forkserver().pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_helper_for_many_calls():
    call_with_container([], lambda: None)
    first = helper()
    call_with_container([], lambda: None)
    assert helper() == first
    assert call_with_container([], os.getppid) == 0  # nobody of the container's own


def test_new_helper_for_another_limit():
    first = helper()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with start_container([]) as box:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        try:
            limit = call_with_container([], lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            assert limit == soft - 1
            assert helper() != first
            assert box.poll() is None  # goes on below the helper that it was started by
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    del box


def test_new_helper_when_it_was_killed():
    call_with_container([], lambda: None)
    first = helper()
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert call_with_container([], os.getpid) == 1
    assert helper() != first


def test_a_running_container_ends_with_its_helper():
    running = start_container([], lambda: time.sleep(60))
    pid = running.pid
    os.kill(helper(), signal.SIGKILL)
    with pytest.raises(HelperError):
        running.wait(timeout=10)
    running.end()
    assert gone(pid)


def test_not_shared_across_a_fork():
    call_with_container([], lambda: None)
    first = helper()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            value = call_with_container([], os.getpid)
            os.write(write, f"{value} {helper()}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        value, theirs = map(int, pipe.read().split())
    os.waitpid(child, 0)
    assert value == 1
    assert theirs != first
    assert gone(theirs)
    assert helper() == first
    assert call_with_container([], os.getpid) == 1


@pytest.mark.parametrize("end", ["pass", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_ends_with_its_caller(end):
    script = f"""
        import os
        from pycontainer import call_with_container, start_container
        from pycontainer.launch.forkserver import forkserver
        box = start_container([])
        call_with_container([], lambda: None)
        print(forkserver().pid, box.pid, flush=True)
        {end}
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    for pid in map(int, done.stdout.split()):
        assert gone(pid)


def test_preload(tmp_path):
    names = ("colorsys", "wave")
    assert call_with_container(
        [], lambda: [name in sys.modules for name in names], preload=names
    ) == [True, True]
    assert call_with_container([], lambda: [name in sys.modules for name in names]) == [
        False,
        False,
    ]


def test_preload_of_a_module_that_starts_a_thread(tmp_path, monkeypatch):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HelperError, match="starts_a_thread"):
        call_with_container([], lambda: None, preload=["starts_a_thread"])


def test_spares_end_by_themselves_and_with_the_helper():
    script = """
        import os, time
        from pathlib import Path
        from pycontainer import call_with_container
        from pycontainer.launch.forkserver import forkserver

        call_with_container([], lambda: None)
        helper = forkserver().pid
        children = Path(f"/proc/{helper}/task/{helper}/children")
        deadline = time.monotonic() + 5
        while not children.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        print(len(children.read_text().split()), end=" ")
        deadline = time.monotonic() + 20
        while children.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        print(len(children.read_text().split()), end=" ")
        print(call_with_container([], os.getpid))
    """
    assert run(script) == "1 0 1\n"


def test_each_child_has_its_own_chance():
    def numbers() -> tuple[float, str]:
        import random
        import uuid

        return random.random(), str(uuid.uuid4())

    import random
    import uuid

    assert random and uuid  # loaded here, so loaded in the child before its set-up
    results = [call_with_container([], numbers) for _ in range(5)]
    results += [call_with_container([], numbers, start_method="fork") for _ in range(5)]
    assert len(set(results)) == 10


def test_path_and_arguments_of_the_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["program", "argument"])
    path, argv = call_with_container([], lambda: (sys.path, sys.argv))
    assert path == sys.path
    assert argv == ["program", "argument"]


def test_no_descriptor_of_the_caller_reaches_the_helper(tmp_path):
    script = """
        import json, os, sys
        from pycontainer import call_with_container
        secret = os.open(sys.argv[1], os.O_RDONLY)
        os.set_inheritable(secret, True)
        call_with_container([], lambda: None)
        from pycontainer.launch.forkserver import forkserver
        fds = f"/proc/{forkserver().pid}/fd"
        print(json.dumps([os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)]))
    """
    path = tmp_path / "secret"
    path.write_text("")
    assert str(path) not in json.loads(run(script, str(path)))
