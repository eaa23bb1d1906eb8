"""A terminal of the container's own, tried through real ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pexpect
import pytest

import pycontainer as pc

SYSTEM = pc.host_system()
PROMPT = "ready> "


@contextlib.contextmanager
def spawned(*command, options=(), size=(30, 100), **spawn):
    """A command in a container, below ``pycontainer run``, at a terminal of ours."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "pycontainer", "run", "--host-system", *options, *command],
        dimensions=size,
        encoding="utf-8",
        timeout=20,
        env={**os.environ, "TERM": "xterm"},
        **spawn,
    )
    child.delaybeforesend = None
    try:
        yield child
    finally:
        child.close(force=True)


@contextlib.contextmanager
def shell(**options):
    options = {"options": ("-e", f"PS1={PROMPT}")} | options
    with spawned("bash", "--norc", "--noprofile", **options) as child:
        child.expect_exact(PROMPT)
        # Without it each line is drawn in pieces.
        child.sendline("bind 'set enable-bracketed-paste off'")
        child.expect_exact(PROMPT)
        yield child


def says(child, line, answer):
    child.sendline(line)
    child.expect_exact(line)
    child.expect(answer)
    child.expect_exact(PROMPT)


def modes_of(child):
    return termios.tcgetattr(child.child_fd)


# ---- through the command line


def test_what_is_typed_is_echoed_once_and_read():
    with spawned("cat") as child:
        child.sendline("hello")
        child.expect_exact("hello\r\nhello\r\n")
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_the_terminal_is_its_controlling_one():
    with shell() as child:
        says(child, "tty", "/dev/console\r\n")
        says(child, "echo direct > /dev/tty", "direct\r\n")
        says(child, "echo console > /dev/console", "console\r\n")
        says(child, "cut -d' ' -f 4-8 /proc/$$/stat", r"\d+ \d+ \d+ 34\d+ \d+\r\n")  # major 136


def test_ctrl_c_interrupts_the_job_and_not_the_shell():
    with shell() as child:
        child.sendline("sleep 100")
        child.expect_exact("sleep 100\r\n")
        time.sleep(0.2)
        child.sendintr()
        child.expect_exact("^C")
        child.expect_exact(PROMPT)
        says(child, "echo $?", "130\r\n")
        child.sendline("exit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7


def test_ctrl_backslash():
    with shell() as child:
        child.sendline("sleep 100")
        child.expect_exact("sleep 100\r\n")
        time.sleep(0.2)
        child.send("\x1c")
        child.expect_exact(PROMPT)
        says(child, "echo $?", "131\r\n")


def test_job_control():
    with shell() as child:
        child.sendline("sleep 100")
        child.expect_exact("sleep 100\r\n")
        time.sleep(0.2)
        child.send("\x1a")
        child.expect("Stopped +sleep 100")
        child.expect_exact(PROMPT)
        # The program outside has not been stopped: it answers.
        says(child, "jobs", r"\[1\]\+  Stopped")
        says(child, "bg", r"sleep 100 &")
        says(child, "jobs", r"Running")
        child.sendline("fg")
        child.expect_exact("sleep 100\r\n")
        time.sleep(0.2)
        child.sendintr()
        child.expect_exact(PROMPT)
        says(child, "jobs; echo none", r"\nnone\r\n")


def test_the_size_of_the_window():
    script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.05; done"
    with spawned("bash", "-c", script, size=(33, 111)) as child:
        child.expect_exact("33 111\r\n")
        child.setwinsize(22, 77)
        child.expect_exact("22 77\r\n")


def test_modes_are_those_of_the_callers_terminal():
    with shell(preexec_fn=lambda: set_erase(b"\x05")) as child:
        says(child, "stty -a | grep -o 'erase = ..'", r"erase = \^E\r\n")


def set_erase(character):
    modes = termios.tcgetattr(0)
    modes[6][termios.VERASE] = character
    termios.tcsetattr(0, termios.TCSANOW, modes)


def test_a_full_screen_program(tmp_path):
    (tmp_path / "text").write_text("".join(f"line {number}\n" for number in range(500)))
    bind = ("--ro-bind", str(tmp_path), "/text")
    with spawned("less", "/text/text", options=bind, size=(10, 80)) as child:
        child.expect_exact("\x1b[?1049h")  # the alternate screen
        child.expect_exact("line 8")
        child.send("G")
        child.expect_exact("line 499")
        child.send("/line 77\r")
        child.send("q")
        child.expect_exact("\x1b[?1049l")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_the_terminal_of_the_caller_is_raw_and_then_as_before():
    script = 'echo ready; read a; echo "got $a"; kill -KILL $$'
    with spawned("bash", "-c", script) as child:
        before = modes_of(child)
        child.expect_exact("ready")
        deadline = time.monotonic() + 10
        while modes_of(child)[3] & termios.ICANON:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not modes_of(child)[3] & (termios.ECHO | termios.ISIG)
        child.sendline("x")
        child.expect_exact("got x")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 128 + signal.SIGKILL
        assert modes_of(child) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT])
def test_the_terminal_is_restored_when_a_signal_ends_the_caller(number):
    with spawned("sleep", "100") as child:
        before = modes_of(child)
        wait_for_raw(child)
        os.kill(child.pid, number)
        child.expect(pexpect.EOF)
        child.wait()
        assert modes_of(child) == before


def wait_for_raw(child):
    deadline = time.monotonic() + 10
    while modes_of(child)[3] & termios.ICANON:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_stopped_and_continued_from_outside():
    with spawned("cat") as child:
        before = modes_of(child)
        wait_for_raw(child)
        os.kill(child.pid, signal.SIGTSTP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert modes_of(child) == before
        os.kill(child.pid, signal.SIGCONT)
        wait_for_raw(child)
        child.sendline("again")
        child.expect_exact("again\r\nagain\r\n")


def test_a_large_output_arrives_whole():
    with spawned("seq", "50000") as child:
        child.expect(pexpect.EOF)
        assert child.before.split() == [str(number) for number in range(1, 50001)]


def test_a_window_that_is_closed_hangs_the_program_up(tmp_path):
    tmp_path.chmod(0o777)
    script = "trap 'echo hung > /w/hung; exit' HUP; echo ready; while :; do sleep 0.05; done"
    with spawned("bash", "-c", script, options=("--bind", str(tmp_path), "/w")) as child:
        child.expect_exact("ready")
        child.close()
    deadline = time.monotonic() + 10
    while not (tmp_path / "hung").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_terminal_is_made_without_asking_where_there_is_none():
    done = run("--host-system", "sh", "-c", "test -t 1 || echo plain")
    assert done.stdout == b"plain\n"


def test_not_wanted_at_a_terminal():
    with spawned("sh", "-c", "tty < /dev/tty || echo none", options=["--no-tty"]) as child:
        child.expect_exact("none")


def run(*line, **options):
    return subprocess.run(
        [sys.executable, "-m", "pycontainer", "run", *line],
        capture_output=True,
        timeout=30,
        check=False,
        **options,
    )


def test_asked_for_at_pipes():
    done = run("--host-system", "-t", "sh", "-c", "test -t 0 && cat; seq 2", input=b"typed\n")
    assert done.stdout == b"typed\r\n1\r\n2\r\n"  # no echo of what nobody sees
    assert done.returncode == 0


def test_the_end_of_the_input_ends_a_shell():
    # It reads key by key, with readline, at times; either way it has to end.
    line = ["--host-system", "-t", "-e", "TERM=dumb", "bash", "--norc", "-i"]
    for pause in ("", "sleep 0.4; "):
        process = subprocess.Popen(
            ["sh", "-c", f"{pause}echo 'echo $((40+2))'; {pause}true"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process, process.stdout:
            done = run(*line, stdin=process.stdout)
        assert b"42\r\n" in done.stdout


def test_a_line_without_an_end_and_then_nothing():
    assert run("--host-system", "-t", "cat", input=b"typed").stdout == b"typed"


def test_more_typed_than_a_terminal_holds():
    text = b"".join(b"%d\n" % number for number in range(20000))
    done = run("--host-system", "-t", "sh", "-c", "sleep 0.2; cat", input=text)
    assert done.stdout == text.replace(b"\n", b"\r\n")


# ---- from Python


def test_captured():
    done = pc.run_command(
        [SYSTEM], ["sh", "-c", "tty; echo err >&2"], tty=True, stdin=pc.DEVNULL, capture_output=True
    )
    assert done.stdout == b"/dev/console\r\nerr\r\n"
    assert done.stderr is None
    assert done.returncode == 0


def test_captured_as_text_with_input():
    done = pc.run_command(
        [SYSTEM], ["cat"], tty=True, input="typed\n", stdout=pc.PIPE, text=True, timeout=20
    )
    assert done.stdout == "typed\n"


def test_a_large_capture():
    done = pc.run_command(
        [SYSTEM], ["seq", "30000"], tty=True, stdin=pc.DEVNULL, capture_output=True
    )
    assert len(done.stdout.split()) == 30000


def test_stderr_may_go_elsewhere():
    done = pc.run_command(
        [SYSTEM],
        ["sh", "-c", "echo out; echo err >&2"],
        tty=True,
        stdin=pc.DEVNULL,
        stdout=pc.PIPE,
        stderr=pc.PIPE,
    )
    assert (done.stdout, done.stderr) == (b"out\r\n", b"err\n")


def test_driven_by_the_caller():
    with pc.start_command(
        [SYSTEM],
        ["sh", "-c", 'stty -echo; echo ready; read a; echo "<$a>"; cat'],
        tty=True,
        stdin=pc.PIPE,
        stdout=pc.PIPE,
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\r\n"
        running.stdin.write(b"first\n")
        assert running.stdout.readline() == b"<first>\r\n"
        running.stdin.write(b"second\n")
        assert running.stdout.readline() == b"second\r\n"
        running.stdin.close()  # the end of the input
        assert running.stdout.read() == b""
    assert running.returncode == 0


def test_a_timeout():
    with pytest.raises(pc.ContainerTimeoutError) as caught:
        pc.run_command(
            [SYSTEM],
            ["sh", "-c", "echo first; sleep 100"],
            tty=True,
            stdin=pc.DEVNULL,
            capture_output=True,
            timeout=1.0,
        )
    assert caught.value.stdout == b"first\r\n"


def test_output_into_a_file(tmp_path):
    with open(tmp_path / "out", "wb") as file:
        pc.run_command([SYSTEM], ["seq", "3"], tty=True, stdin=pc.DEVNULL, stdout=file)
    assert (tmp_path / "out").read_bytes() == b"1\r\n2\r\n3\r\n"


def test_a_reader_that_goes_away_ends_the_program():
    read, write = os.pipe()
    os.close(read)
    done = pc.run_command([SYSTEM], ["yes"], tty=True, stdin=pc.DEVNULL, stdout=write, timeout=20)
    os.close(write)
    assert done.status.signal == signal.SIGHUP


def test_as_process_1():
    done = pc.run_command(
        [SYSTEM],
        ["sh", "-c", "echo $$; tty; : < /dev/tty"],
        tty=True,
        stdin=pc.DEVNULL,
        capture_output=True,
        child_is_pid1=True,
    )
    assert done.stdout == b"1\r\n/dev/console\r\n"


@pytest.mark.parametrize("missing", ["pid", "net"])
def test_fewer_namespaces(missing):
    done = pc.run_command(
        [SYSTEM],
        ["sh", "-c", "tty; : < /dev/tty"],
        tty=True,
        stdin=pc.DEVNULL,
        capture_output=True,
        namespaces=pc.NAMESPACES - {missing},
    )
    assert done.stdout == b"/dev/console\r\n"


def test_in_a_running_container():
    script = "test -t 0 && echo at a terminal; : < /dev/tty; stty size"
    with pc.start_container([SYSTEM]) as running:
        done = pc.exec_command(
            running, ["sh", "-c", script], tty=True, stdin=pc.DEVNULL, capture_output=True
        )
    assert done.stdout == b"at a terminal\r\n24 80\r\n"


def test_another_id():
    done = pc.run_command(
        [SYSTEM],
        ["sh", "-c", "id -u; : < /dev/console && echo opened"],
        tty=True,
        stdin=pc.DEVNULL,
        capture_output=True,
        guest_uid=1234,
        guest_gid=1234,
    )
    assert done.stdout == b"1234\r\nopened\r\n"


def test_from_another_thread():
    found = []

    def call():
        found.append(
            pc.run_command([SYSTEM], ["tty"], tty=True, stdin=pc.DEVNULL, capture_output=True)
        )

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    assert found[0].stdout == b"/dev/console\r\n"


def test_signals_are_the_callers_again():
    numbers = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    pc.run_command([SYSTEM], ["true"], tty=True, stdin=pc.DEVNULL, capture_output=True)
    assert [signal.getsignal(number) for number in numbers] == before


def test_nothing_is_left_open():
    def descriptors():
        return sorted(os.listdir("/proc/self/fd"))

    pc.run_command([SYSTEM], ["true"], tty=True, stdin=pc.DEVNULL, capture_output=True)
    before = descriptors()
    for _ in range(3):
        pc.run_command([SYSTEM], ["true"], tty=True, stdin=pc.DEVNULL, capture_output=True)
        with pytest.raises(FileNotFoundError):
            pc.run_command([], ["no-such-program"], tty=True, stdin=pc.DEVNULL)
    assert descriptors() == before


def test_stdout_of_all_is_for_stderr_only():
    with pytest.raises(ValueError, match="STDOUT"):
        pc.run_command([SYSTEM], ["true"], tty=True, stdout=pc.STDOUT)


CALLER = """
import sys
import pycontainer as pc
try:
    pc.run_command([pc.host_system()], sys.argv[1:], tty=True, timeout=1.5)
except pc.ContainerTimeoutError:
    print("patience ended")
"""


def test_restored_after_an_exception():
    child = pexpect.spawn(sys.executable, ["-c", CALLER, "sleep", "100"], timeout=20)
    try:
        before = modes_of(child)
        wait_for_raw(child)
        child.expect_exact("patience ended\r\n")
        assert modes_of(child) == before
    finally:
        child.close(force=True)


def test_a_size_of_its_own_where_the_caller_has_none():
    done = pc.run_command(
        [SYSTEM], ["stty", "size"], tty=True, stdin=pc.DEVNULL, capture_output=True
    )
    rows, columns = map(int, re.findall(rb"\d+", done.stdout))
    assert (rows, columns) == (24, 80)
    assert struct.calcsize("4H") == len(fcntl.ioctl(os.openpty()[0], termios.TIOCGWINSZ, bytes(8)))
