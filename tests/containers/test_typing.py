"""Type checkers know what a call returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pycontainer

TYPED = Path(__file__).with_name("typed.py")
ROOT = Path(pycontainer.__file__).parents[1]


def test_mypy(tmp_path):
    # Where the package is not installed; mypy finds site-packages by itself and refuses the hint.
    hint = {} if ROOT.name.endswith("-packages") else {"MYPYPATH": str(ROOT)}
    copy = tmp_path / "typed.py"
    copy.write_text(TYPED.read_text())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--no-error-summary",
            "--follow-imports=silent",
            f"--cache-dir={tmp_path / 'cache'}",
            str(copy),
        ],
        env=os.environ | hint,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_marked_as_typed():
    assert Path(pycontainer.__file__).with_name("py.typed").exists()
