"""Row 15: a process number that is used again.

Between a look at a process and what is done to it, it can end and another can have its number.
Everything goes through descriptors of processes.  The tests run in a pid namespace of their own,
where the next number can be chosen (/proc/sys/kernel/ns_last_pid).
"""

from __future__ import annotations

import os
import subprocess

import pytest

BEGIN = """
import errno, os, signal, subprocess, sys, time
from pycontainer import SetupError, container_excursion, start_container
import pycontainer.excursion

def next_pid(pid):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(pid - 1))

def new_process(pid):
    # In namespaces of its own, so that a visitor would notice.  The helper makes processes too, and
    # one of them may take the number first; it ends soon.
    for _ in range(200):
        next_pid(pid)
        process = subprocess.Popen(["unshare", "-Urm", "sleep", "20"])
        if process.pid == pid:
            time.sleep(0.05)
            return process
        process.kill()
        process.wait()
        time.sleep(0.05)
    raise AssertionError(f"{process.pid} and not {pid}")

def gone(running):
    # Reaped too: the number is free.
    os.kill(running.pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{running.pid}"):
        time.sleep(0.002)

def expect_esrch(call):
    try:
        call()
    except SetupError as error:
        assert error.errno == errno.ESRCH, error
        assert isinstance(error, ProcessLookupError)
    else:
        raise AssertionError("it went to the wrong process")
"""

EXCURSION = """
with start_container([]) as running:
    assert container_excursion(running, os.getpid) > 1
    gone(running)
    expect_esrch(lambda: container_excursion(running, os.getpid))  # the number is nobody's
    other = new_process(running.pid)
    for _ in range(3):
        expect_esrch(lambda: container_excursion(running, os.getpid))
    expect_esrch(lambda: container_excursion(running, os.getpid, owner=True))
    expect_esrch(lambda: container_excursion(running, os.getpid, namespaces={"mnt", "user"}))
    assert other.poll() is None
    other.kill(); other.wait()
print("right")
"""

SIGNALS = """
with start_container([]) as running:
    gone(running)
    other = new_process(running.pid)
    running.send_signal(signal.SIGKILL)
    running.terminate()
    running.kill()
    time.sleep(0.05)
    assert other.poll() is None
    assert running.wait(timeout=5).status.signal == signal.SIGKILL
assert other.poll() is None
other.kill(); other.wait()

# The end of a "with" that fails kills the container, and nothing else.
try:
    with start_container([]) as running:
        gone(running)
        other = new_process(running.pid)
        raise KeyError
except KeyError:
    pass
assert other.poll() is None
other.kill(); other.wait()
print("right")
"""

# Swapped at a moment of our choice: after the first look, and before the last.
RACE = """
where = sys.argv[1]
running = start_container([])
pid, others = running.pid, []
real = getattr(*{"open": (os, "pidfd_open"), "look": (pycontainer.excursion, "_describe"),
                 "start": (pycontainer.excursion, "start_join")}[where])

def swap():
    if not others:
        gone(running)
        others.append(new_process(pid))

def after_open(number, *more):
    opened = real(number, *more)
    if number == pid:
        swap()
    return opened

def after_look(*arguments):
    seen = real(*arguments)
    swap()
    return seen

def before_start(*arguments, **options):
    swap()
    return real(*arguments, **options)

if where == "open":
    os.pidfd_open = after_open
elif where == "look":
    pycontainer.excursion._describe = after_look
else:
    pycontainer.excursion.start_join = before_start
expect_esrch(lambda: container_excursion(pid, os.getpid, owner=sys.argv[2] == "owner"))
assert others, "nothing was swapped"
others[0].kill(); others[0].wait()
running.end()
print("right")
"""


@pytest.fixture
def in_new_pid_namespace(run_program):
    """Run a program as process 1 of a pid namespace whose numbers it may choose."""
    options = ["-pf"] if os.geteuid() == 0 else ["-Urpf"]
    argv = ("unshare", *options, "--mount-proc", "--kill-child")
    probe = "echo 50 > /proc/sys/kernel/ns_last_pid"
    if subprocess.run([*argv, "sh", "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("the kernel has no /proc/sys/kernel/ns_last_pid (CONFIG_CHECKPOINT_RESTORE)")

    def run(text, *arguments):
        ended = run_program(BEGIN + text, *arguments, before=argv)
        assert (ended.stdout, ended.returncode) == ("right\n", 0), ended.stderr

    return run


def test_excursion(in_new_pid_namespace):
    in_new_pid_namespace(EXCURSION)


def test_signals(in_new_pid_namespace):
    in_new_pid_namespace(SIGNALS)


@pytest.mark.parametrize("owner", ["owner", ""])
@pytest.mark.parametrize("where", ["open", "look", "start"])
def test_race(in_new_pid_namespace, where, owner):
    in_new_pid_namespace(RACE, where, owner)
