"""A real program from its source, end to end: the example, which fetches it once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "build_program.py"


@pytest.mark.timeout(240)
def test_a_program_is_built_twice_and_by_runc_to_the_same_bits(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(tmp_path), **inherited()},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("gcc ")
    assert lines[0].endswith(", 12 files")
    assert shutil.which("runc") is not None
    assert lines[1:] == [
        "compressed inside",
        "the same twice: True",
        "the same by runc: True",
        "not run again: True",
        "has in it: /inputs/zopfli, libm.so.6",
        lines[6],
        "wrong in the store: []",
    ]
    assert lines[6].endswith(" bytes hold 18000")
    assert list(tmp_path.iterdir()) == []


def inherited():
    """What pip is told by the environment, and where to find what is tested."""
    names = ("PIP_", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HOME", "PYTHONPATH", "http", "HTTP")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}
