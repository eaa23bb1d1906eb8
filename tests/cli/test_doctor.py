"""``pycontainer doctor``: what it says, as what, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect

import pycontainer

PROGRAM = [sys.executable, "-m", "pycontainer", "doctor"]
ENVIRONMENT = os.environ | {
    # Where the package lies, installed or not.
    "PYTHONPATH": str(Path(pycontainer.__file__).parent.parent),
    "TERM": "xterm",
}
ENVIRONMENT.pop("NO_COLOR", None)


def doctor(*arguments, program=PROGRAM):
    return subprocess.run(
        [*program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )


def test_here():
    done = doctor()
    assert done.returncode == 0, done.stdout
    assert "works   user namespaces: " in done.stdout
    assert "works   a call in a container: took " in done.stdout
    assert "Containers work here" in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_json():
    done = doctor("--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["ok"] is True
    call = told["findings"][-1]
    assert call["subject"] == "a call in a container"
    assert call["status"] == "works"
    assert call["fixes"] == []


def test_what_blocks_it():
    """The kernel itself refuses, in a user namespace whose own limit is 0."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    program = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", *PROGRAM]
    done = doctor(program=program)
    assert done.returncode == 1
    assert "blocked user namespaces: user.max_user_namespaces is 0" in done.stdout
    assert "sysctl -w user.max_user_namespaces=" in done.stdout
    assert done.stdout.splitlines()[-1] == "Containers do not work here yet."
    told = json.loads(doctor("--json", program=program).stdout)
    assert told["ok"] is False
    assert any(one["status"] == "blocked" and one["fixes"] for one in told["findings"])


WITHOUT = """
import sys
sys.modules[{module!r}] = None
from pycontainer.cli.main import main
sys.exit(main(["doctor", *sys.argv[1:]]))
"""


def without(module):
    return [sys.executable, "-c", WITHOUT.format(module=module)]


def test_without_the_compiled_helper():
    done = doctor(program=without("pycontainer._native._helper"))
    assert done.returncode == 1, done.stderr
    assert "blocked compiled helper: it does not load" in done.stdout
    assert "fix: pip install" in done.stdout
    assert "works   user namespaces: " in done.stdout  # the rest is looked at all the same
    assert done.stderr == ""


def at_a_terminal(program):
    child = pexpect.spawn(
        program[0],
        program[1:],
        encoding="utf-8",
        timeout=30,
        dimensions=(50, 100),
        env=ENVIRONMENT,
    )
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus, child.before


def test_colours_at_a_terminal():
    status, output = at_a_terminal(PROGRAM)
    assert status == 0, output
    assert "\x1b[32m" in output  # green
    assert "✔" in output
    assert "Containers work here" in output


def test_plain_at_a_terminal_without_rich():
    status, output = at_a_terminal(without("rich"))
    assert status == 0, output
    assert "works   user namespaces: " in output
    assert "\x1b" not in output


def test_wrong_command_lines():
    for line, words in ((["--jsn"], "did you mean --json"), (["x"], "takes no 'x'")):
        done = doctor(*line)
        assert done.returncode == 125
        assert words in done.stderr
    assert "--json" in doctor("--help").stdout
