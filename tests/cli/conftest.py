from __future__ import annotations

import subprocess
import sys

import pytest

WRAP = [sys.executable, "-m", "pycontainer", "wrap"]


@pytest.fixture
def place(tmp_path):
    """A directory that wrappers and their programs are written to."""
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def write(place):
    """Runs ``pycontainer wrap``."""

    def run(*options, program, output="wrapper", **rest):
        line = [*WRAP, "-o", output, *options, str(program)]
        return subprocess.run(
            line, cwd=place, capture_output=True, text=True, timeout=30, check=False, **rest
        )

    return run


@pytest.fixture
def wrapped(place, write):
    """Writes a wrapper, silently, and gives its path."""

    def made(*options, program="/bin/sh", output="wrapper"):
        done = write(*options, program=program, output=output)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return place / output

    return made
