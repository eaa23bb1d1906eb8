"""What the tests of the launch layer share: callers that are programs of their own, and ways to
look at processes from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainer

# Every program starts with this.
_PRELUDE = """\
import os, sys, time
from pathlib import Path
from pycontainer import *
from pycontainer.launch import forkserver as forkservers

def helper():
    return forkservers.forkserver().pid

def children(pid):
    tasks = Path(f"/proc/{pid}/task")
    lists = [(task / "children").read_text().split() for task in tasks.iterdir()]
    return [int(child) for found in lists for child in found]

def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None

def ended(pid, patience=5.0):
    deadline = time.monotonic() + patience
    while state(pid) not in (None, "Z", "X"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

"""


@pytest.fixture
def start_program(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python text as a program of its own, with this package and the names of the prelude."""
    started: list[subprocess.Popen[str]] = []

    def start(
        text: str, *arguments: str, before: tuple[str, ...] = (), **options: Any
    ) -> subprocess.Popen[str]:
        program = tmp_path / f"program{len(started)}.py"
        program.write_text(_PRELUDE + textwrap.dedent(text))
        root = str(Path(pycontainer.__file__).parents[1])
        environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
        environment |= {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
        options = {"stdin": subprocess.DEVNULL, "cwd": "/", **options}
        process = subprocess.Popen(
            [*before, sys.executable, str(program), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def run_program(start_program) -> Callable[..., str]:
    """Run such a program to its end, which must be a good one, and return what it printed."""

    def run(text: str, *arguments: str, timeout: float = 50, **options: Any) -> str:
        process = start_program(text, *arguments, **options)
        output, errors = process.communicate(timeout=timeout)
        assert process.returncode == 0, f"{process.returncode}: {output}{errors}"
        return str(output)

    return run


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.fixture
def wait_for_end() -> Callable[..., None]:
    """Wait until a process has ended; a zombie has."""

    def wait(pid: int, patience: float = 5.0) -> None:
        deadline = time.monotonic() + patience
        while _state(pid) not in (None, "Z", "X"):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                pytest.fail(f"process {pid} has not ended within {patience:g} s")
            time.sleep(0.01)

    return wait
