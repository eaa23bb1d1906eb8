"""docs/cli.md and the README: commands print what they say; tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.cli.options import ELSEWHERE, RUN

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {name: (ROOT / name).read_text() for name in ("docs/cli.md", "README.md")}
EXAMPLES = [
    (name, *example)
    for name, text in TEXTS.items()
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    for example in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


def without_numbers(output):
    """What differs from host to host, or from run to run."""
    output = re.sub(r"after [\d.]+ s", "after 0.50 s", output)
    output = re.sub(r"peak was [\d.]+ MiB", "peak was 64 MiB", output)
    return re.sub(r"^ +\d+ (?=bind|mount|make)", "  36 ", output, flags=re.MULTILINE)


def test_there_are_examples():
    assert {name for name, _, _ in EXAMPLES} == set(TEXTS)
    assert len(EXAMPLES) > 10


@pytest.mark.parametrize(
    ("line", "output"),
    [example[1:] for example in EXAMPLES],
    ids=[f"{name}-{number}" for number, (name, _, _) in enumerate(EXAMPLES)],
)
def test_example(line, output, tmp_path):
    tmp_path.chmod(0o777)
    (tmp_path / "greeting").write_text("hello\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    program = tmp_path.with_name(tmp_path.name + "-bin")
    program.mkdir()
    try:
        start = program / "pycontainer"
        start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
        start.chmod(0o755)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{program}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=40,
            check=False,
        )
    finally:
        start.unlink()
        program.rmdir()
    assert without_numbers(done.stdout) == without_numbers(output)


def test_the_table_of_options():
    text = TEXTS["docs/cli.md"]
    at = 0
    for option in RUN:
        takes = " ".join(("", *option.takes)).replace("|", "\\|")
        names = ", ".join(f"`{name}{takes}`" for name in option.names)
        row = f"| {names} | {option.words} |\n"
        at = text.find(row, at)  # in this order
        assert at > 0, row
    for name, instead in ELSEWHERE.items():
        assert f"| `{name}` | {instead} |\n" in text
