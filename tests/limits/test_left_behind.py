"""Whatever is killed at whatever moment, no cgroup and no process is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pycontainer import Limits, call_with_container, start_container
from pycontainer.launch import forkserver as forkservers
from pycontainer.launch import hierarchies

RUNS = int(os.environ.get("PYCONTAINER_KILLS", "40"))
"""How many callers are killed: a thousand now and then, a few each time."""

CALLER = """
    import os, sys, time
    from pycontainer import Limits, run_container

    sys.executable = sys.argv[1]
    limits = Limits(memory="100m", processes=20, cpu_time=5, wall_time=30)

    def fn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                time.sleep(60)
        time.sleep(0.05)

    print("go", flush=True)
    while True:
        run_container([], fn, limits=limits, start_method=sys.argv[2])
"""


def cgroups_of(pid: int) -> list[Path]:
    return [
        Path(parent, name)
        for parent, directories, _ in os.walk("/sys/fs/cgroup")  # others come and go
        for name in directories
        if name.startswith("pycontainer.") and f".{pid}." in name
    ]


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


def settle(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.timeout(60 + 2 * RUNS)
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_callers_that_are_killed(tmp_path, mark, method):
    program = tmp_path / "caller.py"
    program.write_text(textwrap.dedent(CALLER))
    generator = random.Random(str(method))
    for _ in range(RUNS // 2):
        with subprocess.Popen(
            [sys.executable, str(program), mark, method], stdout=subprocess.PIPE
        ) as caller:
            assert caller.stdout is not None
            caller.stdout.readline()
            # The first container is there after some 100 ms, and each takes some 60.
            time.sleep(generator.uniform(0, 0.4))
            caller.kill()
        assert settle(lambda: not marked(mark)), marked(mark)
        assert settle(lambda pid=caller.pid: not cgroups_of(pid)), cgroups_of(caller.pid)


@pytest.mark.is_root
def test_what_caller_and_helper_leave_is_swept_by_the_next():
    """Killed at once, there is nobody left to remove anything."""
    script = """
        import os, signal, sys, time
        from pycontainer import Limits, start_container
        from pycontainer.launch import forkserver

        running = start_container([], lambda: time.sleep(60), limits=Limits(memory="50m"))
        helper = forkserver.forkserver()
        os.kill(helper.pid, signal.SIGSTOP)
        print(helper.pid, flush=True)
        signal.pause()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout is not None
        helper = int(caller.stdout.readline())
        os.kill(helper, signal.SIGKILL)
        caller.kill()
    assert cgroups_of(caller.pid)
    places = {place.directory for place in hierarchies.hierarchies(str).values()}

    def swept():
        for directory in places:
            hierarchies.sweep(directory)
        return not cgroups_of(caller.pid)

    assert settle(swept)


def test_the_sweep_leaves_the_living_alone(is_root):
    with start_container(
        [], lambda: time.sleep(60), limits=Limits(memory="50m", wall_time=60)
    ) as running:
        mine = cgroups_of(os.getpid())
        assert bool(mine) is bool(hierarchies.hierarchies(str))
        for place in hierarchies.hierarchies(str).values():
            hierarchies.sweep(place.directory)
        assert cgroups_of(os.getpid()) == mine
        running.kill()
        running.wait()
    assert cgroups_of(os.getpid()) == []


def test_a_helper_that_is_killed():
    running = start_container([], lambda: time.sleep(60), limits=Limits(memory="50m"))
    server = forkservers.forkserver()
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(Exception, match="helper process died"):
        running.wait(20)
    running.close()
    assert settle(lambda: not cgroups_of(os.getpid()))
    assert settle(lambda: not server.alive())  # the kernel closes its sockets one by one
    assert call_with_container([], lambda: 5, limits=Limits(memory="50m")) == 5


def test_a_function_that_is_refused():
    def fails():
        raise OSError

    with pytest.raises(OSError):
        call_with_container([], lambda: 5, limits=Limits(memory="50m"), populate_filesystem=fails)
    assert cgroups_of(os.getpid()) == []
