"""What ``make demo`` says on a machine that lacks something, before it installs anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_machine.py"


def check(*before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, str(TOOL)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_nothing_is_missing():
    done = check()
    assert (done.returncode, done.stderr) == (0, "")


def test_no_compiler():
    done = check(CC="no-such-compiler")
    assert done.returncode == 1
    assert "There is no C compiler (no-such-compiler" in done.stderr
    assert "install" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("header", ["stdio.h", "linux/mount.h", "Python.h"])
def test_no_headers(tmp_path, header):
    """A compiler that finds everything but this header."""
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\n! grep -q '<{header}>'\n")
    compiler.chmod(0o755)
    done = check(CC=str(compiler))
    assert done.returncode == 1
    assert f"There is no <{header}>" in done.stderr
    assert "install" in done.stderr


def test_no_user_namespaces():
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$0" "$@"'
    done = check("unshare", "--user", "--map-root-user", "sh", "-c", script)
    assert done.returncode == 1
    assert "user.max_user_namespaces" in done.stderr
    assert "Traceback" not in done.stderr
