"""Row 32: the terminal (CVE-2017-5226, Flatpak CVE-2023-28100).

Whoever shares a terminal may type into it for the shell that reads there next: TIOCSTI, and
TIOCLINUX on a console.  Here the terminal is on stdin, and the program may even make it its own.
"""

from __future__ import annotations

import os
import select
import subprocess
import termios
import tty

import pytest

from pycontainer import (
    SANDBOX,
    UNTRUSTED,
    Container,
    bind,
    call_with_container,
    extend,
    run_command,
    start_container,
)
from pycontainer import exec_command as exec_in

# With and without bits in the half of the register that the kernel does not look at.
REQUESTS = ("tiocsti", "tiocsti_high", "tiocsti_highest", "tioclinux", "tioclinux_high", "tiocsetd")


@pytest.fixture
def terminal():
    """Both ends of a terminal that is nobody's; at the end nobody must have typed into it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield slave
    typed = b""
    while select.select([slave], [], [], 0.1)[0]:
        typed += os.read(slave, 100)
    os.close(master)
    os.close(slave)
    assert typed == b""


def answers(done):
    return dict(line.decode().split(" ", 1) for line in done.stdout.splitlines())


REFUSED = dict.fromkeys(REQUESTS, "1")  # EPERM, from the filter: the kernel says ENOTTY or EIO


@pytest.mark.parametrize(
    "container",
    [SANDBOX, Container(seccomp=UNTRUSTED), Container(seccomp=UNTRUSTED, no_new_privs=False)],
    ids=["sandbox", "capabilities", "privileges"],
)
def test_a_program(calls, terminal, container):
    done = run_command(
        extend(container, bind(calls, "/calls")),
        ["/calls", *REQUESTS],
        stdin=terminal,
        stdout=subprocess.PIPE,
        timeout=20,
    )
    assert answers(done) == REFUSED


def test_a_program_with_a_terminal_of_its_own(calls):
    done = run_command(
        extend(SANDBOX, bind(calls, "/calls")),
        ["/calls", *REQUESTS],
        tty=True,
        capture_output=True,
        timeout=20,
    )
    assert answers(done) == REFUSED


def test_a_visitor(calls, terminal):
    with start_container(extend(SANDBOX, bind(calls, "/calls"))) as running:
        done = exec_in(
            running, ["/calls", *REQUESTS], stdin=terminal, stdout=subprocess.PIPE, timeout=20
        )
    assert answers(done) == REFUSED


def test_a_function(terminal):
    def fn():
        import fcntl
        import termios

        if os.getpid() != os.getsid(0):
            os.setsid()
        said: list[int | None] = []
        for request in (termios.TIOCSCTTY, termios.TIOCSTI, 0x541C):
            try:
                fcntl.ioctl(0, request, b"x")
                said.append(0)
            except OSError as error:
                said.append(error.errno)
        return said[1:]

    preload = ["fcntl", "termios"]
    assert call_with_container(SANDBOX, fn, stdin=terminal, preload=preload, timeout=20) == [1, 1]


def test_what_terminals_are_for_works(terminal):
    def fn():
        import termios

        attributes = termios.tcgetattr(0)
        termios.tcsetattr(0, termios.TCSANOW, attributes)
        return os.isatty(0), os.get_terminal_size(0).lines

    termios.tcsetwinsize(terminal, (33, 80))
    said = call_with_container(SANDBOX, fn, stdin=terminal, preload=["termios"], timeout=20)
    assert said == (True, 33)
