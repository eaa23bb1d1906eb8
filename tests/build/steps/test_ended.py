"""Steps that end before their time: cancelled at any moment, or left by a caller that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pycontainer
from pycontainer import Verdict, bind
from pycontainer.build import run_step

from .conftest import shell

MOMENTS = {"native": (30, 0.03), "runc": (10, 0.2), "crun": (10, 0.1)}
"""How many, and within how many seconds of the start."""


def alive(mark):
    """Processes of this user with *mark* in their command line."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark in Path("/proc", name, "cmdline").read_bytes():
                found.append(int(name))
        except OSError:
            pass
    return found


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def mark(request):
    """A word that is in the command line of a test's steps, and nowhere else."""
    word = f"mark-{os.getpid()}-{random.randrange(1 << 60):x}"
    yield word
    wait_until(lambda: not alive(word.encode()))


def test_cancelled_before(root, state, runtime, mark):
    cancel = threading.Event()
    cancel.set()
    step = shell(f"touch /started; sleep 60 # {mark}", secrets={"/run/s": b"hush"})
    done = run_step(root, step, runtime=runtime, log=bytes, cancel=cancel, state=state)
    assert (done.verdict, done.status.signal) == (Verdict.CANCELLED, signal.SIGKILL)
    assert not (root / "started").exists()
    assert not state.exists()


def test_cancelled_while_it_runs(root, state, runtime, mark):
    cancel = threading.Event()
    log: list[bytes] = []

    def take(data):
        log.append(data)
        if b"started" in b"".join(log):
            cancel.set()

    # A process that is no child of the step's first one any more, and ignores what it can.
    script = f"(trap '' TERM INT HUP; sleep 60 & sleep 60) & echo started; wait # {mark}"
    done = run_step(root, shell(script), runtime=runtime, log=take, cancel=cancel, state=state)
    assert (done.verdict, done.returncode) == (Verdict.CANCELLED, -9)
    assert b"".join(log).startswith(b"started\n")
    assert not state.exists()


def test_cancelled_at_random_moments(root, state, runtime, mark):
    count, span = MOMENTS[runtime]
    step = shell(f"echo started; sleep 60 # {mark}", secrets={"/run/s": b"hush"})
    for number in range(count):
        cancel = threading.Event()
        timer = threading.Timer(span * number / count, cancel.set)
        timer.start()
        done = run_step(root, step, runtime=runtime, log=bytes, cancel=cancel, state=state)
        timer.join()
        assert (done.verdict, done.returncode) == (Verdict.CANCELLED, -9)
        assert not state.exists()
        assert not (root / "run").exists()


def test_cancelled_too_late(root, state, runtime):
    cancel = threading.Event()
    step = shell("exit 4")
    done = run_step(root, step, runtime=runtime, log=bytes, cancel=cancel, state=state)
    cancel.set()
    assert (done.verdict, done.status.exit_code) == (Verdict.EXIT, 4)


CALLER = """
import sys
from pycontainer import bind
from pycontainer.build import Step, run_step

root, state, log, runtime, mark = sys.argv[1:]
script = f"echo started; cat /run/s; sleep 60 # {mark}"
step = Step(["/bin/sh", "-c", script], mounts=[bind("/usr")], env={"PATH": "/usr/bin:/bin"},
            secrets={"/run/s": b"hush"})
print("starts", flush=True)
run_step(root, step, runtime=runtime, log=log, state=state)
"""


@pytest.fixture
def caller(root, state, runtime, mark, tmp_path):
    """Start a program that runs a step, and that can be killed."""
    package = str(Path(pycontainer.__file__).parents[1])
    arguments = [str(root), str(state), str(tmp_path / "log"), runtime, mark]

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", CALLER, *arguments],
            env={**os.environ, "PYTHONPATH": package},
            stdout=subprocess.PIPE,
        )

    return start


def secrets_in(state):
    return [path for path in state.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]


def check_clean(root, state, runtime, mark):
    """What a caller was just about to start when it was killed may begin after its end; then the
    next start but one finds it."""

    def is_clean():
        done = run_step(root, shell("true"), runtime=runtime, log=bytes, state=state)
        assert done.verdict is Verdict.OK
        return not state.exists() and not alive(mark.encode())

    wait_until(is_clean)
    assert not (root / "run").exists()
    assert not (root / "etc/hosts").exists()


def test_caller_is_killed_while_it_runs(root, state, runtime, mark, caller, tmp_path):
    with caller() as process:
        wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_bytes())
        assert secrets_in(state)
        for path in [state, *state.rglob("*")]:
            if path.is_dir() and path != state:
                assert path.stat().st_mode & 0o7777 == 0o700
        assert state.stat().st_mode & 0o7777 == 0o700
        process.kill()
    check_clean(root, state, runtime, mark)


def test_caller_is_killed_at_any_moment(root, state, runtime, mark, caller):
    for number in range(6 if runtime == "native" else 4):
        with caller() as process:
            assert process.stdout.readline() == b"starts\n"
            time.sleep(0.04 * number)
            process.kill()
    check_clean(root, state, runtime, mark)


def test_other_steps_are_left_alone(root, state, runtime, mark):
    """Somebody who starts takes nothing from those that run."""
    cancel = threading.Event()
    started = threading.Event()
    log: list[bytes] = []

    def take(data):
        log.append(data)
        started.set()

    step = shell(
        f"echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; cat /run/s # {mark}",
        secrets={"/run/s": b"hush"},
    )
    found = []
    thread = threading.Thread(
        target=lambda: found.append(
            run_step(root, step, runtime=runtime, log=take, cancel=cancel, state=state)
        )
    )
    thread.start()
    try:
        assert started.wait(30)
        other = shell("cat /etc/hosts; ls /run/s", secrets={"/run/s": b"other"})
        assert run_step(root, other, runtime=runtime, log=bytes, state=state).returncode == 0
        (root / "tmp/go").touch()
        thread.join(30)
        assert found[0].verdict is Verdict.OK
        assert b"".join(log).endswith(b"hush")
    finally:
        cancel.set()
        thread.join()
    assert not state.exists()


def test_many_at_once(root, state):
    """Each has its own secret, and none is left."""
    logs: list[list[bytes]] = [[] for _ in range(6)]

    def one(number):
        step = shell("cat /run/s", secrets={"/run/s": b"%d" % number}, mounts=[bind("/etc", "/e")])
        run_step(root, step, log=logs[number].append, state=state)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"".join(log) for log in logs] == [b"%d" % number for number in range(len(logs))]
    assert not state.exists()
