"""Process 1 above a program: what the program can learn from it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import pytest

from pycontainer import PIPE, exec_command, host_system, run_command, start_command

HOST: Any = [host_system()]
NAME = b"container-init"


def read(path, **options):
    return run_command(HOST, ["cat", path], stdout=PIPE, check=True, **options).stdout


@pytest.mark.parametrize("time", ["first", "spare"])
def test_it_does_not_say_how_the_caller_was_called(time):
    """The helper's own arguments hold the caller's sys.path and sys.argv."""
    assert read("/proc/1/cmdline").strip(b"\0") == NAME
    assert read("/proc/1/environ").strip(b"\0") == b""
    assert read("/proc/1/comm") == NAME + b"\n"


def test_nor_in_its_memory():
    """A program with the same ids may read it (ptrace(2)), unless something forbids that."""
    script = """
import re, sys
secret = b"se" + b"cret-argument"
found = 0
for line in open("/proc/1/maps"):
    start, end = (int(word, 16) for word in line.split()[0].split("-"))
    if "rw" in line:
        with open("/proc/1/mem", "rb", 0) as memory:
            memory.seek(start)
            found += secret in memory.read(end - start)
print(found)
"""
    program = f"""
import sys
from pycontainer import *
for _ in range(2):
    print(run_command([host_python(), host_system()], [sys.executable, "-c", {script!r}],
                      stdout=PIPE, text=True).stdout)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, "secret-argument"],
        capture_output=True,
        text=True,
        env={**os.environ, "HIDDEN": "secret-argument"},
    )
    assert ran.stdout.split() == ["0", "0"], ran.stdout + ran.stderr


def test_many_kinds_one_after_the_other():
    """Spares that wait for one kind are not given to another."""
    from pycontainer import call_with_container, container_excursion

    with start_command(HOST, ["sleep", "60"]) as running:
        for number in range(5):
            assert run_command(HOST, ["sh", "-c", f"exit {number}"]).returncode == number
            assert call_with_container([], functools.partial(int, number)) == number
            assert exec_command(running, ["sh", "-c", f"exit {number}"]).returncode == number
            assert container_excursion(running, os.getpid) > 2
        running.kill()
