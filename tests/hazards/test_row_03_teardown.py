"""Row 3: what cleans up follows a link of the container's onto the host.

BuildKit CVE-2024-23652, Nix CVE-2026-39860: a directory that the container could write to holds a
link in the place of a mount point or an output when it is removed.  Here nothing is removed: the
root is a file system of the container's own and goes with its last process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pycontainer import bind, call_with_container, start_container, tmpfs

CALLER = """
import os, sys
from pycontainer import bind, call_with_container, tmpfs
out, victim = sys.argv[1:]

def fn():
    {fn}
    print("linked", flush=True)
    import time
    time.sleep(60)

call_with_container([bind(out, "/out", writable=True), tmpfs("/out/scratch")], fn, **{options})
"""

LINKS = """\
for name in ("made", "tmp", "x"):
        os.symlink(victim, "/out/" + name)
    try:
        os.rename("/out/scratch", "/out/moved")
    except OSError:
        pass  # a mount point, which is busy
"""


@pytest.fixture
def out(tmp_path):
    directory = tmp_path / "out"
    (directory / "scratch").mkdir(parents=True)
    return directory


def points():
    with open("/proc/self/mountinfo") as file:
        return sorted(line.split()[4] for line in file)


@pytest.fixture(autouse=True)
def nothing_left(victim, out):
    """The victim's own check comes after; and no mount of the container's shows on the host."""
    before = points()
    yield
    assert points() == before
    assert (out / "scratch").is_dir()


def link_all(victim):
    for name in ("made", "tmp", "x"):
        os.symlink(victim, "/out/" + name)


def test_end(out, victim):
    host = str(victim)
    mounts = [bind(out, "/out", writable=True), tmpfs("/out/scratch")]
    call_with_container(mounts, lambda: link_all(host))
    assert os.readlink(out / "made") == host


def test_killed(out, victim):
    host = str(victim)
    mounts = [bind(out, "/out", writable=True), tmpfs("/out/scratch")]

    def fn():
        link_all(host)
        time.sleep(60)

    with start_container(mounts, fn) as running:
        wait_for(out / "x")
        running.kill()
        assert running.wait(20).status.signal == signal.SIGKILL


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.is_symlink():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_caller_is_killed(out, victim, tmp_path, method):
    import pycontainer

    program = tmp_path / "program.py"
    program.write_text(CALLER.format(fn=LINKS, options={"start_method": method}))
    package = os.path.dirname(os.path.dirname(pycontainer.__file__))
    with subprocess.Popen(
        [sys.executable, str(program), str(out), str(victim)],
        env=os.environ | {"PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "linked\n"
        caller.kill()
        # The container holds the pipe: its end is the end of the last process.
        started = time.monotonic()
        assert caller.stdout.read() == ""
        assert time.monotonic() - started < 10
    wait_for(out / "x")
