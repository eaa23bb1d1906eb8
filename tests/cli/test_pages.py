"""docs/exec.md, docs/doctor.md and docs/wrap.md: their sessions print what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.cli import exec as exec_
from pycontainer.cli import wrap

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXTS = {name: (DOCS / f"{name}.md").read_text() for name in ("exec", "doctor", "wrap")}
SESSIONS = [
    (name, number, block)
    for name, text in TEXTS.items()
    for number, block in enumerate(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
]
MARK = "-- end of a command --"


def without_numbers(output):
    """What differs from run to run."""
    return re.sub(r"after [\d.]+ s", "after 0.50 s", output)


def run_session(lines, folder):
    """What each line prints, typed into one shell; what runs in the background is ended."""
    programs = folder.with_name(folder.name + "-bin")
    programs.mkdir()
    start = programs / "pycontainer"
    try:
        start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
        start.chmod(0o755)
        script = "".join(f"{line}\necho '{MARK}'\n" for line in lines)
        script += 'for job in $(jobs -p); do pkill -KILL -P "$job"; kill -KILL "$job"; done\n'
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{script}"],
            cwd=folder,
            env={**os.environ, "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        start.unlink()
        programs.rmdir()
    return done.stdout.split(MARK + "\n")[: len(lines)]


@pytest.mark.parametrize(
    "block",
    [block for _, _, block in SESSIONS],
    ids=[f"{name}-{number}" for name, number, _ in SESSIONS],
)
def test_session(block, tmp_path):
    tmp_path.chmod(0o777)
    (tmp_path / "greeting").write_text("hello\n")
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    printed = run_session([line for line, _ in commands], tmp_path)
    for (line, expected), output in zip(commands, printed, strict=True):
        assert without_numbers(output) == without_numbers(expected), line


def test_python(tmp_path):
    (found,) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXTS["wrap"], re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", found[0]], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == found[1]


@pytest.mark.parametrize(
    ("name", "options", "elsewhere"),
    [
        ("exec", exec_.EXEC, exec_.ELSEWHERE),
        ("wrap", [one for one in wrap.WRAP if one.group == "The wrapper"], wrap.NOT_OURS),
    ],
    ids=["exec", "wrap"],
)
def test_tables_of_options(name, options, elsewhere):
    text = TEXTS[name]
    at = 0
    for option in options:
        takes = " ".join(("", *option.takes))
        names = ", ".join(f"`{one}{takes}`" for one in option.names)
        at = text.find(f"| {names} | {option.words} |\n", at)  # in this order
        assert at > 0, names
    for one, instead in elsewhere.items():
        assert f"| `{one}` | {instead} |\n" in text


def test_the_findings_of_the_doctor_are_those_that_it_has():
    recorded = re.findall(r"^(?:works|limited) +([^:]*): ", TEXTS["doctor"], re.MULTILINE)
    source = "".join(
        (Path(exec_.__file__).parents[1] / name).read_text()
        for name in ("host/diagnose.py", "cli/doctor.py")
    )
    assert len(recorded) > 5
    for subject in recorded:
        assert f'"{subject}"' in source
