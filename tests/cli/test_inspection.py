"""``pycontainer ps`` and ``pycontainer inspect``, in a pipe and at a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
import pytest

from pycontainer.cli.showing import age_words, joined, plain_table, size_words
from pycontainer.cli.tree import Node, grow, show_plain

PROGRAM = [sys.executable, "-m", "pycontainer"]

# A program that calls itself, its files and its sockets what a terminal would act on.
EVIL = r"""
import os, socket, sys
with open("/proc/self/comm", "wb") as comm:
    comm.write(b"\x1b[31mred\n\x07")
file = open("/tmp/\x1b]0;title\x07\n\u202efile", "w")
unix = socket.socket(socket.AF_UNIX)
unix.bind("\0name\x1b[2J\nroot  0  ")
unix.listen()
os.mkdir("/tmp/\x9b7m[bold red]directory")
os.chdir("/tmp/\x9b7m[bold red]directory")
print("up", flush=True)
sys.stdin.read()
"""
BASE = sys._base_executable  # type: ignore[attr-defined]  # the tests' own may lie in /tmp
ARGUMENTS = ["\x1b[31margument", "new\nline", "\r[red]markup[/red]", "\x9bbytes", "é日"]


def run(*words, **rest):
    rest = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | rest
    return subprocess.run([*PROGRAM, *words], timeout=40, check=False, **rest)


@contextlib.contextmanager
def bwrap(*options, command=("sh", "-c", "echo up; exec cat")):
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed")
    line = ["bwrap", "--unshare-all", "--unshare-user", "--as-pid-1", "--ro-bind", "/", "/"]
    line += ["--proc", "/proc", "--dev", "/dev", *options, *command]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == b"up\n"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield int(children.split()[0])
        finally:
            process.stdin.close()


@pytest.fixture(scope="module")
def pid():
    with bwrap() as found:
        yield found


@pytest.fixture(scope="module")
def evil():
    places = ["--tmpfs", "/tmp", "--tmpfs", "/tmp/\x1b[5m\nmount"]
    places += ["--setenv", "NAME\x1b[31m", "value\x07\nroot=1"]
    with bwrap(*places, command=[BASE, "-c", EVIL, *ARGUMENTS]) as found:
        yield found


def row_of(pid, output):
    (row,) = [line for line in output.splitlines() if line.split()[:1] == [str(pid)]]
    return row


# ---- ps


def test_a_table(pid):
    done = run("ps")
    assert done.returncode == 0, done.stderr
    heading = done.stdout.splitlines()[0]
    names = ["PID", "USER", "AGE", "MAKER", "PROCS", "MEMORY", "NAMESPACES", "COMMAND"]
    assert heading.split() == names
    row = row_of(pid, done.stdout)
    assert re.search(r" bwrap +1 +[\d.]+ KiB pss +mnt pid net user ipc uts cgroup +cat$", row)
    assert "\x1b" not in done.stdout
    # What is not seen is said in one line, and is no error.
    assert len([line for line in done.stderr.splitlines() if "looked at" in line]) <= 1
    if os.geteuid():
        assert "of other users may not be looked at; root sees all" in done.stderr


def test_ps_json(pid):
    done = run("ps", "--json")
    told = json.loads(done.stdout)
    assert set(told) == {"containers", "unreadable", "others"}
    (container,) = [each for each in told["containers"] if each["pid"] == pid]
    assert container["command"] == ["cat"]
    assert container["namespaces"] == ["mnt", "pid", "net", "user", "ipc", "uts", "cgroup"]
    assert done.stderr == ""


def test_ps_all():
    with subprocess.Popen(
        ["unshare", "-Urn", "sh", "-c", "echo up; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        few, everything = run("ps"), run("ps", "-a")
        process.stdin.close()
    assert str(process.pid) not in few.stdout.split()
    assert "of processes with fewer namespaces of their own: --all" in few.stderr
    assert re.search(r" part +1 .* net user +cat$", row_of(process.pid, everything.stdout))
    assert "--all" not in everything.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["ps", "12"], "pycontainer inspect PID"),
        (["ps", "--jsn"], "did you mean --json"),
        (["inspect"], "it takes one PID"),
        (["inspect", "1", "2"], "it takes one PID, not 2"),
        (["inspect", "x\x1by"], r"'x\x1by' is no process number"),
        (["inspect", "--evn", "1"], "did you mean --env"),
        (["inspect", "4194305"], "no such process"),
    ],
)
def test_wrong_command_lines(line, words):
    done = run(*line)
    assert done.returncode == 125
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["ps", "inspect"])
def test_help(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert f"Usage: pycontainer {command} [OPTIONS]" in done.stdout


def test_a_reader_that_has_had_enough(pid):
    """As head(1)."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" inspect {pid} | read line', "sh", *PROGRAM],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.stderr == ""


def test_an_output_that_cannot_be_written(pid):
    for words in (["ps"], ["ps", "--json"], ["inspect", str(pid)]):
        with open("/dev/full", "w") as full:
            done = run(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 125
        assert "No space left on device" in done.stderr
        closed = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, *words]
        done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=40, check=False)
        assert "Traceback" not in done.stderr


# ---- inspect

SECTIONS = ["process", "namespaces", "mounts", "ids", "privileges", "limits", "cgroup"]
SECTIONS += ["processes", "network", "open"]


def test_a_tree(pid):
    done = run("inspect", str(pid))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"process {pid}: the first of its container (made by bwrap)"
    sections = [line.split()[0] for line in lines if re.match(r"  \S", line)]
    assert sections == SECTIONS
    text = re.sub(" +", " ", done.stdout)
    assert "\n its own mnt pid net user ipc uts cgroup\n" in text
    assert f"\n {pid} (1 inside) cat " in text
    assert "\n lo 127.0.0.1/8" in text
    # Mounts below mounts stand further in.
    root, dev, null = (
        next(number for number, line in enumerate(lines) if re.match(mount, line))
        for mount in (r"    /  .* ro ", r" {6,}/dev  tmpfs tmpfs  rw ", r" {8,}/dev/null  ")
    )
    assert root < dev < null
    assert len(lines[null]) - len(lines[null].lstrip()) > len(lines[dev]) - len(lines[dev].lstrip())
    assert "environment" not in done.stdout


def test_inspect_json(pid):
    told = json.loads(run("inspect", "--json", str(pid)).stdout)
    from attrs import fields

    from pycontainer.inspection import Inspection

    assert list(told) == [each.name for each in fields(Inspection)]
    assert told["container"] == told["pid"] == pid
    assert told["environment"] is None
    assert told["network"]["interfaces"][0]["name"] == "lo"
    told = json.loads(run("inspect", str(pid), "--json", "--env").stdout)  # in any order
    assert told["environment"]["PWD"]


def test_no_container():
    done = run("inspect", str(os.getpid()))
    assert done.stdout.startswith(f"process {os.getpid()}: in no container")
    assert "\n    the host's   mnt pid net user" in done.stdout


def test_one_that_has_gone():
    with subprocess.Popen(["true"]) as process:
        pass
    done = run("inspect", str(process.pid))
    assert done.returncode == 125
    assert "there is no such process" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.unprivileged
def test_another_users():
    done = run("inspect", "1")
    assert done.returncode == 0
    assert "whether it is in a container is not known" in done.stdout
    assert "unread: only its owner and root may read it" in done.stdout


# ---- names that a terminal would act on


def check_harmless(output):
    for line in output.split("\n"):
        assert line.isprintable(), repr(line)
    output.encode()  # no lone surrogates


@pytest.mark.parametrize("options", [[], ["--json"], ["-a"]], ids=["plain", "json", "all"])
def test_ps_escapes(evil, options):
    done = run("ps", *options)
    check_harmless(done.stdout)
    if "--json" in options:
        (each,) = [c for c in json.loads(done.stdout)["containers"] if c["pid"] == evil]
        assert each["command"][-5:] == ARGUMENTS
        assert done.stdout.isascii()
    else:
        row = row_of(evil, done.stdout)
        for words in (r"\x1b[31margument", r"new\nline", r"\r[red]markup[/red]", "é日"):
            assert words in row


def test_inspect_escapes(evil):
    done = run("inspect", "--env", str(evil))
    assert done.returncode == 0, done.stderr
    check_harmless(done.stdout)
    for words in (
        r"\x1b[31margument",
        r"/tmp/\x1b[5m\nmount  tmpfs",
        r"/tmp/\x1b]0;title\x07\n\u202efile",
        r"@name\x1b[2J",
        r"directory    /tmp/\x9b7m[bold red]directory",
        r"NAME\x1b[31m=value\x07\nroot=1",
    ):
        assert words in done.stdout
    done = run("inspect", "--env", "--json", str(evil))
    assert done.stdout.isascii()
    check_harmless(done.stdout)
    assert json.loads(done.stdout)["environment"]["NAME\x1b[31m"] == "value\x07\nroot=1"


# ---- at a terminal

STYLE = re.compile("\x1b\\[[0-9;]*m")


def at_terminal(*words, width=100):
    """What a terminal of *width* columns is sent."""
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="pytest-inspection-") as directory:
        child = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], *words],
            env=environment,
            cwd=directory,
            dimensions=(40, width),
            encoding="utf-8",
            timeout=40,
        )
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0
    assert isinstance(child.before, str)
    return child.before


def test_ps_at_a_terminal(evil, pid):
    shown = at_terminal("ps", width=150)
    assert STYLE.search(shown)
    plain = STYLE.sub("", shown).replace("\r\n", "\n")
    check_harmless(plain)
    assert plain.split()[0] == "PID"
    assert re.search(r" bwrap .* cat *$", row_of(pid, plain))
    assert all(len(line) <= 150 for line in plain.split("\n") if "looked at" not in line)
    assert row_of(evil, plain).rstrip().endswith("…")  # cut off where the line ends


def test_ps_at_a_narrow_terminal(pid):
    """Lines are longer than the screen rather than cut where it matters."""
    plain = STYLE.sub("", at_terminal("ps", width=40)).replace("\r\n", "\n")
    assert "mnt pid net user ipc uts cgroup" in row_of(pid, plain)


def test_inspect_at_a_terminal(evil):
    shown = at_terminal("inspect", "--env", str(evil))
    assert STYLE.search(shown)
    plain = STYLE.sub("", shown).replace("\r\n", "\n")
    check_harmless(plain)
    assert "├── process\n" in plain
    assert "└── environment\n" in plain
    assert "[bold red]directory" in plain  # no markup


def test_without_rich(pid, tmp_path):
    """Then a terminal gets plain text."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['rich'] = None\n")
    program = f"PYTHONPATH={tmp_path}:$PYTHONPATH exec {' '.join(PROGRAM)} inspect {pid}"
    shown, status = pexpect.run(f"sh -c '{program}'", timeout=40, withexitstatus=True)
    assert status == 0, shown
    assert b"\x1b" not in shown
    assert shown.startswith(b"process ")


def test_an_encoding_that_lacks_what_is_shown(evil):
    for words in (["ps"], ["inspect", str(evil)]):
        done = run(*words, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, done.stderr
        assert "\\xe9\\u65e5" in done.stdout  # é日


def test_json_at_a_terminal(pid):
    assert json.loads(at_terminal("ps", "--json"))["containers"]


# ---- trees


def grown(pairs):
    root = Node("root")
    grow(root, pairs, lambda each: each[0], lambda each: each[1], lambda each: [str(each[0])])
    return show_plain(root)


def test_a_tree_of_numbers():
    assert grown([(2, 1), (1, 0), (3, 1), (9, 9)]) == "root\n  1\n    2\n    3\n  9\n"


def test_a_chain_longer_than_the_stack():
    """A container may have one of processes, or mounts one upon the other."""
    lines = grown([(number, number - 1) for number in range(1, 5000)]).splitlines()
    assert [int(line) for line in lines[1:]] == list(range(1, 5000))
    assert max(len(line) - len(line.lstrip()) for line in lines) < 100


def test_circles():
    """Processes are read one by one: two may each have come from the other."""
    lines = grown([(1, 2), (2, 1), (3, 2), (4, 0)]).split()
    assert sorted(lines) == ["1", "2", "3", "4", "root"]


# ---- words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10 * 1024, "10 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_sizes(number, words):
    assert size_words(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.9, "0s"), (59, "59s"), (61, "1m"), (3700, "1h1m"), (90000, "1d1h"), (1e7, "115d17h")],
)
def test_ages(seconds, words):
    assert age_words(seconds) == words


def test_tables_and_commands():
    assert plain_table([("A", "B"), ("1", "x y")], right=(0,)) == "A  B\n1  x y\n"
    assert plain_table([("A",)]) == "A\n"
    assert joined(["sh", "-c", "a b"]) == "sh -c 'a b'"
    assert joined(["[kthreadd]"]) == "[kthreadd]"
