"""Descriptors that a program has of its caller's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from pycontainer import (
    SetupError,
    exec_command,
    host_system,
    run_command,
    start_command,
    start_container,
)

SYSTEM = host_system()


@contextlib.contextmanager
def pipe(number):
    """A pipe of ours, whose end for writing has this number, which nobody else may have yet."""
    with contextlib.suppress(OSError):
        os.fstat(number)
        pytest.fail(f"descriptor {number} is in use")
    read, write = os.pipe()
    os.dup2(write, number)
    os.close(write)
    try:
        with open(read, "rb") as file:
            yield file
    finally:
        with contextlib.suppress(OSError):
            os.close(number)


# The numbers are taken before anything else is opened.
CALLER = """
import fcntl, os, sys
NUMBERS = [3, 4, 5, 9, 10, 11, 200]
read, write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 300) for fd in os.pipe())
for number in NUMBERS:
    os.dup2(write, number)
os.close(write)
import pycontainer as pc
options = eval(sys.argv[1], {"pc": pc})
for number in NUMBERS:
    script = f"echo {number} >&{number}"
    pc.run_command([pc.host_system()], ["bash", "-c", script], pass_fds=[number], **options)
    assert os.read(read, 100) == b"%d\\n" % number
    os.close(number)
for number in NUMBERS:
    os.dup2(os.open("/dev/null", os.O_RDWR), number)
script = "for n in 3 4 5 9 10 11 200; do (: >&$n) 2>/dev/null && echo $n; done"
done = pc.run_command(
    [pc.host_system()], ["bash", "-c", script], pass_fds=[4, 200], stdout=pc.PIPE, **options
)
print(*done.stdout.split())
"""


@pytest.mark.parametrize(
    "options",
    [
        "{}",
        "{'child_is_pid1': True}",
        "{'seccomp': pc.UNTRUSTED}",
        "{'namespaces': {'user', 'mnt', 'net'}}",
        "{'limits': pc.Limits(memory='256m', processes=50, strict=False)}",
    ],
    ids=["plain", "process 1", "filtered", "no pid namespace", "limited"],
)
def test_under_the_same_number_and_no_others(options):
    done = subprocess.run(
        [sys.executable, "-c", CALLER, options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "b'4' b'200'\n", done.stderr


def test_several_that_cross():
    """Their numbers are those that others of them have on the way."""
    with contextlib.ExitStack() as stack:
        numbers = range(3 + 100, 3 + 130)
        files = [stack.enter_context(pipe(number)) for number in numbers]
        script = "; ".join(f"echo {number} >&{number}" for number in numbers)
        run_command([SYSTEM], ["bash", "-c", script], pass_fds=reversed(numbers))
        for number, file in zip(numbers, files, strict=True):
            os.close(number)
            assert file.read() == b"%d\n" % number


def test_a_large_command():
    """It travels in a memfd, which is a descriptor too."""
    with pipe(70) as file:
        run_command([SYSTEM], ["bash", "-c", "echo x >&70", "x" * 100_000], pass_fds=[70])
        os.close(70)
        assert file.read() == b"x\n"


def test_the_end_of_a_connection_is_seen_while_the_program_runs():
    """Neither the init nor a supervisor keeps it open."""
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    with (
        ours,
        start_command(
            [SYSTEM], ["bash", "-c", f"exec {number}>&-; exec sleep 100"], pass_fds=[number]
        ) as running,
    ):
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(1) == b""
        assert running.poll() is None
        running.kill()


def test_into_a_running_container():
    with start_container([SYSTEM]) as running, pipe(60) as file:
        exec_command(running, ["bash", "-c", "echo x >&60"], pass_fds=[60], check=True)
        os.close(60)
        assert file.read() == b"x\n"


def test_a_program_that_is_not_there_is_reported_all_the_same():
    with pipe(3 + 90):
        with pytest.raises(FileNotFoundError, match="no-such"):
            run_command([SYSTEM], ["no-such"], pass_fds=[93])
        with pytest.raises(FileNotFoundError, match="no-such"):
            run_command([SYSTEM], ["no-such"], pass_fds=[93], child_is_pid1=True)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([1], ValueError, "standard stream"),
        (["x"], ValueError, "numbers of descriptors"),
        (range(3, 100), ValueError, "64 may be passed"),
        ([987654], OSError, "Bad file descriptor"),
    ],
    ids=["stdout", "text", "too many", "closed"],
)
def test_what_cannot_be_passed(given, error, words):
    with pytest.raises(error, match=words):
        run_command([SYSTEM], ["true"], pass_fds=given)


def test_no_directory():
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(SetupError, match="directory") as caught:
            run_command([SYSTEM], ["ls", f"/proc/self/fd/{fd}/.."], pass_fds=[fd])
        assert isinstance(caught.value, IsADirectoryError)
    finally:
        os.close(fd)
