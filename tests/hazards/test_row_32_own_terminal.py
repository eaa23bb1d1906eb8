"""Row 32: the terminal (CVE-2017-5226), where no filter forbids TIOCSTI.

Every container is in a session of its own, where the caller's terminal is nobody's controlling
one; and who asks for a terminal gets another one.  Tried at a real terminal, by what the shell that
started the container reads there afterwards.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pexpect
import pytest

import pycontainer

INJECTS = """
import fcntl, os, termios
terminals = [0]
try:
    terminals.append(os.open("/dev/tty", os.O_RDWR))
except OSError:
    pass
if {take}:
    # A terminal that is another session's is not to be had.
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 1)
    except OSError as error:
        print("taken: errno", error.errno)
for terminal in terminals:
    try:
        for byte in b"evil\\n":
            fcntl.ioctl(terminal, termios.TIOCSTI, bytes([byte]))
        print("typed by itself")
    except OSError as error:
        print("typed: errno", error.errno)
"""


def said_at_a_terminal(script: str) -> str:
    """What a shell and a program that it starts write at a terminal of ours."""
    package = str(Path(pycontainer.__file__).parents[1])
    child = pexpect.spawn(
        "/bin/sh",
        ["-c", script],
        encoding="utf-8",
        timeout=30,
        env={**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        child.expect(pexpect.EOF)
        said: str = child.before
        return said
    finally:
        child.close(force=True)


def script_for(options: str, take: bool) -> str:
    python = shlex.quote(sys.executable)
    program = shlex.quote(INJECTS.format(take=take))
    return (
        f"{python} -m pycontainer run --host-system --host-python {options} -- "
        f"{python} -c {program}; echo; stty -icanon -echo min 0 time 5; "
        "printf '<%s>' \"$(dd bs=100 count=1 2>/dev/null)\""
    )


@pytest.mark.parametrize("take", [False, True], ids=["as it is", "taken"])
def test_the_callers_terminal(take):
    said = said_at_a_terminal(script_for("--no-tty", take))
    assert "typed: errno 1" in said  # EPERM
    assert "typed by itself" not in said
    assert said.endswith("<>")


@pytest.mark.parametrize("take", [False, True], ids=["as it is", "taken"])
def test_a_terminal_of_its_own(take):
    said = said_at_a_terminal(script_for("--tty", take))
    assert "typed by itself" in said  # into its own
    assert said.endswith("<>")
