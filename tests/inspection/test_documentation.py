"""docs/inspecting.md: its sessions print what it says, and its tables have every key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pycontainer import inspection
from pycontainer.cli.inspect import INSPECT
from pycontainer.cli.ps import PS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "inspecting.md"
TEXT = DOCUMENT.read_text()
SESSIONS = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
END = "---- end of output ----"

# Each session has a pid namespace to itself, so that nobody else's containers are listed; and a
# user namespace, in which root and an ordinary user are the same.
ALONE = ["unshare", "-Urpf", "--kill-child", "--mount-proc", "bash"]
READY = """\
count=0
sleeping() { cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^sleep$'; }
ready() {
    count=$((count + $1))
    for try in $(seq 200); do [ "$(sleeping)" -ge $count ] && return; sleep 0.1; done
    echo "only $(sleeping) of $count started"
}
"""


def commands_of(session: str) -> list[str]:
    return re.findall(r"^\$ (.*)\n", session, re.MULTILINE)


def record(session: str) -> str:
    """The session as it goes here and now."""
    script = READY
    commands = commands_of(session)
    for command in commands:
        script += f"{command}\n"
        if command.endswith("&"):  # until all of it is there
            script += f"ready {command.count('sleep 1000')}\n"
        script += f"echo '{END}'\n"
    with tempfile.TemporaryDirectory(prefix="pytest-inspection-") as folder:
        start = Path(folder, "pycontainer")
        start.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontainer "$@"\n')
        start.chmod(0o755)
        done = subprocess.run(
            [*ALONE, "-c", script],
            cwd="/",
            env={**os.environ, "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )
    outputs = done.stdout.split(f"{END}\n")
    assert len(outputs) == len(commands) + 1, done.stdout
    return "".join(
        f"$ {command}\n{output}" for command, output in zip(commands, outputs, strict=False)
    )


def comparable(session: str) -> Iterator[str]:
    """Lines without what differs from run to run, and from host to host."""
    for line in session.splitlines():
        if not line.startswith("$ "):
            line = re.sub(r"[\d.]+ [KM]?i?B( \w+)?", "SIZE", line)
            line = re.sub(r"\b\d+[smh]\b", "AGE", line).replace(" ::1/128", "")
            line = re.sub(r"\d+", "N", line)
            if re.match(r" +(program +|groups +N|/mnt|/sys/|/proc/)", line):
                continue  # of the host
        yield re.sub(" +", " ", line).strip()


def test_there_are_sessions():
    assert len(SESSIONS) == 3


@pytest.mark.parametrize("number", range(3))
def test_session(number):
    session = SESSIONS[number]
    assert list(comparable(record(session))) == list(comparable(session))


def rows() -> list[str]:
    return re.findall(r"^\| (.*?) \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("kind", [inspection.ContainerSummary, inspection.Inspection])
def test_every_key_has_its_row(kind):
    names = set(re.findall(r"\w+", " ".join(rows())))
    assert {field.name for field in attrs.fields(kind)} <= names


@pytest.mark.parametrize("name", inspection.__all__)
def test_keys_of_parts(name):
    kind = getattr(inspection, name)
    if attrs.has(kind):
        words = set(re.findall(r"\w+", TEXT))
        assert {field.name for field in attrs.fields(kind)} <= words


def test_options_are_described():
    for option in (*PS, *INSPECT):
        assert f"`{option.names[0]}`" in TEXT


if __name__ == "__main__":  # run as a program, this writes the document anew
    for session in SESSIONS:
        TEXT = TEXT.replace(session, record(session))
    DOCUMENT.write_text(TEXT)
