"""The habits of ``subprocess.run``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pycontainer import (
    DEVNULL,
    PIPE,
    STDOUT,
    CommandError,
    Container,
    ContainerTimeoutError,
    Verdict,
    bind,
    host_system,
    run_command,
)

HOST: Any = [host_system()]


def sh(script, **options):
    return run_command(HOST, ["sh", "-c", script], **options)


# ---- arguments


def test_args_are_kept():
    argv = ("true", Path("/x"), b"y")
    assert run_command(HOST, argv).args == list(argv)


def test_a_whole_container():
    assert run_command(Container(HOST), ["true"]).returncode == 0


def test_a_string_is_not_split():
    with pytest.raises(TypeError, match="sequence of arguments"):
        run_command(HOST, "ls -l")
    with pytest.raises(TypeError, match="sequence of arguments"):
        run_command(HOST, Path("/bin/ls"))  # type: ignore[arg-type]


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"], ["true", b"\0"]])
def test_bad_arguments(argv):
    with pytest.raises(ValueError):
        run_command(HOST, argv)


def test_an_argument_that_is_no_text():
    with pytest.raises(TypeError, match="1"):
        run_command(HOST, ["true", 1])  # type: ignore[list-item]


def test_bad_fields_of_the_container():
    with pytest.raises(ValueError, match="cwd"):
        run_command(HOST, ["true"], cwd="relative")


# ---- the program's path


def test_a_name_is_looked_for_in_the_usual_places():
    assert run_command(HOST, ["true"]).returncode == 0


def test_a_name_is_looked_for_in_path(tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "tool").chmod(0o755)
    completed = run_command(
        [*HOST, bind(tmp_path, "/opt/tools")],
        ["tool"],
        env={"PATH": "/nowhere:/opt/tools:/bin"},
        capture_output=True,
    )
    assert completed.stdout == b"mine\n"


def test_an_empty_entry_of_path_is_the_working_directory(tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\necho here\n")
    (tmp_path / "tool").chmod(0o755)
    mounts = [*HOST, bind(tmp_path, "/opt/tools")]
    completed = run_command(
        mounts, ["tool"], env={"PATH": "/bin:"}, cwd="/opt/tools", capture_output=True
    )
    assert completed.stdout == b"here\n"
    completed = run_command(mounts, ["./tool"], cwd="/opt/tools", capture_output=True)
    assert completed.stdout == b"here\n"


# ---- output


def test_nothing_is_captured_without_asking(capfd):
    completed = sh("echo out; echo err >&2")
    assert (completed.stdout, completed.stderr) == (None, None)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_what_was_printed_before_comes_first(capfd):
    print("first")
    sh("echo second")
    assert capfd.readouterr().out == "first\nsecond\n"


def test_capture_output():
    completed = sh("echo out; echo err >&2", capture_output=True)
    assert (completed.stdout, completed.stderr) == (b"out\n", b"err\n")


def test_one_pipe():
    completed = sh("echo out; echo err >&2", stdout=PIPE, stderr=DEVNULL)
    assert (completed.stdout, completed.stderr) == (b"out\n", None)


def test_stderr_to_stdout():
    completed = sh("echo out; echo err >&2; echo out", stdout=PIPE, stderr=STDOUT)
    assert (completed.stdout, completed.stderr) == (b"out\nerr\nout\n", None)


def test_into_a_file(tmp_path):
    with open(tmp_path / "out", "wb") as file:
        sh("echo out", stdout=file)
        sh("echo more", stdout=file.fileno())
    assert (tmp_path / "out").read_text() == "out\nmore\n"


def test_large_output():
    completed = sh("head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2", capture_output=True)
    assert (len(completed.stdout), len(completed.stderr)) == (3_000_000, 2_000_000)


def test_output_of_what_lives_on_is_not_waited_for():
    """A daemon dies with its container, so that the pipe ends."""
    started = time.monotonic()
    completed = sh("sleep 60 & echo out", capture_output=True)
    assert completed.stdout == b"out\n"
    assert time.monotonic() - started < 10


def test_captured_twice_is_refused():
    with pytest.raises(ValueError, match="capture_output"):
        sh("true", capture_output=True, stdout=PIPE)
    with pytest.raises(ValueError, match="STDOUT"):
        sh("true", stdout=STDOUT)


# ---- input


def test_input():
    assert sh("tr a-z A-Z", input=b"hello", stdout=PIPE).stdout == b"HELLO"
    assert sh("cat", input=b"", stdout=PIPE).stdout == b""


def test_large_input_and_output_at_once():
    data = os.urandom(3_000_000)
    assert sh("cat", input=data, stdout=PIPE).stdout == data


def test_input_like_bytes():
    assert sh("cat", input=bytearray(b"abc"), stdout=PIPE).stdout == b"abc"
    assert sh("cat", input=memoryview(b"abc"), stdout=PIPE).stdout == b"abc"


def test_input_that_is_not_read():
    assert sh("exit 3", input=b"x" * 3_000_000).returncode == 3


def test_input_and_stdin_are_refused():
    with pytest.raises(ValueError, match="stdin"):
        sh("cat", input=b"", stdin=DEVNULL)


def test_stdin_from_a_file(tmp_path):
    (tmp_path / "in").write_text("from a file")
    with open(tmp_path / "in") as file:
        assert sh("cat", stdin=file, stdout=PIPE).stdout == b"from a file"


def test_stdin_from_nowhere():
    assert sh("cat", stdin=DEVNULL, stdout=PIPE).stdout == b""


# ---- text


def test_text():
    completed = sh("cat; echo err >&2", input="é\n", text=True, capture_output=True)
    assert (completed.stdout, completed.stderr) == ("é\n", "err\n")


def test_line_ends_are_pythons():
    assert sh(r"printf 'a\r\nb\rc\n'", text=True, stdout=PIPE).stdout == "a\nb\nc\n"


def test_encoding():
    completed = sh("cat", input="é", encoding="latin-1", stdout=PIPE)
    assert completed.stdout == "é"
    assert sh("cat | wc -c", input="é", encoding="latin-1", stdout=PIPE).stdout.strip() == "1"


def test_what_does_not_decode():
    with pytest.raises(UnicodeDecodeError):
        sh(r"printf '\377'", encoding="utf-8", stdout=PIPE)
    assert sh(r"printf '\377'", errors="replace", encoding="utf-8", stdout=PIPE).stdout == "\ufffd"


def test_an_unknown_encoding_is_found_before_anything_runs(capfd):
    with pytest.raises(LookupError):
        sh("echo ran", encoding="klingon")
    assert capfd.readouterr().out == ""


def test_bytes_and_text_are_not_mixed():
    with pytest.raises(TypeError):
        sh("cat", input=b"bytes", text=True)
    with pytest.raises(TypeError):
        sh("cat", input="text")


# ---- how it ends


def test_check():
    assert sh("exit 0", check=True).returncode == 0
    with pytest.raises(CommandError) as caught:
        sh("echo out; echo why >&2; exit 3", check=True, capture_output=True)
    error = caught.value
    assert isinstance(error, subprocess.CalledProcessError)
    assert (error.returncode, error.cmd[0]) == (3, "sh")
    assert (error.output, error.stderr) == (b"out\n", b"why\n")
    assert error.completed is not None
    assert error.completed.verdict is Verdict.EXIT


def test_check_of_a_signal():
    with pytest.raises(CommandError, match="SIGTERM"):
        sh("kill -TERM $$", check=True)


@pytest.mark.parametrize("pid1", [False, True])
def test_timeout(pid1):
    started = time.monotonic()
    with pytest.raises(ContainerTimeoutError) as caught:
        sh("echo so far; sleep 60; echo late", timeout=0.5, stdout=PIPE, child_is_pid1=pid1)
    assert 0.5 <= time.monotonic() - started < 5
    error = caught.value
    assert isinstance(error, subprocess.TimeoutExpired)
    assert isinstance(error, TimeoutError)
    assert error.timeout == 0.5
    assert error.cmd == ["sh", "-c", "echo so far; sleep 60; echo late"]
    assert error.output == b"so far\n"


def test_output_of_a_timeout_is_bytes_in_text_mode_too():
    """As it is with subprocess.TimeoutExpired."""
    with pytest.raises(ContainerTimeoutError) as caught:
        sh("echo so far; sleep 60", timeout=0.5, stdout=PIPE, text=True)
    assert caught.value.output == b"so far\n"


def test_a_flood_does_not_outrun_the_timeout():
    started = time.monotonic()
    with pytest.raises(ContainerTimeoutError):
        sh("yes", timeout=0.5, stdout=DEVNULL)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("pid1", [False, True])
def test_the_hook_sees_it_before_it_starts(pid1, tmp_path):
    seen = []

    def hook(running):
        assert running.pid > 0
        seen.append(running.returncode)
        (tmp_path / "now").write_text("written by the hook")

    completed = run_command(
        [*HOST, bind(tmp_path, "/data")],
        ["cat", "/data/now"],
        process_spawned_hook=hook,
        stdout=PIPE,
        child_is_pid1=pid1,
    )
    assert completed.stdout == b"written by the hook"
    assert seen == [None]


def test_a_hook_that_raises_ends_it(capfd):
    def hook(running):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        sh("echo ran", process_spawned_hook=hook)
    assert capfd.readouterr().out == ""


def test_from_threads():
    found = []

    def run(number):
        found.append(sh(f"echo {number}", stdout=PIPE).stdout == f"{number}\n".encode())

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_fewer_namespaces(tmp_path):
    completed = sh("echo out; exit 4", stdout=PIPE, namespaces={"user", "mnt", "net"})
    assert (completed.stdout, completed.returncode) == (b"out\n", 4)


def test_ctrl_c_reaches_the_program():
    """SIGINT of the caller is relayed, and is a KeyboardInterrupt after the end."""
    script = """
import sys
from pycontainer import host_system, run_command
print("go", flush=True)
try:
    loop = "trap 'echo trapped; exit 7' INT; echo up; while :; do sleep 0.05; done"
    run_command([host_system()], ["sh", "-c", loop])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    import signal

    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "go\n"
        assert one.stdout.readline() == "up\n"
        one.send_signal(signal.SIGINT)
        assert one.stdout.read() == "trapped\ninterrupted\n"
