"""``pycontainer run`` as a program: output, exit status, signals, reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "pycontainer", "run"]


def run(*arguments, **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | options
    return subprocess.run([*PROGRAM, *arguments], timeout=40, check=False, **options)


def system(*arguments, **options):
    return run("--host-system", *arguments, **options)


def test_output_and_status():
    done = system("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_success_says_nothing():
    done = system("true")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_arguments_are_the_commands_own():
    done = system("--", "echo", "--bind", "-x", "a b")
    assert done.stdout == "--bind -x a b\n"


def test_stdin_is_the_callers():
    assert system("cat", input="text", stdin=None).stdout == "text"


def test_a_signal_is_128_more():
    assert system("sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert system("sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_a_command_that_is_not_there():
    done = system("no-such-program")
    assert done.returncode == 127
    assert "no-such-program" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_cannot_be_run(tmp_path):
    (tmp_path / "plain").write_text("text")
    done = system("--ro-bind", str(tmp_path), "/x", "/x/plain")
    assert done.returncode == 126
    assert "/x/plain" in done.stderr


def test_a_source_that_is_not_there_is_our_failure():
    done = system("--ro-bind", "/no/such/place", "/x", "true")
    assert done.returncode == 125
    assert "/no/such/place" in done.stderr
    assert system("--ro-bind-try", "/no/such/place", "/x", "true").returncode == 0


def test_binds_are_writable_or_not(tmp_path):
    tmp_path.chmod(0o777)
    script = 'for d in /w /r; do echo x > "$d/f" && echo "$d"; done 2>/dev/null'
    where = str(tmp_path)
    done = system("--bind", where, "/w", "--ro-bind", where, "/r", "sh", "-c", script)
    assert done.stdout == "/w\n"
    assert (tmp_path / "f").read_text() == "x\n"


def test_files_directories_links_and_overlays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/f").write_text("lower\n")
    (tmp_path / "b/f").write_text("upper\n")
    read, write = os.pipe()
    os.write(write, b"content\n")
    os.close(write)
    layers = ["--overlay-src", str(tmp_path / "a"), "--overlay-src", str(tmp_path / "b")]
    line = (
        ["--file", str(read), "/file", "--symlink", "/file", "/link", "--perms", "700"]
        + ["--dir", "/d", *layers, "--tmp-overlay", "/o", *layers, "--ro-overlay", "/p"]
        + ["sh", "-c", "cat /link /o/f /p/f; stat -c %a /d; echo x > /o/f; cat /o/f; echo x > /p/f"]
    )
    done = system(*line, pass_fds=[read])
    os.close(read)
    assert done.stdout == "content\nupper\nupper\n700\nx\n", done.stderr
    assert done.returncode != 0
    assert "Read-only" in done.stderr


def test_environment_ids_names_and_directory():
    line = ["--setenv", "A", "b", "-e", "GIVEN", "--uid", "7", "--gid", "8", "--hostname", "box"]
    script = "env | grep -v -e ^PWD -e ^SHLVL -e ^_= | sort; id -u; id -g; uname -n; pwd"
    done = system(*line, "-w", "/tmp", "sh", "-c", script, env={**os.environ, "GIVEN": "c"})
    assert done.stdout.split() == ["A=b", "GIVEN=c", "7", "8", "box", "/tmp"]


def test_namespaces():
    def inodes(*options):
        done = system(*options, "sh", "-c", "readlink /proc/self/ns/net /proc/self/ns/ipc")
        return done.stdout.split()

    own = [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/ipc")]
    assert set(inodes()).isdisjoint(own)
    assert inodes("--share-net", "--share-ipc") == own


def test_capabilities():
    script = "sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status"
    assert int(system("--cap-drop", "ALL", "sh", "-c", script).stdout, 16) == 0
    one = system("--cap-drop", "ALL", "--cap-add", "chown", "sh", "-c", script)
    assert int(one.stdout, 16) == 1


def test_a_program_as_process_1():
    assert system("--as-pid-1", "sh", "-c", "echo $$").stdout == "1\n"
    assert system("sh", "-c", "echo $$").stdout != "1\n"


def test_dry_run_starts_nothing():
    done = run("--bind", "/no/such/place", "/x", "--dry-run")
    assert done.returncode == 0
    assert "bind /no/such/place writable at /x" in done.stdout


def test_json(tmp_path):
    done = system("--json", "sh", "-c", "echo out; exit 3")
    out, report = done.stdout.splitlines()
    assert out == "out"
    told = json.loads(report)
    assert told["args"] == ["sh", "-c", "echo out; exit 3"]
    assert told["status"] == {"exit_code": 3, "signal": None, "signal_name": None}
    assert told["returncode"] == 3
    assert told["verdict"] == "exit"
    assert told["usage"]["wall_time"] > 0
    assert isinstance(told["enforced"], dict)
    report = tmp_path / "report"
    done = system("--json-file", str(report), "sh", "-c", "kill -KILL $$")
    assert done.returncode == 137
    assert json.loads(report.read_text())["status"]["signal_name"] == "SIGKILL"


def test_json_into_a_descriptor():
    read, write = os.pipe()
    done = system("--json-file", str(write), "true", pass_fds=[write])
    os.close(write)
    with open(read) as file:
        assert json.load(file)["verdict"] == "ok"
    assert done.stdout == ""


def start(script, *options, **popen):
    process = subprocess.Popen(
        [*PROGRAM, "--host-system", *options, "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        **popen,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_ctrl_c_ends_both():
    with start("echo ready; exec sleep 60") as process:
        process.send_signal(signal.SIGINT)
        # As Ctrl-C ends any program: a script that runs it stops as well.
        assert process.wait(10) == -signal.SIGINT


def test_ctrl_c_that_the_program_catches():
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    with start(script) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 5
        assert process.stdout is not None
        assert process.stdout.read() == "caught\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(number):
    with start("echo ready; exec sleep 60") as process:
        process.send_signal(number)
        assert process.wait(10) == 128 + number


def test_the_container_ends_with_its_caller():
    with start("echo ready; exec sleep 61.5") as process:
        process.kill()
        process.wait(10)
    deadline = time.monotonic() + 10
    while any(b"61.5" in command for command in commands()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def commands():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended


def test_limits_reach_the_program():
    assert system("--ulimit", "nofile=77", "sh", "-c", "ulimit -n").stdout == "77\n"


@pytest.mark.parametrize(
    ("line", "command", "verdict", "words"),
    [
        (
            ["--timeout", "0.3"],
            ["sleep", "20"],
            "wall_time",
            "sleep 20 met its limit wall_time=0.3",
        ),
        (["--cpu-time", "0.3"], ["sh", "-c", "while :; do :; done"], "cpu_time", "cpu_time=0.3"),
        (["--memory", "40m"], ["sh", "-c", "head -c 400m /dev/zero | tail"], "memory", "40 MiB"),
        (["--output-limit", "1k"], ["yes"], "output", "output=1024"),
        (["--seccomp", "untrusted"], ["sh", "-c", "mount -t tmpfs x /tmp; exit 4"], "exit", ""),
    ],
    ids=["timeout", "cpu-time", "memory", "output-limit", "seccomp"],
)
def test_limits_and_their_verdicts(line, command, verdict, words):
    read, write = os.pipe()
    done = system(*line, "--json-file", str(write), *command, pass_fds=[write])
    os.close(write)
    with open(read) as file:
        told = json.load(file)
    assert told["verdict"] == verdict
    assert words in done.stderr
    if verdict == "exit":
        assert done.returncode == 4
    else:
        assert done.returncode == 137
        assert told["enforced"]
    if verdict == "output":
        assert done.stdout.startswith("y\ny\n")
        assert len(done.stdout) == 1024


def test_output_is_counted_in_pipes_only():
    done = system("-t", "--output-limit", "1k", "true")
    assert done.returncode == 125
    assert "--output-limit" in done.stderr


def test_the_sandbox_and_filters():
    script = "id -u; grep -e ^CapBnd -e ^NoNewPrivs -e ^Seccomp: /proc/self/status | cut -f 2"
    done = system("--sandbox", "sh", "-c", script)
    assert done.stdout.split() == ["1000", "0000000000000000", "1", "2"], done.stderr
    done = system(
        "--seccomp", "no-sync,no-fork", "sh", "-c", "exec grep ^Seccomp: /proc/self/status"
    )
    assert done.stdout.split() == ["Seccomp:", "2"], done.stderr
    assert system("--sandbox", "--security-opt", "seccomp=unconfined", "sh", "-c", script).stdout


def test_the_interpreter_is_out_of_reach():
    """Process 1 is a copy of a Python that the caller may own: its file must not be to be had."""
    script = (
        "readlink /proc/1/exe; cat /proc/1/environ; ls /proc/1/fd; chmod 7 /proc/1/exe; echo end"
    )
    done = system("sh", "-c", script)
    assert done.stdout == "end\n"
    assert done.stderr.count("ermission denied") == 3
