"""``pycontainer exec``: programs inside containers that others have made, and that we have."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pexpect
import pytest

PROGRAM = [sys.executable, "-m", "pycontainer"]
PROMPT = "ready> "
WAIT = ["sh", "-c", "echo up; exec cat"]  # it ends when its stdin does


def execute(pid, *words, options=(), **rest):
    rest = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | rest
    line = [*PROGRAM, "exec", *options, str(pid), *words]
    return subprocess.run(line, timeout=40, check=False, **rest)


def children(pid):
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def inside(pid):
    """The first process below *pid* in a pid namespace of its own."""
    waiting = [pid]
    while waiting:
        process = waiting.pop(0)
        try:
            if os.readlink(f"/proc/{process}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                return process
        except PermissionError:
            pass  # an init of ours: its program will do
        waiting += children(process)
    raise AssertionError("there is no container")


MAKERS = {
    "ours": [*PROGRAM, "run", "--host-system", "--hostname", "inner"],
    "bwrap": ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    + ["--unshare-all", "--unshare-user", "--hostname", "inner"],
    "unshare": ["unshare", "-Urpfmu", "--mount-proc", "sh", "-c", 'hostname inner; exec "$@"', "x"],
}


@contextlib.contextmanager
def made(maker):
    command = MAKERS[maker]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    process = subprocess.Popen(
        [*command, *WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        assert process.stdout.readline() == b"up\n"
        yield inside(process.pid)


@contextlib.contextmanager
def made_by_runc():
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pytest-exec-"))
    (folder / "rootfs").mkdir()
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    name = f"pycontainer-exec-{os.getpid()}"
    runc = ["runc", "--root", str(folder / "state")]
    try:
        subprocess.run(["runc", "spec", *rootless], cwd=folder, check=True, env=environment)
        config = json.loads((folder / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
        config["hostname"] = "inner"
        config["root"]["readonly"] = False
        for place in ("/usr", "/bin", "/lib", "/lib64"):
            if os.path.isdir(place):
                mount = {"destination": place, "type": "bind", "source": place}
                config["mounts"].append(mount | {"options": ["rbind", "ro"]})
        (folder / "config.json").write_text(json.dumps(config))
        with open(folder / "said", "w") as said:
            started = subprocess.run(
                [*runc, "run", "-d", "--bundle", folder, "--pid-file", folder / "pid", name],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                check=False,
            )
        if started.returncode:
            pytest.skip(f"runc does not run here: {(folder / 'said').read_text()[-200:]}")
        yield int((folder / "pid").read_text())
    finally:
        subprocess.run(
            [*runc, "delete", "--force", name], env=environment, check=False, capture_output=True
        )
        shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["ours", "bwrap", "unshare", "runc"])
def foreign(request):
    with made_by_runc() if request.param == "runc" else made(request.param) as pid:
        yield pid


@pytest.fixture(scope="module")
def pid():
    with made("ours") as found:
        yield found


# ---- whoever made it


def test_its_namespaces_and_its_name(foreign):
    kinds = ("user", "pid", "mnt", "uts")
    script = "uname -n; for n in user pid mnt uts; do readlink /proc/self/ns/$n; done"
    done = execute(foreign, "sh", "-c", script)
    expected = ["inner", *(os.readlink(f"/proc/{foreign}/ns/{kind}") for kind in kinds)]
    assert done.stdout.split() == expected, done.stderr
    assert done.returncode == 0


def test_exit_status_and_streams(foreign):
    done = execute(foreign, "sh", "-c", "cat; echo err >&2; exit 3", stdin=None, input="typed")
    assert (done.stdout, done.stderr, done.returncode) == ("typed", "err\n", 3)


def test_a_wrong_name_gets_the_nearest(foreign):
    done = execute(foreign, "hostnmae")
    assert done.returncode == 127, done.stderr
    assert "did you mean hostname" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal(foreign):
    script = "test -t 0 -a -t 1 && stty size < /dev/tty"
    done = execute(foreign, "sh", "-c", script, options=["-t"])
    assert done.stdout == "24 80\n", done.stderr


# ---- one of ours


def test_the_environment_is_term_path_and_what_is_named(pid):
    environment = {**os.environ, "TERM": "vt100", "GIVEN": "g", "SECRET": "s"}
    line = ["-e", "A=b=c", "-e", "GIVEN", "-e", "ABSENT", "-e", "PATH=/usr/bin"]
    done = execute(pid, "env", options=line, env=environment)
    assert sorted(done.stdout.split()) == ["A=b=c", "GIVEN=g", "PATH=/usr/bin", "TERM=vt100"]
    environment.pop("TERM")
    assert execute(pid, "env", env=environment).stdout == ""


def test_path_is_the_containers(tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho tool of $PATH\n")
    tool.chmod(0o755)
    line = ["--ro-bind", str(tmp_path), "/own", "--setenv", "PATH", "/own:/usr/bin:/bin"]
    process = subprocess.Popen(
        [*MAKERS["ours"], *line, *WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert execute(inside(process.pid), "tool").stdout == "tool of /own:/usr/bin:/bin\n"


def test_names_of_the_containers_are_escaped(tmp_path):
    (tmp_path / "fancy\x1b[31mtool").touch()
    line = ["--ro-bind", str(tmp_path), "/own", "--setenv", "PATH", "/own:/usr/bin:/bin"]
    process = subprocess.Popen(
        [*MAKERS["ours"], *line, *WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        done = execute(inside(process.pid), "fancytool")
    assert done.returncode == 127
    assert r"did you mean fancy\x1b[31mtool?" in done.stderr
    assert "\x1b" not in done.stderr


def test_directory(pid):
    assert execute(pid, "pwd").stdout == "/\n"
    assert execute(pid, "pwd", options=["-w", "/tmp"]).stdout == "/tmp\n"
    done = execute(pid, "pwd", options=["--workdir=/none"])
    assert done.returncode == 125
    assert "/none" in done.stderr


def test_arguments_are_the_commands_own(pid):
    assert execute(pid, "echo", "-e", "--json", "a b").stdout == "--json a b\n"
    assert execute(pid, "--", "echo", "x").stdout == "x\n"


def test_statuses(pid):
    assert execute(pid, "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert execute(pid, "/etc/passwd").returncode == 126
    assert execute(pid, "/no/such").returncode == 127


def test_json(pid):
    done = execute(pid, "sh", "-c", "echo out; exit 3", options=["--json"])
    out, told = done.stdout.splitlines()
    assert out == "out"
    assert json.loads(told)["status"]["exit_code"] == 3
    assert json.loads(told)["args"] == ["sh", "-c", "echo out; exit 3"]
    read, write = os.pipe()
    execute(pid, "true", options=["--json-file", str(write)], pass_fds=[write])
    os.close(write)
    with open(read) as file:
        assert json.load(file)["verdict"] == "ok"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_passed_on(pid, number):
    line = [*PROGRAM, "exec", str(pid), "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        expected = -number if number == signal.SIGINT else 128 + number
        assert process.wait(10) == expected


def test_the_command_ends_with_its_caller(pid):
    line = [*PROGRAM, "exec", str(pid), "sh", "-c", "echo ready; exec sleep 67.25"]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    deadline = time.monotonic() + 10
    while "67.25" in execute(pid, "ps", "-eo", "args=").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- at a terminal


@contextlib.contextmanager
def shell(pid, size=(30, 100)):
    line = ["-m", "pycontainer", "exec", "-e", f"PS1={PROMPT}", str(pid)]
    child = pexpect.spawn(
        sys.executable,
        [*line, "bash", "--norc", "--noprofile"],
        dimensions=size,
        encoding="utf-8",
        timeout=20,
        env={**os.environ, "TERM": "xterm"},
    )
    child.delaybeforesend = None
    try:
        child.expect_exact(PROMPT)
        # Without it each line is drawn in pieces.
        child.sendline("bind 'set enable-bracketed-paste off'")
        child.expect_exact(PROMPT)
        yield child
    finally:
        child.close(force=True)


def says(child, line, answer):
    child.sendline(line)
    child.expect_exact(line)
    child.expect(answer)
    child.expect_exact(PROMPT)


def start_job(child):
    """A job that has the terminal."""
    child.sendline("sh -c 'echo be''gun; exec sleep 100'")
    child.expect_exact("begun\r\n")


def test_a_shell_with_job_control(foreign):
    with shell(foreign) as child:
        says(child, "uname -n", "inner")
        says(child, "echo $TERM; stty size", "xterm\r\n30 100")
        start_job(child)
        child.send("\x1a")
        child.expect("Stopped")
        child.expect_exact(PROMPT)
        says(child, "jobs", r"\[1\]\+  Stopped")
        child.sendline("fg")
        child.expect_exact("sleep 100")
        child.sendintr()
        child.expect_exact(PROMPT)
        start_job(child)
        child.sendintr()
        child.expect_exact(PROMPT)
        says(child, "echo $?", "130\r\n")
        child.setwinsize(22, 77)
        says(child, "stty size", "22 77")
        child.sendline("exit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7


def test_a_full_screen_program(pid):
    line = ["-m", "pycontainer", "exec", str(pid), "less", "/etc/passwd"]
    child = pexpect.spawn(sys.executable, line, timeout=20, env={**os.environ, "TERM": "xterm"})
    try:
        child.expect_exact("\x1b[?1049h")  # the alternate screen
        child.send("q")
        child.expect_exact("\x1b[?1049l")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)


# ---- what is no container


def test_a_process_in_no_container():
    done = execute(os.getpid(), "true")
    assert done.returncode == 125
    assert "is in no container" in done.stderr


def test_the_one_who_waits_outside_names_who_is_inside():
    with made("unshare") as found:
        outside = int(Path(f"/proc/{found}/stat").read_text().rsplit(") ", 1)[1].split()[1])
        # That one has unshared everything but pid itself: it may be joined.
        assert execute(outside, "uname", "-n").stdout == "inner\n"
    process = subprocess.Popen(
        [*MAKERS["ours"], *WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        done = execute(process.pid, "true")
        assert done.returncode == 125
        assert f"did you mean process {inside(process.pid)}," in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "no process"),
        (["x", "true"], "PID is the number of a process"),
        (["1"], "no command"),
        (["4194303", "true"], "no such process"),
        (["-u", "me", "1", "true"], "as process PID does"),
        (["--jsn", "1", "true"], "did you mean --json"),
    ],
    ids=["nothing", "no number", "no command", "no process", "podman's", "misspelt"],
)
def test_wrong_command_lines(line, words):
    done = subprocess.run(
        [*PROGRAM, "exec", *line], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 125
    assert done.stderr.startswith("pycontainer exec: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
