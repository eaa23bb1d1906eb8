"""docs/software.md: its commands print what it says, and its Python too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs/software.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)

# Whether something is fetched depends on what was before.
FETCHING = re.compile(
    r"^pycontainer shell: (?:apt|pip|rootfs|oci-image) [\w.-]+"
    r"(?:: (?:lists of packages|unpacking|reading))?\n",
    re.MULTILINE,
)


@pytest.fixture
def project(tmp_path, tar_of, small_system, program, layout):
    folder = tmp_path / "project"
    programs = tmp_path / "bin"
    for one in (folder, programs, folder / "prefix", folder / "prefix/bin"):
        one.mkdir()
    (folder / "system.tar.xz").write_bytes(tar_of(small_system, "w:xz"))
    layers = [tar_of(small_system), tar_of([("etc/greeting", b"from the second layer")])]
    layout.index(layout.image(layers, {"Env": ["GREETING= and the image"]}))
    layout.directory.rename(folder / "image")
    (folder / "prefix/bin/greet").write_bytes(program)
    (folder / "prefix/bin/greet").chmod(0o755)
    start = programs / "pycontainer"
    start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
    start.chmod(0o755)

    def run(*argv):
        output = subprocess.run(
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
        return output.replace(f"{folder}/", "")

    return run


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(project, number):
    for line, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", BLOCKS[number], re.MULTILINE):
        assert FETCHING.sub("", project("bash", "-c", line)) == FETCHING.sub("", output)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(project, number):
    code, output = PYTHON[number]
    assert project(sys.executable, "-c", code) == output


def test_there_are_examples():
    assert len(BLOCKS) == TEXT.count("```console") == 2
    assert len(PYTHON) == TEXT.count("```python") == 1
