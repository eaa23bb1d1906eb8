"""docs/shell.md: its commands print what it says, its Python too, and its tables are the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.cli.shell import ELSEWHERE, SHELL

TEXT = (Path(__file__).resolve().parents[2] / "docs/shell.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """A directory with an environment in it, and ``pycontainer`` in PATH."""
    folder = tmp_path / "project"
    programs = tmp_path / "bin"
    for one in (folder, programs):
        one.mkdir()
    folder.chmod(0o777)
    (folder / ".venv").symlink_to(sys.prefix)
    start = programs / "pycontainer"
    start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
    start.chmod(0o755)

    def run(*argv):
        return subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        ).stdout

    return run


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(project, number):
    for line, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", BLOCKS[number], re.MULTILINE):
        assert project("bash", "-c", line) == output


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(project, number):
    code, output = PYTHON[number]
    assert project(sys.executable, "-c", code) == output


def test_tables():
    assert len(BLOCKS) > 4
    assert len(PYTHON) == TEXT.count("```python") == 1
    at = 0
    for option in SHELL:
        takes = " ".join(("", *option.takes)).replace("|", "\\|")
        names = ", ".join(f"`{name}{takes}`" for name in option.names)
        row = f"| {names} | {option.words} |\n"
        at = TEXT.find(row, at)  # in this order
        assert at > 0, row
    for name, instead in ELSEWHERE.items():
        assert f"| `{name}` | {instead} |\n" in TEXT
