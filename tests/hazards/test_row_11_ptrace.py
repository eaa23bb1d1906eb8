"""Row 11: the process that joins is taken over by the container (runc CVE-2016-9962).

Until it has given up what it holds of the host, its memory and its descriptors are the host's.
The container's root may trace every process that it sees and that is dumpable.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import pytest

from pycontainer import ContainerExitError, SetupError, container_excursion, start_container

EXCURSIONS = 30
ENOUGH = 8  # of them seen by the attacker, on a busy machine too


@pytest.fixture
def visits():
    """Make excursions to a process until the attacker in its container has had its chances."""

    def visit(target):
        deadline = time.monotonic() + 10
        while not container_excursion(target, lambda: os.path.exists("/tmp/ready")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for number in range(EXCURSIONS):
            patience = 0.01 if number % 3 else 0.0
            container_excursion(target, partial(time.sleep, patience), preload=["time"])
        # A container takes its visitors along when it ends, and this visit is the reason.
        with contextlib.suppress(ContainerExitError):
            container_excursion(target, lambda: os.close(os.open("/tmp/stop", os.O_CREAT)))

    return visit


@pytest.mark.parametrize("pid1", [True, False])
def test_container_of_ours(attacker, visits, pid1):
    with start_container([], attacker, child_is_pid1=pid1) as running:
        visits(running)
        seen, worked = running.result(timeout=20)
    assert seen >= ENOUGH
    assert worked == []


def test_without_the_lock(attacker, visits):
    """There the container's root is root of the namespace that owns everything else."""
    with start_container([], attacker, lock_mounts=False) as running:
        visits(running)
        seen, worked = running.result(timeout=20)
    assert seen >= ENOUGH
    assert worked == []


def test_container_of_somebody_else(attacker, visits, tmp_path):
    """Made by unshare(1): its root is the caller itself, with every capability inside."""
    source = textwrap.dedent(inspect.getsource(attacker))
    program = tmp_path / "attack.py"
    program.write_text(f"{source}\nimport json\nprint(json.dumps(attack()))\n")
    own_tmp = 'mount -t tmpfs none /tmp; exec "$@"'
    program_fd = os.open(program, os.O_RDONLY)
    python = os.path.realpath(sys.executable)  # a virtual environment may lie in /tmp
    argv = ["unshare", "-Urpfm", "--mount-proc", "--kill-child", "sh", "-c", own_tmp, "sh"]
    with subprocess.Popen(
        [*argv, python, f"/proc/self/fd/{program_fd}"],
        stdout=subprocess.PIPE,
        pass_fds=[program_fd],
        text=True,
    ) as outer:
        os.close(program_fd)
        try:
            visits(child_of(outer.pid))
            said = outer.communicate(timeout=20)[0]
        finally:
            outer.kill()
    seen, worked = json.loads(said)
    assert seen >= ENOUGH
    assert worked == []


def child_of(pid):
    """The process that runs in the namespaces, once it does."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            for child in children.read().split():
                if b"attack" in read(f"/proc/{child}/cmdline") or b"/fd/" in read(
                    f"/proc/{child}/cmdline"
                ):
                    return int(child)
        time.sleep(0.01)
    raise AssertionError("unshare(1) has started nothing")


def read(path):
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except OSError:
        return b""


def test_what_is_attacked_is_there(attacker, visits):
    """The attacker does win against a process of its own; so its attempts are real."""

    def fn():
        pid = os.fork()
        if pid == 0:
            while not os.path.exists("/tmp/ready"):
                time.sleep(0.001)
            victim = os.fork()
            if victim == 0:
                time.sleep(0.5)
                os._exit(0)
            time.sleep(0.3)
            os.close(os.open("/tmp/stop", os.O_CREAT))
            os._exit(0)
        return attacker()

    with start_container([], fn, preload=["ctypes"]) as running:
        seen, worked = running.result(timeout=20)
    assert seen
    assert {"mem to write", "fd", "pidfd_getfd", "ptrace", "process_vm_readv"} <= set(worked)


@pytest.mark.unprivileged
def test_target_that_is_not_dumpable():
    """Its owner may not join it, and the error says what to do."""
    with subprocess.Popen([sys.executable, "-c", NOT_DUMPABLE], stdout=subprocess.PIPE) as target:
        assert target.stdout is not None
        target.stdout.readline()
        with pytest.raises(SetupError) as caught:
            container_excursion(target.pid, os.getpid)
        target.send_signal(signal.SIGKILL)
    assert isinstance(caught.value, PermissionError)
    assert "non-dumpable" in "".join(caught.value.__notes__)


NOT_DUMPABLE = """
import ctypes, time
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("ready", flush=True)
time.sleep(20)
"""
