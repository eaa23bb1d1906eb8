"""docs/builds.md: its sessions and its Python print what it says; its table is the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pycontainer.cli.build import BUILD

TEXT = (Path(__file__).resolve().parents[2] / "docs/builds.md").read_text()
SESSION = "".join(re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", SESSION, re.MULTILINE)
MARK = "-- end of a command --"


def without_numbers(output):
    """What differs from run to run, or with the host's machine and its shell."""
    output = re.sub(r"built in [\d.]+ s", "built in 0.1 s", output)
    output = re.sub(r"this is \S+-linux", "this is x86_64-linux", output)
    return re.sub(r'"sha256:\w+",\n    "cached"', '"sha256:…",\n    "cached"', output)


def run_session(folder):
    """What each line prints, typed into one shell."""
    (greeting,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    (folder / "greeting.json").write_text(greeting)
    programs = folder / "bin"
    programs.mkdir()
    start = programs / "pycontainer"
    start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
    start.chmod(0o755)
    script = "".join(f"{line}\necho '{MARK}'\n" for line, _ in COMMANDS)
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.replace(str(folder), "/work").split(MARK + "\n")[: len(COMMANDS)]


def test_session(tmp_path):
    for (line, expected), output in zip(COMMANDS, run_session(tmp_path), strict=True):
        assert without_numbers(output) == without_numbers(expected), line


def test_python(tmp_path):
    (found,) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", found[0]],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == found[1], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_options():
    at = 0
    for option in BUILD:
        takes = " ".join(("", *option.takes))
        names = ", ".join(f"`{one}{takes}`" for one in option.names)
        at = TEXT.find(f"| {names} | {option.words} |\n", at)  # in this order
        assert at > 0, names
