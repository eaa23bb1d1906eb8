"""docs/oci.md: what it shows is so, and its table is that of the comparison."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.cli.oci import BUNDLE_RUN
from pycontainer.oci.annotations import KEYS, PLAIN

from .test_matrix import DIFFERENCES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "oci.md").read_text()
(SESSION,) = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)
MARK = "-- end of a command --"


def test_session(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    start = programs / "pycontainer"
    start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
    start.chmod(0o755)
    (tmp_path / "here").mkdir()
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", SESSION, re.MULTILINE)
    script = "".join(f"{line}\necho '{MARK}'\n" for line, _ in commands)
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=tmp_path / "here",
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    printed = done.stdout.replace(f"'{tmp_path / 'here'}/", "'").split(MARK + "\n")
    for (line, expected), output in zip(commands, printed, strict=False):
        assert output == expected, line


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(number):
    source, expected = PYTHON[number]
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (expected, "")


def test_there_is_python():
    assert len(PYTHON) == 3


def test_every_difference_is_documented():
    """And no other."""
    (table,) = re.findall(r"\| what \| natively .*\n\|[- |]*\n((?:\|.*\n)*)", TEXT)
    rows = [line.split("|")[1].strip() for line in table.splitlines()]
    assert sorted(rows) == sorted({row.key for row in DIFFERENCES})


def test_every_annotation_is_documented():
    for name in (*KEYS, *PLAIN):
        assert f"`org.pycontainer.{name}`" in TEXT or f"`{name}`" in TEXT


def test_options():
    for option in BUNDLE_RUN:
        names = " ".join((*option.names, *option.takes))
        assert f"| `{names}` | {option.words} |\n" in TEXT
