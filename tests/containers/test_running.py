"""``start_container`` and the ``Running`` that it gives."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from typing import Any

import pytest

from pycontainer import (
    PIPE,
    ContainerExitError,
    ContainerTimeoutError,
    PayloadError,
    SetupError,
    bind,
    container_excursion,
    start_container,
)


def sleep():
    time.sleep(60)


def echo():
    """Give back what comes on stdin, a line at a time."""
    while line := os.read(0, 4096):
        os.write(1, line.upper())
    return "end"


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_wait():
    running = start_container([], lambda: 42)
    completed = running.wait(timeout=10)
    assert completed.result() == 42
    assert running.returncode == 0
    assert running.wait() is completed
    assert gone(running.pid)


def test_result():
    assert start_container([], lambda: 42).result(timeout=10) == 42


def test_result_raises_what_the_function_raises():
    with pytest.raises(ZeroDivisionError):
        start_container([], lambda: 1 // 0).result(timeout=10)


def test_pid_is_that_of_the_host():
    with start_container([], sleep) as running:
        assert os.readlink(f"/proc/{running.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        running.kill()


def test_poll():
    with start_container([], sleep) as running:
        assert running.poll() is None
        assert running.returncode is None
        running.kill()
        deadline = time.monotonic() + 5
        while running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert running.poll() == running.returncode == -signal.SIGKILL


def test_pidfd_in_select():
    with start_container([], lambda: os.read(0, 1), stdin=PIPE) as running:
        assert running.fileno() == running.pidfd
        assert select.select([running], [], [], 0.05)[0] == []
        assert running.stdin is not None
        running.stdin.write(b"x")
        assert select.select([running], [], [], 10)[0] == [running]
        assert running.result() == b"x"
    with pytest.raises(ValueError, match="has ended"):
        running.fileno()


@pytest.mark.parametrize("call", ["wait", "result"])
def test_timeout_leaves_it_running(call):
    with start_container([], lambda: os.read(0, 1), stdin=PIPE) as running:
        with pytest.raises(ContainerTimeoutError, match=r"did not end within 0\.05 seconds"):
            getattr(running, call)(timeout=0.05)
        assert running.poll() is None
        assert running.stdin is not None
        running.stdin.write(b"y")
        assert running.result(timeout=10) == b"y"


@pytest.mark.parametrize("pid1", [True, False])
@pytest.mark.parametrize(
    ("end", "number"), [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM)]
)
def test_kill_and_terminate(pid1, end, number):
    with start_container([], sleep, child_is_pid1=pid1) as running:
        getattr(running, end)()
        assert running.wait(timeout=5).status.signal == number
        getattr(running, end)()  # nothing: it has ended


@pytest.mark.parametrize("pid1", [True, False])
def test_send_signal_to_a_handler(pid1):
    def fn():
        got = []
        signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
        os.write(1, b"ready")
        while not got:
            time.sleep(0.01)
        return got

    with start_container([], fn, stdout=PIPE, child_is_pid1=pid1) as running:
        assert running.stdout is not None
        assert running.stdout.read(5) == b"ready"
        running.send_signal(signal.SIGUSR1)
        assert running.result(timeout=5) == [signal.SIGUSR1]


def test_sigint_is_a_keyboard_interrupt_inside():
    def fn():
        try:
            os.write(1, b"ready")
            time.sleep(30)
        except KeyboardInterrupt:
            return "interrupted"

    with start_container([], fn, stdout=PIPE) as running:
        assert running.stdout is not None
        running.stdout.read(5)
        running.send_signal(signal.SIGINT)
        assert running.result(timeout=5) == "interrupted"


# ---- with


def test_with_waits():
    with start_container([], lambda: time.sleep(0.1)) as running:
        pass
    assert running.returncode == 0


def test_with_kills_after_an_exception():
    with pytest.raises(LookupError):
        with start_container([], sleep) as running:
            raise LookupError
    assert gone(running.pid)
    assert running.returncode == -signal.SIGKILL


def test_with_closes_stdin():
    with start_container([], echo, stdin=PIPE) as running:
        pass
    assert running.wait().result() == "end"


def test_with_kills_an_idle_container():
    with start_container([]) as running:
        assert running.args == "(idle)"
        assert running.poll() is None
    assert gone(running.pid)


@pytest.mark.parametrize("options", [{"fn": None}, {"fn": sleep}], ids=["idle", "init"])
def test_signal_right_after_the_start(options):
    """An init has its signals blocked before it is known to run: the kernel would drop them."""
    for _ in range(30):
        with start_container([], options["fn"], child_is_pid1=False) as running:
            running.terminate()
            assert running.wait(timeout=5).status.signal == signal.SIGTERM


def test_idle_container_with_a_populate_hook():
    with pytest.raises(ValueError, match="populate_filesystem"):
        start_container([], None, populate_filesystem=os.getpid)  # type: ignore[call-overload]


def test_repr():
    with start_container([], sleep) as running:
        assert repr(running) == f"<Running sleep pid={running.pid} running>"
        running.kill()
        running.wait()
        assert repr(running) == (f"<Running sleep pid={running.pid} killed by signal 9 (SIGKILL)>")


def test_dropped_without_waiting_warns():
    running = start_container([])
    pid = running.pid
    kept = [running]
    del running
    with pytest.warns(ResourceWarning, match=f"container {pid} is still running"):
        kept.clear()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(pid)


def test_dropped_after_the_end_does_not_warn(recwarn):
    running = start_container([], lambda: None)
    running.wait()
    del running
    gc.collect()
    assert [w for w in recwarn if w.category is ResourceWarning] == []


def test_exit_without_a_value():
    running = start_container([], lambda: os._exit(4))
    assert running.wait(10).returncode == 4
    with pytest.raises(ContainerExitError, match="exit status 4"):
        running.result()


# ---- pipes


def test_pipes():
    with start_container([], echo, stdin=PIPE, stdout=PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b"one")
        assert running.stdout.read(3) == b"ONE"
        running.stdin.write(b"two")
        assert running.stdout.read(3) == b"TWO"
        running.stdin.close()
        assert running.stdout.read() == b""
        assert running.result(timeout=5) == "end"


def test_streaming_lines():
    def fn():
        for number in range(3):
            print(number, flush=True)
            os.read(0, 1)

    with start_container([], fn, stdin=PIPE, stdout=PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for number in range(3):
            assert running.stdout.readline() == b"%d\n" % number
            running.stdin.write(b".")


def test_communicate():
    def fn():
        data = sys.stdin.buffer.read()
        os.write(1, data[::-1])
        os.write(2, b"err")
        return len(data)

    with start_container([], fn, stdin=PIPE, stdout=PIPE, stderr=PIPE) as running:
        assert running.communicate(b"input", timeout=10) == (b"tupni", b"err")
        assert running.result() == 5


def test_communicate_more_than_the_pipes_hold():
    data = bytes(range(256)) * 4096 * 3

    with start_container([], echo, stdin=PIPE, stdout=PIPE) as running:
        out, err = running.communicate(data, timeout=20)
    assert out == data.upper()
    assert err is None


def test_communicate_when_nobody_reads():
    with start_container([], lambda: "unread", stdin=PIPE) as running:
        assert running.communicate(bytes(1 << 20), timeout=10) == (None, None)
        assert running.result() == "unread"


def test_communicate_with_a_timeout_goes_on_afterwards():
    def fn():
        os.write(1, b"first ")
        os.read(0, 1)
        os.write(1, b"second")

    read, write = os.pipe()
    with start_container([], fn, stdin=read, stdout=PIPE) as running:
        os.close(read)
        with pytest.raises(ContainerTimeoutError) as caught:
            running.communicate(timeout=0.1)
        assert caught.value.stdout == b"first "
        os.write(write, b"x")
        assert running.communicate(timeout=10) == (b"first second", None)
    os.close(write)


def test_pipe_held_by_an_outsider_ends_the_wait():
    """A process outside the container holds the pipe as well: the end does not wait for it."""
    read, write = os.pipe()
    with start_container([], lambda: os.write(1, b"x"), stdout=write) as running:
        assert running.result(timeout=10) == 1
    assert os.read(read, 10) == b"x"
    os.close(read)
    os.close(write)


def test_unread_pipe_is_not_waited_for_when_killed():
    def fn():
        while True:
            os.write(1, bytes(65536))

    with start_container([], fn, stdout=PIPE) as running:
        time.sleep(0.05)
        running.kill()
        assert running.wait(timeout=5).returncode == -9


# ---- what goes wrong at the start


def test_setup_error_comes_at_once(tmp_path):
    with pytest.raises(SetupError):
        start_container([bind(tmp_path / "absent", "/mnt")], sleep)


def test_payload_error_comes_at_once(tmp_path):
    with open(tmp_path / "file", "w") as opened:
        with pytest.raises(PayloadError):
            start_container([], lambda: opened.name)


def test_process_spawned_hook():
    pids: list[Any] = []

    def hook(running):
        pids.append(running.pid)

    with start_container([], os.getpid, process_spawned_hook=hook) as running:
        assert pids == [running.pid]
        assert running.result(10) == 1


# ---- many


def test_twenty_at_once():
    many = [start_container([], lambda: os.read(0, 1), stdin=PIPE) for _ in range(20)]
    assert len({running.pid for running in many}) == 20
    for running in many:
        assert running.stdin is not None
        running.stdin.write(b"z")
    assert [running.result(10) for running in many] == [b"z"] * 20
    for running in many:
        running.close()


def test_wait_in_any_order():
    first = start_container([], lambda: os.read(0, 1), stdin=PIPE)
    second = start_container([], lambda: "second")
    assert second.result(10) == "second"
    assert first.poll() is None
    first.kill()
    assert first.wait(10).returncode == -9
    first.close()
    second.close()


def test_excursion_into_a_running_function():
    with start_container([], lambda: os.read(0, 1), stdin=PIPE, hostname="busy") as running:
        assert container_excursion(running, lambda: os.uname().nodename) == "busy"
        assert running.stdin is not None
        running.stdin.write(b"x")
