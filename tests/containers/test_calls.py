"""``call_with_container`` and ``run_container``: values, statuses, output, patience."""

from __future__ import annotations

import errno
import os
import signal
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
    Completed,
    ContainerError,
    ContainerExitError,
    ContainerTimeoutError,
    PayloadError,
    SetupError,
    Verdict,
    call_with_container,
    run_container,
)


def test_value():
    assert call_with_container([], lambda: 6 * 7) == 42


def test_caller_is_left_as_it_was():
    number = 1

    def fn():
        nonlocal number
        number = 2
        return number

    assert call_with_container([], fn) == 2
    assert number == 1


def test_many_calls_at_once_from_threads():
    found: list[Any] = []

    def call(number):
        found.append(call_with_container([], lambda: (number, os.getpid())))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == [(number, 1) for number in range(12)]


def test_call_inside_a_thread_relays_nothing():
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    during = []

    def call():
        call_with_container(
            [],
            os.getpid,
            process_spawned_hook=lambda _: during.append(signal.getsignal(signal.SIGTERM)),
        )

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(20)
    assert during == [handlers[1]]


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    call_with_container([], os.getpid)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_descriptors_of_the_caller_do_not_grow():
    call_with_container([], os.getpid)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run_container([], os.getpid, capture_output=True)
        with pytest.raises(ContainerExitError):
            call_with_container([], os.abort)
        with pytest.raises(SetupError):
            call_with_container([], os.getpid, cwd="/absent")
    assert len(os.listdir("/proc/self/fd")) == before


# ---- Completed


def test_completed():
    def fn():
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        return "value"

    completed = run_container([], fn)
    assert completed.result() == "value"
    assert completed.result() == "value"
    assert completed.exception is None
    assert completed.returncode == 0
    assert (completed.status.exit_code, completed.status.signal) == (0, None)
    assert completed.status.signal_name is None
    assert completed.verdict is Verdict.OK
    assert completed.args.endswith("test_completed.<locals>.fn")
    assert (completed.stdout, completed.stderr) == (None, None)
    usage = completed.usage
    assert usage.wall_time >= 0.05
    assert 0.005 < usage.user_time + usage.system_time < 5
    assert 1 << 20 < usage.max_rss < 1 << 30
    completed.check_returncode()
    assert isinstance(hash(completed), int)


def test_usage_counts_the_whole_tree():
    def fn():
        pid = os.fork()
        if pid == 0:
            end = time.process_time() + 0.1
            while time.process_time() < end:
                pass
            os._exit(0)
        os.waitpid(pid, 0)

    usage = run_container([], fn, child_is_pid1=False).usage
    assert usage.user_time + usage.system_time >= 0.09


def test_exception_is_kept_for_result():
    empty: dict[str, int] = {}
    completed = run_container([], lambda: empty["missing"])
    assert completed.returncode == 1
    assert completed.verdict is Verdict.EXIT
    assert isinstance(completed.exception, KeyError)
    for _ in range(2):
        with pytest.raises(KeyError, match="missing"):
            completed.result()


@pytest.mark.parametrize(
    ("code", "status", "printed"),
    [(None, 0, b""), (0, 0, b""), (3, 3, b""), (True, 1, b""), ("words", 1, b"words\n")],
)
@pytest.mark.parametrize("pid1", [True, False])
def test_sys_exit(code, status, printed, pid1):
    completed = run_container([], lambda: sys.exit(code), capture_output=True, child_is_pid1=pid1)
    assert completed.status.exit_code == status
    assert completed.stderr == printed
    assert completed.verdict is (Verdict.EXIT if status else Verdict.OK)
    with pytest.raises(ContainerExitError, match=f"exit status {status}"):
        completed.result()


@pytest.mark.parametrize("pid1", [True, False])
def test_os_exit(pid1):
    assert run_container([], lambda: os._exit(7), child_is_pid1=pid1).status.exit_code == 7


@pytest.mark.parametrize("pid1", [True, False])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1])
def test_signal(pid1, number):
    def fn():
        os.kill(os.getpid(), number)
        time.sleep(20)

    completed = run_container([], fn, child_is_pid1=pid1, timeout=20)
    assert completed.status.signal == number
    assert completed.status.signal_name == signal.Signals(number).name
    assert completed.returncode == -number
    assert completed.verdict is Verdict.SIGNAL


@pytest.mark.parametrize("method", ["forkserver", "fork"])
@pytest.mark.parametrize("pid1", [True, False])
def test_abort_and_segmentation_fault(pid1, method):
    def crash():
        import ctypes

        ctypes.string_at(0)

    options: dict[str, Any] = {"child_is_pid1": pid1, "start_method": method}
    assert run_container([], os.abort, **options).status.signal == 6
    import ctypes

    assert ctypes
    assert run_container([], crash, **options).status.signal == 11


# ---- output


def test_capture_output():
    def fn():
        print("out")
        print("err", file=sys.stderr)
        os.write(1, b"raw\xff")

    completed = run_container([], fn, capture_output=True)
    assert completed.stdout in (b"out\nraw\xff", b"raw\xffout\n")
    assert completed.stderr == b"err\n"


def test_capture_output_as_text():
    completed = run_container(
        [], lambda: os.write(1, b"\xc3\xa4\xff"), capture_output=True, text=True
    )
    assert completed.stdout == "\u00e4\ufffd"
    assert completed.stderr == ""


def test_capture_output_of_many_megabytes():
    def fn():
        for _ in range(80):
            os.write(1, b"o" * 65536)
            os.write(2, b"e" * 65536)
        return "done"

    completed = run_container([], fn, capture_output=True)
    assert completed.result() == "done"
    assert completed.stdout is not None and len(completed.stdout) == 80 * 65536
    assert completed.stderr is not None and set(completed.stderr) == {ord("e")}


def test_capture_output_with_a_stream():
    with pytest.raises(ValueError, match="capture_output"):
        run_container([], os.getpid, capture_output=True, stdout=DEVNULL)


def test_capture_stdout_alone():
    def fn():
        os.write(1, b"out")
        os.write(2, b"err")

    completed = run_container([], fn, stdout=PIPE, stderr=DEVNULL)
    assert (completed.stdout, completed.stderr) == (b"out", None)


def test_stderr_to_stdout():
    def fn():
        os.write(1, b"1")
        os.write(2, b"2")
        os.write(1, b"3")

    assert run_container([], fn, stdout=PIPE, stderr=STDOUT).stdout == b"123"


def test_output_to_a_file(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        log.write(b"before ")
        log.flush()
        call_with_container([], lambda: print("inside"), stdout=log)
    assert (tmp_path / "log").read_bytes() == b"before inside\n"


def test_output_to_a_descriptor(tmp_path):
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    call_with_container([], lambda: os.write(2, b"err"), stderr=fd)
    os.fstat(fd)  # still open
    os.close(fd)
    assert (tmp_path / "log").read_bytes() == b"err"


def test_output_of_the_caller_comes_first(tmp_path):
    program = (
        "import os, pycontainer\n"
        "print('before')\n"
        "pycontainer.call_with_container([], lambda: print('inside'))\n"
        "print('after')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout == "before\ninside\nafter\n", done.stderr


def test_input_from_a_file(tmp_path):
    (tmp_path / "data").write_text("one\ntwo\n")
    with open(tmp_path / "data") as data:
        assert call_with_container([], lambda: sys.stdin.read(), stdin=data) == "one\ntwo\n"


def test_input_from_devnull():
    assert call_with_container([], lambda: os.read(0, 10), stdin=DEVNULL) == b""


def test_input_from_a_pipe_that_nobody_writes_to():
    assert call_with_container([], lambda: os.read(0, 10), stdin=PIPE, timeout=20) == b""


def test_input_that_is_the_callers(tmp_path):
    program = (
        "import sys, pycontainer\n"
        "print(pycontainer.call_with_container([], lambda: sys.stdin.readline()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="of the caller\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == "of the caller\n\n", done.stderr


def test_caller_without_standard_streams():
    """As under a daemon: 0, 1 and 2 are closed."""
    program = (
        "import os, sys, pycontainer\n"
        "out = os.dup(1)\n"
        "os.closerange(0, 3)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        "fn = lambda: (os.read(0, 1), os.write(1, b'x'))\n"
        "with pycontainer.start_container([]) as running:\n"
        "    found = [pycontainer.call_with_container([], fn) for _ in range(2)]\n"
        "    found.append(pycontainer.container_excursion(running, fn))\n"
        "os.write(out, repr(set(found)).encode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout == "{(b'', 1)}", done.stderr


def test_input_that_is_a_directory(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SetupError, match="hand over stdin") as caught:
        call_with_container([], os.getpid, stdin=fd)
    os.close(fd)
    assert caught.value.errno == errno.EISDIR


# ---- patience


@pytest.mark.parametrize("pid1", [True, False])
def test_timeout(pid1):
    def fn():
        os.write(1, b"so far")
        os.write(2, b"and here")
        time.sleep(30)

    start = time.monotonic()
    with pytest.raises(ContainerTimeoutError, match=r"within 0\.2 seconds and w") as caught:
        run_container([], fn, timeout=0.2, capture_output=True, child_is_pid1=pid1)
    assert 0.2 <= time.monotonic() - start < 5
    error = caught.value
    assert (error.timeout, error.stdout, error.stderr) == (0.2, b"so far", b"and here")
    assert isinstance(error, TimeoutError)
    assert isinstance(error, subprocess.TimeoutExpired)
    assert isinstance(error, ContainerExitError)


def test_timeout_kills_the_tree(tmp_path):
    lock = tmp_path / "alive"
    os.mkfifo(lock)
    reader = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(lock, os.O_WRONLY)

    def fn():
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
        time.sleep(30)

    with pytest.raises(ContainerTimeoutError):
        call_with_container([], fn, timeout=0.2, stdout=writer)
    os.close(writer)
    # End of file: nobody holds the pipe any more.
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_timeout_that_is_not_reached():
    assert call_with_container([], os.getpid, timeout=30) == 1


def test_timeout_of_0():
    with pytest.raises(ContainerTimeoutError):
        call_with_container([], lambda: time.sleep(30), timeout=0)


def test_timeout_while_loading(tmp_path, monkeypatch):
    (tmp_path / "slow_to_load.py").write_text("import time; time.sleep(1.5)\ndef f(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_load  # type: ignore[import-not-found]

    start = time.monotonic()
    with pytest.raises(ContainerTimeoutError):
        call_with_container([], slow_to_load.f, timeout=0.1)
    assert time.monotonic() - start < 1.3


# ---- hooks


def test_process_spawned_hook():
    seen = []

    def hook(running):
        seen.append((running.pid, os.path.exists(f"/proc/{running.pid}"), running.returncode))

    assert call_with_container([], os.getpid, process_spawned_hook=hook) == 1
    ((pid, there, code),) = seen
    assert pid > 1
    assert there
    assert code is None


def test_process_spawned_hook_comes_before_the_function(tmp_path):
    def hook(running):
        assert not (tmp_path / "log").exists()
        time.sleep(0.1)
        (tmp_path / "log").write_text("hook ")

    with open(tmp_path / "log2", "w") as out:
        call_with_container([], lambda: os.write(1, b"fn"), process_spawned_hook=hook, stdout=out)
    assert (tmp_path / "log").read_text() == "hook "
    assert (tmp_path / "log2").read_text() == "fn"
    assert (tmp_path / "log2").stat().st_mtime >= (tmp_path / "log").stat().st_mtime


def test_process_spawned_hook_that_raises():
    pids = []

    def hook(running):
        pids.append(running.pid)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        call_with_container([], lambda: time.sleep(30), process_spawned_hook=hook)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_populate_filesystem_that_raises():
    def populate():
        raise LookupError("cannot populate")

    with pytest.raises(LookupError, match="cannot populate") as caught:
        call_with_container([], os.getpid, populate_filesystem=populate)
    assert "populate_filesystem" in caught.value.__notes__[0]


def test_populate_filesystem_that_cannot_be_sent(tmp_path):
    with open(tmp_path / "x", "w") as opened:
        with pytest.raises(PayloadError, match="populate_filesystem"):
            call_with_container([], os.getpid, populate_filesystem=lambda: opened.name)


def test_every_error_is_a_container_error():
    for error in (SetupError, PayloadError, ContainerExitError, ContainerTimeoutError):
        assert issubclass(error, ContainerError)


# ---- function kinds


class Counter:
    def __init__(self, start):
        self.start = start

    def __call__(self):
        return self.start + 1

    def method(self):
        return self.start + 2


def of_the_module(number=5):
    return number


def test_kinds_of_functions():
    import functools

    assert call_with_container([], of_the_module) == 5
    assert call_with_container([], functools.partial(of_the_module, number=6)) == 6
    assert call_with_container([], Counter(1)) == 2
    assert call_with_container([], Counter(1).method) == 3
    assert call_with_container([], os.getcwd) == "/"
    assert call_with_container([], dict) == {}


def test_recursive_closure():
    def factorial(n):
        return 1 if n == 0 else n * factorial(n - 1)

    assert call_with_container([], lambda: factorial(10)) == 3628800


def test_large_argument():
    data = os.urandom(1 << 20) * 20

    def fn():
        return len(data), data[:10] == data[1 << 20 : (1 << 20) + 10]

    assert call_with_container([], fn) == (20 << 20, True)


def test_completed_is_generic():
    completed: Completed[int] = run_container([], lambda: 1)
    assert completed.result() + 1 == 2


def test_callers_files_are_not_there():
    here = Path(__file__)
    assert not call_with_container([], here.exists)
