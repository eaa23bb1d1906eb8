"""The habits of ``subprocess.Popen``."""

from __future__ import annotations

import select
import signal
import subprocess
import time

import pytest

from pycontainer import (
    PIPE,
    ContainerTimeoutError,
    SetupError,
    container_excursion,
    host_system,
    start_command,
)

HOST = [host_system()]


def sh(script, **options):
    return start_command(HOST, ["sh", "-c", script], **options)


def test_streaming():
    with sh("while read line; do echo got $line; done", stdin=PIPE, stdout=PIPE) as running:
        for word in (b"one", b"two"):
            running.stdin.write(word + b"\n")
            assert running.stdout.readline() == b"got " + word + b"\n"
        running.stdin.close()
        assert running.stdout.read() == b""
        assert running.wait().returncode == 0


def test_streaming_text():
    with sh("while read line; do echo got $line; done", stdin=PIPE, stdout=PIPE, text=True) as one:
        print("é", file=one.stdin)
        assert one.stdout.readline() == "got é\n"
        one.stdin.write("cut")  # flushed by close()
        one.stdin.close()
        assert list(one.stdout) == []


def test_communicate():
    with sh("cat; echo err >&2; exit 3", stdin=PIPE, stdout=PIPE, stderr=PIPE) as running:
        assert running.communicate(b"in") == (b"in", b"err\n")
    assert running.returncode == 3


def test_communicate_after_writing():
    with sh("cat", stdin=PIPE, stdout=PIPE, text=True) as running:
        running.stdin.write("first ")
        assert running.communicate("second") == ("first second", None)


def test_communicate_goes_on_after_a_timeout():
    with sh("cat; sleep 1; echo end", stdin=PIPE, stdout=PIPE) as running:
        with pytest.raises(ContainerTimeoutError) as caught:
            running.communicate(b"in ", timeout=0.3)
        assert caught.value.output == b"in "
        assert running.communicate() == (b"in end\n", None)


def test_poll_wait_and_returncode():
    with sh("sleep 0.3; exit 5") as running:
        assert running.poll() is None
        assert running.returncode is None
        with pytest.raises(ContainerTimeoutError):
            running.wait(timeout=0.01)
        assert running.wait().returncode == 5
        assert running.poll() == 5


def test_what_it_runs():
    with sh("exit 0") as running:
        assert running.args == ["sh", "-c", "exit 0"]
        assert "sh" in repr(running)


@pytest.mark.parametrize("pid1", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_reach_the_program(number, pid1):
    """A process 1 gets those that it has a handler for (pid_namespaces(7))."""
    script = f"trap 'exit 9' {number.name[3:]}; echo up; while :; do sleep 0.05; done"
    with sh(script, stdout=PIPE, child_is_pid1=pid1) as running:
        assert running.stdout.readline() == b"up\n"
        running.send_signal(number)
        assert running.wait(10).returncode == 9


def test_terminate_without_a_handler():
    with start_command(HOST, ["sleep", "60"]) as running:
        running.terminate()
        completed = running.wait(10)
    assert completed.status.signal == signal.SIGTERM


def test_the_first_signal_is_not_lost():
    """It is sent as soon as start_command() has returned."""
    for _ in range(20):
        with start_command(HOST, ["sleep", "60"]) as running:
            running.terminate()
            assert running.wait(10).returncode == -signal.SIGTERM


def test_kill():
    with start_command(HOST, ["sleep", "60"]) as running:
        running.kill()
        assert running.wait(10).returncode == -signal.SIGKILL


def test_an_exception_kills_it():
    with pytest.raises(KeyError), start_command(HOST, ["sleep", "60"]) as running:
        raise KeyError
    assert running.returncode == -signal.SIGKILL


def test_a_reader_that_stops_at_the_end_of_with():
    """Popen closes its ends of the pipes before it waits, and so the writer ends."""
    with start_command(HOST, ["yes"], stdout=PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"y\n"
    assert running.returncode == -signal.SIGPIPE


def test_what_was_not_read_when_it_ended():
    with start_command(HOST, ["true"], stdin=PIPE, text=True) as running:
        running.wait()
        assert running.stdin is not None
        running.stdin.write("too late")  # waits in the buffer
    assert running.returncode == 0


def test_a_pidfd_to_select():
    with sh("exit 0") as running:
        assert select.select([running], [], [], 10)[0] == [running]


def test_an_excursion_into_it():
    with start_command(HOST, ["sleep", "60"]) as running:
        import os

        assert container_excursion(running, lambda: os.listdir("/proc/2")) != []
        running.kill()


@pytest.mark.parametrize("pid1", [False, True])
def test_what_does_not_start_raises_at_once(pid1):
    with pytest.raises(SetupError) as caught:
        start_command(HOST, ["no-such-program"], child_is_pid1=pid1)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_pipeline():
    with (
        sh("echo hello", stdout=PIPE) as first,
        sh("tr a-z A-Z", stdin=first.stdout, stdout=PIPE) as second,
    ):
        assert second.stdout.read() == b"HELLO\n"


def test_beside_subprocess():
    with subprocess.Popen(["echo", "hello"], stdout=subprocess.PIPE) as first:
        with sh("cat", stdin=first.stdout, stdout=PIPE) as second:
            assert second.communicate()[0] == b"hello\n"


def test_wall_time_is_the_programs():
    with sh("sleep 0.2") as running:
        time.sleep(0.5)
        assert 0.2 <= running.wait().usage.wall_time < 0.45
