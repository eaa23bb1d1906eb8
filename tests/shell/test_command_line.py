"""``pycontainer shell`` as a program: options, output, exit status, and what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pycontainer.cli.parse import names_of
from pycontainer.cli.shell import ELSEWHERE, SHELL

PROGRAM = [sys.executable, "-m", "pycontainer", "shell"]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(*arguments, **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | options
    return subprocess.run([*PROGRAM, *arguments], timeout=40, check=False, **options)


def with_venv(*arguments, **options):
    return shell("--venv", sys.prefix, *arguments, **options)


def says(done):
    return done.stdout, done.stderr, done.returncode


def test_a_command():
    done = with_venv("--", "python", "-c", "import numpy; print('out'); raise SystemExit(3)")
    assert says(done) == ("out\n", "", 3)


def test_commands_of_the_shell_itself():
    assert says(with_venv("--", "true")) == ("", "", 0)
    assert says(with_venv("false")) == ("", "", 1)
    assert says(with_venv("--", "echo", "a  b", "$HOME")) == ("a  b $HOME\n", "", 0)


def test_the_shell_reads_commands_from_stdin(project):
    done = with_venv(input="pwd\necho $SHELL\nexit 4\n", stdin=None)
    assert says(done) == (f"{project}\n/bin/bash\n", "", 4)


def test_no_software():
    done = shell(input="echo $PATH\n", stdin=None)
    note = "pycontainer shell: no software is named: there is a shell only\n"
    assert says(done) == ("/bin\n", note, 0)


def test_a_signal_is_128_more():
    assert shell("sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_a_signal_is_passed_on():
    started = subprocess.Popen(
        [*PROGRAM, "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do read -t 1 x; done"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 9


def test_options():
    script = 'echo "$MY $HOME"; test -w /w; echo $?; test -w /r; echo $?; pwd; /l -c "echo l"'
    done = shell(
        *["-E", "^MY$", "-u", "me", "--no-cwd", "--share", ".=/w", "--expose=.=/r"],
        *["--symlink", "/l=/bin/sh", "--writable-root"],
        *["sh", "-c", script],
        env={**os.environ, "MY": "own"},
    )
    # A test for writing asks the mount too.
    assert says(done) == ("own /home/me\n0\n1\n/home/me\nl\n", "", 0)


def test_no_terminal_no_TERM():
    assert shell("sh", "-c", "echo ${TERM-none}").stdout in ("none\n", "dumb\n")  # bash's own


def test_the_network():
    done = with_venv("-N", "python", "-c", "import os; print(os.readlink('/proc/self/ns/net'))")
    assert done.stdout.strip() == os.readlink("/proc/self/ns/net")


def test_dry_run(project):
    done = with_venv("--dry-run", "--", "python")
    assert done.returncode == 0
    assert f"bind {project} writable at {project}" in done.stdout
    assert re.search(r"^environment\n     HOME=", done.stdout, re.MULTILINE)
    assert f"     PATH={sys.prefix}/bin:/bin\n" in done.stdout


def test_check():
    done = with_venv("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well: it has the variables that it was given\n")


def test_check_finds_what_startup_files_change(project):
    (project / "rc").write_text("PATH=/elsewhere; unset USER; export MORE=1\n")
    home = os.path.expanduser("~")
    done = shell("--check", f"--expose={project}/rc={home}/.bashrc")
    assert done.returncode == 1
    assert "PATH is '/elsewhere'; it was '/bin'" in done.stdout
    assert "USER is not there" in done.stdout
    assert shell("--check", "--", "true").returncode == 125


# ---- what it says


def test_the_nearest_command():
    done = with_venv("--", "pyhton", "x.py")
    assert done.returncode == 127
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "pycontainer shell: pyhton: there is no such command in the shell",
        "  did you mean python?",
    ]


def test_names_that_a_terminal_would_obey(tmp_path):
    """Whoever made a root file system has chosen them."""
    name = "greet\x1b]0;title\x07"
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin" / name).write_text("")
    (tmp_path / "root/bin" / name).chmod(0o755)
    # Something is shared in /bin, so that each file there is named.
    share = ("--expose", "/etc/passwd=/bin/x", "--rootfs", str(tmp_path / "root"))
    near = shell(*share, "--", "greet]0;title")
    steps = shell(*share, "--dry-run")
    wrong = shell("--rootfs", str(tmp_path / name))
    said = (near.stderr, steps.stdout, wrong.stderr)
    assert all("greet\\x1b]0;title\\x07" in text and "\x1b" not in text for text in said), said


def test_a_command_that_only_the_host_has():
    done = with_venv("--", "cat", "file")
    assert done.returncode == 127
    assert "the host has " in done.stderr
    assert re.search("--apt coreutils|--expose /", done.stderr)


def test_a_command_that_nobody_has():
    done = with_venv("--", "zzyzx-no-such")
    assert done.stderr.splitlines() == [
        "pycontainer shell: zzyzx-no-such: there is no such command in the shell",
        f"  it was looked for in {sys.prefix}/bin, /bin",
    ]


def test_a_script_that_is_not_there():
    done = with_venv("--", "./missing.sh")
    assert done.returncode == 127
    assert "missing.sh" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--venv", "missing"], "missing does not exist"),
        (["--share", "missing"], "missing"),
        (["--share", ".=relative"], "relative, does not begin with /"),
        (["--share", "=x"], "--share takes SRC or SRC=DST"),
        (["--symlink", "x"], "--symlink takes LINK=TO"),
        (["--symlink", "/x=bin/none"], "has no bin/none"),
        (["--user", "a/b"], "a name has"),
        (["--preserve", "("], "no regular expression"),
        (["--nosuch"], "there is no option --nosuch"),
        (["--vnev", "x"], "did you mean --venv?"),
        (["--pure", "sh"], "nothing is inherited"),
        (["--venv"], "requires an argument"),
        (["--rootfs", "/", "--rootfs", "/"], "root"),
    ],
)
def test_mistakes(arguments, expected):
    done = shell(*arguments)
    assert done.returncode == 125
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_in_the_home(project):
    done = shell("true", env={**os.environ, "HOME": str(project)})
    assert done.returncode == 125
    assert done.stderr.startswith(f"pycontainer shell: the current directory, {project}, is your")
    assert "--no-cwd" in done.stderr


def test_a_directory_that_has_gone(tmp_path):
    script = f'cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "$@"'
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", script, "sh", *PROGRAM, "true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    assert done.returncode == 125
    assert done.stderr.startswith("pycontainer shell: the current directory is gone")


def test_help():
    done = shell("--help")
    assert done.returncode == 0
    for option in SHELL:
        assert option.names[0] in done.stdout
    assert names_of(SHELL).keys().isdisjoint(ELSEWHERE)


def test_it_ends_with_its_caller():
    """SIGKILL of the program leaves no shell behind."""
    started = subprocess.Popen(
        [*PROGRAM, "sh", "-c", "echo $$; sleep_() { read -t 100 x; }; sleep_ < /dev/zero"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        assert started.stdout is not None
        assert started.stdout.readline()
        children = _descendants(started.pid)
        assert children
        started.kill()
        started.wait()
        deadline = time.monotonic() + 20
        while any(map(_lives, children)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _descendants(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = file.read().split()
    return children + [more for child in children for more in _descendants(child)]


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
