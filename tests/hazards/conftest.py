"""What several rows' tests share: a host that must stay as it is, callers that are programs of
their own, and a process that attacks whoever joins its container.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def snapshot(top: Path) -> dict[str, tuple[Any, ...]]:
    """Names, kinds, owners, modes, link targets and contents of a directory and all below it."""
    found = {}
    for parent, directories, files in os.walk(top):
        for name in (".", *directories, *files):
            path = Path(parent, name)
            status = path.lstat()
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


@pytest.fixture
def victim(tmp_path):
    """A directory of the host, with a directory and a file in it, that must not change."""
    directory = tmp_path / "victim"
    (directory / "x").mkdir(parents=True)
    (directory / "f").write_text("of the host")
    before = snapshot(directory)
    yield directory
    assert snapshot(directory) == before


@pytest.fixture
def run_program(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python text as a program of its own, with this package: a caller with its own state."""

    def run(
        text: str, *arguments: str, before: tuple[str, ...] = (), timeout: float = 40
    ) -> subprocess.CompletedProcess[str]:
        import pycontainer

        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(text))
        root = str(Path(pycontainer.__file__).parents[1])
        # A caller whose output is not buffered has nothing to write twice.
        environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
        return subprocess.run(
            [*before, sys.executable, str(program), *arguments],
            env=environment | {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def interpreter_intact():
    """The interpreter's file has the same bytes and the same mode afterwards."""
    path = Path(os.path.realpath(sys.executable))

    def look():
        status = path.stat()
        return (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_ino,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )

    before = look()
    yield
    assert look() == before
