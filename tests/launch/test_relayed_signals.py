"""Signals that come while the caller waits: what ends, how soon, and in which order.

The container's function makes a file when it runs, and the test sends the signal then.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

SCRIPT = """
    import signal

    here = sys.argv[1]
    log = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())
    box = [bind(here, "/here", writable=True)]
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def obedient():
        try:
            Path("/here/running").touch()
            time.sleep(40)
        except KeyboardInterrupt:
            time.sleep(0.2)
            log("the function ends")
            raise

    def stubborn():
        signal.signal(signal.SIGINT, lambda *_: log("ignored"))
        signal.signal(signal.SIGTERM, lambda *_: log("ignored"))
        Path("/here/running").touch()
        while True:
            time.sleep(40)

    def interrupted(call):
        try:
            call()
        except KeyboardInterrupt:
            log("KeyboardInterrupt")
        else:
            log("nothing")
        assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        time.sleep(0.05)
        helpers = [server.pid for server in forkservers._running.values()]
        if set(children("self")) - set(helpers):
            log("left:", children("self"), helpers)

    def visit(fn, **options):
        with start_container(box) as running:
            container_excursion(running, fn, preload=["signal"], **options)

"""


class Caller:
    def __init__(self, process, path):
        self.process = process
        self.path = path

    def wait_for(self, name="running"):
        deadline = time.monotonic() + 20
        while not (self.path / name).exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "it has not started"
            time.sleep(0.01)
        time.sleep(0.1)  # from starting the container to waiting for it

    def send(self, number):
        """To the whole group, as a terminal's Ctrl-C goes."""
        os.killpg(self.process.pid, number)

    def end(self, timeout=20):
        output, errors = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, errors
        return output.splitlines()


@pytest.fixture
def call(start_program, tmp_path):
    """Start a caller that ends with the lines given, and say when its function runs."""
    tmp_path.chmod(0o755)

    def start(text, wait_for="running"):
        lines = "\n".join("    " + line for line in text.splitlines())
        process = start_program(SCRIPT + lines, str(tmp_path), start_new_session=True)
        caller = Caller(process, tmp_path)
        caller.wait_for(wait_for)
        return caller

    return start


CALLS = {
    "call": "lambda: call_with_container(box, {})",
    "init": "lambda: call_with_container(box, {}, child_is_pid1=False)",
    "command output": "lambda: run_container(box, {}, capture_output=True)",
    "fork": "lambda: call_with_container(box, {}, start_method='fork')",
    "excursion": "lambda: visit({})",
}


@pytest.mark.parametrize("kind", CALLS)
def test_obedient_function(call, kind):
    caller = call(f"interrupted({CALLS[kind].format('obedient')})")
    start = time.monotonic()
    caller.send(signal.SIGINT)
    said = [] if kind == "command output" else ["the function ends"]
    assert caller.end() == [*said, "KeyboardInterrupt"]
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("kind", ["call", "init", "fork", "excursion"])
def test_stubborn_function_and_a_second_signal(call, kind):
    caller = call(f"interrupted({CALLS[kind].format('stubborn')})")
    start = time.monotonic()
    caller.send(signal.SIGINT)
    assert caller.process.stdout.readline() == "ignored\n"
    caller.send(signal.SIGINT)
    lines = caller.end()
    assert [line for line in lines if line != "ignored"] == ["KeyboardInterrupt"]
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("kind", ["call", "excursion"])
def test_stubborn_function_is_killed_after_five_seconds(call, kind):
    caller = call(f"interrupted({CALLS[kind].format('stubborn')})")
    start = time.monotonic()
    caller.send(signal.SIGINT)
    assert caller.end() == ["ignored", "KeyboardInterrupt"]
    assert 4.9 < time.monotonic() - start < 9


@pytest.mark.parametrize("kind", ["call", "init", "excursion"])
def test_handler_of_the_caller_runs_afterwards(call, kind):
    caller = call(f"""
def handler(number, frame):
    log("the caller's handler")
    raise KeyboardInterrupt
def fn():
    signal.signal(signal.SIGTERM, lambda *_: (log("inside"), os._exit(0)))
    Path("/here/running").touch()
    time.sleep(40)
signal.signal(signal.SIGTERM, handler)
before[1] = handler
interrupted({CALLS[kind].format("fn")})
""")
    os.kill(caller.process.pid, signal.SIGTERM)
    assert caller.end() == ["inside", "the caller's handler", "KeyboardInterrupt"]


def test_sigterm_of_a_caller_without_a_handler(call):
    caller = call("call_with_container(box, obedient)")
    os.kill(caller.process.pid, signal.SIGTERM)
    caller.process.communicate(timeout=20)
    assert caller.process.returncode == -signal.SIGTERM


def test_signal_that_the_caller_ignores(call):
    """An ignored SIGINT (nohup, a job in the background) ends nothing."""
    caller = call("""
signal.signal(signal.SIGINT, signal.SIG_IGN)
before[0] = signal.SIG_IGN
def fn():
    Path("/here/running").touch()
    time.sleep(1)
interrupted(lambda: call_with_container(box, fn))
""")
    caller.send(signal.SIGINT)
    assert caller.end() == ["nothing"]


def test_from_another_thread(call):
    """There nothing is installed, and the main thread has its KeyboardInterrupt at once."""
    caller = call("""
import threading
def fn():
    Path("/here/running").touch()
    time.sleep(1)
    return "value"
thread = threading.Thread(target=lambda: log(call_with_container(box, fn)))
def wait():
    thread.start()
    time.sleep(0.1)
    assert before[0] is signal.getsignal(signal.SIGINT)
    time.sleep(20)
interrupted(wait)
thread.join()
""")
    caller.send(signal.SIGINT)
    lines = [line for line in caller.end() if not line.startswith("left")]
    assert lines == ["KeyboardInterrupt", "value"]


@pytest.mark.parametrize("kind", ["call", "excursion"])
def test_while_a_slow_module_is_loaded(call, tmp_path, kind):
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, sys, time\n"
        "def fn(): pass\n"
        # In the helper's child only: the caller has argv too, but it is the one that made "loaded".
        f"marker = pathlib.Path({str(tmp_path)!r}, 'loaded')\n"
        "if marker.exists():\n"
        "    marker.with_name('running').touch()\n"
        "    time.sleep(40)\n"
        "marker.touch()\n"
    )
    caller = call(f"""
sys.path.append(here)
import slow
interrupted({CALLS[kind].format("slow.fn")})
""")
    start = time.monotonic()
    caller.send(signal.SIGINT)
    assert caller.end() == ["KeyboardInterrupt"]
    assert time.monotonic() - start < 4


# Loaded three times: by the caller, by a child that finds a thread started, and by a process for
# such functions, which takes long.
SLOW_THREADS = """
import os, pathlib, sys, threading, time
def fn(): pass
folder = pathlib.Path({folder!r})
if (folder / "second").exists():
    (folder / "running").touch()
    time.sleep(40)
elif (folder / "first").exists():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    (folder / "second").touch()
(folder / "first").touch()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_a_slow_module_is_loaded_in_a_process_of_its_own(call, tmp_path, number):
    (tmp_path / "slow_threads.py").write_text(SLOW_THREADS.format(folder=str(tmp_path)))
    tmp_path.chmod(0o777)
    caller = call("""
def handler(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, handler)
before[1] = handler
sys.path.append(here)
import slow_threads
interrupted(lambda: call_with_container(box, slow_threads.fn))
""")
    start = time.monotonic()
    caller.send(number)
    assert caller.end() == ["KeyboardInterrupt"]
    assert time.monotonic() - start < 4


def test_timeout_while_a_slow_module_is_loaded_in_a_process_of_its_own(run_program, tmp_path):
    (tmp_path / "slow_threads.py").write_text(SLOW_THREADS.format(folder=str(tmp_path)))
    tmp_path.chmod(0o777)
    run_program(
        """
        sys.path.append(sys.argv[1])
        import slow_threads
        start = time.monotonic()
        try:
            call_with_container([], slow_threads.fn, timeout=2)
        except ContainerTimeoutError:
            took = time.monotonic() - start
        assert Path(sys.argv[1], "running").exists()
        assert 1.9 < took < 4, took
        """,
        str(tmp_path),
    )


def test_many_signals_at_any_moment(start_program, tmp_path):
    """Between any two steps of a call: each signal ends in the caller's handler once or in a value,
    and the next call works."""
    process = start_program(
        """
        import signal

        count = 0
        def handler(number, frame):
            global count
            count += 1
        signal.signal(signal.SIGTERM, handler)
        print("ready", flush=True)
        values = 0
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            try:
                call_with_container([], lambda: time.sleep(0.002))
                values += 1
            except ContainerExitError:
                pass
        assert call_with_container([], lambda: 1) == 1
        print(count > 10, values > 10, children("self") == [helper()])
        """
    )
    assert process.stdout.readline() == "ready\n"
    end = time.monotonic() + 3
    while time.monotonic() < end:
        time.sleep(0.0137)
        os.kill(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert (output, process.returncode) == ("True True True\n", 0), errors
